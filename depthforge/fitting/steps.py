"""Disparity steps, read off the depth values that scans contain.

A sensor that rounds disparity to whole steps gives z = S / (k + c) for whole k: S, metres x steps, is focal length x
baseline x steps a pixel, and c an offset that the driver may add. So 1/z is a comb of spacing 1/S. The gaps between the
values that occur give S roughly (at z a gap is z^2 / S); the comb's periodogram, the length of the mean of
exp(2 pi i S / z) over those values, gives it to one in ten thousand, in spite of depth that was rounded to millimetres
afterwards: values whose own gap is below three units of the file are left out.

Depth that is continuous, or that was resampled or averaged after rounding, has no comb: the peak is below 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from depthforge.realism.views import DepthView

__all__ = ["disparity_steps_m", "file_step_m"]

Float64 = npt.NDArray[np.float64]

# Units that depth files are written in, metres, the coarsest first; KITTI's is 1/256.
_FILE_STEPS_M = (1e-2, 5e-3, 1 / 256, 2e-3, 1e-3, 5e-4, 2.5e-4, 2e-4, 1.25e-4, 1e-4, 5e-5)
_FEWEST_VALUES = 12
_FEWEST_UNITS = 3.0
_SHARPEST_LOST = 0.5
# More distinct values, or trials, than any comb of a few metres needs: depth is continuous.
_MOST_VALUES = 6000
_MOST_TRIALS = 40000


def file_step_m(views: Sequence[DepthView]) -> float:
    """Return the unit that depth was stored in, metres: the coarsest of which every value is a multiple; 0 for none."""
    values = _distinct(views)
    for step in _FILE_STEPS_M:
        rounding = 2.0**-22 * values.max(initial=0.0) + 1e-7
        if values.size and np.all(np.abs(values - np.rint(values / step) * step) < rounding + 1e-3 * step):
            return step
    return 0.0


def disparity_steps_m(views: Sequence[DepthView], unit_m: float) -> float | None:
    """Return S = depth x disparity in steps, metres, None where depth is no comb in 1/z; ``unit_m``: of the file."""
    values = _distinct(views)
    if not _FEWEST_VALUES <= values.size <= _MOST_VALUES:
        return None
    gaps = np.diff(values)
    # Beside a value that never occurs the gap is twice as wide; the median does not mind.
    rough = float(np.median(values[1:] * values[:-1] / gaps))
    usable = values[values**2 / rough > max(_FEWEST_UNITS * unit_m, 0.0)]
    if usable.size < _FEWEST_VALUES:
        return None
    gaps = np.diff(usable)
    rough = float(np.median(usable[1:] * usable[:-1] / gaps))
    inverse = 1.0 / usable
    # The peak is about 1 / (largest less smallest 1/z) wide: twenty samples across it.
    width = 1.0 / float(np.ptp(inverse))
    if 0.45 * rough > _MOST_TRIALS * width / 20:
        return None
    trial = np.arange(0.8 * rough, 1.25 * rough, width / 20)
    best, peak = _strongest(trial, inverse)
    for finer in (200, 2000):
        best, peak = _strongest(best + np.arange(-20, 21) * width / finer, inverse)
    return best if peak > _SHARPEST_LOST else None


def _strongest(trial: Float64, inverse: Float64) -> tuple[float, float]:
    strength = np.array([abs(np.mean(np.exp(2j * np.pi * s * inverse))) for s in trial])
    place = int(strength.argmax())
    return float(trial[place]), float(strength[place])


def _distinct(views: Sequence[DepthView]) -> Float64:
    return np.unique(np.concatenate([np.unique(view.depth_m[view.valid]) for view in views])).astype(np.float64)
