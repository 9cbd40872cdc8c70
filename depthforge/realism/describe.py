"""What a set of depth images is like: the figures of every frame, gathered into those of the set.

Frames are measured one by one as they come (31 ms and 80 kB for each of 640x480), and kept apart, so that a set can
be cut into halves, or compared again, without reading it twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError
from depthforge.frame import Camera
from depthforge.realism.bias import measure_bias
from depthforge.realism.holes import NUM_OCTAVES, HoleStatistics, measure_holes
from depthforge.realism.noise import (
    DEPTH_EDGES_M,
    NUM_BINS,
    NoiseStatistics,
    correlation_length_px,
    measure_noise,
)
from depthforge.realism.normals import NormalStatistics, measure_normals
from depthforge.realism.two_sample import PATCH, patch_features
from depthforge.realism.views import DepthView

__all__ = ["Description", "describe"]

Float64 = npt.NDArray[np.float64]

# A depth bin speaks when this many windows lie in it.
_FEWEST_WINDOWS: Final = 30


@dataclass(frozen=True)
class _FrameStatistics:
    camera: Camera
    holes: HoleStatistics
    noise: NoiseStatistics
    normals: NormalStatistics
    patches: Float64
    bias: Float64


@dataclass(frozen=True)
class Description:
    """What was measured on a set of frames, in their order. Figures without enough data are NaN."""

    frames: tuple[_FrameStatistics, ...]

    def halves(self) -> tuple[Description, Description]:
        """Return the first and the second half of the frames; InputError when there are fewer than two."""
        if len(self.frames) < 2:
            raise InputError(
                "one real frame has no halves to compare", expected="at least 2 frames; 20 and more mean something"
            )
        middle = (len(self.frames) + 1) // 2
        return Description(self.frames[:middle]), Description(self.frames[middle:])

    @property
    def num_frames(self) -> int:
        """Frames measured."""
        return len(self.frames)

    @property
    def cameras(self) -> str:
        """Sizes and focal lengths, the commonest first."""
        counts = Counter(f"{f.camera.width}x{f.camera.height} at {f.camera.fx:g} px" for f in self.frames)
        return ", ".join(name for name, _ in counts.most_common())

    @cached_property
    def hole_fractions(self) -> Float64:
        """Share of pixels without a measurement, of each frame."""
        return np.array([frame.holes.num_holes / frame.holes.num_pixels for frame in self.frames])

    @cached_property
    def hole_spectrum(self) -> Float64:
        """Share of hole pixels in holes of each octave of size, (20,); NaN without holes."""
        pixels = np.sum([frame.holes.pixels_by_octave for frame in self.frames], axis=0)
        return pixels / pixels.sum() if pixels.any() else np.full(NUM_OCTAVES, np.nan)

    @cached_property
    def hole_size_px(self) -> float:
        """Lower end of the octave of size in which the median hole pixel lies; NaN without holes."""
        median = np.searchsorted(np.cumsum(self.hole_spectrum), 0.5)
        return math.nan if np.isnan(self.hole_spectrum[0]) else float(2.0**median)

    @cached_property
    def hole_share_near_edges(self) -> float:
        """Share of hole pixels within 2 px of a depth edge."""
        return _ratio(self._total(lambda h: h.num_near_edge), self._total(lambda h: h.num_holes))

    @cached_property
    def shadow_side(self) -> float:
        """From -1, all shadows left of the nearer surface, to +1, all right of it."""
        left, right = self._total(lambda h: h.num_left_shadow), self._total(lambda h: h.num_right_shadow)
        return _ratio(right - left, right + left)

    @cached_property
    def num_windows(self) -> int:
        """Flat windows that noise was measured on."""
        return sum(len(frame.noise.sigma_m) for frame in self.frames)

    @cached_property
    def sigma_m(self) -> Float64:
        """Median noise of the windows in each depth bin, (16,) metres; NaN with fewer than 30 windows."""
        depth_m = np.concatenate([frame.noise.depth_m for frame in self.frames])
        sigma_m = np.concatenate([frame.noise.sigma_m for frame in self.frames])
        bins = np.digitize(depth_m, DEPTH_EDGES_M) - 1
        of_bins = [sigma_m[bins == index] for index in range(NUM_BINS)]
        return np.array([np.median(of_bin) if of_bin.size >= _FEWEST_WINDOWS else np.nan for of_bin in of_bins])

    @cached_property
    def correlation_length_px(self) -> tuple[float, float]:
        """Correlation length of the noise along x and along y; see ``noise.correlation_length_px``."""
        count = sum(frame.noise.num_correlated for frame in self.frames)
        if not count:
            return math.nan, math.nan
        along_x, along_y = np.sum([frame.noise.correlation for frame in self.frames], axis=0) / count
        return correlation_length_px(along_x), correlation_length_px(along_y)

    @cached_property
    def num_distinct(self) -> float:
        """Different depth values in a frame, median over frames."""
        return float(np.median([frame.noise.num_distinct for frame in self.frames]))

    @cached_property
    def step_m(self) -> Float64:
        """Gap between neighbouring depth values in each depth bin, (16,) metres, median over frames; NaN without."""
        steps = np.array([frame.noise.step_m for frame in self.frames])
        known = [of_bin[~np.isnan(of_bin)] for of_bin in steps.T]
        return np.array([np.median(of_bin) if of_bin.size else np.nan for of_bin in known])

    @cached_property
    def roughness_deg(self) -> Float64:
        """Angles between the normals of windows side by side, of all frames."""
        return np.concatenate([frame.normals.roughness_deg for frame in self.frames])

    @cached_property
    def distortion_deg(self) -> Float64:
        """Angles to the normals of clean depth, of all frames that have it."""
        known = [frame.normals.distortion_deg for frame in self.frames if frame.normals.distortion_deg is not None]
        return np.concatenate(known) if known else np.empty(0)

    @cached_property
    def bias(self) -> Float64:
        """Depth off clean depth, block by block, as a share of it, of all frames that have it."""
        return np.concatenate([frame.bias for frame in self.frames])

    @property
    def patches(self) -> list[Float64]:
        """Features of the patches of each frame."""
        return [frame.patches for frame in self.frames]

    def _total(self, count: Callable[[HoleStatistics], int]) -> int:
        return sum(count(frame.holes) for frame in self.frames)


def describe(views: Iterable[DepthView], *, name: str = "set", seed: int = 0) -> Description:
    """Measure a set of frames; ``seed`` places the patches, the same on every run; errors say ``name``.

    Raises InputError when there is no frame, when none measures anything, and for one smaller than a patch; FrameError
    for one whose arrays do not fit its camera or whose valid depth is not a positive number.
    """
    frames = tuple(_measure(view, seed, index, f"{name}, frame {index}") for index, view in enumerate(views))
    if not frames:
        raise InputError("there is no frame to measure", where=name, expected="at least one depth image")
    if all(frame.holes.num_holes == frame.holes.num_pixels for frame in frames):
        raise InputError(
            "no frame measures anything",
            where=name,
            expected="valid depth",
            found=f"{len(frames)} frames, every pixel invalid",
            remedy="check the unit and the invalid values of the source: depthforge check MANIFEST",
        )
    return Description(frames)


def _measure(view: DepthView, seed: int, index: int, where: str) -> _FrameStatistics:
    _require_sound(view, where)
    depth_m, valid = view.depth_m, view.valid
    return _FrameStatistics(
        view.camera,
        measure_holes(depth_m, valid),
        measure_noise(depth_m, valid),
        measure_normals(depth_m, valid, view.camera, view.clean),
        patch_features(depth_m, valid, seed, str(index)),
        np.empty(0) if view.clean is None else measure_bias(depth_m, valid, view.clean),
    )


def _require_sound(view: DepthView, where: str) -> None:
    size = view.camera.size
    for depth_m, valid in ((view.depth_m, view.valid), *([view.clean] if view.clean else [])):
        if not depth_m.shape == valid.shape == size or depth_m.dtype != np.float32 or valid.dtype != np.bool_:
            raise FrameError(
                "depth, validity and camera do not fit",
                where=where,
                expected=f"depth {size} float32, valid {size} bool, as the camera says",
                found=f"depth {depth_m.shape} {depth_m.dtype}, valid {valid.shape} {valid.dtype}",
            )
        nearest, farthest = (f(depth_m, where=valid, initial=1.0) for f in (np.min, np.max))
        if not (nearest > 0 and farthest < np.inf):
            raise FrameError("depth is not a positive finite number where valid", where=where)
    if min(size) < PATCH:
        raise InputError(
            "a depth image is smaller than a patch",
            where=where,
            expected=f"at least {PATCH}x{PATCH}",
            found=f"{size[1]}x{size[0]}",
        )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
