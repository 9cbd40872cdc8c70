"""Do the poses of neighbouring frames fit their depth? If not: which other reading of them does?

A few hundred pixels of a frame are back-projected, moved by the two poses and compared with the depth that the other
frame has where they land: median |z - z'| / z'. Poses that fit give some tenths of a percent on clean depth and under
2 % on real scans; a wrong direction, axes, scale or index gives several times as much, or lands nowhere. Other readings
are tried where the error is not beyond doubt (0.5 %), and one is named only where it is three times better in several
pairs and worse in none: a camera that stands still fits any, and one that turns away fits another by chance. 1 ms a
pair, 0.2 s where readings are tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import Frame
from depthforge.geometry import invert_pose
from depthforge.sources.conventions import AXES, Axes, Direction, as_stored, to_house_pose

__all__ = ["Fit", "Reading", "fit_of_poses", "reprojection_error"]

Matrix = npt.NDArray[np.float64]
_Errors = Mapping[tuple[int, int], float]

_PIXELS: Final = 600
_LEAST_LANDED: Final = 0.1
_LEAST_HITS: Final = 100
_BEYOND_DOUBT: Final = 0.005
_GOOD: Final = 0.03
_BAD: Final = 0.05
_CLEARLY: Final = 0.35
_MANY_PAIRS: Final = 3
#: Millimetres and centimetres for metres, and TUM's 5000 and Replica's 6553.5 units a metre for 1000.
_SCALES: Final = (0.001, 0.01, 0.1, 1 / 6.5535, 0.2, 5.0, 6.5535, 10.0, 100.0, 1000.0)


class Reading(NamedTuple):
    """Another way to read the same poses, in words for a user, and the median error that it gives."""

    words: str
    error: float


class Fit(NamedTuple):
    """The median error of the poses as they are read, a share of depth; and the reading that would mend a bad one.

    Bad is an error above 5 %, or one that another reading makes three times smaller.
    """

    error: float
    is_bad: bool
    better: Reading | None


def fit_of_poses(
    runs: Sequence[Sequence[Frame]], direction: Direction = "camera_to_world", axes: Axes = "opencv"
) -> Fit | None:
    """Return how well poses fit over ``runs`` of consecutive frames of one world, None where that cannot be told.

    ``direction`` and ``axes`` are those by which the source read its poses: what is named is told against them.
    """
    with_poses = [[frame for frame in run if frame.T_world_cam is not None] for run in runs]
    runs = [run for run in with_poses if len(run) > 1]
    poses = [[frame.T_world_cam for frame in run if frame.T_world_cam is not None] for run in runs]
    points = _points_of_runs(runs)
    as_read = _errors_of(runs, points, poses)
    if not as_read:
        return None
    error = _median_in_sight(as_read.values())
    if error is not None and error <= _BEYOND_DOUBT:
        return Fit(error, False, None)
    readings = [
        Reading(words, found)
        for words, read in _readings(poses, direction, axes)
        if (found := _error_where_better(as_read, _errors_of(runs, points, read))) is not None
    ]
    best = min(readings, key=lambda reading: reading.error, default=None)
    if best is not None:
        return Fit(float(np.median(list(as_read.values()))), True, best)
    # Frames that see nothing in common say nothing against their poses.
    return None if error is None else Fit(error, error > _BAD, None)


def reprojection_error(frame: Frame, other: Frame, T_other_frame: Matrix) -> float | None:
    """Return the median |z - z'| / z' of pixels of ``frame`` where they land in ``other``; 1 where hardly any land.

    ``T_other_frame`` (4, 4) moves points from the axes of ``frame`` to those of ``other``, metres. None where too few
    land on a pixel with depth to say: of sparse depth, that of a lidar, more are tried.
    """
    points = _points_of(frame, float(other.valid.mean()))
    return None if points is None else _error_where_they_land(points, other, T_other_frame)


def _points_of(frame: Frame, density: float) -> Matrix | None:
    """Return some pixels of a frame as points (3, N), metres, in its axes; None where there are too few.

    ``density`` is the share of pixels with depth of the frame that they are compared with.
    """
    rows, columns = np.nonzero(frame.valid)
    if rows.size < _LEAST_HITS or density == 0:
        return None
    taken = np.linspace(0, rows.size - 1, min(int(_PIXELS / density), rows.size)).astype(int)
    v, u = rows[taken], columns[taken]
    z = frame.depth_m[v, u].astype(np.float64)
    camera = frame.camera
    return np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z])


def _error_where_they_land(points: Matrix, other: Frame, T_other_frame: Matrix) -> float | None:
    x, y, depth = T_other_frame[:3, :3] @ points + T_other_frame[:3, 3:]
    camera = other.camera
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        column = np.rint(x / depth * camera.fx + camera.cx)
        row = np.rint(y / depth * camera.fy + camera.cy)
        inside = (depth > 0) & (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    if inside.sum() < _LEAST_LANDED * depth.size:
        return 1.0
    row, column, depth = row[inside].astype(int), column[inside].astype(int), depth[inside]
    measured = other.valid[row, column]
    if measured.sum() < _LEAST_HITS:
        return None
    there = other.depth_m[row, column][measured]
    return float(np.median(np.minimum(np.abs(depth[measured] - there) / there, 1.0)))


def _points_of_runs(runs: Sequence[Sequence[Frame]]) -> dict[tuple[int, int], Matrix]:
    """Return the points of the first of every two neighbours that have depth enough, by run and place."""
    return {
        (number, at): points
        for number, run in enumerate(runs)
        for at, (frame, other) in enumerate(pairwise(run))
        if (points := _points_of(frame, float(other.valid.mean()))) is not None
    }


def _errors_of(
    runs: Sequence[Sequence[Frame]],
    points: Mapping[tuple[int, int], Matrix],
    poses: Sequence[Sequence[Matrix | None]],
) -> _Errors:
    """Return the errors of all pairs of neighbours that have both poses and depth enough to say, by run and place."""
    errors = {}
    for (number, at), of_pair in points.items():
        T_before, T = poses[number][at], poses[number][at + 1]
        if T_before is not None and T is not None:
            error = _error_where_they_land(of_pair, runs[number][at + 1], invert_pose(T) @ T_before)
            if error is not None:
                errors[number, at] = error
    return errors


def _median_in_sight(errors: Iterable[float]) -> float | None:
    in_sight = [error for error in errors if error < 1.0]
    return float(np.median(in_sight)) if in_sight else None


def _error_where_better(as_read: _Errors, other: _Errors) -> float | None:
    """Return the median error of another reading where it is the better one beyond doubt, else None.

    A pair that hardly lands by a reading is no proof against it, the camera may have turned away; one that fits by
    another is. So the right reading fits wherever it lands, and fits the pairs that another fits; and it does so in
    three pairs, or closely in two that land by both: a wrong one fits one or two by chance where rooms are boxes.
    """
    shared = [(before, other[pair]) for pair, before in as_read.items() if pair in other]
    error = _median_in_sight(found for _, found in shared)
    better = [before for before, found in shared if found < _GOOD and found < _CLEARLY * before]
    worse = sum(before < _GOOD and found > _BAD for before, found in shared)
    if error is None or error >= _GOOD or len(better) <= 4 * worse:
        return None
    in_sight = sum(before < 1.0 for before in better)
    close = error < _BEYOND_DOUBT and in_sight >= min(2, len(as_read))
    return error if close or len(better) >= _MANY_PAIRS else None


def _readings(
    poses: Sequence[Sequence[Matrix]], direction: Direction, axes: Axes
) -> Iterator[tuple[str, Sequence[Sequence[Matrix | None]]]]:
    """Yield other readings in words, with the poses of the same frames by it, None where it has none."""
    stored = [[as_stored(T, direction, axes) for T in own] for own in poses]
    directions: tuple[Direction, ...] = ("camera_to_world", "world_to_camera")
    for other_direction in directions:
        for other_axes in AXES:
            if (other_direction, other_axes) == (direction, axes):
                continue
            changed = [
                text
                for text, is_other in (
                    (f"direction: {other_direction}", other_direction != direction),
                    (f"axes: {other_axes}", other_axes != axes),
                )
                if is_other
            ]
            yield (
                ", ".join(changed),
                [[to_house_pose(T, other_direction, other_axes, where="") for T in own] for own in stored],
            )
    for scale in _SCALES:
        scaled = [[_scaled(T, scale) for T in own] for own in poses]
        yield f"translations multiplied by {scale:.5g} (or depth by {1 / scale:.5g})", scaled
    yield "the pose of the next frame for each frame", [[*own[1:], None] for own in poses]
    yield "the pose of the frame before for each frame", [[None, *own[:-1]] for own in poses]


def _scaled(T: Matrix, scale: float) -> Matrix:
    scaled = T.copy()
    scaled[:3, 3] *= scale
    return scaled
