"""Depth images with known noise: slanted walls, white and correlated noise, disparity steps."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, DepthImage
from depthforge.realism.views import DepthView

CAMERA = Camera(fx=500.0, fy=480.0, cx=159.5, cy=119.5, width=320, height=240)


def wall(normal: tuple[float, float, float] = (0.3, -0.2, -1.0), distance_m: float = 2.0) -> DepthImage:
    """Depth (240, 320) of the plane through (0, 0, distance_m)."""
    x = (np.arange(CAMERA.width) - CAMERA.cx) / CAMERA.fx
    y = (np.arange(CAMERA.height) - CAMERA.cy) / CAMERA.fy
    along_ray = normal[0] * x + normal[1] * y[:, None] + normal[2]
    return (normal[2] * distance_m / along_ray).astype(np.float32)


def white(seed: int, sigma: float = 1.0) -> npt.NDArray[np.float64]:
    """White noise (240, 320)."""
    return np.random.default_rng(seed).normal(0, sigma, CAMERA.size)


def correlated(seed: int, blur_px: float) -> npt.NDArray[np.float64]:
    """Noise (240, 320) of unit variance whose autocorrelation is exp(-d^2 / (4 blur_px^2)): 1/e at 2 blur_px."""
    noise = cv2.GaussianBlur(white(seed), (0, 0), blur_px)
    return noise / noise.std()


def view(depth_m: npt.NDArray[np.floating], valid: npt.NDArray[np.bool_] | None = None) -> DepthView:
    """The depth as a view; all of it valid unless said otherwise."""
    valid = np.ones(depth_m.shape, bool) if valid is None else valid
    depth = np.where(valid, depth_m, 0).astype(np.float32)
    return DepthView(depth, valid, CAMERA)
