"""The unit of stored depth by the range of its bulk, and the values that stand for nothing by their histogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Scale", "scale_of"]

Array = npt.NDArray[Any]

_PLAUSIBLE_M: Final = (0.2, 30.0)
#: Of several plausible units one is preferred that gives no more than this, the reach of most depth cameras.
_USUAL_M: Final = 10.0
_OF_INTEGERS: Final = (1000.0, 5000.0, 6553.5, 10000.0, 4000.0, 256.0, 100.0, 1.0)
_OF_FLOATS: Final = (1.0, 1000.0, 100.0)
_LARGEST_HALF: Final = 65504.0
_LEAST_SHARE: Final = 0.005
_RARE: Final = 0.0005
_PIXELS: Final = 100_000


class Scale(NamedTuple):
    """Units per metre that give a plausible depth, the likeliest first; codes, and the reasons in words.

    ``far_m`` is where depth, by the first unit, turns into junk: beyond it lie few pixels, far from all others.
    """

    units: tuple[float, ...]
    invalid: tuple[int | float, ...]
    is_negative: bool
    is_integer: bool
    median: float
    far_m: float | None
    reasons: tuple[str, ...]
    told: str = ""
    """What each plausible unit makes of the median, in words."""


def scale_of(planes: Sequence[Array]) -> Scale:
    """Return what the stored numbers of some depth images (H, W) say about their unit and codes."""
    is_integer = all(plane.dtype.kind in "iub" for plane in planes)
    values = [_thinned(plane).astype(np.float64).ravel() for plane in planes]
    flat = np.concatenate(values)
    finite = flat[np.isfinite(flat)]
    is_negative = bool(np.count_nonzero(finite < 0) > 0.5 * np.count_nonzero(finite))
    zeros = 1 - np.count_nonzero(flat) / flat.size
    reasons = [f"{zeros:.1%} of the pixels are 0: no measurement"] if zeros else []
    if finite.size < flat.size:
        reasons.append(f"{1 - finite.size / flat.size:.1%} are inf or NaN: no measurement")
    codes = _codes([each[np.isfinite(each)] for each in values], is_integer, reasons)
    measured = np.abs(finite[(finite != 0) & ~np.isin(finite, codes) & (np.abs(finite) < _LARGEST_HALF)])
    median = float(np.median(measured)) if measured.size else 0.0
    low, high = _PLAUSIBLE_M
    plausible = [unit for unit in (_OF_INTEGERS if is_integer else _OF_FLOATS) if low <= median / unit <= high]
    units = tuple(sorted(plausible, key=lambda unit: median / unit > _USUAL_M))
    told = ""
    if units:
        told = f"the median of the stored values is {median:.4g}, so {_told(median, units)}"
        reasons.append(f"unit: {told}")
    far_m = None
    if units and measured.size:
        bulk, greatest = float(np.quantile(measured, 0.99)) / units[0], float(measured.max()) / units[0]
        if greatest > 2 * bulk:
            far_m = float(f"{1.5 * bulk:.2g}")
            reasons.append(
                f"99 % of the depths are below {bulk:.3g} m, the greatest is {greatest:.3g} m: where that is junk, "
                f"say max_depth_m: {far_m:g}"
            )
    return Scale(units, tuple(codes), is_negative, is_integer, median, far_m, tuple(reasons), told)


def _thinned(plane: Array) -> Array:
    """Return every n-th pixel of a large image, whose shares and quantiles are about the same."""
    step = max(1, int((plane.size / _PIXELS) ** 0.5))
    return plane[::step, ::step]


def _codes(values: Sequence[Array], is_integer: bool, reasons: list[str]) -> list[int | float]:
    """Return the greatest values that many pixels have exactly, far beyond all others; 65535 where it is there."""
    codes: list[int | float] = []
    for each in values:
        if each.size == 0:
            continue
        greatest = float(each.max())
        share = float(np.mean(each == greatest))
        rest = each[each != greatest]
        is_code = is_integer and greatest == 65535 and share > _RARE
        is_far = share >= _LEAST_SHARE and rest.size > 0 and greatest >= 2 * float(rest.max()) and rest.max() > 0
        if (is_code or is_far) and greatest not in codes:
            number = int(greatest) if greatest == int(greatest) else greatest
            codes.append(number)
            reasons.append(f"{share:.1%} of the pixels of a frame are exactly {number:g}: no measurement")
    return codes


def _told(median: float, units: Sequence[float]) -> str:
    first = f"{units[0]:g} a metre gives {median / units[0]:.3g} m"
    others = ", ".join(f"{unit:g} ({median / unit:.3g} m)" for unit in units[1:])
    return f"{first}; {others} would be plausible as well" if others else f"{first}, which is the only plausible one"
