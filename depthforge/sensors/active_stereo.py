"""Active stereo, the principle of the RealSense D400: two imagers match windows, a projector adds texture.

The noise that a matcher makes, without images to match, in disparity space, which for a plane is linear in the image:

1. Occlusion. A point at column u of the depth imager lies at u - f B / z of the second one. A z-buffer of each of its
   rows says which pixels it sees too; the others have no match. Behind an object they form a shadow on one side
   (left, when the second imager is to the right), f B (1 / z_near - 1 / z_far) pixels wide. What falls outside the
   second image has no match either: the blank band along the border.
2. Edges. A window astride an occlusion edge matches its near part: the near surface grows over the far one by
   ``fattening_px``, ragged by ``edge_jitter_px``, and into the shadow. Within half a window some pixels are lost.
3. Confidence. A match needs the surface to face the camera, disparity to change slowly along the row, and, where the
   frame has colour, a signal: horizontal contrast in the window (the information about a shift is the sum of squared
   horizontal gradients), or the projector's light, which falls as albedo x cos / z^2, and no saturation. Each is a
   ratio q of what there is to what is needed; the least counts, and confidence is q / (1 + q). Below
   ``min_confidence``, with a threshold that varies in patches, there is no measurement.
4. Disparity noise of ``noise_sigma_px``, so that sigma_z = z^2 sigma_px / (f B), more on slanted surfaces if asked.
   It is correlated, because neighbouring windows share pixels: a RealSense frame of GraspNet-1Billion has 0.86, 0.69,
   0.54, 0.36 at lags of 1 to 4 px for a focal length of 927 px, which a length of 4 px fits, 2.5 px at 600. Then steps
   of 1 / ``steps_per_px`` and the limits of the search range.
5. Before the steps, what calibration leaves and mistaken matches (``residual_errors``).
6. Depth without colour can lose dark surfaces that are made up (``patch_*``).

At 640x480 on one core a frame takes 4.3 ms, 2.8 without colour: texture 1.4, both noise fields 0.9, second view 0.6,
edges 0.5, surface 0.3. SAPIEN renders and matches both infrared images instead, which needs the scene; here depth on
disk is enough. Reflections, repeating texture, wrong matches and the filters of a driver are left out.

Sources: Keselman et al., "Intel RealSense stereoscopic depth cameras", CVPR Workshops 2017 (principle, z^2 law,
1/32 px); Grunnet-Jepsen et al., "Best-known-methods for tuning Intel RealSense D400 depth cameras", Intel 2018 (RMS
error, sub-pixel 0.05 to 0.1 px); Burt and Julesz, "A disparity gradient limit for binocular fusion", Science 208, 1980;
Matthies, Kanade and Szeliski, IJCV 3(3), 1989 (variance of a match against image gradients).
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from depthforge.frame import BoolImage, Camera, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors import stereo_kernels as kernels
from depthforge.sensors.dark_patches import (
    PatchGrowth,
    PatchIncidence,
    PatchPersistence,
    PatchShare,
    PatchSizeM,
    PatchSizePx,
    dark_patches,
    surface_field,
)
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.highlights import highlights
from depthforge.sensors.residual_errors import DisparityErrors
from depthforge.sensors.surface import Float32, Surface, infrared_albedo, luminance_of, surface_of

__all__ = ["ActiveStereo"]

_NOISE, _BADNESS, _PATCHES = 0, 1, 2  # streams of random numbers; patches take three
_FAR_FROM_EDGES_PX = 1e9
_NEVER = 1e9
_NO_IMAGE = np.empty((0, 0), np.float32)


@sensors.register("active_stereo")
class ActiveStereo(DisparityErrors):
    """Active stereo (RealSense D400): one-sided shadows, fattened edges, correlated disparity noise, disparity steps.

    The defaults are a D435 whose image has the frame's resolution and field of view.
    """

    version = 2
    uses = frozenset({"rgb", "T_world_cam"})
    keeping = MappingProxyType({"patch_share": 0.0, "edge_hole_rate": 0.0, "min_confidence": 1e-3})

    baseline_m: float = Field(default=0.05, gt=0, le=10, description="distance between the two imagers, metres")
    focal_length_px: float | None = Field(
        default=None,
        gt=0,
        le=1e5,
        description="focal length of the images that the sensor matches, pixels: scales noise, steps and search range; "
        "by default the frame's own fx. Shadows and windows are in pixels of the frame either way",
    )
    second_imager: Literal["right", "left"] = Field(
        default="right", description="side of the second imager as the camera looks; shadows fall on the other side"
    )
    blank_band: bool = Field(
        default=True,
        description="whether the second image ends where the frame does, so that a band along its border has no match; "
        "false where frames are a crop of what the sensor sees",
    )
    noise_sigma_px: float = Field(
        default=0.08, ge=0, le=10, description="standard deviation of the disparity before rounding, sensor pixels"
    )
    noise_angle_growth: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="how much more a slanted surface is noisy: sigma times 1 + growth x (1 / cos(incidence) - 1)",
    )
    noise_correlation_px: float = Field(
        default=2.5,
        ge=0,
        le=200,
        description="lag at which the noise's autocorrelation is 1/e, frame pixels; 0 is white",
    )
    steps_per_px: float = Field(default=32.0, gt=0, le=65536, description="disparity steps in one pixel")
    max_disparity_px: float = Field(
        default=126.0, gt=0, le=1e5, description="end of the search, sensor pixels: nothing is nearer than f B over it"
    )
    max_depth_m: float = Field(default=10.0, gt=0, le=1e4, description="farther measurements are discarded, metres")
    window_px: int = Field(default=7, ge=1, le=31, description="side of the matching window, frame pixels, odd")
    edge_jump_px: float = Field(
        default=1.0, gt=0, le=100, description="a change of disparity between neighbours that is an edge, sensor pixels"
    )
    fattening_px: float = Field(
        default=1.0, ge=0, le=8, description="how far a near surface grows over what is behind it, frame pixels, mean"
    )
    edge_jitter_px: float = Field(
        default=1.0, ge=0, le=4, description="standard deviation of that growth along an edge, frame pixels"
    )
    edge_hole_rate: float = Field(
        default=0.15, ge=0, le=1, description="share of pixels within half a window of an edge that are lost"
    )
    max_incidence_deg: float = Field(
        default=80.0, gt=0, lt=90, description="angle between ray and surface normal at which half the pixels are lost"
    )
    max_disparity_gradient: float = Field(
        default=0.6,
        gt=0,
        le=2,
        description="change of disparity along a row, px / px, at which half the pixels are lost",
    )
    min_confidence: float = Field(
        default=0.5, gt=0, lt=1, description="threshold; at 0.5 the limits of the other parameters are as described"
    )
    confidence_softness: float = Field(
        default=0.2,
        ge=0,
        le=2,
        description="standard deviation of the threshold from place to place, relative: how gradually pixels are lost",
    )
    hole_correlation_px: float = Field(
        default=6.0,
        ge=0,
        le=200,
        description="lag at which the threshold's autocorrelation is 1/e: size of hole patches",
    )
    projector_reach_m: float = Field(
        default=8.0,
        ge=0,
        le=100,
        description="distance up to which the pattern alone suffices on a white surface seen frontally; 0 is passive "
        "stereo. Needs rgb",
    )
    darkest_albedo: float = Field(
        default=0.15, ge=0, le=1, description="infrared albedo of what looks black, where white is 1. Needs rgb"
    )
    texture_levels: float = Field(
        default=3.0,
        gt=0,
        le=255,
        description="root mean square horizontal gradient of luma in a window that suffices alone, grey levels per px. "
        "Needs rgb",
    )
    saturation_level: int = Field(
        default=252,
        ge=1,
        le=256,
        description="small areas in darker surroundings whose red, green and blue reach it are highlights: a window "
        "that is more than half of them has no match; 256 is never. Needs rgb",
    )

    patch_share: PatchShare = 0.0
    patch_growth: PatchGrowth = 0.0
    patch_size_px: PatchSizePx = 32.0
    patch_size_m: PatchSizeM = None
    patch_persistence: PatchPersistence = 1.0
    patch_incidence: PatchIncidence = 0.0

    @field_validator("window_px")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a window has a centre pixel: its side is odd")
        return value

    def disparity_scale(self, camera: Camera) -> float:
        """Return focal length x baseline, metres x pixels of the sensor, for frames of ``camera``."""
        return (self.focal_length_px or camera.fx) * self.baseline_m

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``; see the module for the model."""
        surface = surface_of(frame.depth_m, frame.valid, frame.camera)
        size = frame.camera.size
        distance, front = self._edges(surface, frame)
        focal_px = self.focal_length_px or frame.camera.fx
        errors = self.residual_errors(size, words)
        depth_m, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
        kernels.finish(
            surface.inverse,
            self._seen_twice(surface, frame),
            self._quality(surface, frame),
            distance,
            front,
            surface.cosine,
            correlated_normals(words, size, self.noise_correlation_px, stream=_NOISE),
            correlated_normals(words, size, self.hole_correlation_px, stream=_BADNESS),
            _NO_IMAGE if errors is None else errors.offset,
            _NO_IMAGE if errors is None else errors.factor,
            np.float32(self.min_confidence / (1.0 - self.min_confidence)),
            np.float32(self.confidence_softness),
            np.float32(self.fattening_px),
            np.float32(self.edge_jitter_px),
            np.float32(self.window_px / 2),
            np.float32(_upper_quantile(self.edge_hole_rate)),
            np.float32(focal_px * self.baseline_m),
            np.float32(self.noise_sigma_px),
            np.float32(self.noise_angle_growth),
            np.float32(self.steps_per_px),
            np.float32(self.max_disparity_px),
            np.float32(self.max_depth_m),
            depth_m,
            valid,
        )
        if self.patch_share > 0.0:
            share, growth, size_px = self.patch_share, self.patch_growth, self.patch_size_px
            field = surface_field(frame, words, self, stream=_PATCHES)
            dark = dark_patches(frame.depth_m, words, share, growth, size_px, stream=_PATCHES, field=field)
            valid &= ~dark
            depth_m[dark] = 0.0
        return NoisyDepth(depth_m, valid)

    def confidence(self, frame: Frame) -> Float32:
        """Return the confidence (H, W) float32 in [0, 1) of a match at every pixel, before the threshold's noise.

        0 for holes and what the second imager does not see. A pixel is kept where this exceeds ``min_confidence``.
        """
        surface = surface_of(frame.depth_m, frame.valid, frame.camera)
        quality = self._quality(surface, frame)
        confidence: Float32 = np.where(self._seen_twice(surface, frame), quality / (1 + quality), np.float32(0))
        return confidence

    def _seen_twice(self, surface: Surface, frame: Frame) -> BoolImage:
        out = np.empty(frame.camera.size, np.bool_)
        side = 1.0 if self.second_imager == "right" else -1.0
        disparity_m_px = np.float32(frame.camera.fx * self.baseline_m)
        kernels.visible(surface.inverse, disparity_m_px, np.float32(side), not self.blank_band, out)
        return out

    def _edges(self, surface: Surface, frame: Frame) -> tuple[Float32, Float32]:
        distance = np.full(frame.camera.size, _FAR_FROM_EDGES_PX, np.float32)
        front = np.zeros(frame.camera.size, np.float32)
        jump = self.edge_jump_px / self.disparity_scale(frame.camera)
        grown_px = self.fattening_px + 3.0 * self.edge_jitter_px + 0.5
        offsets, lengths = _disc(max(grown_px, (self.window_px + 1) / 2))
        kernels.edges(surface.inverse, np.float32(jump), offsets, lengths, distance, front)
        return distance, front

    def _quality(self, surface: Surface, frame: Frame) -> Float32:
        """Return (H, W), what a match has over what it needs; what lacks most counts."""
        out = np.empty(frame.camera.size, np.float32)
        least_cosine = np.float32(np.cos(np.deg2rad(self.max_incidence_deg)))
        steepest = np.float32(self.max_disparity_gradient / (frame.camera.fx * self.baseline_m))
        kernels.quality(surface.cosine, surface.slope, least_cosine, steepest, out)
        if frame.rgb is not None:
            bright = highlights(frame.rgb, self.saturation_level, frame.camera.fx)
            kernels.texture(
                luminance_of(frame.rgb),
                np.zeros(frame.camera.size, np.bool_) if bright is None else bright,
                surface.inverse,
                surface.cosine,
                self.window_px // 2,
                np.float32(self.projector_reach_m),
                np.float32(self.texture_levels),
                infrared_albedo(self.darkest_albedo),
                out,
            )
        return out


def _upper_quantile(share: float) -> float:
    """Return what a standard normal exceeds with this probability."""
    return NormalDist().inv_cdf(1.0 - share) if 0.0 < share < 1.0 else _NEVER * (1.0 - 2.0 * share)


@lru_cache(maxsize=8)
def _disc(radius_px: float) -> tuple[npt.NDArray[np.int64], Float32]:
    """Return the offsets (K, 2: rows, columns) within the radius and their lengths (K,), pixels."""
    reach = int(radius_px)
    offsets = np.array([(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)])
    lengths = np.hypot(offsets[:, 0], offsets[:, 1]).astype(np.float32)
    inside = lengths <= radius_px
    return np.ascontiguousarray(offsets[inside]), lengths[inside]
