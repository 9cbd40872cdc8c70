"""Structured light, the principle of the Kinect v1: disparity steps, dot-window matching, fill, disparity noise.

Five stages on arrays, in this order: ``resample`` (each pixel looks half a pixel aside, so edges fray), ``quantise``
(disparity in steps of 1/8 px), ``match_dots`` (a projected dot is measured only when the dots of its 9x9 window agree
with the window's mean: where they do not, at edges and on clutter, the sensor is blind), ``fill_from_dots`` (each
pixel takes the nearest measured dot within 3 px, so silhouettes follow the dots) and ``jitter`` (Gaussian noise on
the raw disparity, so depth noise grows with z squared). ``measure`` is all five, ``simulate`` draws their noise.

At 640x480 on one core a frame takes 5 ms, 8 to 9 on a busy machine: random numbers 1.4, resampling 0.7, disparity
0.2, match 1.3, fill 0.4, noise 0.7. In the same run a loop over windows takes 130 to 180 times as long and plain NumPy
12 to 16 (``benchmarks/bench_simulation.py``). The loops are single-threaded and release the GIL: frames are what is
parallel, any number of threads may call at once, and no thread count can change the bytes.

Beyond the published model, and off by default, is what scans of a Kinect v1 asked for (``depthforge fit``): noise that
is correlated over the matching window and added to the disparity before it is rounded (``disparity_*``), pixels that
keep their own disparity in place of the nearest dot's (``interpolate_px``), the projector's shadow by re-projection, on
one side of near objects (``projector_side``), what windows make of silhouettes and which surfaces are lost
(``structured_light_shadows``), a slow error, the device's own and mistaken matches (``residual_errors``, before
rounding as well), the range that the driver reports and the columns that it leaves blank. With all of it on a frame
takes about three times as long (the preset ``kinect_v1``). The alternative, which renders and matches the pattern, is
``matched_structured_light``.

Sources: Handa et al., "A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", ICRA 2014; Barron and
Malik, "Intrinsic scene properties from a single RGB-D image", CVPR 2013 (noise); Bohg et al., "Robot arm pose
estimation through pixel-wise part classification", ICRA 2014 (dot pattern).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from depthforge.frame import BoolImage, Camera, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
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
from depthforge.sensors.dot_grid import DotGrid
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.fields import correlated_normals
from depthforge.sensors.residual_errors import DisparityErrors, ResidualErrors, with_disparity_errors
from depthforge.sensors.structured_light_dots import (
    Steps,
    dot_grid,
    fill_from_dots,
    interpolate,
    match_dots,
    require_shape,
)
from depthforge.sensors.structured_light_shadows import (
    PATCHES,
    PatchEdgeGrowth,
    PatchHoleGrowth,
    SaturatedM,
    SaturatedSpread,
    disparity_px,
    fattened,
    illuminated,
    near_loss,
)

__all__ = [
    "StructuredLight",
    "disturb",
    "dot_grid",
    "fill_from_dots",
    "interpolate",
    "jitter",
    "match_dots",
    "measure",
    "quantise",
    "resample",
    "simulate",
]

Real = TypeVar("Real", np.float32, np.float64)

# The stream of random numbers beside those of the published model, which draws from 0; the rest: shadows.
_NOISE, _RAW = 1, 9


@sensors.register("structured_light")
class StructuredLight(DisparityErrors):
    """Structured light (Kinect v1): frayed edges, disparity steps, dot-window matching, disparity noise.

    The defaults are those of the published Kinect v1 simulation.

    ``published`` adds the artefacts of its published code, for comparison with tables made by it; the default leaves
    them out. (1) Zeros of the input, and beyond its border, blend into their neighbours. (2) 1 to 3 px along the
    border are always blind; ours lets the pattern go on beyond the image. (3) z is rounded to whole centimetres before
    the noise: at 0.5 m a slanted wall is off by 2.9 mm rms where the disparity steps alone make 0.4 mm. (4) Raw
    disparity is half a step too large: depth is 1.5 mm too small at 1 m and 13 mm at 3 m.
    """

    version = 2
    uses = frozenset({"T_world_cam"})
    keeping = MappingProxyType(
        {
            "projector_side": "none",
            "patch_share": 0.0,
            "saturated_m": 0.0,
            "match_threshold_px": 1e6,
            "mass_fraction": 1e-6,
        }
    )
    working_images = 14.0
    device_has_seam = True

    focal_length_px: float = Field(default=480.0, gt=0, description="focal length of the infrared camera, pixels")
    baseline_m: float = Field(default=0.075, gt=0, description="distance from projector to camera, metres")
    steps_per_px: float = Field(default=8.0, gt=0, description="disparity steps of the matcher in one pixel")
    shift_sigma_px: float = Field(
        default=0.5, ge=0, le=8, description="standard deviation of the lateral shift, pixels"
    )
    window_px: int = Field(default=9, ge=3, le=15, description="side of the matching window, pixels, odd")
    match_threshold_px: float = Field(
        default=0.1, gt=0, description="largest weighted deviation of a dot from its window's mean disparity, pixels"
    )
    match_decay_px: float = Field(
        default=1.2, gt=0, description="a dot r pixels from the window's centre has the weight (match_decay_px * r)^-2"
    )
    mass_fraction: float = Field(
        default=1 / 1.2, gt=0, lt=1, description="a window matches when more than this share of its dots does"
    )
    fill_radius_px: float = Field(default=3.0, ge=0, le=7, description="how far a measured dot fills, pixels")
    noise_sigma_steps: float = Field(
        default=1 / 6, ge=0, le=100, description="standard deviation of the raw disparity before rounding, raw steps"
    )
    raw_scale_m: float = Field(
        default=351.3,
        gt=0,
        description="raw disparity in whole steps is raw_scale_m / z; Kinect v1: 8 steps x 585.5 px x 0.075 m",
    )
    disparity_sigma_px: float = Field(
        default=0.0, ge=0, le=4, description="standard deviation of the disparity at 1 m before rounding, pixels"
    )
    disparity_sigma_power: float = Field(
        default=0.0, ge=-3, le=3, description="disparity_sigma_px grows with this power of depth"
    )
    disparity_correlation_px: float = Field(
        default=0.0, ge=0, le=32, description="lag at which that noise's autocorrelation is 1/e, pixels; 0 is white"
    )
    interpolate_px: float = Field(
        default=0.0,
        ge=0,
        le=16,
        description="a pixel takes its own disparity, not that of the nearest dot that differs by at most this, pixels",
    )
    fray_radius_px: float = Field(
        default=3.0, ge=0, le=7, description="how far a dot of another surface fills when interpolate_px > 0, pixels"
    )
    projector_side: Literal["none", "left", "right"] = Field(
        default="none", description="where the projector is, seen from the camera: its shadows fall on the other side"
    )
    lit_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="a shadowed pixel is measured when at least this share of its window is lit; 1 is never",
    )
    fattening_px: float = Field(
        default=0.0, ge=0, le=3, description="how far a near surface grows over what is behind it, pixels, mean"
    )
    edge_jitter_px: float = Field(
        default=0.0, ge=0, le=2, description="standard deviation of that growth along an edge, pixels"
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
    max_depth_m: float | None = Field(default=None, gt=0, description="what is farther is not reported, metres")
    blind_left_px: int = Field(default=0, ge=0, le=64, description="columns without depth at the left border")
    blind_right_px: int = Field(default=0, ge=0, le=64, description="columns without depth at the right border")
    published: bool = Field(default=False, description="add the artefacts of the published code")

    @field_validator("window_px")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("a window has a centre pixel: its side is odd")
        return value

    def near_loss(self, depth_m: DepthImage) -> npt.NDArray[np.float32] | None:
        """Return how likely each pixel (H, W) is to be lost to ``saturated_m``."""
        return near_loss(depth_m, self.saturated_m, self.saturated_spread)

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``: :func:`simulate`."""
        patches = surface_field(frame, words, self, stream=PATCHES)
        return NoisyDepth(*simulate(frame.depth_m, frame.valid, words, self, frame.camera.fx, patches))

    @property
    def depth_disparity_m_px(self) -> float:
        """Depth times disparity: focal length x baseline, metres x pixels."""
        return self.focal_length_px * self.baseline_m

    def disparity_scale(self, camera: Camera) -> float:
        """Return ``depth_disparity_m_px``: a constant of the device, whatever looks at its depth."""
        return self.depth_disparity_m_px

    def working_bytes(self, height: int, width: int) -> int:
        """Return the images of the stages, and the tables of the dot pattern at their largest: while they are made."""
        margin = 2 * self.margin_px
        tables = DotGrid.building_bytes(
            (height + margin, width + margin), window=self.window_px, radius=self.fill_radius_px
        )
        return super().working_bytes(height, width) + tables

    @property
    def margin_px(self) -> int:
        """How far the pattern goes on beyond the image, so that its border measures like its middle."""
        return 0 if self.published else self.window_px // 2 + int(self.fill_radius_px)


