"""Whether a device computes what the CPU does: conversion, training steps, resume, a corpus; rows, each with a bound.

The bodies of the tests marked ``gpu`` and of ``benchmarks.on_gpu``: plain functions of a device, so the CPU runs the
very same ones. Networks have random weights that give every layer, and the depth, a realistic spread. What a network
may add to depth is 2 % of 10 m, as the documentation advises: bounds in millimetres are of that noise. They are for
weights that round worse than trained ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from depthforge.frame import Camera, Capture, Frame
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.precision import Precision, arithmetic
from depthforge.registry import translators
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.loop import LoopSettings, TrainingLoop
from depthforge.training.objective import Batch, Objective
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator
from depthforge.translators.hybrid_inputs import COLOUR_CHANNELS, GEOMETRY_CHANNELS
from depthforge.translators.hybrid_network import FREQUENCY, HybridNetwork
from depthforge.translators.learned import Learned, LearnedConfig

__all__ = [
    "ADVERSARIAL",
    "METHODS",
    "PRECISIONS",
    "Row",
    "check_conversion",
    "check_corpus",
    "check_resume",
    "check_training",
    "spread_network",
    "write_weights",
]

ADVERSARIAL: Final = ("dcl", "cut", "cyclegan", "coupled")
METHODS: Final = (*ADVERSARIAL, "hybrid")
PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "tf32", "bfloat16")

DEPTH_MM: Final[dict[Precision, float]] = {"float32": 0.1, "tf32": 5.0, "bfloat16": 40.0}
"""Bound on how far 99.9 % of the pixels that both call measured are apart."""
VALIDITY: Final[dict[Precision, float]] = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""Bound on the share of pixels of which one says that they are measured and the other not."""
LOSSES: Final[dict[Precision, float]] = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
"""Bound on how far a loss of the first step is off, as a share of it or of 1, whichever is more."""
ADAM_STEP: Final = 2e-4
RESUME: Final = {"cpu": 0.0, "cuda": 0.1 * ADAM_STEP}
"""Bound on the mean difference of a weight after a resume: on CUDA a tenth of one step of Adam."""
CPU_PEER: Final = "the CPU, float32"


@dataclass(frozen=True)
class Row:
    """A line of the table; ``bar`` says what is asked of ``value``, ``ok`` whether that is met, None for nothing."""

    what: str
    value: str
    peer: str = ""
    bar: str = ""
    ok: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def at_most(what: str, value: float, bar: float, unit: str, peer: str = CPU_PEER) -> Row:
    """Return the row of a value that must not exceed ``bar``; NaN does."""
    return Row(what, f"{value:.2g} {unit}", peer, f"<= {bar:g} {unit}", bool(value <= bar))


