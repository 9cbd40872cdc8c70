"""White noise against the slope of surfaces: what tells that a sensor looks aside by chance, away from any silhouette.

A pixel that looks ``s`` px aside is off by s x the change of 1/z per pixel, and its neighbour by another s: noise that
is white, and grows with the slope. Noise of the disparity itself is the same on every slope, so the two are told apart
by the curve, and it needs no edge: silhouettes show the shift too, but a clean guess of a scan has them as ragged as
the scan, or straighter, and told a shift of 0.4 px as 0.07.

The white part is the second difference of 1/z across a block of 2x2 pixels: 0 for a plane, and noise that neighbours
share hardly has it (5 % of its variance when it is correlated over 2 px, 1 % over 3 px). All blocks away from
silhouettes count, whole windows or not: on the rooms of the tests steep floors fill few windows.

640x480 on one core: 1 ms.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, DepthImage
from depthforge.kernels import njit
from depthforge.realism.windows import MAX_JUMP

__all__ = ["NUM_SLOPES", "SLOPE_EDGES", "bins_of_slope", "white_by_slope", "white_by_slope_of_inverse"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Change of 1/z per pixel, 1/m: half octaves, and all that is flatter or steeper.
SLOPE_EDGES: Final = np.concatenate([[0.0], 2.0 ** np.arange(-12.0, -4.5, 0.5)])
NUM_SLOPES: Final = len(SLOPE_EDGES) - 1


def bins_of_slope(guess_m: DepthImage, usable: BoolImage) -> npt.NDArray[np.int16]:
    """Return the bin of the slope at each pixel of a clean guess (H, W), -1 where it is not ``usable``."""
    inverse = np.divide(np.float32(1), guess_m, out=np.zeros_like(guess_m), where=guess_m > 0)
    down, right = np.gradient(inverse)
    bins = np.digitize(np.hypot(down, right), SLOPE_EDGES) - 1
    return np.where(usable & (bins < NUM_SLOPES), bins, -1).astype(np.int16)


def white_by_slope(depth_m: DepthImage, valid: BoolImage, slope_bin: npt.NDArray[np.int16]) -> Float64:
    """Return (bins, 2): the measured blocks of each bin of slope, and the sum of their white noise, 1/m.

    A block lies in the bin of its first pixel; one with a step of more than 5 % of its depth is left out.
    """
    inverse = np.divide(np.float32(1), depth_m, out=np.zeros_like(depth_m), where=valid)
    return _sum_blocks(inverse, inverse, valid, slope_bin)


def white_by_slope_of_inverse(deviation: Float32, valid: BoolImage, slope_bin: npt.NDArray[np.int16]) -> Float64:
    """Return the same of deviations of 1/z (H, W), 1/m, from a mean over time: no step is too large."""
    return _sum_blocks(np.ascontiguousarray(deviation), np.full_like(deviation, np.inf), valid, slope_bin)


def _sum_blocks(value: Float32, scale: Float32, valid: BoolImage, slope_bin: npt.NDArray[np.int16]) -> Float64:
    sums = np.zeros((NUM_SLOPES, 2), np.float64)
    _add_blocks(value, scale, valid, slope_bin, np.float32(MAX_JUMP), sums)
    # The mean size of a normal second difference is 2 sqrt(2 / pi) standard deviations of a pixel.
    sums[:, 1] *= np.sqrt(np.pi / 8)
    return sums


@njit(error_model="numpy")
def _add_blocks(value, scale, valid, slope_bin, max_jump, sums):  # type: ignore[no-untyped-def]
    height, width = value.shape
    for y in range(height - 1):
        for x in range(width - 1):
            place = slope_bin[y, x]
            if place < 0 or not (valid[y, x] and valid[y, x + 1] and valid[y + 1, x] and valid[y + 1, x + 1]):
                continue
            across = abs(value[y, x] - value[y, x + 1] - value[y + 1, x] + value[y + 1, x + 1])
            if across <= 2 * max_jump * scale[y, x]:
                sums[place, 0] += 1
                sums[place, 1] += across