def simulate(
    depth_m: DepthImage,
    valid: BoolImage,
    words: tuple[int, int],
    sensor: StructuredLight,
    focal_px: float | None = None,
    patches: npt.NDArray[np.float32] | None = None,
) -> tuple[DepthImage, BoolImage]:
    """Return depth (H, W) float32 metres as the sensor would measure it, 0.0 where not valid, and valid (H, W) bool.

    ``depth_m`` (H, W) float32 is planar z in metres; what is not ``valid``, not positive or not finite is a hole and
    stays one. ``words`` (``seeding.frame_words``) key the random numbers: the same arguments give the same bytes.
    ``focal_px`` is the image's own focal length, which widens its shadows; by default the sensor's.
    ``patches`` (H, W) is the field of patches on surfaces (``dark_patches.surface_field``), without which they lie over
    the image.
    """
    seen = valid & (depth_m > 0) & (depth_m < np.inf)
    clean_m = np.where(seen, depth_m, np.float32(0))
    if sensor.shift_sigma_px == 0:
        draws = np.empty((3, *depth_m.shape), np.float32)  # of which the shifts are not read
        draws[2] = standard_normals(words, depth_m.shape, stream=_RAW)
    else:
        draws = standard_normals(words, (3, *depth_m.shape))
    noise = None
    if sensor.disparity_sigma_px > 0:
        noise = correlated_normals(words, depth_m.shape, sensor.disparity_correlation_px, stream=_NOISE)
    disparity = disparity_px(clean_m, sensor.depth_disparity_m_px)
    grown_m = fattened(clean_m, disparity, words, sensor)
    lit = illuminated(clean_m, seen, words, sensor, focal_px, grown_m != clean_m, patches, disparity)
    lit_m = np.where(lit, grown_m, np.float32(0))
    height, width = depth_m.shape
    errors = sensor.residual_errors((height, width), words)
    noisy_m = measure(lit_m, draws, sensor, dot_grid(height, width, sensor), noise, errors)
    noisy_m *= seen
    if sensor.min_depth_m > 0 or sensor.max_depth_m is not None:
        noisy_m *= (noisy_m >= sensor.min_depth_m) & (noisy_m <= (sensor.max_depth_m or np.inf))
    noisy_m[:, : sensor.blind_left_px] = 0
    noisy_m[:, max(width - sensor.blind_right_px, 0) :] = 0
    return noisy_m, noisy_m > 0


