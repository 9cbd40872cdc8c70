"""Both sides of a training, decoded: what is read from the sources before the first step, and what is odd about it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from depthforge.errors import MissingDataError
from depthforge.frame import Camera
from depthforge.identity import fingerprint_of
from depthforge.progress import Progress
from depthforge.realism.views import evenly_spaced
from depthforge.sources.base import Source
from depthforge.sources.soundness import require_plausible_scans
from depthforge.stages.prepare import make_source
from depthforge.stages.training_folder import identity_of
from depthforge.stages.training_plan import TrainingPlan
from depthforge.training.frames import DecodedFrames, RangeSummary, decode_frames, overlap, summarise_range

__all__ = ["TrainingJob", "decode_sides", "difference_of_scale", "threads_of_a_worker"]


@dataclass(frozen=True)
class TrainingJob:
    """What a worker needs: the plan, where the decoded frames are, and how many threads it may use."""

    plan: TrainingPlan
    out: Path
    clean: Path
    real: Path
    num_threads: int
    fingerprint: str
    trained_on: Mapping[str, Any]


def decode_sides(plan: TrainingPlan, out: Path, inline: bool, progress: Progress) -> TrainingJob:
    """Read both sides of ``plan`` into ``out``, say what is odd about them, and return the job of its workers.

    Raises MissingDataError or InputError for a side that is empty or too small, StorageError when it does not fit.
    """
    settings = plan.settings
    translator = plan.translator(plan.config)
    wanted = {"clean": translator.trains_on("clean"), "real": translator.trains_on("real")}
    sides = {name: make_source(block) for name, block in plan.sides.items()}
    decoded = {
        name: _decoded(source, out / "frames" / name, settings.max_frames, wanted[name], name, progress)
        for name, source in sides.items()
    }
    ranges = {name: summarise_range(frames, name) for name, frames in decoded.items() if frames.depth_m is not None}
    _warn_of_differences(decoded, ranges, progress)
    for frames in decoded.values():
        frames.split(settings.held_out)
    return TrainingJob(
        plan=plan,
        out=out,
        clean=out / "frames" / "clean",
        real=out / "frames" / "real",
        num_threads=threads_of_a_worker(1 if inline else settings.workers),
        fingerprint=fingerprint_of(identity_of(plan)),
        trained_on={
            name: {
                "source": source.name,
                "licence": asdict(source.licence),
                "frames": len(decoded[name]),
                "size": list(decoded[name].size),
                "focal_px": decoded[name].camera.fx,
                **({"depth": str(ranges[name])} if name in ranges else {}),
            }
            for name, source in sides.items()
        },
    )


def threads_of_a_worker(num_workers: int, num_cores: int | None = None) -> int:
    """Return its share of ``num_cores`` (default: those of this process), at most ``OMP_NUM_THREADS`` if set.

    Whoever shares the machine sets it: where another process has one of two cores, threads that wait for one another
    make a small training ten times slower than one thread alone.
    """
    share = max(1, (num_cores or len(os.sched_getaffinity(0))) // num_workers)
    # A list of numbers is one for each level of nesting.
    most = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(share, int(most)) if most.isdecimal() and int(most) > 0 else share


def _decoded(
    source: Source, folder: Path, most: int, wanted: frozenset[str], name: str, progress: Progress
) -> DecodedFrames:
    source.prepare(progress.note)
    references = list(source.frames())
    chosen = [references[place] for place in evenly_spaced(len(references), most)]
    require_plausible_scans(source, references)
    if not chosen:
        raise MissingDataError(
            f"the {name} side holds no frame", where=source.name, remedy="depthforge check MANIFEST says what is there"
        )
    last = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            progress.note(f"decoding the {name} side: {done}/{total} frames")

    try:
        decoded = decode_frames(
            folder,
            lambda index: source.read(chosen[index], wanted & {"rgb"}),
            len(chosen),
            source.size,
            wanted=wanted,
            name=name,
            note=note,
        )
        if len(decoded) < len(chosen):
            progress.warn(
                f"{len(chosen) - len(decoded)} of {len(chosen)} frames of the {name} side are unreadable or empty and "
                "were left out: depthforge check names them"
            )
        return decoded
    finally:
        source.close()


def _warn_of_differences(
    decoded: Mapping[str, DecodedFrames], ranges: Mapping[str, RangeSummary], progress: Progress
) -> None:
    """Say what will make the two sides look different besides the sensor."""
    common = overlap(ranges["clean"], ranges["real"]) if len(ranges) == 2 else 1.0
    if common < 0.3:
        progress.warn(
            f"clean and real depth share {common:.0%} of their range: {ranges['clean']}; {ranges['real']}. "
            "The translator would learn the scenes' difference in depth as noise; check the units of both"
        )
    scale = difference_of_scale(decoded["clean"].camera, decoded["real"].camera)
    if scale is not None:
        progress.warn(scale)


def difference_of_scale(clean: Camera, real: Camera) -> str | None:
    """Return what to say where a pixel of ``clean`` covers another angle than one of ``real``, and what mends it."""
    if 0.8 < clean.fx / real.fx < 1.25:
        return None
    return (
        f"a pixel covers different angles: focal lengths of {clean.fx:g} px (clean) and {real.fx:g} px (real). "
        "Noise is learnt at the scale of real pixels; give `source` the camera of the real side: "
        f"reframe: {{width: {real.width}, height: {real.height}, "
        f"fx: {real.fx:g}, fy: {real.fy:g}, cx: {real.cx:g}, cy: {real.cy:g}}}"
    )
