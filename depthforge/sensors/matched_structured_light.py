"""Structured light by matching: the infrared image is rendered and matched to the projector's own pattern.

What ``structured_light`` draws falls out here: the correlation of noise over the window, near surfaces that grow,
shadows that are narrower than the jump of disparity and vanish where they are thin, holes and outliers where a window
sees little. It costs twice as much.

1. The image. Depth becomes disparity at the frame's own focal length; the albedo (the luma of the frame's colour,
   without colour a random field), the angle to the surface and the square of distance dim the projector's dots, and
   where something nearer hides the projector there are none. Then exposure, noise and the converter's steps
   (``stereo_views``).
2. The reference is the pattern itself, as a camera would see it at infinity without noise, room or shadow; a real one
   is stored by the maker for one distance, which shifts disparity by a constant.
3. Both are brought to local mean 0 and contrast 1, since the reference knows nothing of albedo and distance, and
   matched by ``stereo_matching``: windows of 9x9, a fit of the light for the fraction of a pixel.
4. A match is kept where image and reference correlate over the window: by ``least_correlation``. That, and not a check
   from the other side, is what lets a window that is partly in shadow match.
5. Disparity, with what calibration leaves (``residual_errors``), in steps of 1/8 px, with the white noise of the raw
   value that real frames have; the range and the blank columns.

640x480 on one core: five times what the published model takes. Left out: distortion of the lens, the blur of dots out
of focus, the speckle of laser light.

Sources: Shpunt and Zalevsky, US patent 8,150,142 (a reference image, one per camera, and correlation windows);
Konolige and Mihelich, "Technical description of Kinect calibration", 2011 (9x9 windows, 1/8 px).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from depthforge.frame import Camera, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors import stereo_views as views
from depthforge.sensors import structured_light_kernels as kernels
from depthforge.sensors.dark_patches import (
    PatchGrowth,
    PatchIncidence,
    PatchPersistence,
    PatchShare,
    PatchSizeM,
    PatchSizePx,
    surface_field,
)
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import DisparityErrors
from depthforge.sensors.stereo_matching import Windows, match_views
from depthforge.sensors.structured_light_shadows import (
    PATCHES,
    PatchEdgeGrowth,
    PatchHoleGrowth,
    SaturatedM,
    SaturatedSpread,
    disparity_px,
    lost_surfaces,
    near_loss,
)
from depthforge.sensors.surface import Float32, infrared_albedo, luminance_of, surface_of

__all__ = ["MatchedStructuredLight"]

_ALBEDO, _IMAGE, _RAW = 0, 1, 9  # streams of random numbers; surfaces that are lost take 2 to 6
_ALBEDO_LENGTH_PX = 8.0
_ALBEDO_MEAN, _ALBEDO_SPREAD = 0.45, 0.12
_LEVELS = np.float32(1023)
_MOST_DISPARITY_PX = np.float32(400)
_SHADOW_PX = 0.5
_LEAST_VARIANCE = np.float32(1e-5)
_REACHES_ALL = np.empty((0, 0), np.float32)


@sensors.register("matched_structured_light")
class MatchedStructuredLight(DisparityErrors):
    """Structured light (Kinect v1, PrimeSense), rendered and matched: edges, shadows and noise come of its windows.

    The defaults are a Kinect v1 at the frame's focal length.
    """

    uses = frozenset({"rgb", "T_world_cam"})
    keeping = MappingProxyType({"patch_share": 0.0, "saturated_m": 0.0, "least_correlation": -1.0})
    working_images = 28.0
    device_has_seam = True

    baseline_m: float = Field(default=0.075, gt=0, le=10, description="distance from projector to camera, metres")
    projector_side: Literal["left", "right"] = Field(
        default="right", description="where the projector is, seen from the camera: its shadows fall on the other side"
    )
    ambient: float = Field(default=0.02, ge=0, le=100, description="light of the room that passes the filter")
    projector_power: float = Field(
        default=1.0, gt=0, le=1000, description="mean light of the projector on a white surface at one metre"
    )
    projector_near_m: float = Field(
        default=2.0, gt=0, le=10, description="depth below which the light grows no more: what exposure makes up for"
    )
    dot_spacing_px: float = Field(default=4.0, ge=2, le=64, description="mean distance of neighbouring dots, pixels")
    dot_sigma_px: float = Field(default=0.7, ge=0.5, le=8, description="radius of a dot (standard deviation), pixels")
    darkest_albedo: float = Field(
        default=0.15, ge=0, le=1, description="infrared albedo of what looks black, where white is 1. Needs rgb"
    )
    exposure: float = Field(default=0.3, gt=0, le=1, description="mean of an image, as a share of what saturates it")
    shot_noise: float = Field(
        default=0.03, ge=0, le=1, description="standard deviation of light at full scale, as a share of it"
    )
    read_noise: float = Field(default=0.01, ge=0, le=1, description="the same in the dark")
    window_px: int = Field(default=9, ge=3, le=31, description="side of the matching window, pixels")
    fit_px: int = Field(
        default=5, ge=3, le=31, description="side of the window of the sub-pixel fit, which is laid on twice, pixels"
    )
    surface_px: int = Field(
        default=3, ge=1, le=31, description="side of that over which the surface is smoothed that the fit starts from"
    )
    least_correlation: float = Field(
        default=0.5, ge=-1, lt=1, description="a match is kept where image and pattern correlate by more"
    )
    steps_per_px: float = Field(default=8.0, gt=0, le=65536, description="disparity steps in one pixel")
    noise_sigma_steps: float = Field(
        default=0.0, ge=0, le=100, description="standard deviation of the raw disparity before rounding, steps"
    )
    patch_share: PatchShare = 0.0
    patch_growth: PatchGrowth = 0.0
    patch_size_px: PatchSizePx = 32.0
    patch_size_m: PatchSizeM = None
    patch_persistence: PatchPersistence = 1.0
    patch_incidence: PatchIncidence = 0.0
    patch_edge_growth: PatchEdgeGrowth = 0.0
    patch_hole_growth: PatchHoleGrowth = 0.0
    saturated_m: SaturatedM = 0.0
    saturated_spread: SaturatedSpread = 0.2
    min_depth_m: float = Field(default=0.0, ge=0, description="what is nearer is not reported, metres")
    max_depth_m: float = Field(default=10.0, gt=0, le=1e4, description="what is farther is not reported, metres")
    blind_left_px: int = Field(default=0, ge=0, le=64, description="columns without depth at the left border")
    blind_right_px: int = Field(default=0, ge=0, le=64, description="columns without depth at the right border")

    @field_validator("window_px", "fit_px", "surface_px")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a window has a centre pixel: its side is odd")
        return value

    def disparity_scale(self, camera: Camera) -> float:
        """Return focal length x baseline, metres x pixels of the sensor, for frames of ``camera``."""
        return camera.fx * self.baseline_m

    def near_loss(self, depth_m: DepthImage) -> npt.NDArray[np.float32] | None:
        """Return how likely each pixel (H, W) is to be lost to ``saturated_m``."""
        return near_loss(depth_m, self.saturated_m, self.saturated_spread)

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``; see the module for the model."""
        clean = np.where(frame.valid, frame.depth_m, np.float32(0))
        disparity_m_px = np.float32(self.disparity_scale(frame.camera))
        albedo = self._albedo(frame, words)
        patches = surface_field(frame, words, self, stream=PATCHES)
        lost = lost_surfaces(clean, disparity_px(clean, float(disparity_m_px)), words, self, patches)
        if self.projector_side == "left":  # is one on the right of a mirrored scene
            clean, albedo = np.ascontiguousarray(clean[:, ::-1]), np.ascontiguousarray(albedo[:, ::-1])
        disparity = np.divide(disparity_m_px, clean, out=np.zeros_like(clean), where=clean > 0)
        kept = (disparity > 0) & (disparity < _MOST_DISPARITY_PX)
        np.minimum(disparity, _MOST_DISPARITY_PX, out=disparity)
        views.fill_rows(disparity)
        tile = views.dot_rows(self.dot_spacing_px, self.dot_sigma_px, self.device_seed)
        image = _normalised(self._image(clean, albedo, disparity, tile, disparity_m_px, words), self.window_px)
        reference = _normalised(_reference(tile, disparity), self.window_px)
        windows = Windows(*((side // 2, side // 2) for side in (self.window_px, self.fit_px, self.surface_px)))
        measured = match_views(image, reference, disparity, windows, rivals=False).disparity
        kept &= _correlation(image, reference, measured, self.window_px) > self.least_correlation
        raw = self.with_residual(measured, words, mirrored=self.projector_side == "left") * np.float32(
            self.steps_per_px
        )
        if self.noise_sigma_steps > 0:
            # Rounded before and after: the camera's own steps, and the white noise between them that its frames have.
            raw = np.rint(raw) + np.float32(self.noise_sigma_steps) * standard_normals(words, raw.shape, stream=_RAW)
        steps = np.rint(raw)
        depth_m = disparity_m_px * np.float32(self.steps_per_px) / np.maximum(steps, np.float32(1))
        kept &= (steps > 0) & (depth_m >= self.min_depth_m) & (depth_m <= self.max_depth_m)
        depth_m = np.where(kept, depth_m, np.float32(0))
        if self.projector_side == "left":
            depth_m = np.ascontiguousarray(depth_m[:, ::-1])
        if lost is not None:
            depth_m[lost] = 0
        depth_m[:, : self.blind_left_px] = 0
        depth_m[:, max(depth_m.shape[1] - self.blind_right_px, 0) :] = 0
        return NoisyDepth(depth_m, depth_m > 0)

    def _albedo(self, frame: Frame, words: tuple[int, int]) -> Float32:
        """Return how much light each pixel (H, W) sends back of what falls on it frontally."""
        if frame.rgb is None:
            field = correlated_normals(words, frame.camera.size, _ALBEDO_LENGTH_PX, stream=_ALBEDO)
            albedo = np.clip(_ALBEDO_MEAN + _ALBEDO_SPREAD * field, self.darkest_albedo, 1.0).astype(np.float32)
        else:
            albedo = infrared_albedo(self.darkest_albedo)[luminance_of(frame.rgb)]
        return np.asarray(albedo * surface_of(frame.depth_m, frame.valid, frame.camera).cosine, np.float32)

    def _image(
        self,
        clean: Float32,
        albedo: Float32,
        disparity: Float32,
        tile: Float32,
        disparity_m_px: np.float32,
        words: tuple[int, int],
    ) -> Float32:
        """Return the infrared image (H, W) as it is read out: shares of full scale."""
        hidden = np.empty(clean.shape, np.bool_)
        kernels.shadows(clean, clean > 0, float(disparity_m_px), True, _SHADOW_PX, hidden)
        ambient, power, near_m = (np.float32(x) for x in (self.ambient, self.projector_power, self.projector_near_m))
        light = np.empty_like(disparity)
        at_camera = np.float32(1)  # the pattern lies in the projector's columns: the camera's less the disparity
        lights = (at_camera, ambient, power, near_m, disparity_m_px)
        views.shade(disparity, disparity, False, albedo, tile, _REACHES_ALL, 0, *lights, light)
        light = np.where(hidden, albedo * ambient, light)
        mean = float(light.mean(dtype=np.float64))
        gain = np.float32(self.exposure / mean) if mean > 0 else np.float32(1)
        noise = standard_normals(words, light.shape, stream=_IMAGE)
        views.add_noise(light, gain, np.float32(self.shot_noise), np.float32(self.read_noise), _LEVELS, noise)
        return light


def _reference(tile: Float32, disparity: Float32) -> Float32:
    """Return the pattern (H, pad + W) that ``disparity`` (H, W) is measured against."""
    height, width = disparity.shape
    columns = np.arange(-(int(disparity.max()) + 2), width) * views.PATTERN_SAMPLES
    return np.ascontiguousarray(tile[np.arange(height) % tile.shape[0]][:, columns % tile.shape[1]])


def _normalised(image: Float32, window_px: int) -> Float32:
    """Return an image less its mean over a window, over the spread there."""
    mean, variance = _moments(image, window_px)
    return np.asarray((image - mean) / np.sqrt(variance + _LEAST_VARIANCE), np.float32)


def _moments(image: Float32, window_px: int) -> tuple[Float32, Float32]:
    size = (window_px, window_px)
    mean = np.asarray(cv2.blur(image, size), np.float32)
    return mean, np.maximum(cv2.blur(image * image, size) - mean * mean, np.float32(0))


def _correlation(image: Float32, reference: Float32, disparity: Float32, window_px: int) -> Float32:
    """Return how image and reference correlate over the window of each pixel at its disparity, (H, W) in [-1, 1]."""
    height, width = image.shape
    pad = reference.shape[1] - width
    columns = np.arange(pad, pad + width, dtype=np.float32) - disparity
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    matched = np.asarray(cv2.remap(reference, columns, rows, cv2.INTER_LINEAR), np.float32)
    (mean, variance), (other_mean, other_variance) = _moments(image, window_px), _moments(matched, window_px)
    product = cv2.blur(image * matched, (window_px, window_px)) - mean * other_mean
    return np.asarray(product / np.sqrt(variance * other_variance + _LEAST_VARIANCE), np.float32)