def spread_network(network: nn.Module, channels: int, seed: int = 0) -> nn.Module:
    """Return ``network``, of images of ``channels``, evaluating, with random weights whose output fills its range."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.2, generator=random)
            nn.init.normal_(module.bias, 0.0, 0.2, generator=random)
            module.momentum = 1.0
    for name in ("out", "logits", "valid"):
        head = getattr(network, name, None)
        if isinstance(head, nn.Conv2d):
            nn.init.normal_(head.weight, 0.0, 0.02, generator=random)
            with torch.no_grad():
                # Features are positive: kernels that sum to nothing leave none of their mean, so neither sign wins.
                head.weight -= head.weight.mean(dim=(2, 3), keepdim=True)
    with torch.no_grad():
        network.train()(torch.rand(2, channels, 64, 64, generator=random))
    return network.eval()


def config_of(method: str, width: int, **options: Any) -> LearnedConfig:
    """Return the configuration of a method, of the options that it has."""
    config = translators.get(method).Config
    if method == "coupled":  # its holes have a network of their own
        options.pop("validity", None)
    if method == "hybrid":  # whose option of this name is another
        options["residual"] = True
    known = {name: value for name, value in {"width": width, **options}.items() if name in config.model_fields}
    made: LearnedConfig = config(**known)
    return made


def write_weights(folder: Path, method: str, width: int, **options: Any) -> LearnedConfig:
    """Write a translator of random weights; return the configuration that uses it."""
    config = config_of(method, width, **options)
    cls: type[Learned] = translators.get(method)
    networks = {}
    for name, network in cls.make_networks(config).items():
        channels = 3
        if isinstance(network, DepthGenerator):
            channels = network.in_channels
        elif isinstance(network, HybridNetwork):
            channels = network.holes.channels
        networks[name] = spread_network(network, channels)
    card = TranslatorCard(
        translator=method,
        version=cls.version,
        architecture=config.architecture,
        normalisation=config.scale,
        units=None if config.scale is None else "m",
        origin="random weights",
    )
    write_translator(folder, networks, card)
    return config.model_copy(update={"weights": folder})


def made_up_frames(count: int, height: int, width: int) -> list[Frame]:
    """Return walls with boxes before them, holes, and colour, each another."""
    random = np.random.default_rng(0)
    camera = Camera(fx=width, fy=width, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for number in range(count):
        depth_m = (1.5 + x / width + 0.1 * number + 0.5 * y / height).astype(np.float32)
        depth_m[height // 3 : height // 2, width // 4 : width // 2] -= np.float32(0.5)
        valid = random.random((height, width)) > 0.02
        rgb = random.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
        rgb = np.ascontiguousarray(rgb.repeat(4, 0).repeat(4, 1)[:height, :width])
        depth_m[~valid] = 0
        frames.append(Frame(f"made-up/wall/{number:04d}", depth_m, valid, camera, rgb=rgb))
    return frames


def check_conversion(
    method: str,
    device: str,
    *,
    precision: Precision = "float32",
    width: int = 32,
    size: tuple[int, int] = (480, 640),
    frames: int = 11,
    compile: bool = False,
) -> list[Row]:
    """Convert frames (one batch and part of another) on ``device`` and, in float32, on the CPU, and compare them."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_weights(
            Path(folder), method, width, residual=0.02, validity=True, noise_channels=1, with_rgb=True
        )
        clean = made_up_frames(frames, *size)
        words = [(number, 7) for number in range(frames)]
        cls: type[Learned] = translators.get(method)
        captures = []
        for update in (
            {"device": "cpu"},
            {"device": device, "precision": precision, "compile": compile, "batch_size": 8},
        ):
            translator = cls(config.model_copy(update={**update, "min_kept": 0.0}))
            translator.load()
            batches = [slice(first, first + 8) for first in range(0, frames, 8)]
            captures.append([capture for b in batches for capture in translator.translate_batch(clean[b], words[b])])
    name = f"conversion, {method}, {precision}{', compiled' if compile else ''}"
    return depth_rows(name, *captures, precision)


def depth_rows(
    name: str,
    expected: Sequence[Capture],
    found: Sequence[Capture],
    precision: Precision,
    depth_mm: float | None = None,
) -> list[Row]:
    """Return how far depth and validity of captures are apart."""
    bound_mm = DEPTH_MM[precision] if depth_mm is None else depth_mm
    off_mm, differing, spread_mm = [], [], []
    for one, other in zip(expected, found, strict=True):
        assert one.depth is not None
        assert other.depth is not None
        both = one.depth.valid & other.depth.valid
        off_mm.append(1e3 * np.abs(one.depth.depth_m[both].astype(np.float64) - other.depth.depth_m[both]))
        differing.append((one.depth.valid != other.depth.valid).mean())
        spread_mm.append(one.depth.valid.mean())
    assert np.mean(spread_mm) > 0.1, "what is compared must have depth"
    depth_off_mm = float(np.quantile(np.concatenate(off_mm), 0.999))
    return [
        at_most(f"{name}: depth, 99.9 %", depth_off_mm, bound_mm, "mm"),
        at_most(f"{name}: validity", float(np.mean(differing)), VALIDITY[precision], "of pixels"),
    ]


