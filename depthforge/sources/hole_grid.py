"""Holes that registration left, not the sensor: depth warped to a larger image misses every n-th row or column.

Warping measured pixels one by one to the view or the size of a colour camera leaves lines a pixel or two wide without
depth wherever the new image is finer, at a distance that follows the ratio of focal lengths. Whoever learns a sensor's
holes from such a recording learns the grid. It is told by the distances between thin holes along a row or a column:
holes of a sensor lie at all distances, those of a grid at one and its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage

__all__ = ["HoleGrid", "hole_grid"]

_WIDEST_PX: Final = 2
_NEAREST_PX, _FARTHEST_PX = 4, 128
_FEWEST: Final = 200
_LEAST_SHARE: Final = 0.65
_LEAST_SPREAD: Final = 0.3
_PARTS: Final = 16


class HoleGrid(NamedTuple):
    """Every ``period_px``-th of the ``lines`` of an image has no depth; ``share`` of the thin holes lie so."""

    lines: Literal["columns", "rows"]
    period_px: int
    share: float


def hole_grid(masks: Iterable[BoolImage]) -> HoleGrid | None:
    """Return the grid that the holes of frames lie on, ``masks`` (H, W) being where depth is; None for no grid."""
    counts = {"columns": np.zeros(_FARTHEST_PX + 1, np.int64), "rows": np.zeros(_FARTHEST_PX + 1, np.int64)}
    spread = {"columns": np.zeros(_PARTS, np.bool_), "rows": np.zeros(_PARTS, np.bool_)}
    for mask in masks:
        for lines, along in (("columns", mask), ("rows", mask.T)):
            row, gap = _gaps(np.ascontiguousarray(along))
            counts[lines] += np.bincount(gap, minlength=_FARTHEST_PX + 1)
            spread[lines][np.unique(row * _PARTS // along.shape[0])] = True
    found = [_grid_of(lines, counts[lines], spread[lines]) for lines in ("columns", "rows")]
    grids = [each for each in found if each is not None]
    return max(grids, key=lambda each: each.share) if grids else None


def _gaps(valid: BoolImage) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the row of each pair of neighbouring thin holes of a row, and their distance; far ones are left out."""
    step = np.diff(valid.astype(np.int8), axis=1)
    start_row, start = np.nonzero(step == -1)  # the last measured pixel before a hole
    end_row, end = np.nonzero(step == 1)
    # Of each start the next end of its row: a hole at the border has none.
    keys, ends = start_row * (valid.shape[1] + 1) + start, end_row * (valid.shape[1] + 1) + end
    place = np.searchsorted(ends, keys)
    inside = place < len(ends)
    width = np.where(inside, ends[np.minimum(place, max(len(ends) - 1, 0))] - keys, 0) if len(ends) else keys * 0
    thin = inside & (width <= _WIDEST_PX)
    row, column = start_row[thin], start[thin]
    gap = np.diff(column)
    kept = (np.diff(row) == 0) & (gap <= _FARTHEST_PX)
    return row[:-1][kept], gap[kept]


def _grid_of(
    lines: Literal["columns", "rows"], counts: npt.NDArray[np.int64], spread: npt.NDArray[np.bool_]
) -> HoleGrid | None:
    if counts.sum() < _FEWEST or spread.mean() < _LEAST_SPREAD:
        return None
    period = int(counts[_NEAREST_PX:].argmax()) + _NEAREST_PX
    share = float(counts[period - 1 : period + 2].sum() / counts.sum())
    return HoleGrid(lines, period, share) if share >= _LEAST_SHARE else None
