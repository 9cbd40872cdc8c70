"""What happens at silhouettes: how wide the shadow beside one is, and how far the near surface has grown over it.

A silhouette is a pair of neighbours in a row of the truth that differ by 8 % of the nearer depth. Every fourth row is
looked at. With the jump in disparity (px) known, a sensor that triangulates leaves a shadow as wide on one side of
near surfaces and none on the other: so widths are told by jump and by side. The width is that of the run of holes in
the row that begins within 6 px of the silhouette; 0 where there is none. A run that reaches a pixel without truth, the
border, or 80 px is a hole of another kind, and that silhouette is left out.

The bleed is the signed distance of the measured silhouette to the true one, in px, positive where the near surface
grew: from 10 px within the near surface outwards, the last pixel that is measured nearer than half way (in inverse
depth) between the two surfaces. Only silhouettes count that have nothing but near truth for 10 px on one side and far
truth on the other, along rows and along columns. It cannot see growth beyond 10 px.

A compiled walk over the silhouettes of a frame; 640x480 on one core: 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage
from depthforge.kernels import njit
from depthforge.realism.same_view.figures import FEWEST, Figure
from depthforge.realism.same_view.truth import Truth, inverse_depth
from depthforge.realism.same_view.views import Measured

__all__ = ["FIGURES", "JUMPS_PX", "REACH_PX", "SilhouetteErrors", "measure_silhouettes", "summarise"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

JUMPS_PX: Final = ((3, 6), (6, 10), (10, 16), (16, 30))
REACH_PX: Final = 10

_EVERY: Final = 4
_EDGE_JUMP: Final = np.float32(0.08)
_TOUCH_PX: Final = 6
_LONGEST_PX: Final = 80
_NOT_KNOWN: Final = -1000
_SIDES: Final = (("left", "left of near"), ("right", "right of near"))


def _shadow_figures() -> tuple[Figure, ...]:
    figures = []
    for side, words in _SIDES:
        for low, high in JUMPS_PX:
            stem, title = f"shadow_{side}_{low}_to_{high}", f"shadow {words}, jump {low} to {high} px"
            figures += [
                Figure(f"{stem}_median", f"{title}, median", "px", "as real"),
                Figure(f"{stem}_mean", f"{title}, mean", "px", "as real"),
                Figure(f"{stem}_none", f"{title}, none", "%", "as real"),
            ]
    return tuple(figures)


FIGURES: Final = (
    *_shadow_figures(),
    Figure("bleed_x_median", "bleed along rows, median", "px", "as real"),
    Figure("bleed_x_mean", "bleed along rows, mean", "px", "as real"),
    Figure("bleed_x_sd", "bleed along rows, sd", "px", "as real"),
    Figure("bleed_y_median", "bleed along columns, median", "px", "as real"),
    Figure("bleed_y_mean", "bleed along columns, mean", "px", "as real"),
    Figure("bleed_y_sd", "bleed along columns, sd", "px", "as real"),
)


class SilhouetteErrors(NamedTuple):
    """Of one frame. ``jump_px`` (N,) float32, NaN without a baseline, ``shadow_px`` (N,) int32 and ``near_right`` (N,)
    bool: of each silhouette along rows whose shadow is known; ``bleed_x_px`` and ``bleed_y_px`` (M,) int32.
    """

    jump_px: Float32
    shadow_px: Int32
    near_right: BoolImage
    bleed_x_px: Int32
    bleed_y_px: Int32


class _Edges(NamedTuple):
    """Silhouettes along rows: the pixel ``(row, column)`` left of each, and 1/z left and right of it."""

    row: Int32
    column: Int32
    left: Float32
    right: Float32


def measure_silhouettes(truth: Truth, measured: Measured) -> SilhouetteErrors:
    """Measure the shadows and the bleed of one frame."""
    edges = _find_edges(truth.inverse)
    width = _shadow_widths(measured.valid, truth.valid, edges.row, edges.column, _TOUCH_PX, _LONGEST_PX)
    known = width != _NOT_KNOWN
    jump = np.abs(edges.left - edges.right)[known]
    scale = np.nan if truth.disparity_m_px is None else truth.disparity_m_px
    inverse = inverse_depth(measured)
    turned = np.ascontiguousarray(truth.inverse.T)
    return SilhouetteErrors(
        jump * np.float32(scale),
        width[known],
        (edges.right > edges.left)[known],
        _bleed(inverse, truth.inverse, edges),
        _bleed(np.ascontiguousarray(inverse.T), turned, _find_edges(turned)),
    )


def summarise(frames: Sequence[SilhouetteErrors]) -> dict[str, float]:
    """Return the figures of a set of frames, by id; NaN with fewer than 30 silhouettes."""
    jump, width, near_right, bleed_x, bleed_y = (np.concatenate(values) for values in zip(*frames, strict=True))
    found = {}
    for (side, _), is_side in zip(_SIDES, (near_right, ~near_right), strict=True):
        for low, high in JUMPS_PX:
            of_bin = width[is_side & (jump >= low) & (jump < high)]
            stem = f"shadow_{side}_{low}_to_{high}"
            few = len(of_bin) < FEWEST
            found[f"{stem}_median"] = math.nan if few else float(np.median(of_bin))
            found[f"{stem}_mean"] = math.nan if few else float(of_bin.mean())
            found[f"{stem}_none"] = math.nan if few else 100 * float(np.mean(of_bin == 0))
    for axis, bleed in (("x", bleed_x), ("y", bleed_y)):
        few = len(bleed) < FEWEST
        found[f"bleed_{axis}_median"] = math.nan if few else float(np.median(bleed))
        found[f"bleed_{axis}_mean"] = math.nan if few else float(bleed.mean())
        found[f"bleed_{axis}_sd"] = math.nan if few else float(bleed.std())
    return found


def _find_edges(inverse: Float32) -> _Edges:
    rows = inverse[_EVERY // 2 :: _EVERY]
    left, right = rows[:, :-1], rows[:, 1:]
    nearest = np.minimum(left, right)
    row, column = np.nonzero((np.abs(left - right) > _EDGE_JUMP * nearest) & (nearest > 0))
    return _Edges(
        (row * _EVERY + _EVERY // 2).astype(np.int32), column.astype(np.int32), left[row, column], right[row, column]
    )


def _bleed(inverse: Float32, true_inverse: Float32, edges: _Edges) -> Int32:
    bleed: Int32 = _grown(inverse, true_inverse, *edges, REACH_PX)
    return bleed[bleed != _NOT_KNOWN]


@njit()
def _shadow_widths(
    valid: BoolImage, truth_valid: BoolImage, row: Int32, column: Int32, touch: int, longest: int
) -> Any:
    widths = np.empty(row.size, np.int32)
    width = valid.shape[1]
    for k in range(row.size):
        y, x = row[k], column[k]
        start = -1
        for away in range(touch + 1):
            for at in (x - away, x + 1 + away):
                if start < 0 and 0 <= at < width and not valid[y, at] and truth_valid[y, at]:
                    start = at
            if start >= 0:
                break
        if start < 0:
            widths[k] = 0
            continue
        left = right = start
        while left >= 0 and not valid[y, left] and truth_valid[y, left]:
            left -= 1
        while right < width and not valid[y, right] and truth_valid[y, right]:
            right += 1
        ends_known = left >= 0 and right < width and valid[y, left] and valid[y, right]
        count = right - left - 1
        widths[k] = count if ends_known and count < longest else _NOT_KNOWN
    return widths


@njit()
def _grown(
    inverse: Float32,
    true_inverse: Float32,
    row: Int32,
    column: Int32,
    left: Float32,
    right: Float32,
    reach: int,
) -> Any:
    grown = np.full(row.size, _NOT_KNOWN, np.int32)
    width = inverse.shape[1]
    for k in range(row.size):
        y = row[k]
        middle = (left[k] + right[k]) / 2
        outwards = 1 if left[k] > right[k] else -1
        last_near = column[k] if outwards == 1 else column[k] + 1
        if last_near - reach < 0 or last_near + reach >= width:
            continue
        alone = True
        for step in range(reach):
            near = true_inverse[y, last_near - outwards * step]
            far = true_inverse[y, last_near + outwards * (step + 1)]
            alone = alone and near > middle and 0 < far < middle
        if not alone:
            continue
        for step in range(reach, -reach, -1):
            if inverse[y, last_near + outwards * step] > middle:
                grown[k] = step
                break
    return grown
