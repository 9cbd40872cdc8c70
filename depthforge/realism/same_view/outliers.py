"""Gross errors: the share of pixels far off the truth although no edge is near, and the 99th percentile of the error.

A measurement beside a silhouette may be right for the other surface, and a pose that is off moves silhouettes: only
pixels farther than 15 px from every edge of the truth count. There an error of 5 % of depth is no noise.
The percentile is of everything away from edges, by depth, read off a histogram in steps of 3 %, so that a set of
frames is a sum. Every second row is looked at; 640x480 on one core: 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.same_view.figures import Figure, by_depth, depth_ids
from depthforge.realism.same_view.truth import Truth
from depthforge.realism.same_view.views import Measured

__all__ = ["FIGURES", "ErrorCounts", "measure_errors", "summarise"]

FIGURES: Final = (
    Figure("outlier_share", "off by over 5 % of depth, far from edges", "%", "as real"),
    *by_depth("error_p99", "99 % of errors below", "mm", "as real"),
)

_EDGE_PX: Final = 15
_EVERY: Final = 2
_OUTLIER: Final = 0.05
_PERCENTILE: Final = 0.99
# The percentile wants this many pixels: ten of them are above it.
_FEWEST_PIXELS: Final = 1000
_SMALLEST_M: Final = 1e-5
_STEPS_AN_OCTAVE: Final = 24
_NUM_STEPS: Final = 24 * _STEPS_AN_OCTAVE
_NUM_BINS: Final = len(DEPTH_EDGES_M) - 1


class ErrorCounts(NamedTuple):
    """Of one frame: pixels compared, outliers among them, and the pixels by depth bin and step of abs(error)."""

    num_pixels: int
    num_outliers: int
    by_depth: npt.NDArray[np.int32]


def measure_errors(truth: Truth, measured: Measured) -> ErrorCounts:
    """Count errors at the pixels of every second row that both images have and that are far from edges."""
    rows = slice(None, None, _EVERY)
    compared = truth.valid[rows] & measured.valid[rows] & (truth.edge_distance_px[rows] > _EDGE_PX)
    depth_m = truth.depth_m[rows][compared]
    error_m = np.abs(measured.depth_m[rows][compared] - depth_m)
    # Bins are half octaves of depth.
    bins = np.floor(2 * np.log2(depth_m / np.float32(DEPTH_EDGES_M[0]))).astype(np.int64)
    octaves = np.log2(np.maximum(error_m, np.float32(_SMALLEST_M)) / np.float32(_SMALLEST_M))
    step = np.minimum((octaves * _STEPS_AN_OCTAVE).astype(np.int64), _NUM_STEPS - 1)
    inside = (bins >= 0) & (bins < _NUM_BINS)
    counts = np.bincount(bins[inside] * _NUM_STEPS + step[inside], minlength=_NUM_BINS * _NUM_STEPS)
    outliers = int(np.count_nonzero(error_m > np.float32(_OUTLIER) * depth_m))
    return ErrorCounts(len(depth_m), outliers, counts.reshape(_NUM_BINS, _NUM_STEPS).astype(np.int32))


def summarise(frames: Sequence[ErrorCounts]) -> dict[str, float]:
    """Return the figures of a set of frames, by id."""
    pixels, outliers = sum(f.num_pixels for f in frames), sum(f.num_outliers for f in frames)
    found = {"outlier_share": 100 * outliers / pixels if pixels else math.nan}
    counts: npt.NDArray[np.int64] = np.sum([f.by_depth for f in frames], axis=0, dtype=np.int64)
    for name, of_bin in zip(depth_ids("error_p99"), counts, strict=True):
        found[name] = 1000 * _percentile_m(of_bin)
    return found


def _percentile_m(counts: npt.NDArray[np.int64]) -> float:
    """Return the error below which 99 % lie, metres, between the ends of its step by how many of it are below."""
    total = int(counts.sum())
    if total < _FEWEST_PIXELS:
        return math.nan
    below = np.cumsum(counts)
    step = int(np.searchsorted(below, _PERCENTILE * total))
    inside = (_PERCENTILE * total - (below[step] - counts[step])) / counts[step]
    if step == 0:
        return 0.0
    return float(_SMALLEST_M * 2 ** ((step + inside) / _STEPS_AN_OCTAVE))
