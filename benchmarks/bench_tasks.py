"""Training of a task from a corpus beside the same frames as PNG: steps a second, and how long a step waits for data.

python -m benchmarks.bench_tasks [--frames 96] [--steps 24] [--rounds 3] [--threads 1] [--json] [--save]

Enhancement in its small setting (a U-Net of 196,000 parameters, 128x128 crops, its own batch) on procedural rooms of
640x480 through the Kinect simulation. Contestants take the same steps of the same network: ours reads frames as
``train_task`` does; the peer reads clean and noisy depth from 16-bit PNG through a plain torch DataLoader, makes views
of them and has the task draw its crops, in this process (``num_workers=0``, as one first writes it) or in one of its
own (``num_workers=1``). Ours prepares the next batch in a thread, and so has a core of its own where there is one.
The share is the time between asking for a batch and having it, of the whole step; the first batch, which starts
workers, is not counted. Files are in the page cache. Bar: under 5 % of a step waits for data.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.bench_reading import make_corpus
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, median, print_json, print_table
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY
from depthforge.seeding import frame_generator
from depthforge.tasks.base import Tensors, View
from depthforge.tasks.enhancement import Enhancement, EnhancementConfig
from depthforge.tasks.learning import StepBatches, TaskObjective
from depthforge.tasks.reading import Frames
from depthforge.training.objective import Batch

BAR = 0.05
OURS = "corpus"
PNG, PNG_WORKER = "PNG folder", "PNG folder, 1 worker"
CONTESTANTS = (OURS, PNG, PNG_WORKER)


class PngFrames(Dataset[Tensors]):
    """One drawn example a position, from two PNG files and the camera that all frames share."""

    def __init__(self, folder: Path, task: Enhancement, K: torch.Tensor, length: int, num_frames: int) -> None:
        self._folder, self._task, self._K = folder, task, K
        self._length, self._num_frames = length, num_frames

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> Tensors:
        random = frame_generator(0, f"png/{position}", "bench_tasks")
        while True:
            frame = int(random.integers(self._num_frames))
            noisy, clean = (self._read(f"{frame:06d}-{name}.png") for name in (DEPTH_NOISY, DEPTH_CLEAN))
            example = self._task.draw(View(f"{frame}", *noisy, *clean, self._K), random)
            if example is not None:
                return {**example.inputs, **example.targets}

    def _read(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        steps = cv2.imread(str(self._folder / name), cv2.IMREAD_UNCHANGED)
        metres = np.multiply(steps, np.float32(0.001), dtype=np.float32)
        return torch.from_numpy(metres)[None], torch.from_numpy(steps != 0)[None]


def write_pngs(root: Path, folder: Path) -> None:
    """Write clean and noisy depth of every frame as PNG."""
    reader = CorpusReader(root)
    for position in range(len(reader)):
        for name in (DEPTH_CLEAN, DEPTH_NOISY):
            image = reader.stored(name, position)
            cv2.imwrite(str(folder / f"{position:06d}-{name}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def timed(task: Enhancement, batches: Iterator[Batch]) -> dict[str, float]:
    """Take every step and return steps a second and the share of a step that waits, the first step left out."""
    objective = TaskObjective(task, torch.Generator().manual_seed(0))
    waits, steps = [], []
    start = time.perf_counter()
    for batch in batches:
        had = time.perf_counter()
        objective.step(batch)
        end = time.perf_counter()
        waits.append(had - start)
        steps.append(end - start)
        start = end
    return {"steps_per_second": (len(steps) - 1) / sum(steps[1:]), "waits": sum(waits[1:]) / sum(steps[1:])}


def contestants(
    root: Path, folder: Path, task: Enhancement, num_steps: int
) -> dict[str, Callable[[], Iterator[Batch]]]:
    """Return how each makes the batches of ``num_steps`` steps and one before, which is not counted."""
    frames = Frames(root, task, "depth_noisy")
    size, total = task.config.batch_size, num_steps + 1
    write_pngs(root, folder)
    # All rooms are seen by one camera.
    dataset = PngFrames(folder, task, frames[0].K, total * size, len(frames))

    def from_png(workers: int) -> Iterator[Batch]:
        for tensors in DataLoader(dataset, size, num_workers=workers):
            yield Batch({}, tensors)

    return {
        OURS: lambda: StepBatches(task, frames, 0).steps(0, total),
        PNG: lambda: from_png(0),
        PNG_WORKER: lambda: from_png(1),
    }


def figures(medians: dict[str, dict[str, float]], data: str) -> list[Figure]:
    """Return what the page shows: the share of a step that waits, and steps a second beside both ways of PNG."""
    waits = Figure(
        name="a step of enhancement waits for data",
        value=100 * medians[OURS]["waits"],
        unit="%",
        better="lower",
        peer=PNG,
        peer_value=100 * medians[PNG]["waits"],
        bar=100 * BAR,
        data=data,
    )
    speeds = [
        Figure(
            name=f"steps of enhancement, beside {peer}",
            value=medians[OURS]["steps_per_second"],
            unit="steps/s",
            better="higher",
            peer=peer,
            peer_value=medians[peer]["steps_per_second"],
            data=data,
        )
        for peer in (PNG, PNG_WORKER)
    ]
    return [waits, *speeds]


def main() -> None:
    """Train in turn from each and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("frames", 96), ("steps", 24), ("rounds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    add_result_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    task = Enhancement(EnhancementConfig(setting="small"))
    found: dict[str, dict[str, list[float]]] = {name: {"steps_per_second": [], "waits": []} for name in CONTESTANTS}
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as scratch:
        root, folder = Path(scratch, "corpus"), Path(scratch, "png")
        folder.mkdir()
        make_corpus(root, options.frames)
        made = contestants(root, folder, task, options.steps)
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                for kind, value in timed(task, made[name]()).items():
                    found[name][kind].append(value)
    medians = {name: {kind: median(values) for kind, values in kinds.items()} for name, kinds in found.items()}
    config: dict[str, Any] = {name: getattr(options, name) for name in ("frames", "steps", "rounds", "threads")}
    measured = {"options": config, "bar": BAR, "medians": medians, "rounds": found}
    threads = f"{options.threads} thread{'s' * (options.threads > 1)}"
    data = f"640x480, crops of {task.config.crop_px} px, batch {task.config.batch_size}, {threads}"
    if options.save:
        save_run("bench_tasks", measured, figures(medians, data), note=options.note)
    if options.json:
        print_json(measured)
        return
    print(f"{machine()}; {data}; {options.frames} frames, {options.steps} steps, {options.rounds} rounds")
    rows = [[n, f"{medians[n]['steps_per_second']:.2f}", f"{100 * medians[n]['waits']:.1f} %"] for n in CONTESTANTS]
    print_table(f"Training of enhancement; bar {100 * BAR:g} %", rows, ["from", "steps/s", "waits for data"])


if __name__ == "__main__":
    main()
