"""Which pixels a projected pattern measures beyond the published model: shadows, windows at silhouettes, lost surfaces.

A matcher compares windows, not pixels, and that shows where two surfaces meet:

1. Near surfaces grow. A window beside a silhouette sees both surfaces, and the near one's dots are larger and brighter:
   the pixels around a near surface take its depth, by ``fattening_px`` on average, more here and less there
   (``edge_jitter_px``).
2. Shadows are narrower than the jump of disparity. A projector to the right leaves one left of a near object, focal
   length x baseline x (1/near - 1/far) wide. A pixel in it is measured all the same when at least ``lit_share`` of its
   window is lit: narrow shadows vanish, above all where a silhouette runs along the rows and the shadow is thin across
   them, and wide ones lose a rim.
3. Surfaces are lost: in made-up patches (``dark_patches``), more of them beside silhouettes and holes, where surfaces
   turn away and windows are cut (``patch_edge_growth``, ``patch_hole_growth``); and near the camera, where light
   saturates, in some places before others (``saturated_m``).

Real Kinects against the truth of the same view (``docs/realism.md``): a shadow of 10 to 16 px of jump is 6 px wide and
missing on two silhouettes in five. 640x480 on one core: fattening 2 ms, shadows 1.5, patches 5 to 7, saturation 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import ndtr

from depthforge.frame import BoolImage, DepthImage
from depthforge.kernels import njit
from depthforge.sensors import structured_light_kernels as kernels
from depthforge.sensors.dark_patches import dark_patches
from depthforge.sensors.fields import correlated_normals

if TYPE_CHECKING:
    from depthforge.sensors.structured_light import StructuredLight

__all__ = [
    "PATCHES",
    "LosesSurfaces",
    "PatchEdgeGrowth",
    "PatchHoleGrowth",
    "SaturatedM",
    "SaturatedSpread",
    "disparity_px",
    "fattened",
    "illuminated",
    "lost_surfaces",
    "near_loss",
]

Float32 = npt.NDArray[np.float32]

# Streams of a frame's random numbers; patches take three of them.
PATCHES, _EDGES, _SATURATION = 2, 5, 6
_SILHOUETTE_PX = np.float32(1.5)
_RAGGED_OVER_PX = 5.0
_SATURATED_OVER_PX = 6.0
_EDGE_REACH_PX, _EDGE_FADE_PX = 15, 9
_NEAREST_M, _LEAST_SPREAD = 1e-3, 1e-3
_MOST_SIGMAS = 5.0  # of a field; one in two million values lies beyond
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
_SQUARE = np.ones((3, 3), np.uint8)


class LosesSurfaces(Protocol):
    """A sensor that loses surfaces: what :func:`lost_surfaces` reads of it."""

    patch_share: float
    patch_growth: float
    patch_size_px: float
    patch_edge_growth: float
    patch_hole_growth: float
    saturated_m: float
    saturated_spread: float


PatchEdgeGrowth = Annotated[
    float, Field(ge=0, le=3, description="by how many normal quantiles that share grows beside silhouettes")
]
PatchHoleGrowth = Annotated[float, Field(ge=0, le=3, description="the same beside holes of the clean depth")]
SaturatedM = Annotated[
    float, Field(ge=0, description="depth at which half of what is there is lost to too much light, metres")
]
SaturatedSpread = Annotated[
    float, Field(ge=0, le=1, description="standard deviation of the logarithm of that depth from place to place")
]


def fattened(depth_m: DepthImage, disparity: Float32, words: tuple[int, int], sensor: StructuredLight) -> DepthImage:
    """Return depth (H, W) whose near surfaces have grown over what is behind them; 0 is a hole and stays one.

    ``disparity`` (H, W) is that of ``depth_m`` (:func:`disparity_px`).
    """
    if sensor.fattening_px == 0 and sensor.edge_jitter_px == 0:
        return depth_m
    growth = np.full(depth_m.shape, sensor.fattening_px, np.float32)
    if sensor.edge_jitter_px > 0:
        field = correlated_normals(words, depth_m.shape, _RAGGED_OVER_PX, stream=_EDGES)
        growth += np.float32(sensor.edge_jitter_px) * field
    out = depth_m.copy()
    grown = disparity
    for radius in range(1, round(float(growth.max())) + 1):
        grown = cv2.dilate(grown, _CROSS if radius % 2 else _SQUARE)
        _cover(disparity, grown, growth, np.float32(radius - 0.5), np.float32(sensor.depth_disparity_m_px), out)
    return out


def illuminated(
    depth_m: DepthImage,
    seen: BoolImage,
    words: tuple[int, int],
    sensor: StructuredLight,
    focal_px: float | None = None,
    covered: BoolImage | None = None,
    patches: Float32 | None = None,
    disparity: Float32 | None = None,
) -> BoolImage:
    """Return what of ``seen`` (H, W) is measured as far as light is concerned, (H, W) bool; see the module.

    What near surfaces have ``covered`` (H, W) is in no shadow. Shadows are as wide as in an image of focal length
    ``focal_px``, by default the sensor's. One of at most a pixel does not count. ``patches`` (H, W) is the field of
    patches on surfaces (``dark_patches.surface_field``), without which they lie over the image; ``disparity`` (H, W) is
    that of ``depth_m``, where it is known already.
    """
    lit = seen
    if sensor.projector_side != "none":
        dark = np.empty(seen.shape, np.bool_)
        fb = (focal_px or sensor.focal_length_px) * sensor.baseline_m
        kernels.shadows(np.ascontiguousarray(depth_m), seen, fb, sensor.projector_side == "right", 1.0, dark)
        if sensor.lit_share < 1:
            dark &= _lit_share(dark, sensor.window_px) < sensor.lit_share
        if covered is not None:
            dark &= ~covered
        lit = lit & ~dark
    if disparity is None:
        disparity = disparity_px(depth_m, sensor.depth_disparity_m_px)
    lost = lost_surfaces(depth_m, disparity, words, sensor, patches)
    return lit if lost is None else lit & ~lost


def lost_surfaces(
    depth_m: DepthImage,
    disparity: Float32,
    words: tuple[int, int],
    sensor: LosesSurfaces,
    patches: Float32 | None = None,
) -> BoolImage | None:
    """Return what of ``depth_m`` (H, W), 0 for holes, sends no light back or too much, (H, W) bool; None for nothing.

    A jump of ``disparity`` (H, W) pixels, 0 for holes, is a silhouette. ``patches`` as of ``illuminated``.
    """
    lost = None
    if sensor.patch_share > 0:
        share, growth, size_px = sensor.patch_share, sensor.patch_growth, sensor.patch_size_px
        grows = max(sensor.patch_edge_growth, sensor.patch_hole_growth) > 0
        lift = _beside_edges(disparity, sensor) if grows else None
        lost = dark_patches(depth_m, words, share, growth, size_px, stream=PATCHES, field=patches, lift=lift)
    if sensor.saturated_m > 0:
        saturated = _saturated(depth_m, words, sensor)
        lost = saturated if lost is None else lost | saturated
    return lost


def disparity_px(depth_m: DepthImage, disparity_m_px: float) -> Float32:
    """Return the disparity of depth (H, W), pixels, 0 for holes; ``disparity_m_px`` is focal length x baseline."""
    return np.asarray(np.float32(disparity_m_px) / np.where(depth_m > 0, depth_m, np.float32(np.inf)), np.float32)


def _lit_share(dark: BoolImage, window_px: int) -> Float32:
    return 1 - np.asarray(cv2.blur(dark.astype(np.float32), (window_px, window_px)), np.float32)


def _beside_edges(disparity: Float32, sensor: LosesSurfaces) -> Float32:
    """Return by how many quantiles patches grow, (H, W): all of it within 3 px of an edge, none beyond 12."""
    lowest, highest = cv2.erode(disparity, _SQUARE), cv2.dilate(disparity, _SQUARE)
    most = max(sensor.patch_edge_growth, sensor.patch_hole_growth)
    at_silhouette, at_hole = (
        np.uint8(round(255 * each / most)) for each in (sensor.patch_edge_growth, sensor.patch_hole_growth)
    )
    weight = np.where(highest - lowest > _SILHOUETTE_PX, at_silhouette, np.uint8(0))
    weight = np.where(lowest == 0, np.maximum(weight, at_hole), weight)
    wide = cv2.dilate(weight, np.ones((_EDGE_REACH_PX, _EDGE_REACH_PX), np.uint8))
    faded = np.asarray(cv2.blur(wide, (_EDGE_FADE_PX, _EDGE_FADE_PX)), np.float32)
    return np.asarray(np.float32(most / 255) * faded, np.float32)


def _saturated(depth_m: DepthImage, words: tuple[int, int], sensor: LosesSurfaces) -> BoolImage:
    """Return what is too bright, (H, W): half of what is ``saturated_m`` away, by a lognormal law."""
    farthest_m = np.float32(sensor.saturated_m * np.exp(_MOST_SIGMAS * sensor.saturated_spread))
    is_near: BoolImage = depth_m < farthest_m
    if not (is_near & (depth_m > 0)).any():
        return np.zeros(depth_m.shape, np.bool_)
    field = correlated_normals(words, depth_m.shape, _SATURATED_OVER_PX, stream=_SATURATION)
    limit_m = np.float32(sensor.saturated_m) * np.exp(np.float32(sensor.saturated_spread) * field[is_near])
    is_near[is_near] = depth_m[is_near] <= limit_m
    return is_near


def near_loss(depth_m: DepthImage, saturated_m: float, spread: float) -> Float32 | None:
    """Return the probability (H, W) of ``_saturated`` at depth (H, W), 0 for holes; None without saturation."""
    if saturated_m == 0:
        return None
    lost = np.zeros(depth_m.shape, np.float32)
    is_near = (depth_m > 0) & (depth_m < np.float32(saturated_m * np.exp(_MOST_SIGMAS * max(spread, _LEAST_SPREAD))))
    nearness = np.log(saturated_m / np.maximum(depth_m[is_near], _NEAREST_M))
    lost[is_near] = ndtr(nearness / max(spread, _LEAST_SPREAD))
    return lost


@njit(error_model="numpy")
def _cover(disparity, grown, growth, least, scale, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            here = disparity[y, x]
            if here > 0 and growth[y, x] > least and grown[y, x] - here > _SILHOUETTE_PX:
                out[y, x] = scale / grown[y, x]
