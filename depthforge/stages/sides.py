"""Both sides of a training, decoded: what is read from the sources before the first step, and what is odd about it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from depthforge.errors import InputError, MissingDataError
from depthforge.frame import Camera, Frame, FrameRef
from depthforge.identity import fingerprint_of
from depthforge.manifest import PluginBlock, TrainingSettings
from depthforge.progress import Progress
from depthforge.realism.views import evenly_spaced
from depthforge.sources.soundness import require_plausible_scans
from depthforge.stages.pairing import Recording, pairs_of
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import scans_of
from depthforge.stages.training_folder import identity_of
from depthforge.stages.training_plan import TrainingPlan
from depthforge.training.frames import DecodedFrames, RangeSummary, decode_frames, overlap, summarise_range
from depthforge.translators.learned import Learned

__all__ = ["TrainingJob", "decode_sides", "difference_of_scale", "threads_of_a_worker"]


Side = Literal["clean", "real"]
_NOTHING_IN_COMMON: Final = 0.005
_SIDES: Final[tuple[Side, ...]] = ("clean", "real")


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
    recordings = {side: _recordings(plan, side, out, progress) for side in _SIDES}
    decoded = {
        side: _decoded(recordings[side], out / "frames" / side, settings, translator, side, progress) for side in _SIDES
    }
    ranges = {name: summarise_range(frames, name) for name, frames in decoded.items() if frames.depth_m is not None}
    known_better = any("unit" in each.source.config.trust for found in recordings.values() for each in found)
    _warn_of_differences(decoded, ranges, progress, known_better=known_better)
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
                "source": ", ".join(dict.fromkeys(each.source.name for each in found)),
                "licence": asdict(found[0].source.licence),
                "frames": len(decoded[name]),
                "size": list(decoded[name].size),
                "focal_px": decoded[name].camera.fx,
                **({"depth": str(ranges[name])} if name in ranges else {}),
                **({"recordings": _told(found)} if len(found) > 1 or found[0].truth else {}),
            }
            for name, found in recordings.items()
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


def _recordings(plan: TrainingPlan, side: Side, out: Path, progress: Progress) -> list[Recording]:
    """Return the recordings of a side, prepared; MissingDataError for one without frames."""
    found = []
    for block in plan.sides[side]:
        if side == "real" and plan.translator.paired:
            # Of the scans themselves, and before a minute goes into fusing them.
            scans = _listed(scans_of(block), progress)
            require_plausible_scans(scans.source, scans.refs)
            scans.source.close()
            recording = pairs_of(block, out / "fused", progress)
        else:
            recording = _listed(block, progress)
            require_plausible_scans(recording.source, recording.refs)
        if not recording.refs:
            raise MissingDataError(
                f"the {side} side holds no frame",
                where=recording.source.name,
                remedy="depthforge check MANIFEST says what is there",
            )
        found.append(recording)
    sizes = {each.source.size for each in found}
    if len(sizes) > 1:
        raise InputError(
            "the recordings differ in size",
            where="training.more_real",
            expected="frames of one sensor and one size",
            found=", ".join(f"{width}x{height}" for height, width in sorted(sizes)),
            remedy="give their sources one `resize` or `reframe`, or train on them apart",
        )
    return found


def _listed(block: PluginBlock, progress: Progress) -> Recording:
    source = make_source(block)
    source.prepare(progress.note)
    return Recording(source, list(source.frames()))


def _told(recordings: list[Recording]) -> list[dict[str, Any]]:
    return [
        {
            "source": each.source.name,
            "first": each.refs[0].key,
            "last": each.refs[-1].key,
            "licence": each.source.licence.name,
            **({"truth": each.truth} if each.truth else {}),
        }
        for each in recordings
    ]


def _decoded(
    recordings: list[Recording],
    folder: Path,
    settings: TrainingSettings,
    translator: Learned,
    name: Side,
    progress: Progress,
) -> DecodedFrames:
    each = max(1, settings.max_frames // len(recordings))
    kept: list[tuple[Recording, FrameRef]] = []
    held_out: list[tuple[Recording, FrameRef]] = []
    for recording in recordings:
        chosen = [recording.refs[place] for place in evenly_spaced(len(recording.refs), each)]
        cut = max(1, round(len(chosen) * (1 - settings.held_out)))
        kept += [(recording, ref) for ref in chosen[:cut]]
        held_out += [(recording, ref) for ref in chosen[cut:]]
    # What is held out comes last, of every recording its end.
    chosen_frames = kept + held_out
    paired = name == "real" and translator.paired
    wanted = translator.trains_on(name)
    labels = wanted & {"rgb"} | (translator.uses if paired else frozenset())
    last = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            progress.note(f"decoding the {name} side: {done}/{total} frames")

    def read(index: int) -> Frame:
        recording, ref = chosen_frames[index]
        return recording.read(ref, labels)

    try:
        decoded = decode_frames(
            folder,
            read,
            len(chosen_frames),
            recordings[0].source.size,
            wanted=wanted | {"scan"} if paired else wanted,
            name=name,
            images_of=translator.images if paired else None,
            note=note,
        )
        if len(decoded) < len(chosen_frames):
            progress.warn(
                f"{len(chosen_frames) - len(decoded)} of {len(chosen_frames)} frames of the {name} side are unreadable "
                "or empty and were left out: depthforge check names them"
            )
        return decoded
    finally:
        for recording in recordings:
            recording.source.close()


def _warn_of_differences(
    decoded: Mapping[Side, DecodedFrames],
    ranges: Mapping[Side, RangeSummary],
    progress: Progress,
    *,
    known_better: bool,
) -> None:
    """Say what will make the two sides look different besides the sensor.

    InputError where they have no depth in common, unless the user is ``known_better``.
    """
    common = overlap(ranges["clean"], ranges["real"]) if len(ranges) == 2 else 1.0
    if common < _NOTHING_IN_COMMON and not known_better:
        raise InputError(
            "clean and real depth have no range in common",
            where="source and training.real",
            expected="scenes of about one size, in metres",
            found=f"{ranges['clean']}; {ranges['real']}",
            remedy="check the unit of both (depth_scale); where they are right, `trust: [unit]` in a source block",
        )
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
