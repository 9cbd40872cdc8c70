"""One training step of DCL: ours beside plain PyTorch written from the published description, and what makes it faster.

python -m benchmarks.bench_training [--size 256] [--batch 4] [--steps 3] [--rounds 2] [--threads 2] [--json] [--save]

All begin with the same weights, images and positions, so the losses of the first step must agree to 1e-5. From the
second step on they part, since Adam divides a gradient by its own size and so enlarges its rounding. Bar: 1.5 times
the plain step.

``channels last`` is one line, ``network.to(memory_format=torch.channels_last)``. ``memory kept`` has the allocator keep
freed memory, where by default each large array is asked of the operating system, and cleared by it, anew. That setting
is the process's, so every contestant runs in a process of its own, in turn. Seconds of the processor stand beside those
of the clock: on a machine that others use too, they are the ones to compare, with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.plain_dcl import PlainDcl, PlainDiscriminator, PlainGenerator, copy_weights
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table
from depthforge.training.memory import keep_freed_memory
from depthforge.training.objective import Batch
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

BAR = 1.5
BAR_LOSSES = 1e-5
PLAIN = "plain PyTorch"
CONTESTANTS = (PLAIN, "ours", "ours, channels last", "ours, channels last, memory kept")
LOSSES = ("discriminator_fake", "discriminator_real", "gan", "contrast", "identity")


def run(contestant: str, size: int, batch: int, steps: int, threads: int) -> dict[str, Any]:
    """Take ``steps`` steps after one uncounted; return seconds of clock and processor and the losses of all."""
    torch.set_num_threads(threads)
    if "memory kept" in contestant:
        keep_freed_memory()
    ours = DclObjective(DclConfig(), torch.Generator().manual_seed(0))
    images = torch.rand(2, batch, 1, size, size, generator=torch.Generator().manual_seed(1))
    clean, real = images
    taps = [torch.empty(1, 1, size // scale, size // scale) for scale in (1, 2, 4, 4, 4)]
    generator, discriminator = PlainGenerator(), PlainDiscriminator()
    copy_weights(ours.generator, generator)
    copy_weights(ours.discriminator, discriminator)
    heads = nn.ModuleList([nn.Sequential(head.hidden, nn.ReLU(), head.out) for head in ours.heads.layers])
    plain = PlainDcl(generator, discriminator, heads)
    if "channels last" in contestant:
        for network in ours.networks.values():
            network.to(memory_format=torch.channels_last)

    clock, processor, losses = [], [], []
    for _ in range(1 + steps):
        start = time.perf_counter(), time.process_time()
        if contestant == PLAIN:
            found = plain.step(clean, real, ours.draw(taps))
        else:
            found = {name: loss.item() for name, loss in ours.step(Batch({"depth": clean}, {"depth": real})).items()}
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
        losses.append({name: found[name] for name in LOSSES})
    return {"clock_s": clock[1:], "processor_s": processor[1:], "losses": losses}


def losses_apart(found: Mapping[str, Mapping[str, Any]]) -> float:
    """Return how far a loss of the first step is from that of plain PyTorch at most, as a share of it."""
    plain = found[PLAIN]["losses"][0]
    return float(max(abs(found[c]["losses"][0][name] / plain[name] - 1) for c in CONTESTANTS for name in LOSSES))


def figures(seconds: Mapping[str, Mapping[str, float]], apart: float, data: str) -> list[Figure]:
    """Return what the page shows: a step of each contestant, by the clock, and by the processor for the fastest."""

    def beside(contestant: str, kind: str, seconds_of: str, bar: float | None = None) -> Figure:
        return Figure(
            name=f"a step, {contestant}, {seconds_of}",
            value=seconds[contestant][kind],
            unit="s",
            better="lower",
            peer=PLAIN,
            peer_value=seconds[PLAIN][kind],
            bar=bar,
            bar_of="ratio",
            data=data,
        )

    agree = Figure(
        name="losses of the first step",
        value=apart,
        unit="apart",
        better="lower",
        peer=PLAIN,
        bar=BAR_LOSSES,
        data=data,
    )
    *_, layout, kept = CONTESTANTS
    return [
        beside(layout, "clock_s", "clock", BAR),
        beside(kept, "clock_s", "clock", BAR),
        beside(kept, "processor_s", "processor"),
        agree,
    ]


def main() -> None:
    """Run all contestants in turn and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 256), ("batch", 4), ("steps", 3), ("rounds", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    add_result_options(parser)
    parser.add_argument("--only", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(options.only, options.size, options.batch, options.steps, options.threads)))
        return

    found: dict[str, dict[str, Any]] = {}
    for _ in range(options.rounds):
        for contestant in CONTESTANTS:
            command = [sys.executable, "-m", "benchmarks.bench_training", "--only", contestant]
            for name in ("size", "batch", "steps", "threads"):
                command += [f"--{name}", str(getattr(options, name))]
            out = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True).stdout
            measured = json.loads(out)
            total = found.setdefault(contestant, {"clock_s": [], "processor_s": [], "losses": measured["losses"]})
            total["clock_s"] += measured["clock_s"]
            total["processor_s"] += measured["processor_s"]
    medians = {c: {kind: median(found[c][kind]) for kind in ("clock_s", "processor_s")} for c in CONTESTANTS}
    base = medians[PLAIN]
    sizes = {name: getattr(options, name) for name in ("size", "batch", "steps", "rounds", "threads")}
    measured = {"options": sizes, "bar": BAR, "seconds": medians, "losses": found}
    if options.save:
        data = f"{options.size}x{options.size}, batch {options.batch}, {options.threads} threads"
        save_run("bench_training", measured, figures(medians, losses_apart(found), data), note=options.note)
    if options.json:
        print_json(measured)
        return
    print(f"{machine()}; {options.threads} threads, {options.size}x{options.size}, batch {options.batch}")
    rows = [
        [c, *(f"{medians[c][kind]:.2f} ({base[kind] / medians[c][kind]:.2f})" for kind in ("clock_s", "processor_s"))]
        for c in CONTESTANTS
    ]
    print_table(f"A step of DCL; bar {BAR} times plain", rows, ["", "clock s (ratio)", "processor s (ratio)"])
    for step in range(2):
        rows = [[c, *(f"{found[c]['losses'][step][name]:.6f}" for name in LOSSES)] for c in CONTESTANTS]
        print_table(f"Losses of step {step + 1}", rows, ["", *LOSSES])


if __name__ == "__main__":
    main()