def measure(
    depth_m: npt.NDArray[Real],
    draws: npt.NDArray[Real],
    sensor: StructuredLight,
    grid: DotGrid,
    noise: npt.NDArray[np.float32] | None = None,
    errors: ResidualErrors | None = None,
) -> npt.NDArray[Real]:
    """Return the depth (H, W) that the sensor measures in metres, 0.0 for holes: a pure function of the draws.

    ``depth_m`` (H, W) is finite, 0 for holes. ``draws`` (3, H, W) are N(0, 1), for the shift in x, the shift in y and
    the disparity. ``grid`` is the dot pattern (``dot_grid``). A small hole can be filled from the dots around it.
    ``noise`` (H, W), N(0, 1), is that of ``disparity_sigma_px``: it moves dots, and has no say in whether they
    match; so do residual ``errors`` (H, W).
    """
    # Without a shift each pixel is its own mean; the published code blends borders even so.
    stays = sensor.shift_sigma_px == 0 and not sensor.published
    shifted = depth_m if stays else resample(depth_m, draws[:2], sensor)
    steps = quantise(shifted, sensor)
    dots = match_dots(steps, grid, sensor)
    if noise is not None:
        shifted = disturb(shifted, noise, sensor)
    if errors is not None:
        shifted = with_disparity_errors(shifted, errors, sensor.depth_disparity_m_px).astype(shifted.dtype, copy=False)
    if noise is not None or errors is not None:
        steps = quantise(shifted, sensor)
        dots = np.where(dots > 0, steps, np.int32(0))
    filled = interpolate(dots, steps, grid, sensor) if sensor.interpolate_px > 0 else fill_from_dots(dots, grid, sensor)
    return jitter(filled, draws[2], sensor)


