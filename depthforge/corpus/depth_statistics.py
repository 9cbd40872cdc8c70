"""What the index says of a frame's depth: holes, range, median, and noise over the pixels that both images have.

Figures are of the values *as stored*, so whoever decodes the arrays finds the same. Sums of uint16 steps are exact
integers, hence independent of order and machine; one pass of 0.2 ms at 640x480 besides 0.2 ms for the median.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.corpus.index import DepthStatistics
from depthforge.encoding import DepthEncoding
from depthforge.kernels import njit

__all__ = ["depth_statistics"]


def depth_statistics(
    clean: npt.NDArray[Any], noisy: npt.NDArray[Any] | None, encoding: DepthEncoding
) -> DepthStatistics:
    """Return the statistics of one frame from its stored depths, arrays of one shape; the median is the lower."""
    if noisy is None:
        of_clean = depth_statistics(clean, clean, encoding)
        return of_clean._replace(hole_fraction_noisy=None, noise_mean_abs_m=None, noise_rmse_m=None, noise_bias_m=None)
    if encoding.dtype == "uint16":
        scale = encoding.scale_m
        num_clean, num_noisy, num_both, lowest, highest, sum_abs, sum_squared, sum_signed = _sums_of_steps(
            clean.ravel(), noisy.ravel()
        )
        # Holes are stored as 0 and so come first.
        num_before = clean.size - num_clean
    else:
        scale = 1.0
        num_clean, num_noisy, num_both, lowest, highest, sum_abs, sum_squared, sum_signed = _sums_of_metres(
            clean.ravel(), noisy.ravel()
        )
        # Holes are stored as NaN, which partition puts last.
        num_before = 0
    middle = num_before + (num_clean - 1) // 2
    median = float(np.partition(clean, middle, axis=None)[middle]) if num_clean else 0.0
    return DepthStatistics(
        hole_fraction_clean=1.0 - num_clean / clean.size,
        hole_fraction_noisy=1.0 - num_noisy / noisy.size,
        depth_min_m=lowest * scale if num_clean else None,
        depth_median_m=median * scale if num_clean else None,
        depth_max_m=highest * scale if num_clean else None,
        noise_mean_abs_m=sum_abs / num_both * scale if num_both else None,
        noise_rmse_m=(sum_squared / num_both) ** 0.5 * scale if num_both else None,
        noise_bias_m=sum_signed / num_both * scale if num_both else None,
    )


@njit()
def _sums_of_steps(
    clean: npt.NDArray[np.uint16], noisy: npt.NDArray[np.uint16]
) -> tuple[int, int, int, int, int, int, int, int]:
    num_clean = num_noisy = num_both = sum_abs = sum_squared = sum_signed = highest = 0
    lowest = 65535
    for i in range(clean.size):
        c = int(clean[i])
        n = int(noisy[i])
        both = int((c != 0) & (n != 0))
        difference = (n - c) * both
        num_clean += int(c != 0)
        num_noisy += int(n != 0)
        num_both += both
        sum_signed += difference
        sum_abs += abs(difference)
        sum_squared += difference * difference
        highest = max(highest, c)
        lowest = min(lowest, c if c != 0 else 65535)
    return num_clean, num_noisy, num_both, lowest, highest, sum_abs, sum_squared, sum_signed


@njit()
def _sums_of_metres(
    clean: npt.NDArray[np.float32], noisy: npt.NDArray[np.float32]
) -> tuple[int, int, int, float, float, float, float, float]:
    num_clean = num_noisy = num_both = 0
    sum_abs = sum_squared = sum_signed = highest = 0.0
    lowest = np.inf
    for i in range(clean.size):
        c = np.float64(clean[i])
        n = np.float64(noisy[i])
        if c == c:
            num_clean += 1
            highest = max(highest, c)
            lowest = min(lowest, c)
            if n == n:
                num_both += 1
                difference = n - c
                sum_signed += difference
                sum_abs += abs(difference)
                sum_squared += difference * difference
        if n == n:
            num_noisy += 1
    return num_clean, num_noisy, num_both, lowest, highest, sum_abs, sum_squared, sum_signed
