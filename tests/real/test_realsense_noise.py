"""The simulated noise of active stereo beside a real RealSense frame: how far it reaches from pixel to pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from depthforge.frame import Camera, Frame
from depthforge.sensors.active_stereo import ActiveStereo

_LAGS = (1, 2, 3, 4)
_HALF = 24
_FOCAL_PX, _BASELINE_M = 927.0, 0.05


def residual_correlation(depth_m: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Return the autocorrelation at ``_LAGS`` along rows and columns, and the sigma, px, of disparity about quadrics.

    Of the windows without holes the flattest 40 % count: the others hold edges.
    """
    disparity = np.where(depth_m > 0, _FOCAL_PX * _BASELINE_M / np.maximum(depth_m, 1e-6), 0.0)
    y, x = (grid.ravel() / _HALF for grid in np.mgrid[-_HALF : _HALF + 1, -_HALF : _HALF + 1])
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    remover = np.eye(x.size) - design @ np.linalg.pinv(design)
    size = 2 * _HALF + 1
    windows = [
        disparity[top : top + size, left : left + size]
        for top in range(0, disparity.shape[0] - size, size)
        for left in range(0, disparity.shape[1] - size, size)
    ]
    whole = np.array([window.ravel() for window in windows if (window > 0).all()])
    residual = (whole @ remover).reshape(-1, size, size)
    sigma = residual.std(axis=(1, 2))
    flat = residual[sigma < np.percentile(sigma, 40)] if sigma.std() > 0.1 * sigma.mean() else residual
    variance = (flat**2).mean(axis=(1, 2))
    shares = [
        [((flat[:, :, :-lag] * flat[:, :, lag:]).mean(axis=(1, 2)) / variance) for lag in _LAGS],
        [((flat[:, :-lag] * flat[:, lag:]).mean(axis=(1, 2)) / variance) for lag in _LAGS],
    ]
    return np.median(shares, axis=2), float(np.median(np.sqrt(variance)))


def test_noise_reaches_as_far_as_that_of_a_real_frame(shared_data: Path) -> None:
    stored = cv2.imread(str(shared_data / "real" / "graspnet_realsense" / "depth.png"), cv2.IMREAD_UNCHANGED)
    real, sigma_px = residual_correlation(stored / 1000.0)
    assert real[0] == pytest.approx(real[1], abs=0.1), "the same along rows and columns"

    height, width = 480, 640
    wall = np.full((height, width), 0.46, np.float32)
    camera = Camera(_FOCAL_PX, _FOCAL_PX, width / 2, height / 2, width, height)
    sensor = ActiveStereo(baseline_m=_BASELINE_M, noise_sigma_px=sigma_px, noise_correlation_px=4.0, blank_band=False)
    depth_m = sensor.measure(Frame("a/b/c", wall, wall > 0, camera), (1, 2)).depth_m
    # The sensor of that set reports whole millimetres.
    simulated, simulated_px = residual_correlation(np.rint(depth_m.astype(np.float64) * 1000) / 1000)
    assert simulated_px == pytest.approx(sigma_px, rel=0.15)
    np.testing.assert_allclose(simulated, real, atol=0.1)
