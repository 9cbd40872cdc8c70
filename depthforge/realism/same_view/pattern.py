"""The device's own pattern: what the disparity error has in common over all frames of a recording.

A camera is calibrated to some tenths of a pixel, and what is left stands still in the image: rings about the centre, a
seam, tiles. The error of disparity (measured less true, px) of each frame, away from edges and without an affine field
(an error of the pose is smooth over the image), is averaged over 31x31 px; the mean of those maps over frames is the
pattern. Its deviation over the image also holds what did not average out; what both halves of the recording share (the
root of their covariance) does not. A correlation of the halves near 1 says that the pattern is the device's, one near 0
that there is none, or too few frames. Where a camera looks at one scene from one place, the scene's own errors (those
of its truth, too) stand still with the camera's: move it.

Maps are kept at every 8th pixel, 20 kB a frame of 640x480; 8 ms on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.realism.same_view.figures import Figure
from depthforge.realism.same_view.truth import Truth

__all__ = ["EVERY", "FIGURES", "WINDOW", "inverse_error", "low_frequency_error", "mean_map", "summarise"]

Float32 = npt.NDArray[np.float32]

EVERY: Final = 8

FIGURES: Final = (
    Figure("low_frequency_sd", "disparity error over 31 px, sd in a frame", "px", "as real"),
    Figure("pattern_sd", "fixed pattern, sd of the mean map", "px", "as real"),
    Figure("pattern_correlation", "fixed pattern, correlation of halves", "", "as real"),
    Figure("pattern_shared_sd", "fixed pattern, sd of what halves share", "px", "as real"),
)

_EDGE_PX: Final = 4
_LARGEST_PX: Final = 2.0
_LARGEST_SHARE: Final = np.float32(0.1)
WINDOW: Final = (31, 31)
_LEAST_VALID: Final = 0.5
_FITTED_EVERY: Final = 37
_FEWEST_FITTED: Final = 100
# A place of the map is known from this share of the frames of a half, and from so many at least.
_LEAST_SEEN: Final = 0.25
_FEWEST_SEEN: Final = 3
_FEWEST_PLACES: Final = 100


def inverse_error(truth: Truth, inverse: Float32) -> Float32:
    """Return the error of ``inverse`` (1/z in 1/m, 0 is nothing), (H, W), without an affine field; NaN if not known.

    Known is what both images have away from edges, and less than 10 % off, or 2 px where the baseline is known.
    """
    error = inverse - truth.inverse
    limit = _LARGEST_SHARE * truth.inverse
    if truth.disparity_m_px is not None:
        limit = np.minimum(limit, np.float32(_LARGEST_PX / truth.disparity_m_px))
    known = (inverse > 0) & (truth.edge_distance_px > _EDGE_PX) & (np.abs(error) < limit)
    height, width = error.shape
    place = np.flatnonzero(known)[::_FITTED_EVERY]
    if len(place) < _FEWEST_FITTED:
        return np.full(error.shape, np.nan, np.float32)
    u = np.linspace(-1, 1, width, dtype=np.float32)
    v = np.linspace(-1, 1, height, dtype=np.float32)
    basis = np.stack([np.ones(len(place)), u[place % width], v[place // width]], axis=1)
    constant, right, down = np.linalg.lstsq(basis, error.ravel()[place], rcond=None)[0].astype(np.float32)
    error -= constant + right * u + (down * v)[:, None]
    error[~known] = np.nan
    return error


def low_frequency_error(error: Float32) -> Float32:
    """Return ``inverse_error`` (H, W) averaged over 31x31 px, at every 8th pixel; NaN where less than half is known."""
    known = ~np.isnan(error)
    weight = cv2.blur(known.astype(np.float32), WINDOW)[EVERY // 2 :: EVERY, EVERY // 2 :: EVERY]
    total = cv2.blur(np.where(known, error, np.float32(0)), WINDOW)[EVERY // 2 :: EVERY, EVERY // 2 :: EVERY]
    nothing = np.full(weight.shape, np.nan, np.float32)
    mean: Float32 = np.divide(total, weight, out=nothing, where=weight > _LEAST_VALID)
    return mean


def mean_map(maps_px: Sequence[Float32]) -> Float32:
    """Return the mean over frames of their maps, NaN where a quarter of them (and three) do not know."""
    stack = np.stack(maps_px)
    known = ~np.isnan(stack)
    count = known.sum(axis=0)
    total = np.where(known, stack, np.float32(0)).sum(axis=0)
    nothing = np.full(total.shape, np.nan, np.float32)
    seen = count >= max(_FEWEST_SEEN, _LEAST_SEEN * len(stack))
    mean: Float32 = np.divide(total, count, out=nothing, where=seen)
    return mean


def summarise(maps_px: Sequence[Float32]) -> dict[str, float]:
    """Return the figures of a set of frames, by id, of ``low_frequency_error`` in px of disparity each."""
    if len(maps_px) < 2 * _FEWEST_SEEN or len({of_frame.shape for of_frame in maps_px}) > 1:
        return {}
    squares = [float(np.nanmean(of_frame**2)) for of_frame in maps_px if not np.isnan(of_frame).all()]
    found = {"low_frequency_sd": math.sqrt(float(np.mean(squares))) if squares else math.nan}
    middle = (len(maps_px) + 1) // 2
    first, second = mean_map(maps_px[:middle]), mean_map(maps_px[middle:])
    both = ~np.isnan(first) & ~np.isnan(second)
    if np.count_nonzero(both) < _FEWEST_PLACES:
        return found
    covariance = np.cov(first[both], second[both])
    spread = math.sqrt(covariance[0, 0] * covariance[1, 1])
    return found | {
        "pattern_sd": float(mean_map(maps_px)[both].std()),
        "pattern_correlation": float(covariance[0, 1] / spread) if spread > 0 else math.nan,
        "pattern_shared_sd": math.sqrt(max(float(covariance[0, 1]), 0.0)),
    }