def made_up_batch(step: int, batch: int, side: int, method: str = "dcl") -> Batch:
    """Return clean and real images as ``method`` sees them, the real ones with holes; for pairs those alone."""
    random = torch.Generator().manual_seed(step)
    if method == "hybrid":
        return Batch({}, _made_up_pairs(random, batch, side))
    with_rgb = method == "coupled"
    sides: list[dict[str, Tensor]] = []
    for holes in (0.0, 0.1):
        depth = torch.rand(batch, 1, side, side, generator=random)
        depth = depth * (torch.rand(depth.shape, generator=random) >= holes)
        sides.append({"depth": depth})
        if with_rgb:
            sides[-1]["rgb"] = torch.rand(batch, 3, side, side, generator=random)
    return Batch(*sides)


def _made_up_pairs(random: torch.Generator, batch: int, side: int) -> dict[str, Tensor]:
    """Return the images of pairs: inputs of the network, holes, and errors twice as large as the physics has."""
    channels = len(GEOMETRY_CHANNELS) + len(COLOUR_CHANNELS)
    inputs = torch.randn(batch, channels, side, side, generator=random)
    inputs[:, FREQUENCY].clamp_(0, 1)
    error = torch.randn(batch, 1, side, side, generator=random)
    ones = torch.ones_like(error)
    hole = (torch.rand(error.shape, generator=random) < 0.1).float()
    return {"inputs": inputs, "hole": hole, "known": ones, "error": error, "spread": 0.25 * ones, "counts": ones}


def objective_of(method: str, device: str, width: int, **options: Any) -> Objective:
    """Return a method's objective of the same initial weights everywhere, channels innermost as the loop has them."""
    config = config_of(method, width, **options)
    cls: type[Learned] = translators.get(method)
    objective = cls.make_objective(config, torch.Generator().manual_seed(0), device)
    for network in objective.networks.values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return objective


def check_training(
    method: str,
    device: str,
    *,
    precision: Precision = "float32",
    width: int = 32,
    batch: int = 4,
    side: int = 128,
    gan: str = "lsgan",
    steps: int = 3,
) -> list[Row]:
    """Take a step on ``device`` and, in float32, on the CPU, and compare the losses; later ones must be finite."""
    losses = []
    for where, how in (("cpu", "float32"), (device, precision)):
        objective = objective_of(method, where, width, gan=gan)
        objective.random.manual_seed(3)
        for optimiser in objective.optimisers.values():
            for group in optimiser.param_groups:
                # Adam's first step is the sign of a gradient, and a gradient next to nothing has that of its rounding:
                # with this a step follows its size, and losses that are taken after it can be compared.
                group["eps"] = 1e-2
        taken = []
        for step in range(steps if where == device else 1):
            with arithmetic(how, torch.device(where)):  # type: ignore[arg-type]
                taken.append(objective.step(made_up_batch(step, batch, side, method).to(torch.device(where))))
        losses.append([{name: float(loss) for name, loss in each.items()} for each in taken])
    (expected, *_), (found, *later) = losses
    off = max(abs(found[name] - value) / max(1.0, abs(value)) for name, value in expected.items())
    finite = all(np.isfinite(value) for each in [found, *later] for value in each.values())
    name = f"training step, {method}, {precision}{'' if gan == 'lsgan' else f', {gan}'}"
    return [
        at_most(f"{name}: losses", off, LOSSES[precision], "of 1"),
        Row(f"{name}: {steps} steps", "finite" if finite else "not finite", "", "finite", finite),
    ]


class _Killed(BaseException):
    """What kill -9 is to one process."""


