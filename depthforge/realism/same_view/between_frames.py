"""What stays from one posed frame to the next: holes that belong to surfaces, errors that last, and what flickers.

A real hole mostly lies where the frame before had one: in a dark chair, in the shadow of the same edge. Every second
pixel of a frame with truth is back-projected, moved into the frame before and compared there where the truth agrees
within 2 %, so that both frames see the same point. Of those points: IoU of the holes of the two frames, the share that
is measured in one frame only (flicker), the correlation of the errors of 1/z (each frame's affine field taken off, as
poses err anew), and the spread of their difference over sqrt(2): what the next frame changes. Frames that share less
than half of their points are not compared. A recording at 30 frames a second, a camera that stands still and one that
is put down elsewhere for every frame give different numbers: compare within one.

640x480 on one core: 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage
from depthforge.geometry import invert_pose
from depthforge.realism.same_view.figures import Figure
from depthforge.realism.same_view.truth import Truth

__all__ = ["FIGURES", "Correspondence", "PairErrors", "correspondence", "measure_pair", "summarise"]

Matrix = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

FIGURES: Final = (
    Figure("holes_kept_iou", "holes of consecutive frames, IoU", "", "as real"),
    Figure("hole_flicker", "measured in one of two frames only", "%", "as real"),
    Figure("error_correlation", "errors of consecutive frames, correlation", "", "as real"),
    Figure("error_flicker", "error that the next frame changes, sd", "% depth", "as real"),
)

_STRIDE: Final = 2
_AGREES: Final = np.float32(0.02)
_LEAST_SHARED: Final = 0.5
_FEWEST_POINTS: Final = 300


class Correspondence(NamedTuple):
    """Points that two frames see: where each lies in the one before and in this one, (N,) places in the flat image."""

    before: Places
    now: Places


class PairErrors(NamedTuple):
    """Of two consecutive frames; NaN where there is too little: see the figures of the same names."""

    holes_kept_iou: float
    hole_flicker: float
    error_correlation: float
    error_flicker: float


def correspondence(before: Truth, T_world_before: Matrix, now: Truth, T_world_now: Matrix) -> Correspondence | None:
    """Return the points that both frames see, by their truth and poses; None when they share less than half."""
    valid = now.valid[::_STRIDE, ::_STRIDE]
    row, column = np.nonzero(valid)
    row, column = row * _STRIDE, column * _STRIDE
    z = now.depth_m[row, column]
    T = (invert_pose(T_world_before) @ T_world_now).astype(np.float32)
    camera = now.camera
    x = (column.astype(np.float32) - np.float32(camera.cx)) / np.float32(camera.fx) * z
    y = (row.astype(np.float32) - np.float32(camera.cy)) / np.float32(camera.fy) * z
    moved_x, moved_y, depth = T[:3, :3] @ np.stack([x, y, z]) + T[:3, 3:]
    in_front = depth > 0
    row, column = row[in_front], column[in_front]
    moved_x, moved_y, depth = moved_x[in_front], moved_y[in_front], depth[in_front]
    camera = before.camera
    u = np.rint(moved_x / depth * np.float32(camera.fx) + np.float32(camera.cx))
    v = np.rint(moved_y / depth * np.float32(camera.fy) + np.float32(camera.cy))
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    landed = v[inside].astype(np.int64) * camera.width + u[inside].astype(np.int64)
    there = before.depth_m.ravel()[landed]
    same = before.valid.ravel()[landed] & (np.abs(there - depth[inside]) < _AGREES * depth[inside])
    found = Correspondence(landed[same], (row * now.camera.width + column)[inside][same])
    if len(found.now) < max(_LEAST_SHARED * np.count_nonzero(valid), _FEWEST_POINTS):
        return None
    return found


def measure_pair(
    points: Correspondence,
    now: Truth,
    valid_before: BoolImage,
    valid_now: BoolImage,
    error_before: Float32,
    error_now: Float32,
) -> PairErrors:
    """Compare what a sensor made of the points that two frames see; errors are ``pattern.inverse_error`` (H, W)."""
    hole_before, hole_now = ~valid_before.ravel()[points.before], ~valid_now.ravel()[points.now]
    either = int(np.count_nonzero(hole_before | hole_now))
    first, second = error_before.ravel()[points.before], error_now.ravel()[points.now]
    known = ~np.isnan(first) & ~np.isnan(second)
    first, second = first[known], second[known]
    correlation = flicker = math.nan
    if len(first) >= _FEWEST_POINTS:
        spread = float(first.std() * second.std())
        if spread > 0:
            correlation = float(np.mean((first - first.mean()) * (second - second.mean()))) / spread
        change = (second - first) * now.depth_m.ravel()[points.now][known]
        low, high = np.quantile(change, (0.1587, 0.8413))
        flicker = 100 * float(high - low) / 2 / math.sqrt(2)
    return PairErrors(
        int(np.count_nonzero(hole_before & hole_now)) / either if either else math.nan,
        100 * float(np.mean(hole_before != hole_now)),
        correlation,
        flicker,
    )


def summarise(pairs: Sequence[PairErrors]) -> dict[str, float]:
    """Return the median over pairs of each figure, by id; NaN where none knows it."""
    found = {}
    for name in PairErrors._fields:
        known = [value for pair in pairs if not math.isnan(value := float(getattr(pair, name)))]
        found[name] = float(np.median(known)) if known else math.nan
    return found
