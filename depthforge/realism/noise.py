"""Noise against depth, its correlation over the image and its quantisation, all without ground truth.

Noise is what a plane leaves of a 24-pixel window (see ``windows``), taken as the median over windows in each depth
bin, so that a third of the windows may be curved or creased without much say. It cannot see what is smoother than a
window (a bias, a warp of the whole image), and the plane takes a part of long waves: a correlation length of 2.4 px
comes out 5 % short, 4 px 16 %. A window of 16 px takes three times as much of them; of windows of 32 px half as many
are flat and whole. The usual alternative, the spread over frames of a still camera, needs a tripod and cannot see a
pattern that stands still. 640x480 on one core: 7 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, DepthImage
from depthforge.realism.windows import fit_windows

__all__ = ["DEPTH_EDGES_M", "MAX_LAG", "NUM_BINS", "NoiseStatistics", "correlation_length_px", "measure_noise"]

Float64 = npt.NDArray[np.float64]

# Half octaves: 0.25, 0.35, 0.5 ... 64 m. Depth outside is in no bin.
DEPTH_EDGES_M: Final = 0.25 * np.sqrt(2.0) ** np.arange(17)
NUM_BINS: Final = len(DEPTH_EDGES_M) - 1
# The largest distance over which the residual is correlated: a third of a window.
MAX_LAG: Final = 8

_WINDOW: Final = 3 * MAX_LAG
# Below this share of depth a residual is the rounding of float32.
_ROUNDING: Final = 1e-6
_FEWEST_STEPS: Final = 4


@dataclass(frozen=True, slots=True)
class NoiseStatistics:
    """Noise of one image. ``depth_m`` and ``sigma_m`` (N,): of each flat window; ``correlation`` (2, 8) float64:
    the residual's autocorrelation at 1 to 8 px along x and along y, summed over ``num_correlated`` windows;
    ``num_distinct``: different depth values; ``step_m`` (16,): median gap between neighbouring ones in each depth
    bin, NaN where there are fewer than four.
    """

    depth_m: Float64
    sigma_m: Float64
    correlation: Float64
    num_correlated: int
    num_distinct: int
    step_m: Float64


def measure_noise(depth_m: DepthImage, valid: BoolImage) -> NoiseStatistics:
    """Measure the noise of one image (H, W); an image without flat windows has arrays of length 0."""
    windows = fit_windows(depth_m, valid, _WINDOW)
    noisy = windows.residual[windows.sigma_m > _ROUNDING * windows.depth_m]
    variance = np.mean(noisy**2, axis=(1, 2))
    correlation = np.zeros((2, MAX_LAG))
    for lag in range(1, MAX_LAG + 1):
        along_x = np.mean(noisy[:, :, lag:] * noisy[:, :, :-lag], axis=(1, 2))
        along_y = np.mean(noisy[:, lag:] * noisy[:, :-lag], axis=(1, 2))
        correlation[:, lag - 1] = np.sum(along_x / variance), np.sum(along_y / variance)
    values = np.unique(depth_m[valid]).astype(np.float64)
    return NoiseStatistics(
        windows.depth_m, windows.sigma_m, correlation, len(noisy), len(values), _steps_by_depth(values)
    )


def correlation_length_px(correlation: Float64) -> float:
    """Return where autocorrelation at 0, 1, 2 ... px first falls to 1/e, between samples by a straight line.

    ``correlation`` (L,) starts at 1 px. White noise has 0.63 px (1/e on the line from 1 to 0); noise that is still
    above 1/e at the last lag has at least that length, which is what is returned.
    """
    curve = np.concatenate([[1.0], correlation])
    below = np.flatnonzero(curve < np.exp(-1))
    if not below.size:
        return float(len(correlation))
    after = int(below[0])
    return float(after - (np.exp(-1) - curve[after]) / (curve[after - 1] - curve[after]))


def _steps_by_depth(values_m: Float64) -> Float64:
    gaps, bins = np.diff(values_m), np.digitize(values_m[1:], DEPTH_EDGES_M) - 1
    steps = np.full(NUM_BINS, np.nan)
    for index in np.unique(bins[(bins >= 0) & (bins < NUM_BINS)]):
        if np.count_nonzero(bins == index) >= _FEWEST_STEPS:
            steps[index] = np.median(gaps[bins == index])
    return steps
