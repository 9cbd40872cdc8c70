"""Normals of locally averaged depth: how rough surfaces look, and how far noise has turned them.

A normal is that of the plane through a 7x7 window (see ``windows``). On 1 % noise a cross product of differences is
off by 71 degrees (median) and says nothing; a 7x7 plane by 18. Roughness is the angle between the normals of windows
side by side: it needs no truth, but corners and curved things have it too, so compare it only between sets that show
the same kind of scene. Distortion is the angle to the normal of the same window of the clean depth, the geometry
that noise takes from pixels that stay valid. 640x480 on one core: 7 ms, twice that with clean depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.realism.windows import fit_windows

__all__ = ["NormalStatistics", "measure_normals", "window_normals"]

Float64 = npt.NDArray[np.float64]

_WINDOW: Final = 7


@dataclass(frozen=True, slots=True)
class NormalStatistics:
    """Angles of one image, degrees. ``roughness_deg`` (N,): between windows side by side, horizontally and
    vertically; ``distortion_deg`` (M,): to the clean depth's normal, None when there is no clean depth.
    """

    roughness_deg: Float64
    distortion_deg: Float64 | None


def measure_normals(
    depth_m: DepthImage, valid: BoolImage, camera: Camera, clean: tuple[DepthImage, BoolImage] | None = None
) -> NormalStatistics:
    """Measure the normals of one image (H, W); ``clean`` is its depth and validity without noise, if known."""
    normals = window_normals(depth_m, valid, camera)
    sideways = _angles_deg(normals[:, :-1], normals[:, 1:])
    downwards = _angles_deg(normals[:-1], normals[1:])
    distortion = None if clean is None else _angles_deg(normals, window_normals(*clean, camera))
    return NormalStatistics(np.concatenate([sideways, downwards]), distortion)


def window_normals(depth_m: DepthImage, valid: BoolImage, camera: Camera) -> Float64:
    """Return the unit normal of every 7x7 window, (H // 7, W // 7, 3) towards the camera; NaN where it has none.

    With 1/z = a u + b v + c the normal is along (fx a, fy b, value of the plane at the principal point).
    """
    windows = fit_windows(depth_m, valid, _WINDOW)
    row, column = np.nonzero(windows.usable)
    centre = (_WINDOW - 1) / 2
    right, down, value = windows.plane.T
    at_principal_point = (
        value + right * (camera.cx - column * _WINDOW - centre) + down * (camera.cy - row * _WINDOW - centre)
    )
    towards = -np.stack([camera.fx * right, camera.fy * down, at_principal_point], axis=1)
    normals = np.full((*windows.usable.shape, 3), np.nan)
    normals[row, column] = towards / np.linalg.norm(towards, axis=1, keepdims=True)
    return normals


def _angles_deg(first: Float64, second: Float64) -> Float64:
    """Return the angles between unit vectors (..., 3), flat, those of NaN left out."""
    # The chord stays exact for small angles, where the arc cosine of a float64 is not.
    chord = np.linalg.norm(first - second, axis=-1)
    angles: Float64 = np.degrees(2 * np.arcsin(np.minimum(chord[~np.isnan(chord)] / 2, 1.0)))
    return angles
