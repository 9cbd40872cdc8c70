"""Figures of one depth image against its truth: RMSE, MAE, SSIM, local RMSE and normals that depth implies.

All are over pixels with truth alone. SSIM here weighs its windows by where truth is (moments over the pixels that
have it), since truth that was fused from scans has gaps; without gaps it is the usual one, and where the window leaves
the image it is taken over the part inside. A library's SSIM (torchmetrics) knows no mask, and would count gaps as
perfect or as wrong.

Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", TIP 2004.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["away_from_edges", "implied_normals", "local_rmse_m", "psnr_db", "psnr_ln", "ssim"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_WINDOW_PX: Final = 11
_SIGMA_PX: Final = 1.5
_K1, _K2 = 0.01, 0.03
_LOCAL_PX: Final = 31
_LOCAL_SHARE: Final = 0.8
_LOCAL_CLIP_M: Final = 0.1
_JUMP: Final = 0.03
_AWAY_PX: Final = 4
# A perfect image has no logarithm: the error that it is told to have, in metres.
_LEAST_M: Final = 1e-6


def ssim(predicted_m: Float32, truth_m: Float32, known: Bool, data_range_m: float) -> float:
    """Return the mean structural similarity over ``known`` pixels: 11x11 Gaussian windows, sigma 1.5 px.

    ``data_range_m`` is L of the formula, and has to be said with the number. NaN where nothing is known.
    """
    if not known.any():
        return math.nan
    weight = _smooth(known.astype(np.float64))
    weight = np.maximum(weight, 1e-12)
    first, second = (np.where(known, image, 0).astype(np.float64) for image in (predicted_m, truth_m))
    mean_1, mean_2 = _smooth(first) / weight, _smooth(second) / weight
    var_1 = _smooth(first * first) / weight - mean_1**2
    var_2 = _smooth(second * second) / weight - mean_2**2
    both = _smooth(first * second) / weight - mean_1 * mean_2
    c1, c2 = (_K1 * data_range_m) ** 2, (_K2 * data_range_m) ** 2
    similarity = (2 * mean_1 * mean_2 + c1) * (2 * both + c2)
    similarity /= (mean_1**2 + mean_2**2 + c1) * (var_1 + var_2 + c2)
    return float(similarity[known].mean())


def _smooth(image: Float64) -> Float64:
    smoothed: Float64 = cv2.GaussianBlur(image, (_WINDOW_PX, _WINDOW_PX), _SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
    return smoothed


def psnr_db(rmse_m: float, data_range_m: float) -> float:
    """Return the peak signal-to-noise ratio in decibel, for a peak of ``data_range_m``."""
    return 20 * math.log10(data_range_m / max(rmse_m, _LEAST_M))


def psnr_ln(rmse_m: float) -> float:
    """Return 20 ln(1 m / RMSE): what DCL's tables call PSNR, a natural logarithm with a peak of 1."""
    return 20 * math.log(1 / max(rmse_m, _LEAST_M))


def away_from_edges(truth_m: Float32, known: Bool) -> Bool:
    """Return the pixels that lie over 4 px from every step of the truth by 3 % and from every gap in it, (H, W)."""
    depth_m = np.where(known, truth_m, 0)
    edge = ~known
    for axis in (0, 1):
        here = np.moveaxis(depth_m, axis, 0)
        jump = np.abs(np.diff(here, axis=0)) > _JUMP * np.maximum(here[1:], 0.3)
        np.moveaxis(edge, axis, 0)[1:] |= jump
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    near: npt.NDArray[np.uint8] = cv2.dilate(edge.astype(np.uint8), cross, iterations=_AWAY_PX)
    away: Bool = near == 0
    return away


def local_rmse_m(predicted_m: Float32, truth_m: Float32, used: Bool) -> float:
    """Return the RMSE over ``used`` pixels of the error less its mean over 31x31 pixels, in metres.

    What a pose or a fusion is off by, it is off by over a neighbourhood: this is what it leaves of the network's own
    error. Errors are cut at 0.1 m. NaN where no window is used by 80 % or more.
    """
    error_m = np.where(used, predicted_m - truth_m, 0).astype(np.float32)
    share = _box(used.astype(np.float32))
    here = used & (share > _LOCAL_SHARE)
    if not here.any():
        return math.nan
    rest_m = (error_m - _box(error_m) / np.maximum(share, 1e-3))[here]
    return float(np.sqrt(np.mean(np.clip(rest_m, -_LOCAL_CLIP_M, _LOCAL_CLIP_M).astype(np.float64) ** 2)))


def _box(image: Float32) -> Float32:
    mean: Float32 = cv2.blur(image, (_LOCAL_PX, _LOCAL_PX), borderType=cv2.BORDER_REFLECT)
    return mean


def implied_normals(depth_m: Float32, K: Float64, reach_px: int) -> Float32:
    """Return the unit normals that depth implies by differences over ``reach_px`` to each side, (H, W, 3) float32.

    Of inverse depth, which a plane has linear in the image: exact for a plane, whatever the reach. Axes of the camera
    (OpenCV), towards the camera. The border of ``reach_px`` and pixels at depth 0 are meaningless.
    """
    inverse = 1 / np.maximum(depth_m.astype(np.float32), np.float32(0.1))
    height, width = inverse.shape
    slope_x, slope_y = np.zeros_like(inverse), np.zeros_like(inverse)
    k = reach_px
    slope_x[:, k:-k] = (inverse[:, 2 * k :] - inverse[:, : -2 * k]) * np.float32(K[0, 0] / (2 * k))
    slope_y[k:-k] = (inverse[2 * k :] - inverse[: -2 * k]) * np.float32(K[1, 1] / (2 * k))
    u = ((np.arange(width) - K[0, 2]) / K[0, 0]).astype(np.float32)
    v = ((np.arange(height) - K[1, 2]) / K[1, 1]).astype(np.float32)
    normals = -np.stack([slope_x, slope_y, inverse - slope_x * u - slope_y * v[:, None]], axis=-1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return normals
