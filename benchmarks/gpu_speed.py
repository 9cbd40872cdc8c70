"""How fast a GPU infers and trains, beside plain PyTorch on the same GPU, and how far off lower precision is, in mm.

Contestants have the same weights and run in turn; a figure is the median of their repeats, each of which ends when the
device has. The peer is DCL as one writes it down (``plain_dcl``): eager, channels outermost, torch's own defaults, with
which convolutions on CUDA round to TF32. Errors are of random weights in the published form, which may move depth over
all of its 10 m; with ``residual: 0.02``, as the documentation advises, they are a fiftieth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor, nn

from benchmarks.gpu_checks import Row, made_up_batch, made_up_frames, objective_of, spread_network
from benchmarks.plain_dcl import PlainDcl, PlainDiscriminator, PlainGenerator, copy_weights
from benchmarks.timing import in_turn, median
from depthforge.networks.compiling import compile_network
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.precision import Precision, arithmetic
from depthforge.networks.whole import WholeGenerator
from depthforge.translators.dcl import Dcl
from depthforge.translators.hybrid_inputs import COLOUR_CHANNELS, GEOMETRY_CHANNELS
from depthforge.translators.hybrid_network import HybridNetwork
from depthforge.translators.one_way_objectives import DclObjective

__all__ = ["holes", "inference", "training"]

RANGE_MM: Final = 10_000.0
FRAMES_PER_S: Final = 1000.0
HOLES_PER_S: Final = 200.0
TIMES_PLAIN_TF32: Final = 2.0
TIMES_PLAIN_STEP: Final = 3.0
PLAIN: Final = "plain, eager, tf32"
DTYPES: Final[dict[Precision, torch.dtype]] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
}


def inference(
    device: str,
    *,
    compiled: bool,
    width: int = 32,
    size: tuple[int, int] = (480, 640),
    batch: int = 8,
    repeats: int = 7,
) -> Iterator[Row]:
    """Yield frames/s and errors of DCL's generator; the bars, on a GPU, are of what conversion uses by default."""
    where = torch.device(device)
    generator = spread_network(DepthGenerator(width=width), 1)
    assert isinstance(generator, DepthGenerator)
    plain = PlainGenerator(width).eval()
    copy_weights(generator, plain)
    generator, plain = generator.to(where), plain.to(where)
    x = torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(1)).to(where)
    networks: dict[str, tuple[nn.Module, Precision]] = {PLAIN: (plain, "tf32")}
    if compiled:
        networks["plain, compiled, tf32"] = (_compiled(copy.deepcopy(plain)), "tf32")
    else:
        networks["plain, eager, float32"] = (plain, "float32")
        module = copy.deepcopy(generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        networks["module, eager, tf32"] = (module, "tf32")
        networks["whole, eager, float32"] = (WholeGenerator(generator), "float32")
    for precision in ("tf32", "bfloat16"):
        whole = WholeGenerator(generator, DTYPES[precision])
        name = f"whole, {'compiled' if compiled else 'eager'}, {precision}"
        networks[name] = (_compiled(whole) if compiled else whole, precision)
    seconds = in_turn({name: _pass(network, x, how) for name, (network, how) in networks.items()}, repeats=repeats)
    rates = {name: batch / median(of) for name, of in seconds.items()}
    with torch.inference_mode(), arithmetic("float32", where):
        exact = plain(x)
    data = f"inference {size[1]}x{size[0]}, batch {batch}"
    for name, (network, how) in networks.items():
        times = rates[name] / rates[PLAIN]
        bar, ok = "", None
        if compiled and name.startswith("whole") and device == "cuda":
            fast_enough = how != "bfloat16" or rates[name] >= FRAMES_PER_S
            bar = f">= {TIMES_PLAIN_TF32:g} times" + (f", {FRAMES_PER_S:g} frames/s" if how == "bfloat16" else "")
            ok = fast_enough and times >= TIMES_PLAIN_TF32
        peer = "" if name == PLAIN else f"{PLAIN}: {times:.2f} times"
        yield Row(f"{data}: {name}", f"{rates[name]:.4g} frames/s", peer, bar, ok)
        off_mm = RANGE_MM * (_pass(network, x, how)() - exact).abs().flatten().float()
        parts = [float(off_mm.mean()), float(off_mm.cpu().kthvalue(int(0.99 * off_mm.numel())).values)]
        said = f"{parts[0]:.2g} mean, {parts[1]:.2g} (99 %), {float(off_mm.max()):.2g} mm at most"
        yield Row(f"{data}: {name}: off", said, "plain, eager, float32")
    if compiled:
        yield _translator_rate(device, generator, size, batch, repeats)


def holes(device: str, *, size: tuple[int, int] = (480, 640), batch: int = 8, repeats: int = 7) -> Iterator[Row]:
    """Yield frames/s of the network of ``hybrid``, the images that it sees being on the device."""
    where = torch.device(device)
    channels = len(GEOMETRY_CHANNELS) + len(COLOUR_CHANNELS)
    network = spread_network(HybridNetwork(channels=channels, residual=True), channels).to(where)
    x = torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(1)).to(where)

    def run() -> None:
        with torch.inference_mode(), arithmetic("float32", where):
            network.maps(x)
        _wait(where)

    rate = batch / median(in_turn({"holes": run}, repeats=repeats)["holes"])
    asked = device == "cuda"
    bar, ok = (f">= {HOLES_PER_S:g} frames/s", rate >= HOLES_PER_S) if asked else ("", None)
    yield Row(f"network of hybrid {size[1]}x{size[0]}, batch {batch}", f"{rate:.4g} frames/s", "", bar, ok)


