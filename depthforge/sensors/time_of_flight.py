"""Time of flight, the principle of the Azure Kinect and the Kinect v2: the phase of returning light, pixel by pixel.

The error of a distance along the ray, computed from geometry without simulating phases:

1. Amplitude. What returns falls as albedo x cos(incidence) / r^2, relative to a reference surface seen frontally from
   1 m. With colour, albedo is a guess from the luma (``_surface.infrared_albedo``); without, all is reference surface.
2. Noise. sigma^2 = base^2 + (range_noise / amplitude)^2: shot noise is inversely proportional to amplitude, so it grows
   as r^2 / (albedo cos). White by default: pixels are measured one by one.
3. Flying pixels. A pixel whose footprint straddles an occlusion edge sees both surfaces and reports the mean of their
   distances, weighted by amplitude and share (the phasor sum to first order): a point in the air between them. The
   edge lies anywhere in the pixel, so the share is uniform. The sensor filters the most mixed ones out.
4. Multipath. Concave corners read too far, for light comes by way of other surfaces. One Lambertian bounce is summed
   over all pairs of a grid of 32 columns, with point-to-disc form factors, each adding the sine of its detour's phase;
   detours beyond a quarter of the modulation's wavelength cancel. Between grid points the bias is interpolated, from
   those at a pixel's own distance. It is never negative and 0 on a plane. Approximate: occlusion between two points is
   neglected, as is all that lies beyond the image, and a corner is blurred over a 32nd of its width.
5. Systematic error ("wiggling", odd harmonics of the modulation) as a sine of the distance; the device's own from place
   to place, slow errors of a frame and gross ones (``residual_errors``, of the distance). Phase wraps.
6. Drop-out where amplitude, with flicker, is too low: dark, far or grazing; outside the range; outside the light cone.
   Depth without colour can lose dark surfaces that are made up (``patch_*``).

At 640x480 on one core a frame takes 4.6 ms, 4.1 without colour: random numbers 1.9, multipath 0.7, amplitudes 0.5.
Simulating the correlation images (Keller and Kolb 2009) yields 3 to 5 from first principles, but needs several renders
a frame, with materials.

Sources: Lange and Seitz, "Solid-state time-of-flight range camera", IEEE J. Quantum Electronics 37(3), 2001 (noise);
Foix, Alenya and Torras, "Lock-in time-of-flight cameras: a survey", IEEE Sensors J. 11(9), 2011 (errors 3 to 5); Fuchs,
"Multipath interference compensation in time-of-flight camera images", ICPR 2010 (one bounce, Lambertian); Fankhauser
et al., "Kinect v2 for mobile robot navigation: evaluation and modeling", ICAR 2015; Tolgyessy et al., "Evaluation of
the Azure Kinect and its comparison to Kinect V1 and Kinect V2", Sensors 21(2), 2021.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from depthforge.frame import BoolImage, Camera, Frame, NoisyDepth
from depthforge.geometry import pixel_rays, ray_cosine
from depthforge.registry import sensors
from depthforge.sensors import tof_kernels as kernels
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
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import DepthErrors
from depthforge.sensors.surface import Float32, Surface, infrared_albedo, luminance_of, surface_of

__all__ = ["TimeOfFlight"]

_NOISE, _FLICKER, _EDGE, _PATCHES = 0, 1, 2, 3  # streams of random numbers; patches take three
_GRID_COLUMNS = 32
_NORMAL_STEP_PX = 3
_WIGGLE_ENTRIES = 4096
_NEVER_WRAPS_M = 1e9
_EDGE_CORRELATION_PX = 3.0  # along an edge, its place within the pixels changes slowly
_LIGHT_M_S = 299_792_458.0
_NO_IMAGE = np.empty((0, 0), np.float32)
_SLANT = 2.0  # a surface at 63 degrees is still one


@sensors.register("time_of_flight")
class TimeOfFlight(DepthErrors):
    """Time of flight (Azure Kinect, Kinect v2): noise with r^2 / cos, flying pixels, multipath bias, drop-out.

    The defaults are an Azure Kinect in its narrow field of view, unbinned, whose light covers the whole frame.
    """

    uses = frozenset({"rgb", "T_world_cam"})
    keeping = MappingProxyType({"patch_share": 0.0, "edge_dropout": 0.0, "min_amplitude": 0.0})

    base_noise_m: float = Field(
        default=0.0006, ge=0, le=1, description="standard deviation of distance however bright the surface, metres"
    )
    range_noise_m: float = Field(
        default=0.00015,
        ge=0,
        le=1,
        description="standard deviation of distance that the reference surface adds, seen frontally from 1 m, metres; "
        "grows as r^2 / (albedo cos)",
    )
    noise_correlation_px: float = Field(
        default=0.0, ge=0, le=200, description="lag at which the noise's autocorrelation is 1/e, pixels; 0 is white"
    )
    reference_albedo: float = Field(
        default=0.5, gt=0, le=1, description="infrared albedo of the reference surface, where white is 1. Needs rgb"
    )
    darkest_albedo: float = Field(
        default=0.15, gt=0, le=1, description="infrared albedo of what looks black, where white is 1. Needs rgb"
    )
    footprint_px: float = Field(
        default=1.6,
        ge=0,
        le=2,
        description="width of what a pixel sees, lens blur included: of the pixels beside an edge half of it are mixed",
    )
    edge_jump_m: float = Field(
        default=0.05,
        gt=0,
        le=100,
        description="a change of distance between neighbours, beyond that of a slope, that is an edge, metres",
    )
    edge_dropout: float = Field(
        default=0.7,
        ge=0,
        le=1,
        description="share of the mixed pixels that the sensor filters out, the most mixed first",
    )
    modulation_mhz: float = Field(
        default=200.0,
        gt=0,
        le=1e4,
        description="modulation of the light, megahertz: multipath from detours beyond a quarter of its wavelength "
        "cancels, and the systematic error repeats with an eighth of it",
    )
    multipath_albedo: float = Field(
        default=0.3, ge=0, le=1, description="infrared albedo of what light bounces off on its way; 0 is no multipath"
    )
    wiggling_m: float = Field(default=0.0, ge=0, le=1, description="amplitude of the systematic error, metres")
    min_amplitude: float = Field(
        default=0.02, ge=0, le=1e6, description="amplitude, 1 for the reference surface at 1 m, below which nothing is"
    )
    amplitude_softness: float = Field(
        default=0.1, ge=0, le=2, description="standard deviation of the amplitude from pixel to pixel, relative"
    )
    unambiguous_range_m: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="distance at which the phase repeats: farther points come back nearer by multiples of it; "
        "by default it never does",
    )
    min_depth_m: float = Field(default=0.5, ge=0, le=1e4, description="nearer measurements are discarded, metres")
    max_depth_m: float = Field(default=3.86, gt=0, le=1e4, description="farther measurements are discarded, metres")
    light_cone: Literal["full", "hexagon", "circle"] = Field(
        default="full",
        description="what of the image is lit; a hexagon has corners at the middle of its left and right",
    )
    light_cone_deg: tuple[float, float] = Field(
        default=(75.0, 65.0), description="full angles of the light cone, horizontal and vertical, degrees in (0, 180)"
    )

    patch_share: PatchShare = 0.0
    patch_growth: PatchGrowth = 0.0
    patch_size_px: PatchSizePx = 32.0
    patch_size_m: PatchSizeM = None
    patch_persistence: PatchPersistence = 1.0
    patch_incidence: PatchIncidence = 0.0

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> TimeOfFlight:
        if self.max_depth_m <= self.min_depth_m:
            raise ValueError("max_depth_m must be above min_depth_m")
        if not all(0 < angle < 180 for angle in self.light_cone_deg):
            raise ValueError("light_cone_deg are angles between 0 and 180 degrees")
        return self

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``; see the module for the model."""
        surface, size = surface_of(frame.depth_m, frame.valid, frame.camera), frame.camera.size
        ray = ray_cosine(frame.camera)
        distance, amplitude = self._light(surface, ray, frame)
        stride = -(-frame.camera.width // _GRID_COLUMNS)
        depth_m, valid = np.empty(size, np.float32), np.empty(size, np.bool_)
        errors = self.residual_errors(size, words)
        kernels.measure(
            ray,
            lit_pixels(frame.camera, self.light_cone, self.light_cone_deg),
            distance,
            amplitude,
            correlated_normals(words, size, _EDGE_CORRELATION_PX, stream=_EDGE),
            correlated_normals(words, size, self.noise_correlation_px, stream=_NOISE),
            standard_normals(words, size, stream=_FLICKER),
            self._multipath(surface, stride, frame.camera),
            stride,
            np.float32(_SLANT * stride / frame.camera.fx),
            np.float32(self.footprint_px),
            np.float32(self.edge_jump_m),
            np.float32(self.edge_dropout),
            np.float32(self.base_noise_m),
            np.float32(self.range_noise_m),
            np.float32(self.min_amplitude),
            np.float32(self.amplitude_softness),
            _sine(self.wiggling_m),
            _NO_IMAGE if errors is None else errors.offset,
            _NO_IMAGE if errors is None else np.float32(1) / errors.factor,
            np.float32(8.0 / self.wavelength_m),
            np.float32(self.unambiguous_range_m or _NEVER_WRAPS_M),
            np.float32(self.min_depth_m),
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

    @property
    def wavelength_m(self) -> float:
        """Wavelength of the modulation, metres."""
        return _LIGHT_M_S / (1e6 * self.modulation_mhz)

    def _light(self, surface: Surface, ray: Float32, frame: Frame) -> tuple[Float32, Float32]:
        """Return distance in metres and amplitude, both (H + 2, W + 2) with a border of zeros."""
        distance, amplitude = np.zeros_like(surface.inverse), np.zeros_like(surface.inverse)
        no_colour = np.empty((0, 0), np.uint8)
        luma = luminance_of(frame.rgb) if frame.rgb is not None else no_colour
        relative_albedo = infrared_albedo(self.darkest_albedo) / np.float32(self.reference_albedo)
        kernels.amplitudes(surface.inverse, surface.cosine, ray, luma, relative_albedo, distance, amplitude)
        return distance, amplitude

    def _multipath(self, surface: Surface, stride: int, camera: Camera) -> Float32:
        """Return by how much a grid of pixels appears too far, for light that came a longer way: ``node_rows``."""
        height, width = camera.size
        if self.multipath_albedo == 0.0:
            return np.empty((0, 5, width), np.float32)
        rows, columns = -(-height // stride), -(-width // stride)
        nodes = np.empty((10, rows, columns), np.float32)
        optics = (camera.fx, camera.fy, camera.cx, camera.cy)
        kernels.scatter_nodes(surface.inverse, optics, stride, min(_NORMAL_STEP_PX, stride), nodes)
        bias = np.empty(rows * columns, np.float32)
        phase_per_m = np.float32(4.0 * np.pi / self.wavelength_m)
        kernels.gather_light(nodes.reshape(10, -1), np.float32(self.multipath_albedo), phase_per_m, bias)
        drawn_out: Float32 = kernels.node_rows(bias.reshape(rows, columns), nodes[6], stride, width)
        return drawn_out


@lru_cache(maxsize=8)
def lit_pixels(camera: Camera, light_cone: str, light_cone_deg: tuple[float, float]) -> BoolImage:
    """Return (H, W) bool, True where the sensor's own light falls; read-only."""
    x, y = (np.abs(ray) for ray in pixel_rays(camera))
    half_x, half_y = np.tan(np.deg2rad(light_cone_deg) / 2.0)
    if light_cone == "hexagon":
        lit = (y <= half_y)[:, None] & (x[None, :] / half_x + y[:, None] / (2.0 * half_y) <= 1.0)
    elif light_cone == "circle":
        lit = (x[None, :] / half_x) ** 2 + (y[:, None] / half_y) ** 2 <= 1.0
    else:
        lit = np.ones(camera.size, np.bool_)
    lit.flags.writeable = False
    return np.asarray(lit, np.bool_)


@lru_cache(maxsize=8)
def _sine(amplitude_m: float) -> Float32:
    """Return one period of the systematic error, metres; empty when there is none."""
    turn = (np.arange(_WIGGLE_ENTRIES if amplitude_m > 0 else 0) + 0.5) / _WIGGLE_ENTRIES
    return (amplitude_m * np.sin(2.0 * np.pi * turn)).astype(np.float32)
