"""Which files of numbers are poses, and in which convention: decided by re-projecting neighbouring frames.

Every reading is tried that a manifest can state: direction, axes, index offset, unit, a hand-eye matrix. The simplest
one that is about as good as the best is taken. 1 ms a reading and pair of frames: 1 to 5 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.frame import Frame
from depthforge.geometry import invert_pose, ray_length_to_z
from depthforge.sources.conventions import AXES, as_stored, to_house_pose
from depthforge.sources.reprojection import reprojection_error

__all__ = ["Trial", "Tried", "best_reading", "moves"]

Matrix = npt.NDArray[np.float64]
Runs = Sequence[Sequence[Frame]]
ReadRuns = Callable[[Mapping[str, Any]], Runs]
"""From a pose block to runs of consecutive frames with the poses that it gives."""

_OFFSETS: Final = (0, -1, 1)
_TRANSLATIONS: Final = (1.0, 0.001, 0.01)
_GOOD: Final = 0.05
_STILL_M: Final = 0.002


class Trial(NamedTuple):
    """A pose block, units of depth a metre, the median error of re-projection, and whether depth is along the ray."""

    block: dict[str, Any]
    unit: float
    error: float
    is_ray_length: bool = False


class Tried(NamedTuple):
    """The reading to take, None where none fits; how many were tried; and the best error among them."""

    best: Trial | None
    num_readings: int
    least: float


def best_reading(
    block: Mapping[str, Any], read: ReadRuns, units: Sequence[float], hands: Mapping[str, Matrix], *, counts: bool
) -> Tried:
    """Return the simplest reading of the poses of ``block`` that fits about as well as the best one.

    Depth of the runs is by the first of ``units``; ``counts`` says that the block may have an offset.
    """
    read_runs: list[tuple[dict[str, Any], Runs]] = []
    for offset in _OFFSETS if counts else _OFFSETS[:1]:
        offset_block = {**block, "offset": offset} if offset else dict(block)
        try:
            read_runs.append((offset_block, read(offset_block)))
        except DepthforgeError:
            continue
    # Scales multiply the readings by 24 at most: they are tried where no reading fits without, and of those that do.
    trials = [each for own, runs in read_runs for each in _of_offset(own, runs, units[:1], hands, _TRANSLATIONS[:1])]
    trials += [
        each._replace(is_ray_length=True)
        for own, runs in read_runs
        for each in _of_offset(own, _as_ray_length(runs), units[:1], hands, _TRANSLATIONS[:1])
    ]
    if not trials or min(trial.error for trial in trials) > _GOOD:
        trials = [each for own, runs in read_runs for each in _of_offset(own, runs, units, hands, _TRANSLATIONS)]
    if not trials:
        return Tried(None, 0, 1.0)
    least = min(trial.error for trial in trials)
    if least > _GOOD:
        return Tried(None, len(trials), least)
    return Tried(next(t for t in trials if t.error <= 1.25 * least + 5e-4), len(trials), least)


def moves(runs: Runs) -> bool:
    """Return whether the camera moves between frames: more than 2 mm, or as much of an angle."""
    steps = [
        np.abs(invert_pose(b.T_world_cam) @ a.T_world_cam - np.eye(4)).max()
        for run in runs
        for a, b in pairwise(run)
        if a.T_world_cam is not None and b.T_world_cam is not None
    ]
    return bool(steps) and max(steps) > _STILL_M


def _as_ray_length(runs: Runs) -> Runs:
    """Return runs whose depth was stored along the ray, not as planar z."""
    return [
        [replace(f, depth_m=np.where(f.valid, ray_length_to_z(f.depth_m, f.camera), 0).astype(np.float32)) for f in run]
        for run in runs
    ]


def _pose(frame: Frame) -> Matrix:
    return np.full((4, 4), np.nan) if frame.T_world_cam is None else frame.T_world_cam


def _of_offset(
    block: dict[str, Any],
    runs: Runs,
    units: Sequence[float],
    hands: Mapping[str, Matrix],
    translations: Sequence[float],
) -> Iterator[Trial]:
    kept = [[frame for frame in run if frame.T_world_cam is not None] for run in runs]
    kept = [run for run in kept if len(run) > 1]
    stored = [[as_stored(_pose(frame), "camera_to_world", "opencv") for frame in run] for run in kept]
    for hand, T_hand_cam in ({"": np.eye(4)} | dict(hands)).items():
        for words, poses in _conventions(stored, T_hand_cam):
            named = {**block, **words, **({"T_hand_cam": hand} if hand else {})}
            for unit in units:
                for translation in translations[:1] if hand else translations:
                    # Depth in another unit is the same as a translation in another one, and costs no new images.
                    factor = translation * unit / units[0]
                    error = _error(kept, [[_scaled(T, factor) for T in run] for run in poses])
                    if error is not None:
                        scale = {} if translation == 1.0 else {"translation_scale": translation}
                        yield Trial({**named, **scale}, unit, error)


def _conventions(
    stored: Sequence[Sequence[Matrix]], T_hand_cam: Matrix
) -> Iterator[tuple[dict[str, str], list[list[Matrix]]]]:
    for direction in ("camera_to_world", "world_to_camera"):
        for axes in AXES:
            words = {} if direction == "camera_to_world" else {"direction": direction}
            words |= {} if axes == "opencv" else {"axes": axes}
            read = [[to_house_pose(T, direction, axes, where="") for T in run] for run in stored]
            yield words, [[T @ T_hand_cam for T in run if T is not None] for run in read]


def _scaled(T: Matrix, factor: float) -> Matrix:
    if factor == 1.0:
        return T
    scaled = T.copy()
    scaled[:3, 3] *= factor
    return scaled


def _error(runs: Runs, poses: Sequence[Sequence[Matrix]]) -> float | None:
    errors = [
        error
        for run, own in zip(runs, poses, strict=True)
        for at in range(len(run) - 1)
        if np.isfinite(own[at]).all() and np.isfinite(own[at + 1]).all()
        if (error := reprojection_error(run[at], run[at + 1], invert_pose(own[at + 1]) @ own[at])) is not None
    ]
    return float(np.median(errors)) if errors else None