def training(
    device: str, *, compiled: bool, width: int = 32, side: int = 256, batch: int = 12, repeats: int = 3, steps: int = 5
) -> Iterator[Row]:
    """Yield steps/s of DCL's training; ours as the loop takes them, with its precision and, if asked for, compiled."""
    where = torch.device(device)
    crops = made_up_batch(0, batch, side).to(where)
    contestants: dict[str, Callable[[], object]] = {PLAIN: _plain_steps(device, width, crops, steps)}
    hows: tuple[Precision, ...] = ("bfloat16",) if compiled else ("tf32", "bfloat16")
    for how in hows:
        contestants[f"ours, {how}{', compiled' if compiled else ''}"] = _our_steps(
            device, width, crops, steps, how, compiled
        )
    seconds = in_turn(contestants, repeats=repeats)
    rates = {name: steps / median(of) for name, of in seconds.items()}
    fastest = max((name for name in rates if name != PLAIN), key=lambda name: rates[name])
    for name, rate in rates.items():
        times = rate / rates[PLAIN]
        asked = device == "cuda" and name == fastest
        yield Row(
            f"training step {side}x{side}, batch {batch}: {name}",
            f"{rate:.4g} steps/s",
            "" if name == PLAIN else f"{PLAIN}: {times:.2f} times",
            f">= {TIMES_PLAIN_STEP:g} times" if asked else "",
            times >= TIMES_PLAIN_STEP if asked else None,
        )


def _compiled(network: nn.Module) -> nn.Module:
    compile_network(network)
    return network


def _pass(network: nn.Module, x: Tensor, how: Precision) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.inference_mode(), arithmetic(how, x.device):
            out: Tensor = network(x)
        _wait(x.device)
        return out

    return run


def _translator_rate(device: str, generator: DepthGenerator, size: tuple[int, int], batch: int, repeats: int) -> Row:
    """Return the rate of frames in metres to frames in metres, as conversion asks for them, in bfloat16."""
    frames = made_up_frames(batch, *size)
    config = Dcl.Config(width=generator.feature_channels[0], precision="bfloat16", batch_size=batch, min_kept=0.0)
    whole = _compiled(WholeGenerator(generator, torch.bfloat16))
    translator = Dcl.of_networks(config, {"generator": whole})
    words = [(number, 7) for number in range(batch)]
    seconds = in_turn({"": lambda: translator.translate_batch(frames, words)}, repeats=repeats)[""]
    return Row(
        f"frames of {size[1]}x{size[0]} through the translator dcl, bfloat16", f"{batch / median(seconds):.4g} frames/s"
    )


def _plain_steps(device: str, width: int, crops: object, steps: int) -> Callable[[], object]:
    ours = objective_of("dcl", device, width)
    assert isinstance(ours, DclObjective)
    generator, discriminator = PlainGenerator(width), PlainDiscriminator(width)
    copy_weights(ours.generator, generator)
    copy_weights(ours.discriminator, discriminator)
    heads = nn.ModuleList([nn.Sequential(head.hidden, nn.ReLU(), head.out) for head in ours.heads.layers])
    plain = PlainDcl(generator.to(device), discriminator.to(device), heads)
    clean, real = crops.clean["depth"], crops.real["depth"]  # type: ignore[attr-defined]
    side = clean.shape[2]
    taps = [torch.empty(1, 1, side // scale, side // scale, device=device) for scale in (1, 2, 4, 4, 4)]

    def run() -> None:
        for _ in range(steps):
            plain.step(clean, real, ours.draw(taps))
        _wait(clean.device)

    return run


def _our_steps(
    device: str, width: int, crops: object, steps: int, how: Precision, compiled: bool
) -> Callable[[], object]:
    objective = objective_of("dcl", device, width)
    if compiled:
        for network in objective.networks.values():
            compile_network(network)

    def run() -> None:
        with arithmetic(how, torch.device(device)):
            for _ in range(steps):
                objective.step(crops)  # type: ignore[arg-type]
        _wait(torch.device(device))

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
