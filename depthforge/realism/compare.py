"""How close sets of depth images are to a real sensor's: every figure for each set, beside real against real.

``describe`` reads a set once, frame by frame (about 30 ms and 60 kB of memory for each of 640x480); ``compare`` cuts
the real set into two contiguous halves. The first is the reference that every other set is held against, the second
one of those sets: its row is the floor, what remains between two recordings of one sensor. Cutting at random would
put near-duplicate neighbours on both sides and make the floor look better than it is.

Each figure stays a figure of its own. A single score would need weights that only a downstream task can set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.realism.holes import NUM_OCTAVES, HoleStatistics, measure_holes
from depthforge.realism.noise import (
    DEPTH_EDGES_M,
    NUM_BINS,
    NoiseStatistics,
    correlation_length_px,
    measure_noise,
)
from depthforge.realism.normals import NormalStatistics, measure_normals
from depthforge.realism.two_sample import PATCH, TwoSampleTest, patch_features, two_sample_test
from depthforge.realism.views import DepthView, clean_views, noisy_views

__all__ = [
    "HELD_OUT",
    "REFERENCE",
    "Comparison",
    "Description",
    "Figure",
    "Sample",
    "compare",
    "describe",
    "evaluate_corpus",
    "wasserstein",
]

Float64 = npt.NDArray[np.float64]

HELD_OUT: Final = "real, held out"
REFERENCE: Final = "real"

# A depth bin speaks when this many windows lie in it.
_FEWEST_WINDOWS: Final = 30


@dataclass(frozen=True)
class _FrameStatistics:
    camera: Camera
    holes: HoleStatistics
    noise: NoiseStatistics
    normals: NormalStatistics
    patches: Float64


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
        """Half of the hole pixels lie in holes of at least about this size (lower end of the octave)."""
        median = np.searchsorted(np.cumsum(self.hole_spectrum), 0.5)
        return float("nan") if np.isnan(self.hole_spectrum[0]) else float(2.0**median)

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
            return float("nan"), float("nan")
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

    @property
    def patches(self) -> list[Float64]:
        """Features of the patches of each frame."""
        return [frame.patches for frame in self.frames]

    def _total(self, count: Callable[[HoleStatistics], int]) -> int:
        return sum(count(frame.holes) for frame in self.frames)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: ``values`` by the name of the set, None where there is not enough to measure or nothing to compare."""

    name: str
    unit: str
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a set's figures rest on."""

    num_frames: int
    num_windows: int
    num_patches: int
    cameras: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every figure of every set (``figures``) and how far each is from the real reference (``distances``)."""

    samples: dict[str, Sample]
    figures: tuple[Figure, ...]
    distances: tuple[Figure, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return one table, a figure a line, a set a column."""
        names = list(self.samples)
        width = max(len(figure.name) for figure in (*self.figures, *self.distances)) + 2
        columns = [max(len(name), 9) + 2 for name in names]

        def row(title: str, unit: str, cells: Iterable[str]) -> str:
            return f"{title:<{width}}{unit:<8}" + "".join(f"{c:>{w}}" for c, w in zip(cells, columns, strict=True))

        def rows(figures: Iterable[Figure]) -> list[str]:
            return [row(f"  {f.name}", f.unit, (_cell(f.values.get(name)) for name in names)) for f in figures]

        return [
            row("", "", names),
            row("frames", "", (str(sample.num_frames) for sample in self.samples.values())),
            row("flat windows", "", (str(sample.num_windows) for sample in self.samples.values())),
            row("patches", "", (str(sample.num_patches) for sample in self.samples.values())),
            "figures",
            *rows(self.figures),
            f"distance to {REFERENCE!r} ({HELD_OUT!r} is the floor)",
            *rows(self.distances),
            *(f"{name}: {sample.cameras}" for name, sample in self.samples.items()),
        ]


def describe(views: Iterable[DepthView], *, seed: int = 0) -> Description:
    """Measure a set of frames; ``seed`` places the patches, the same on every run.

    Raises InputError when there is no frame, when none measures anything, and for one smaller than a patch.
    """
    frames = tuple(_measure(view, seed, index) for index, view in enumerate(views))
    if not frames:
        raise InputError("there is no frame to measure", expected="at least one depth image")
    if all(frame.holes.num_holes == frame.holes.num_pixels for frame in frames):
        raise InputError(
            "no frame measures anything",
            expected="valid depth",
            found=f"{len(frames)} frames, every pixel invalid",
            remedy="check the unit and the invalid values of the source: depthforge check MANIFEST",
        )
    return Description(frames)


def compare(candidates: Mapping[str, Description], real: Description, *, seed: int = 0) -> Comparison:
    """Hold each candidate, and the second half of the real frames, against the first half of the real frames.

    Raises InputError when there are fewer than two real frames. ``seed`` draws the permutations.
    """
    reference, held_out = real.halves()
    sets = {**candidates, HELD_OUT: held_out}
    every = {**sets, REFERENCE: reference}
    tests = {name: two_sample_test(item.patches, reference.patches, seed) for name, item in sets.items()}
    return Comparison(
        samples={
            name: Sample(item.num_frames, item.num_windows, sum(map(len, item.patches)), item.cameras)
            for name, item in every.items()
        },
        figures=tuple(_figures(every)),
        distances=(*_distances(sets, reference), *_test_figures(tests)),
        seed=seed,
    )


