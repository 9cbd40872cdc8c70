"""The ends of a sensor's range and its blank borders: learnt only where scans show them.

A limit is where pixels that should have been measured were not. With the truth of the same view that can be looked at:
just beyond everything measured (farther, or nearer) there are pixels, enough, in several frames, and none was measured.
Nothing less says it: the nearest thing in a room is as far as it happens to stand, and the farthest wall is no limit.

Without truth only the far limit shows, and only where a wall of measurements is cut. Three signs have to agree: many
frames end at the same depth; their measurements do not thin out towards it, as the noise about the last wall does;
and beyond it there are holes beside it, since a floor that runs through a limit stops in the middle of the floor while
one that ends at a wall has the wall beside it.

Where the manifest itself cuts (``max_depth_m``, ``min_depth_m``, a code for no measurement), every scan ends there, and
nothing of the sensor shows. Blank columns at a border measure next to nothing in all frames together; with truth it has
to be known there, too. All of it takes 10 ms a frame of 640x480.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.fitting.scans import Scans
from depthforge.frame import BoolImage, Frame

__all__ = ["blank_columns", "far_limit", "near_limit"]

# Beyond a limit by so much, as a share of it, truth and measurement do not differ by noise; farther beyond pixels say
# that there is a limit, and not where.
_BEYOND: Final = 0.03
_JUST_BEYOND: Final = 0.2
_FEWEST_BEYOND: Final = 500
_FEWEST_FRAMES: Final = 3
# What is measured beyond a limit are outliers.
_MOST_BEYOND: Final = 0.005
_OUTLIERS: Final = 1e-4
_SAME: Final = 0.015
_OF_FRAMES: Final = 0.25
_BAND: Final = 0.01
_STEPS: Final = 2.5
_LEAST_DENSITY: Final = 0.5
_LEAST_AT_END: Final = 0.15
_FEWEST_AT_END: Final = 20
_REACH_PX: Final = 3
_LEAST_BESIDE_HOLES: Final = 0.3
# Of what a column measures (median).
_BLANK: Final = 0.05
# Rows that have to know the truth of a column before it can be called blank.
_FEWEST_ROWS: Final = 30


def far_limit(scans: Scans) -> float | str:
    """Return the depth beyond which nothing is reported, metres, or why these scans do not show one."""
    frames = [frame for frame in scans.fitted if frame.valid.any()]
    ends = np.array([float(frame.depth_m[frame.valid].max()) for frame in frames])
    if scans.truth:
        limit_m = float(np.quantile(np.concatenate([f.depth_m[f.valid][::7] for f in frames]), 1 - _OUTLIERS))
        return _cut_by_manifest(scans, limit_m) or _limit_by_truth(scans, limit_m, sign=1)
    limit_m = float(ends.max())
    if not _many(ends >= (1 - _SAME) * limit_m):
        return "no limit shows: there is no depth at which many scans end"
    if (why := _cut_by_manifest(scans, limit_m)) is not None:
        return why
    if not _many(np.array([_is_cut(frame, limit_m) for frame in frames])):
        return f"scans end at {limit_m:.3g} m, but no surface runs through it: a room that ends there does the same"
    return round(limit_m, 3)


def near_limit(scans: Scans) -> float | str:
    """Return the depth before which nothing is reported, metres, or why these scans do not show one."""
    if not scans.truth:
        return "the nearest thing in a room is no limit; where things too near are shows with the truth of posed scans"
    frames = [frame for frame in scans.fitted if frame.valid.any()]
    limit_m = float(np.quantile(np.concatenate([f.depth_m[f.valid][::7] for f in frames]), _OUTLIERS))
    return _cut_by_manifest(scans, limit_m) or _limit_by_truth(scans, limit_m, sign=-1)


def blank_columns(scans: Scans) -> tuple[int, int] | str:
    """Return how many columns at the left and at the right measure next to nothing, or why that is not known."""
    num_measured = np.sum([np.count_nonzero(frame.valid, axis=0) for frame in scans.fitted], axis=0)
    columns = np.flatnonzero(num_measured > _BLANK * np.median(num_measured))
    if not len(columns):
        return "next to nothing is measured at all"
    left, right = int(columns[0]), int(len(num_measured) - 1 - columns[-1])
    if scans.truth:
        known = np.sum([scans.truth[frame.key].valid.sum(axis=0) for frame in scans.fitted], axis=0)
        blank = np.concatenate([known[:left], known[len(known) - right :]])
        if len(blank) and blank.min() < _FEWEST_ROWS:
            return "the truth ends where the scans do: whether those columns should have been measured is not known"
    return left, right


def _limit_by_truth(scans: Scans, limit_m: float, *, sign: int) -> float | str:
    """Return ``limit_m`` if what lies beyond it (``sign`` 1: farther, -1: nearer) is never measured, else why not."""
    counts = []
    for frame in scans.fitted:
        truth = scans.truth[frame.key]
        share = sign * (truth.depth_m / np.float32(limit_m) - 1)
        beyond = truth.valid & (share > _BEYOND)
        just = beyond & (share < _JUST_BEYOND)
        counts.append((np.count_nonzero(just), np.count_nonzero(beyond & frame.valid)))
    pixels, measured = np.array(counts, np.int64).T
    where = f"{'farther' if sign > 0 else 'nearer'} than {limit_m:.3g} m"
    if pixels.sum() < _FEWEST_BEYOND or np.count_nonzero(pixels) < _FEWEST_FRAMES:
        return f"nothing in view is a little {where}, by the truth: no limit shows"
    if measured.sum() > _MOST_BEYOND * pixels.sum():
        return f"what is {where} is measured now and then: no limit shows"
    return round(limit_m, 3)


def _cut_by_manifest(scans: Scans, limit_m: float) -> str | None:
    for cut_m in scans.cuts_m:
        if abs(limit_m - cut_m) <= _SAME * cut_m:
            return f"the manifest of the scans itself cuts at {cut_m:g} m"
    return None


def _is_cut(frame: Frame, limit_m: float) -> bool:
    """Say whether measurements go on in full up to the limit, and end there in holes."""
    depth_m, valid = frame.depth_m, frame.valid
    near = depth_m[valid & (depth_m > 0.9 * limit_m)]
    # In bands that hold several steps of disparity, or they are empty by chance.
    step = float(np.median(np.diff(np.unique(near)))) if len(np.unique(near)) > 1 else 0.0
    band_m = max(_BAND * limit_m, _STEPS * step)
    last: BoolImage = valid & (depth_m > limit_m - band_m)
    before = [
        np.count_nonzero(valid & (depth_m <= limit_m - k * band_m) & (depth_m > limit_m - (k + 1) * band_m))
        for k in (1, 2)
    ]
    num_last = np.count_nonzero(last)
    at_end = np.count_nonzero(last & (depth_m > limit_m - band_m / 4))
    if num_last < max(_FEWEST_AT_END, _LEAST_DENSITY * max(before)) or at_end < _LEAST_AT_END * num_last:
        return False
    size = 2 * _REACH_PX + 1
    beside_holes = cv2.dilate((~valid).view(np.uint8), np.ones((size, size), np.uint8)) > 0
    return bool(np.count_nonzero(last & beside_holes) >= _LEAST_BESIDE_HOLES * num_last)


def _many(reached: npt.NDArray[np.bool_]) -> bool:
    return int(np.count_nonzero(reached)) >= max(_FEWEST_FRAMES, _OF_FRAMES * len(reached))
