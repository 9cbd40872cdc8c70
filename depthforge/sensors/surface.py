"""What a sensor wants to know of the surface before it: inverse depth, its slopes, the angle of incidence, brightness.

A plane is linear in inverse depth: 1/z = (n . r) / k for the ray r of a pixel, so first differences give its normal
exactly, and disparity is inverse depth times a constant. Of the two differences on either side of a pixel the smaller
one counts (minmod): at an occlusion edge a pixel then has the slope of its own surface. 640x480 on one core: inverse
depth, slopes and incidence 0.3 ms together, luminance 0.3 ms. The alternative, normals by cross products, takes 4 ms
and has none at edges and on borders, where sensors are most interesting.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.geometry import ray_cosine
from depthforge.kernels import njit

__all__ = ["Float32", "Surface", "infrared_albedo", "luminance_of", "surface_of"]

Float32 = npt.NDArray[np.float32]

_NEAREST_M = np.float32(1e-6)  # nearer is no depth: its square would overflow
_NONE = np.float32(3e38)
_ZERO, _ONE = np.float32(0), np.float32(1)

_compiled = njit(error_model="numpy")


class Surface(NamedTuple):
    """Per pixel, float32: ``inverse`` 1/z in 1/metres, 0 for holes, with a border of zeros (H + 2, W + 2);
    ``cosine`` (H, W) of the angle between ray and surface normal, 1 where unknown; ``slope`` (H, W), d(1/z)/du in
    1/(metres x pixels), the smaller of both sides."""

    inverse: Float32
    cosine: Float32
    slope: Float32


def surface_of(depth_m: DepthImage, valid: BoolImage, camera: Camera) -> Surface:
    """Return the surface that planar z (H, W) in metres shows; what is not valid, positive and finite is a hole."""
    height, width = depth_m.shape
    inverse = np.zeros((height + 2, width + 2), np.float32)
    # Views are copied: every layout would be compiled anew, for seconds.
    _invert(np.ascontiguousarray(depth_m), np.ascontiguousarray(valid), inverse)
    cosine, slope = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    x_px = (np.arange(width) - camera.cx).astype(np.float32)
    y_px = (np.arange(height) - camera.cy).astype(np.float32)
    _incidence(inverse, x_px, y_px, np.float32(camera.fx), np.float32(camera.fy), ray_cosine(camera), cosine, slope)
    return Surface(inverse, cosine, slope)


def luminance_of(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the luma (H, W) uint8 of sRGB (H, W, 3) uint8: Rec. 601 weights in 1/256."""
    out = np.empty(rgb.shape[:2], np.uint8)
    _luminance(np.ascontiguousarray(rgb), out)
    return out


@lru_cache(maxsize=8)
def infrared_albedo(darkest: float) -> Float32:
    """Return (256,) float32 in [darkest, 1]: a guess of the albedo in the near infrared for each luma, 1 for white.

    The luma's linear value, lifted to ``darkest``: most dyes and woods that look dark reflect there. Colour is lit by
    the scene's own light, so a shadow passes for a dark surface.
    """
    return (darkest + (1.0 - darkest) * (np.arange(256) / 255.0) ** 2.2).astype(np.float32)


@_compiled
def _invert(depth, valid, inverse):  # type: ignore[no-untyped-def]
    height, width = depth.shape
    for y in range(height):
        row = inverse[y + 1, 1 : width + 1]
        for x in range(width):
            z = depth[y, x]
            seen = valid[y, x] & (z > _NEAREST_M) & (z < np.inf)
            row[x] = _ONE / (z if seen else np.float32(np.inf))


@_compiled
def _smaller_difference(before, here, after, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        back = here[x] - before[x] if before[x] > _ZERO else _NONE
        ahead = after[x] - here[x] if after[x] > _ZERO else _NONE
        smaller = back if abs(back) <= abs(ahead) else ahead
        out[x] = smaller if abs(smaller) < _NONE else _ZERO


@_compiled
def _cosines(here, across, down, x_px, y_px, fx, fy, ray, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        nx, ny = across[x] * fx, down[x] * fy
        nz = here[x] - across[x] * x_px[x] - down[x] * y_px
        norm = np.sqrt(nx * nx + ny * ny + nz * nz)
        cosine = here[x] * ray[x] / (norm if norm > _ZERO else _ONE)
        cosine = cosine if cosine < _ONE else _ONE
        out[x] = cosine if norm > _ZERO else _ONE


@_compiled
def _incidence(inverse, x_px, y_px, fx, fy, ray, cosine, slope):  # type: ignore[no-untyped-def]
    height, width = cosine.shape
    down = np.empty(width, np.float32)
    for y in range(height):
        here = inverse[y + 1, 1 : width + 1]
        _smaller_difference(inverse[y + 1, :width], here, inverse[y + 1, 2:], slope[y])
        _smaller_difference(inverse[y, 1 : width + 1], here, inverse[y + 2, 1 : width + 1], down)
        _cosines(here, slope[y], down, x_px, y_px[y], fx, fy, ray[y], cosine[y])


@_compiled
def _luminance(rgb, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            # The weights add up to 256.
            mixed = 77 * np.int32(rgb[y, x, 0]) + 150 * np.int32(rgb[y, x, 1]) + 29 * np.int32(rgb[y, x, 2])
            out[y, x] = np.uint8(mixed >> 8)