def evaluate_corpus(corpus: Path, real: Iterable[DepthView], *, num_frames: int = 40, seed: int = 0) -> Comparison:
    """Compare the clean and the noisy depth of ``num_frames`` frames of a corpus with real scans.

    The clean depth is the identity row: what the noise has to improve on. Raises as describe and compare do, and
    MissingDataError when there is no corpus.
    """
    sets = {"clean": clean_views(corpus, num_frames), "noisy": noisy_views(corpus, num_frames)}
    return compare(
        {name: describe(views, seed=seed) for name, views in sets.items()}, describe(real, seed=seed), seed=seed
    )


def wasserstein(first: Float64, second: Float64) -> float:
    """Return the Wasserstein-1 distance of two samples (N,), (M,), in their unit; NaN when one is empty."""
    if not len(first) or not len(second):
        return float("nan")
    first, second = np.sort(first), np.sort(second)
    places = np.sort(np.concatenate([first, second]))
    above_first = np.searchsorted(first, places[:-1], "right") / len(first)
    above_second = np.searchsorted(second, places[:-1], "right") / len(second)
    return float(np.sum(np.abs(above_first - above_second) * np.diff(places)))


def _measure(view: DepthView, seed: int, index: int) -> _FrameStatistics:
    depth_m, valid = view.depth_m, view.valid
    if min(valid.shape) < PATCH:
        raise InputError(
            "a depth image is smaller than a patch",
            where=f"frame {index}",
            expected=f"at least {PATCH}x{PATCH}",
            found=f"{valid.shape[1]}x{valid.shape[0]}",
        )
    return _FrameStatistics(
        view.camera,
        measure_holes(depth_m, valid),
        measure_noise(depth_m, valid),
        measure_normals(depth_m, valid, view.camera, view.clean),
        patch_features(depth_m, valid, seed, str(index)),
    )


def _figures(sets: Mapping[str, Description]) -> Iterable[Figure]:
    def figure(name: str, unit: str, value: Callable[[Description], float]) -> Figure:
        return Figure(name, unit, {key: _known(value(item)) for key, item in sets.items()})

    yield figure("holes", "%", lambda d: 100 * float(d.hole_fractions.mean()))
    yield figure("hole size, median by area", "px", lambda d: d.hole_size_px)
    yield figure("holes within 2 px of an edge", "%", lambda d: 100 * d.hole_share_near_edges)
    yield figure("shadow side, -1 left, +1 right", "", lambda d: d.shadow_side)
    yield from _by_depth("noise", {key: item.sigma_m for key, item in sets.items()})
    yield from _by_depth("step", {key: item.step_m for key, item in sets.items()})
    yield figure("noise correlation along x", "px", lambda d: d.correlation_length_px[0])
    yield figure("noise correlation along y", "px", lambda d: d.correlation_length_px[1])
    yield figure("distinct depths in a frame", "", lambda d: d.num_distinct)
    yield figure("roughness of normals, median", "deg", lambda d: _median(d.roughness_deg))
    yield figure("normals off clean, median", "deg", lambda d: _median(d.distortion_deg))
    yield figure(
        "normals off clean, mean",
        "deg",
        lambda d: float(d.distortion_deg.mean()) if d.distortion_deg.size else math.nan,
    )


def _by_depth(title: str, values_m: Mapping[str, Float64]) -> Iterable[Figure]:
    """Yield a row of millimetres for each depth bin in which some set has a value."""
    for index, (near_m, far_m) in enumerate(pairwise(DEPTH_EDGES_M)):
        values = {key: _known(1000 * float(of_set[index])) for key, of_set in values_m.items()}
        if any(value is not None for value in values.values()):
            yield Figure(f"{title} at {near_m:.2g} to {far_m:.2g} m", "mm", values)


def _distances(sets: Mapping[str, Description], reference: Description) -> Iterable[Figure]:
    def figure(name: str, unit: str, distance: Callable[[Description, Description], float]) -> Figure:
        return Figure(name, unit, {key: _known(distance(item, reference)) for key, item in sets.items()})

    yield figure(
        "holes a frame, Wasserstein", "% pts", lambda a, b: 100 * wasserstein(a.hole_fractions, b.hole_fractions)
    )
    yield figure(
        "hole sizes, Wasserstein",
        "octaves",
        lambda a, b: float(np.sum(np.abs(np.cumsum(a.hole_spectrum - b.hole_spectrum)))),
    )
    yield figure("noise against depth", "octaves", lambda a, b: _mean_octaves(a.sigma_m, b.sigma_m))
    yield figure("step against depth", "octaves", lambda a, b: _mean_octaves(a.step_m, b.step_m))
    yield figure("roughness, Wasserstein", "deg", lambda a, b: wasserstein(a.roughness_deg, b.roughness_deg))


def _test_figures(tests: Mapping[str, TwoSampleTest]) -> Iterable[Figure]:
    yield Figure("patches told apart, AUC", "", {name: test.auc for name, test in tests.items()})
    yield Figure("patches, MMD squared x 1000", "", {name: _thousand(test.mmd2) for name, test in tests.items()})
    yield Figure("95 % of it by chance", "", {name: _thousand(test.mmd2_p95) for name, test in tests.items()})
    yield Figure("p", "", {name: test.p_value for name, test in tests.items()})


def _mean_octaves(first: Float64, second: Float64) -> float:
    """Return the mean of abs(log2(first / second)) over the bins that both have; NaN without any."""
    both = (first > 0) & (second > 0)
    return float(np.mean(np.abs(np.log2(first[both] / second[both])))) if both.any() else math.nan


def _median(values: Float64) -> float:
    return float(np.median(values)) if values.size else math.nan


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