def disturb(depth_m: npt.NDArray[Real], noise: npt.NDArray[np.float32], sensor: StructuredLight) -> npt.NDArray[Real]:
    """Return depth (H, W) whose disparity is off by ``noise`` (H, W) x disparity_sigma_px x (z / 1 m)^power.

    Holes stay 0; so becomes what noise takes to no disparity.
    """
    require_shape("noise", noise, depth_m.shape)
    out = np.empty_like(depth_m)
    # A power in single precision takes half of the time.
    sigma_px, power = np.float32(sensor.disparity_sigma_px), np.float32(sensor.disparity_sigma_power)
    kernels.disturb(depth_m, noise, sensor.depth_disparity_m_px, sigma_px, power, out)
    return out


def resample(depth_m: npt.NDArray[Real], draws: npt.NDArray[Real], sensor: StructuredLight) -> npt.NDArray[Real]:
    """Return depth (H, W) seen ``draws`` (2, H, W: x, y) x shift_sigma_px pixels aside, bilinear in 1/32 px.

    Holes (0) have no weight: a measured pixel is the weighted mean of the measured ones among its four neighbours, 0
    when there is none, and a hole stays one. Positions are clamped to the image. (1/32 px is OpenCV's own step, and
    adds 0.009 px to a shift of 0.5.) Published: zeros blend in, and so does a border of zeros right and below.
    """
    require_shape("draws", draws, (2, *depth_m.shape))
    out = np.empty(depth_m.shape, depth_m.dtype)
    if sensor.published:
        depth_m = np.pad(depth_m, ((0, 1), (0, 1)))
    # What counts as measured is above this: with -1 zeros count too.
    floor = -1.0 if sensor.published else 0.0
    depth_m, draws = np.ascontiguousarray(depth_m), np.ascontiguousarray(draws)
    kernels.resample(depth_m, draws, np.float32(sensor.shift_sigma_px), np.float32(floor), out)
    return out


def quantise(depth_m: npt.NDArray[Real], sensor: StructuredLight) -> Steps:
    """Return disparity in whole steps as int32, 0 for holes: shape (H, W), plus ``margin_px`` on every side.

    Half a step rounds to even. The margin repeats the nearest pixel of the image.
    """
    margin = sensor.margin_px
    height, width = depth_m.shape
    out = np.empty((height + 2 * margin, width + 2 * margin), np.int32)
    kernels.quantise(depth_m, sensor.depth_disparity_m_px, sensor.steps_per_px, margin, out)
    return out


def jitter(steps: Steps, draws: npt.NDArray[Real], sensor: StructuredLight) -> npt.NDArray[Real]:
    """Return depth (H, W) in metres with the noise of the raw disparity, 0.0 for holes.

    ``draws`` (H, W) are N(0, 1). Raw disparity is raw_scale_m / z in whole steps; a draw that takes it to zero or
    below gives a hole. Published: z is first rounded to whole centimetres, and raw disparity is half a step too large.
    """
    require_shape("draws", draws, steps.shape)
    draws = np.ascontiguousarray(draws)
    out = np.empty_like(draws)
    kernels.jitter(
        steps,
        draws,
        sensor.depth_disparity_m_px,
        1.0 / sensor.steps_per_px,
        100.0 * sensor.raw_scale_m,
        sensor.noise_sigma_steps,
        0.5 if sensor.published else 0.0,
        sensor.published,
        out,
    )
    return out