def check_resume(method: str, device: str, *, width: int = 16, batch: int = 2, side: int = 64) -> list[Row]:
    """Train for nine steps, and again killed at the sixth and resumed from the third, and compare all weights."""
    settings = LoopSettings(steps_per_epoch=3, epochs=2, decay_epochs=1, evaluate_every=3, seed=5, log_every=3)

    def batches(first: int, last: int, killed_at: int = -1) -> Iterator[Batch]:
        for step in range(first, last):
            if step == killed_at:
                raise _Killed
            yield made_up_batch(step, batch, side, method)

    def train(folder: str, killed_at: int = -1) -> tuple[Objective, int]:
        objective = objective_of(method, device, width)
        checkpoints = _Committed(Path(folder))
        loop = TrainingLoop(
            objective,
            lambda first, last: batches(first, last, killed_at),
            settings,
            checkpoints,
            None,
            device=torch.device(device),
        )
        return objective, loop.run().resumed_from

    torch.backends.cudnn.deterministic, before = True, torch.backends.cudnn.deterministic
    try:
        with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as broken:
            expected, _ = train(whole)
            try:
                train(broken, killed_at=5)
                raise AssertionError("the training was to be killed")
            except _Killed:
                pass
            found, resumed_from = train(broken)
    finally:
        torch.backends.cudnn.deterministic = before
    pairs = zip(_weights(expected), _weights(found), strict=True)
    apart = torch.cat([(a - b).abs().double().flatten() for a, b in pairs])
    name = f"resume, {method}"
    return [
        Row(f"{name}: from step", str(resumed_from), "", "3", resumed_from == 3),
        at_most(f"{name}: weights, mean", float(apart.mean()), RESUME[device], "", "uninterrupted"),
    ]


class _Committed(Checkpoints):
    """Checkpoints of a training that nobody looks at: each is one as soon as its state is written."""

    def write_state(self, step: int, state: Any, *, rank: int = 0) -> None:
        super().write_state(step, state, rank=rank)
        self.commit(step)


def _weights(objective: Objective) -> list[Tensor]:
    return [
        value.detach().float().cpu()
        for network in objective.networks.values()
        for value in network.state_dict().values()
    ]


def check_corpus(
    device: str, *, method: str = "dcl", width: int = 32, size: tuple[int, int] = (480, 640), frames: int = 24
) -> list[Row]:
    """Convert rooms to a corpus in this process, a reader and a writer around the model, on ``device`` and the CPU."""
    from depthforge.corpus.reader import CorpusReader
    from depthforge.manifest import Manifest
    from depthforge.stages.convert import convert
    from depthforge.stages.prepare import prepare

    height, width_px = size
    source = {
        "name": "procedural",
        "num_scenes": 2,
        "frames_per_scene": frames // 2,
        "width": width_px,
        "height": height,
    }
    depths = []
    with tempfile.TemporaryDirectory() as folder:
        config = write_weights(Path(folder, "weights"), method, width, residual=0.02, noise_channels=1)
        block = {
            "width": width,
            "residual": 0.02,
            "noise_channels": 1,
            "weights": str(config.weights),
            "compile": False,
        }
        for number, where in enumerate(("cpu", device)):
            out = Path(folder, str(number))
            manifest = Manifest.model_validate(
                {
                    "name": "made-up",
                    "source": {**source, "focal_px": float(width_px)},
                    "translator": {"name": method, "device": where, **block},
                    "corpus": {"out": str(out), "shard_frames": max(2, frames // 3)},
                }
            )
            with prepare(manifest) as prepared:
                report = convert(prepared, out=out, num_workers=1, inline=True)
            assert report.num_rejects == 0, report.rejects_by_error
            reader = CorpusReader(out)
            depths.append([Capture(reader.read(index, []).noisy) for index in range(len(reader))])
    name = f"corpus inline, {method}"
    missing = at_most(f"{name}: frames missing", frames - len(depths[1]), 0, "")
    # Stored in steps of a millimetre: what falls on the other side of one is a whole step off.
    return [missing, *depth_rows(name, *depths, "float32", depth_mm=1.0)]
