"""Active stereo by matching: the two infrared images are rendered from depth and colour and matched, as a camera does.

What ``active_stereo`` draws falls out here: relief like worms on walls, silhouettes that bleed and scallop, thin things
that melt into what is behind them, shadows on one side, holes where there is no texture or too much light. It costs
seven times as much.

1. Views. Depth becomes disparity at the sensor's own focal length (``focal_length_px``); ``stereo_views`` renders what
   both imagers see: an albedo, lit by the room and by the projector's dots, with noise. The albedo is the luma of the
   frame's colour; without colour a random field on the surfaces (``world_fields``), which stays where it is from frame
   to frame where frames have poses. Highlights of the colour (``highlights``) mirror the room's light: the dots are not
   seen there. Every frame is exposed by itself (``exposure``).
2. Matching. ``stereo_matching``: census windows, left-right check, a sub-pixel fit of the light.
3. Confidence. A match is kept where both views agree on it, where the noise of the images lets a shift be told to
   ``max_sigma_px`` (Cramer-Rao: sigma of light over the root of the summed squared gradients) and where no other
   disparity is as good (``least_margin``). Small islands are taken out.
4. Near surfaces grow by ``fattening_columns`` and ``fattening_rows`` (``fattening``).
5. What calibration leaves (``residual_errors``): a slow error of the frame, and one of the device that every frame
   repeats; and gross errors.
6. Steps of 1 / ``steps_per_px``, the near and far limits, and back to the frame's own size: nearest pixels, or, where
   depth is aligned to a camera beside (``aligned_offset_m``), as the driver moves points (``aligned_view``).

Sources: Keselman et al., "Intel RealSense stereoscopic depth cameras", CVPR Workshops 2017 (the parts of the camera);
Matthies, Kanade and Szeliski, IJCV 3(3), 1989 (variance of a match). SAPIEN and others render both images in a scene;
here depth on disk is enough.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from depthforge.errors import FrameError
from depthforge.frame import BoolImage, Camera, Frame, NoisyDepth
from depthforge.kernels import njit
from depthforge.registry import sensors
from depthforge.seeding import scene_words
from depthforge.sensors import stereo_views as views
from depthforge.sensors.aligned_view import brought_back, seen_beside
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.exposure import settled_gain
from depthforge.sensors.fattening import fattened
from depthforge.sensors.highlights import highlights
from depthforge.sensors.islands import without_islands
from depthforge.sensors.residual_errors import DisparityErrors
from depthforge.sensors.stereo_matching import Match, Windows, match_views
from depthforge.sensors.surface import Float32, infrared_albedo, luminance_of
from depthforge.sensors.world_fields import world_normals

__all__ = ["MatchedStereo"]

_ALBEDO, _LEFT, _RIGHT = 0, 1, 2  # streams of random numbers
_ALBEDO_MEAN, _ALBEDO_SPREAD = 0.45, 0.12
_ALBEDO_EVERY = 2
_ISLAND_STEP_PX = 1.0
_JUMP_PX = 1.5  # neighbours that differ by more are of two surfaces
_MOST_PIXELS = 64_000_000
_MATCHED_IMAGES = 14.0  # images of float32 that views and matching hold at their peak
_RIGHT_IMAGES = 6.0  # of them, those of the second imager


@sensors.register("matched_stereo")
class MatchedStereo(DisparityErrors):
    """Active stereo (RealSense D400), rendered and matched: what windows do to edges and noise comes by itself.

    The defaults are a D4xx whose image has the frame's resolution and field of view.
    """

    version = 3
    uses = frozenset({"rgb", "T_world_cam"})
    keeping = MappingProxyType({"max_sigma_px": 10.0, "least_margin": 0.0, "smallest_island_px": 0})

    baseline_m: float = Field(default=0.05, gt=0, le=10, description="distance between the two imagers, metres")
    focal_length_px: float | None = Field(
        default=None,
        gt=0,
        le=1e5,
        description="focal length of the images that are matched, pixels: depth is taken to that size and back; by "
        "default the frame's own fx",
    )
    second_imager: Literal["right", "left"] = Field(
        default="right", description="side of the second imager as the camera looks; shadows fall on the other side"
    )
    aligned_offset_m: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="where the first imager is, right of the frame's camera, metres, for depth that is aligned to "
        "another camera: measured in the first imager's view and moved to the frame's. 0 is the frame's own view",
    )
    blank_band: bool = Field(
        default=True,
        description="whether the second image ends where the frame does, so that a band along its border has no match; "
        "false where frames are a crop of what the sensor sees, as depth aligned to colour is",
    )

    ambient: float = Field(default=0.3, ge=0, le=100, description="light of the room on a white surface")
    projector_power: float = Field(
        default=0.22, ge=0, le=1000, description="mean light of the projector on a white surface at one metre"
    )
    projector_at: float = Field(
        default=0.5, ge=-2, le=2, description="where the projector is, from 0, the first imager, to 1, the second one"
    )
    projector_near_m: float = Field(
        default=0.4, gt=0, le=10, description="depth below which the projector's light grows no more, metres"
    )
    dot_spacing_px: float = Field(
        default=8.0, ge=2, le=64, description="mean distance of neighbouring dots, sensor pixels"
    )
    dot_sigma_px: float = Field(
        default=1.5, ge=0.5, le=8, description="radius of a dot (standard deviation), sensor pixels"
    )
    darkest_albedo: float = Field(
        default=0.15, ge=0, le=1, description="infrared albedo of what looks black, where white is 1. Needs rgb"
    )
    albedo_length_m: float = Field(
        default=0.03,
        ge=0.005,
        le=10,
        description="lag on surfaces at which the made-up albedo of frames without colour has lost 1 - 1/e, metres",
    )
    highlight_light: float = Field(
        default=20.0,
        ge=0,
        le=1e4,
        description="light of the room that highlights mirror, in times what a white surface sends back; 0 is none. "
        "Needs rgb",
    )
    saturation_level: int = Field(
        default=250,
        ge=1,
        le=256,
        description="highlights are small areas in darker surroundings whose red, green and blue reach it; 256 is "
        "none. Needs rgb",
    )

    exposure: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="mean of the image of the first imager, as a share of what saturates it, that the gain is set for "
        "in every frame",
    )
    least_gain: float = Field(
        default=0.05, gt=0, le=1e4, description="gain of the shortest exposure: brighter scenes saturate"
    )
    most_gain: float = Field(
        default=8.0, gt=0, le=1e4, description="gain of the longest exposure: darker scenes stay dark"
    )
    shot_noise: float = Field(
        default=0.08, ge=0, le=1, description="standard deviation of light at full scale, as a share of it"
    )
    read_noise: float = Field(default=0.04, ge=0, le=1, description="the same in the dark")
    levels: int = Field(default=1023, ge=3, le=65535, description="steps of the converter between dark and full scale")

    match_columns: int = Field(default=6, ge=1, le=15, description="half the width of the window of a match, pixels")
    match_rows: int = Field(default=5, ge=1, le=15, description="half its height, pixels")
    fit_columns: int = Field(
        default=3, ge=1, le=15, description="half the width of the window of the sub-pixel fit, which is laid on twice"
    )
    fit_rows: int = Field(default=3, ge=1, le=15, description="half its height, pixels")
    surface_columns: int = Field(
        default=2, ge=0, le=15, description="half the width over which the surface is smoothed that the fit starts from"
    )
    surface_rows: int = Field(default=2, ge=0, le=15, description="half its height, pixels")
    beyond_px: int = Field(
        default=1, ge=1, le=64, description="disparities tried beyond those that occur within reach of a window, pixels"
    )

    fattening_columns: int = Field(
        default=0,
        ge=0,
        le=15,
        description="by how much near surfaces grow along rows over what is behind them, beyond what windows do, "
        "sensor pixels",
    )
    fattening_rows: int = Field(default=0, ge=0, le=15, description="the same along columns, sensor pixels")

    max_sigma_px: float = Field(
        default=0.25,
        gt=0,
        le=10,
        description="a match is kept where image noise lets it be told to this, sensor px",
    )
    least_margin: float = Field(
        default=0.0, ge=0, le=1, description="share of the census bits by which the next best match must be worse"
    )
    smallest_island_px: int = Field(
        default=30, ge=0, le=10000, description="connected measurements of fewer sensor pixels are taken out"
    )
    steps_per_px: float = Field(default=32.0, gt=0, le=65536, description="disparity steps in one pixel")
    max_disparity_px: float = Field(
        default=126.0, gt=0, le=400, description="end of the search, sensor pixels: nothing is nearer than f B over it"
    )
    max_depth_m: float = Field(default=10.0, gt=0, le=1e4, description="farther measurements are discarded, metres")

    working_images = 4.0

    def disparity_scale(self, camera: Camera) -> float:
        """Return focal length x baseline, metres x pixels of the sensor, for frames of ``camera``."""
        return (self.focal_length_px or camera.fx) * self.baseline_m

    def working_bytes(self, height: int, width: int) -> int:
        """As of every sensor; images of another focal length are counted as of a lens of 90 degrees.

        Columns beyond the frame are counted as many as the longest disparity that is rendered asks for.
        """
        scale = 1.0 if self.focal_length_px is None else self.focal_length_px / (0.5 * width)
        rows, columns = height * scale, width * scale
        longest_px = 2 * self.max_disparity_px + 2
        if self.aligned_offset_m:
            columns += longest_px * abs(self.aligned_offset_m) / self.baseline_m
        matched = _MATCHED_IMAGES * columns + (0 if self.blank_band else _RIGHT_IMAGES * longest_px)
        images = round((self.working_images * height * width + rows * matched) * 4)
        return images + round(scale**2 * self.error_bytes(height, width))

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``; see the module for the model.

        FrameError where ``focal_length_px`` asks for images of more than 64 million pixels.
        """
        height, width = self._size(frame)
        focal_px = frame.camera.fx * width / frame.camera.width
        clean = _resized(np.where(frame.valid, frame.depth_m, np.float32(0)), (height, width))
        seen = clean > 0
        disparity = self._disparity(clean, focal_px)
        albedo = self._albedo(frame, disparity, focal_px, words)
        offset_m = self.aligned_offset_m
        if self.second_imager == "left":  # is one on the right of a mirrored scene
            disparity, albedo = np.ascontiguousarray(disparity[:, ::-1]), np.ascontiguousarray(albedo[:, ::-1])
            seen = seen[:, ::-1]
            offset_m = -offset_m
        if offset_m:
            disparity, albedo = seen_beside(disparity, albedo, offset_m / self.baseline_m)
            seen = np.ones(disparity.shape, np.bool_)
        left, right = self._views(disparity, albedo, focal_px, words)
        windows = Windows(
            (self.match_columns, self.match_rows),
            (self.fit_columns, self.fit_rows),
            (self.surface_columns, self.surface_rows),
        )
        match = match_views(left, right, disparity, windows, beyond_px=self.beyond_px, rivals=self.least_margin > 0)
        reach = self.fattening_columns, self.fattening_rows
        grown, kept = fattened(match.disparity, match.found, self._kept(match, left), reach, _JUMP_PX)
        measured = self.with_residual(grown, words, mirrored=self.second_imager == "left")
        depth_m = np.empty_like(measured)
        kept = self._in_steps(measured, kept & seen, focal_px, depth_m)
        if self.smallest_island_px > 1:
            kept = without_islands(measured, kept, self.smallest_island_px, _ISLAND_STEP_PX)
        depth_m *= kept
        if offset_m:
            whole = brought_back(depth_m, focal_px * offset_m, frame.camera.size, (height, width))
        else:
            whole = _resized(depth_m, frame.camera.size)
        if self.second_imager == "left":
            whole = whole[:, ::-1]
        whole = np.where(frame.valid, whole, np.float32(0))
        return NoisyDepth(whole, whole > 0)

    def _size(self, frame: Frame) -> tuple[int, int]:
        """Return the height and width of the images that are matched; FrameError where they would be absurd."""
        camera = frame.camera
        scale = 1.0 if self.focal_length_px is None else self.focal_length_px / camera.fx
        height, width = max(1, round(camera.height * scale)), max(1, round(camera.width * scale))
        if height * width > _MOST_PIXELS:
            raise FrameError(
                "the images that the sensor matches would be too large",
                where=frame.key,
                expected=f"at most {_MOST_PIXELS} pixels",
                found=f"{width}x{height}, since focal_length_px is {scale:.3g} times the frame's fx of {camera.fx:g}",
                remedy="check the camera of the data set, or `reframe` it to the sensor's",
            )
        return height, width

    def _albedo(self, frame: Frame, disparity: Float32, focal_px: float, words: tuple[int, int]) -> Float32:
        """Return the albedo of what is seen, (H, W) as ``disparity``; above 1 are highlights."""
        size = disparity.shape
        if frame.rgb is None:
            field = self._world_field(frame, disparity, focal_px, words)
            made_up = np.clip(_ALBEDO_MEAN + _ALBEDO_SPREAD * field, self.darkest_albedo, 1.0)
            return np.asarray(made_up, np.float32)
        luma = luminance_of(frame.rgb)
        if luma.shape != size:
            luma = cv2.resize(luma, size[::-1], interpolation=cv2.INTER_AREA)
        albedo = np.asarray(cv2.LUT(luma, infrared_albedo(self.darkest_albedo)), np.float32)
        bright = None
        if self.highlight_light > 0:
            bright = highlights(frame.rgb, self.saturation_level, frame.camera.fx)
        if bright is not None:
            share = cv2.resize(bright.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            albedo += share * (np.float32(1 + self.highlight_light) - albedo)
        return albedo

    def _world_field(self, frame: Frame, disparity: Float32, focal_px: float, words: tuple[int, int]) -> Float32:
        """Return N(0, 1) of the surfaces, (H, W): their own where the frame has a pose, the frame's where not.

        Looked up at every second pixel of every second row, a quarter of the time.
        """
        pose, place = frame.T_world_cam, scene_words(words)
        if pose is None or not np.isfinite(pose).all():
            pose, place = np.eye(4), words
        camera = frame.camera
        coarse = np.float32(focal_px * self.baseline_m) / disparity[::_ALBEDO_EVERY, ::_ALBEDO_EVERY]
        x, y = (
            (((np.arange(count) + 0.5) * (whole / count) - 0.5 - centre) / focal).astype(np.float32)
            for count, whole, centre, focal in (
                (coarse.shape[1], camera.width, camera.cx, camera.fx),
                (coarse.shape[0], camera.height, camera.cy, camera.fy),
            )
        )
        points_m = np.stack([coarse * x, coarse * y[:, None], coarse])
        field = world_normals(points_m, pose, place, self.albedo_length_m, stream=_ALBEDO)
        return np.asarray(cv2.resize(field, disparity.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)

    def _disparity(self, clean: Float32, focal_px: float) -> Float32:
        """Return the disparity of what is seen, (H, W), positive everywhere."""
        disparity_m_px = np.float32(focal_px * self.baseline_m)
        disparity = np.divide(disparity_m_px, clean, out=np.zeros_like(clean), where=clean > 0)
        np.minimum(disparity, np.float32(2 * self.max_disparity_px), out=disparity)
        views.fill_rows(disparity)
        return disparity

    def _views(
        self, disparity: Float32, albedo: Float32, focal_px: float, words: tuple[int, int]
    ) -> tuple[Float32, Float32]:
        """Return the left view (H, W) and the right one (H, pad + W)."""
        height, width = disparity.shape
        pad = 0 if self.blank_band else int(disparity.max()) + 2
        right_disparity = np.empty((height, pad + width), np.float32)
        views.right_disparity(disparity, right_disparity)
        left, right = np.empty_like(disparity), np.empty_like(right_disparity)
        light = (
            albedo,
            views.dot_rows(self.dot_spacing_px, self.dot_sigma_px, self.device_seed),
            *views.nearest_to_projector(disparity, self.projector_at),
            np.float32(self.projector_at),
            np.float32(self.ambient),
            np.float32(self.projector_power),
            np.float32(self.projector_near_m),
            np.float32(focal_px * self.baseline_m),
        )
        views.shade(disparity, disparity, False, *light, left)
        views.shade(right_disparity, disparity, True, *light, right)
        gain = np.float32(settled_gain(left, self.exposure, self.least_gain, self.most_gain))
        for image, stream in ((left, _LEFT), (right, _RIGHT)):
            noise = standard_normals(words, image.shape, stream=stream)
            views.add_noise(
                image, gain, np.float32(self.shot_noise), np.float32(self.read_noise), np.float32(self.levels), noise
            )
        return left, right

    def _in_steps(self, measured: Float32, kept: BoolImage, focal_px: float, depth_m: Float32) -> BoolImage:
        """Write the depth of every disparity in steps; return what of ``kept`` lies within the limits."""
        steps_m = np.float32(focal_px * self.baseline_m * self.steps_per_px)
        most = np.float32(self.max_disparity_px * self.steps_per_px)
        within = np.empty_like(kept)
        limits = np.float32(self.steps_per_px), most, steps_m, np.float32(self.max_depth_m)
        _step_depth(measured, kept, *limits, depth_m, within)
        return within

    def _kept(self, match: Match, left: Float32) -> BoolImage:
        """Return where the images say enough: both views agree, the shift can be told, and no other is as good."""
        # A box laid on twice is a tent; the noise of its mean is that of a box 3/2 as wide.
        pixels = (2 * self.fit_columns + 1) * (2 * self.fit_rows + 1) * 2.25
        kept = np.empty(left.shape, np.bool_)
        least = np.float32(pixels * self.max_sigma_px**2 / 2.0)
        noise = np.float32(self.read_noise**2), np.float32(self.shot_noise**2)
        _keep(match.found, match.information, match.margin, left, *noise, least, np.float32(self.least_margin), kept)
        return kept


@njit()
def _keep(found, information, margin, left, dark, lit, least, least_margin, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            variance = dark + lit * left[y, x]
            # Noise has gradients too: of the mean of two central differences, a quarter of its variance.
            gradients = information[y, x] - np.float32(0.25) * variance
            out[y, x] = found[y, x] & (gradients * least > variance) & (margin[y, x] >= least_margin)


@njit(error_model="numpy")
def _step_depth(disparity, kept, steps_per_px, most, steps_m, farthest, depth_m, within):  # type: ignore[no-untyped-def]
    for y in range(depth_m.shape[0]):
        for x in range(depth_m.shape[1]):
            steps = np.rint(disparity[y, x] * steps_per_px)
            z = steps_m / max(steps, np.float32(1))
            depth_m[y, x] = z
            within[y, x] = kept[y, x] & (steps > np.float32(0)) & (steps <= most) & (z <= farthest)


def _resized(depth_m: Float32, size: tuple[int, int]) -> Float32:
    """Return depth in another size, nearest pixel."""
    if depth_m.shape == size:
        return depth_m
    return np.asarray(cv2.resize(depth_m, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
