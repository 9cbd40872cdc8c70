"""What a lidar's scan looks like, in curves, and the same of a sensor simulated on the surfaces of that scan.

In the image: how many pixels have a return, from the top to the bottom; how many rows cross a column, from left to
right; how far it is along a row to the next return. Along the beams: the noise of the range against range, and how
many firings are lost within surfaces.

The scene of a simulation is the scan itself: planes in inverse depth between its returns (Delaunay), after each has
been moved onto the line of those beside it on its row, and to where its beam and firing went within its pixel, so that
neither its noise nor its rounding is in the scene. Nothing lies farther from a return than half way to the next row. It
rounds corners and fills windows, for the sensor before and after alike.

A frame of 1216x352 takes 0.6 s on one core, most of it the triangles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.fitting.candidates import Target
from depthforge.fitting.estimators import CurveKind
from depthforge.fitting.lidar.rows import Rows, Triples, cut_off_sigma, second_differences_m
from depthforge.fitting.scan_curves import Curves, share_of
from depthforge.frame import BoolImage, Frame
from depthforge.kernels import njit

__all__ = ["KINDS", "FrameRows", "curves_of", "scene_of", "target_of"]

Float64 = npt.NDArray[np.float64]

_STRIPS: Final = 24
_COLUMNS: Final = 12
_STRIP_PX: Final = 6
_GAPS_PX: Final = 8
RANGE_EDGES_M: Final = np.array([0.0, 5, 10, 15, 20, 30, 40, 60, 80, 120])
_FEWEST_TRIPLES: Final = 200
# Nothing is known better than this, in stretched units.
_LEAST_ERROR: Final = 0.05


def _percent(values: Float64) -> Float64:
    return np.asarray(100.0 * share_of(values))


def _strips(count: int) -> Float64:
    return np.asarray(100.0 * (np.arange(count) + 0.5) / count)


def _ranges(count: int) -> Float64:
    return np.asarray((RANGE_EDGES_M[1:] + RANGE_EDGES_M[:-1]) / 2)


KINDS: Final[dict[str, CurveKind]] = {
    "pixels with a return": CurveKind("from the top of the image, %", "%", _strips, _percent),
    "rows in a column": CurveKind("from the left of the image, %", "", _strips, lambda values: np.asarray(2.0**values)),
    "next return along a row": CurveKind("within px", "%", lambda count: np.arange(1.0, count + 1), _percent),
    "noise of the range": CurveKind("range, m", "mm", _ranges, lambda values: np.asarray(1000 * 2.0**values)),
    "lost within surfaces": CurveKind("range, m", "%", _ranges, _percent),
}


@dataclass(frozen=True)
class FrameRows:
    """A frame and its returns as beams fired them."""

    frame: Frame
    rows: Rows
    triples: Triples


def curves_of(frames: Sequence[FrameRows]) -> Curves:
    """Return the curves of ``KINDS`` of frames together; NaN where there is too little to say."""
    valids = [each.frame.valid for each in frames]
    share = np.mean([_by_strip(valid) for valid in valids], axis=0)
    crossing = np.mean([_rows_in_columns(valid) for valid in valids], axis=0)
    gaps = np.sum([_gaps(valid) for valid in valids], axis=0)
    differences = [second_differences_m(each.rows) for each in frames]
    sizes, ranges = (np.concatenate(part) for part in zip(*differences, strict=True))
    bins = np.digitize(ranges, RANGE_EDGES_M) - 1
    sigmas = np.array([cut_off_sigma(sizes[bins == index]) for index in range(len(RANGE_EDGES_M) - 1)])
    returned, at_m = (
        np.concatenate([getattr(each.triples, name) for each in frames]) for name in ("returned", "range_m")
    )
    of_range = np.digitize(at_m, RANGE_EDGES_M) - 1
    lost = np.array(
        [
            1 - np.mean(returned[of_range == index]) if np.sum(of_range == index) >= _FEWEST_TRIPLES else np.nan
            for index in range(len(RANGE_EDGES_M) - 1)
        ]
    )
    with np.errstate(divide="ignore"):
        return {
            "pixels with a return": _stretched(share),
            "rows in a column": np.log2(np.maximum(crossing, 0.25)),
            "next return along a row": _stretched(np.cumsum(gaps)[:-1] / max(gaps.sum(), 1)),
            "noise of the range": np.log2(np.maximum(sigmas, 1e-4)),
            "lost within surfaces": _stretched(lost),
        }


def target_of(frames: Sequence[FrameRows]) -> Target:
    """Return the curves of scans, and how far they may be believed: by leaving out a frame in turn."""
    curves = curves_of(frames)
    count = len(frames)
    without = [curves_of([*frames[:i], *frames[i + 1 :]]) for i in range(count)] if count > 1 else [curves]
    errors = {}
    for name, values in curves.items():
        spread = np.array([each[name] for each in without])
        jackknife = np.sqrt((len(without) - 1) * np.mean((spread - spread.mean(axis=0)) ** 2, axis=0))
        errors[name] = np.where(np.isnan(values), np.nan, np.fmax(jackknife, _LEAST_ERROR))
    return Target(curves, errors)


def scene_of(frame: Frame, points: Float64, widest_deg: float) -> Frame:
    """Return the surfaces of a scan as a dense frame; ``points`` (N, 3) are its returns in camera axes, without noise.

    ``widest_deg``: from a row to the next.
    """
    from scipy.spatial import Delaunay

    camera = frame.camera
    z = points[:, 2]
    at = np.stack([camera.fy * points[:, 1] / z + camera.cy, camera.fx * points[:, 0] / z + camera.cx], axis=1)
    at, chosen = np.unique(at, axis=0, return_index=True)
    reach_px = max(2.0, np.radians(widest_deg) * camera.fy / 2 + 1)
    away = cv2.distanceTransform((~frame.valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inverse = np.zeros(frame.valid.shape, np.float32)
    _rasterise(at, 1 / z[chosen], Delaunay(at).simplices, inverse)
    known: BoolImage = np.asarray((inverse > 0) & (away <= reach_px))
    return replace(frame, depth_m=np.divide(1, inverse, out=np.zeros_like(inverse), where=known), valid=known)


@njit(error_model="numpy")
def _rasterise(at, value, triangles, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t]
        y0, x0 = at[a, 0], at[a, 1]
        y1, x1 = at[b, 0] - y0, at[b, 1] - x0
        y2, x2 = at[c, 0] - y0, at[c, 1] - x0
        area = x1 * y2 - x2 * y1
        if area == 0:
            continue
        top, bottom = max(0, math.ceil(min(0, y1, y2) + y0)), min(height - 1, math.floor(max(0, y1, y2) + y0))
        left, right = max(0, math.ceil(min(0, x1, x2) + x0)), min(width - 1, math.floor(max(0, x1, x2) + x0))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                first = ((x - x0) * y2 - x2 * (y - y0)) / area
                second = (x1 * (y - y0) - (x - x0) * y1) / area
                if first >= -1e-9 and second >= -1e-9 and first + second <= 1 + 1e-9:
                    out[y, x] = (1 - first - second) * value[a] + first * value[b] + second * value[c]


def _stretched(share: Float64) -> Float64:
    return np.asarray(np.arcsin(np.sqrt(np.clip(share, 0, 1))))


def _by_strip(valid: BoolImage) -> Float64:
    return np.array([part.mean() for part in np.array_split(valid, _STRIPS)])


def _rows_in_columns(valid: BoolImage) -> Float64:
    """Return how many rows cross strips of 6 columns, by part of the image from left to right."""
    strips = [
        np.asarray(valid[:, at : at + _STRIP_PX].any(axis=1))
        for at in range(0, valid.shape[1] - _STRIP_PX + 1, 2 * _STRIP_PX)
    ]
    crossings = [np.count_nonzero(strip[1:] & ~strip[:-1]) + int(strip[0]) for strip in strips]
    return np.array([part.mean() if len(part) else np.nan for part in np.array_split(np.array(crossings), _COLUMNS)])


def _gaps(valid: BoolImage) -> Float64:
    """Return how many returns have the next one to the right, a pixel up or down at most, 1, 2 .. px away, and none."""
    around: BoolImage = cv2.dilate(valid.view(np.uint8), np.ones((3, 1), np.uint8)) > 0
    left = valid.copy()
    counts = np.zeros(_GAPS_PX + 1)
    for gap in range(1, _GAPS_PX + 1):
        met = left[:, :-gap] & around[:, gap:]
        counts[gap - 1] = np.count_nonzero(met)
        left[:, :-gap] &= ~met
    counts[-1] = np.count_nonzero(left[:, :-_GAPS_PX])
    return counts
