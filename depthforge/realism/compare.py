"""How close sets of depth images are to a real sensor's: every figure for each set, beside real against real.

The real set is cut into two contiguous halves. The first is the reference that every other set is held against, the
second one of those sets: its column is the floor, what remains between two stretches of one recording. Cutting at
random would put near-duplicate neighbours on both sides and make the floor lower than anything can reach. Comparing
takes 0.1 s for 100 against 100 frames; describing them (see ``describe``) 30 ms a frame.

Each figure stays a figure of its own: a single score of realism would need weights that only a downstream task can
set. (``choice`` has one that merely ranks the checkpoints of one training.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.addresses import Address
from depthforge.errors import InputError, UnknownNameError
from depthforge.realism.describe import Description, describe
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.two_sample import TwoSampleTest, two_sample_test
from depthforge.realism.views import DepthView, clean_views, noisy_views

__all__ = [
    "DISTANCES",
    "HELD_OUT",
    "REFERENCE",
    "Comparison",
    "Figure",
    "Sample",
    "compare",
    "evaluate_corpus",
    "wasserstein",
]

Float64 = npt.NDArray[np.float64]

HELD_OUT: Final = "real, held out"
REFERENCE: Final = "real"
DISTANCES: Final = (
    "holes a frame, Wasserstein",
    "hole sizes, Wasserstein",
    "noise against depth",
    "step against depth",
    "roughness, Wasserstein",
    "patches told apart, AUC",
    "patches, MMD squared x 1000",
)
"""Names of what says how far a set is from the real scans: the less, the closer."""


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

    def value(self, figure: str, name: str) -> float | None:
        """Return one figure or distance of the set ``name``; UnknownNameError lists those that there are."""
        by_name = {each.name: each.values for each in (*self.figures, *self.distances)}
        if figure not in by_name:
            raise UnknownNameError("figure", figure, by_name)
        return by_name[figure].get(name)

    def curve(self, title: str) -> list[tuple[float, dict[str, float | None]]]:
        """Return what a figure is in each depth bin in which some set has it: (middle of the bin in metres, values).

        ``title`` is "noise" or "step", both in millimetres.
        """
        by_name = {figure.name: figure.values for figure in self.figures}
        names = [(math.sqrt(near_m * far_m), _bin_name(title, near_m, far_m)) for near_m, far_m in _bins_m()]
        return [(middle_m, by_name[name]) for middle_m, name in names if name in by_name]

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


def compare(candidates: Mapping[str, Description], real: Description, *, seed: int = 0) -> Comparison:
    """Hold each candidate, and the second half of the real frames, against the first half of the real frames.

    Raises InputError when there are fewer than two real frames, and for a candidate that is called as one of the
    halves is. ``seed`` draws the permutations.
    """
    for name in (HELD_OUT, REFERENCE):
        if name in candidates:
            raise InputError("a candidate has the name of the real scans", where=name, expected="another name")
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


def evaluate_corpus(
    corpus: Address,
    real: Iterable[DepthView],
    *,
    num_frames: int = 40,
    seed: int = 0,
    shards: frozenset[str] | None = None,
) -> Comparison:
    """Compare the clean and the noisy depth of ``num_frames`` frames of a corpus with real scans.

    The frames are taken of ``shards``, None for all. The clean depth is the identity row: what the noise has to
    improve on. Raises as describe and compare do, and MissingDataError when there is no corpus.
    """
    sets = {"clean": clean_views(corpus, num_frames, shards), "noisy": noisy_views(corpus, num_frames, shards)}
    described = {name: describe(views, name=name, seed=seed) for name, views in sets.items()}
    # A corpus of scans holds them as its clean depth too, which would read as no distortion at all.
    scans = (view._replace(clean=None) for view in real)
    return compare(described, describe(scans, name=REFERENCE, seed=seed), seed=seed)


def wasserstein(first: Float64, second: Float64) -> float:
    """Return the Wasserstein-1 distance of two samples (N,), (M,), in their unit; NaN when one is empty."""
    if not len(first) or not len(second):
        return math.nan
    first, second = np.sort(first), np.sort(second)
    places = np.sort(np.concatenate([first, second]))
    below_first = np.searchsorted(first, places[:-1], "right") / len(first)
    below_second = np.searchsorted(second, places[:-1], "right") / len(second)
    return float(np.sum(np.abs(below_first - below_second) * np.diff(places)))


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
    yield figure("depth off clean, median", "%", lambda d: 100 * _median(np.abs(d.bias)))
    yield figure("depth off clean, signed median", "%", lambda d: 100 * _median(d.bias))


def _by_depth(title: str, values_m: Mapping[str, Float64]) -> Iterable[Figure]:
    """Yield a row of millimetres for each depth bin in which some set has a value."""
    for index, (near_m, far_m) in enumerate(_bins_m()):
        values = {key: _known(1000 * float(of_set[index])) for key, of_set in values_m.items()}
        if any(value is not None for value in values.values()):
            yield Figure(_bin_name(title, near_m, far_m), "mm", values)


def _bins_m() -> Iterable[tuple[float, float]]:
    return pairwise(DEPTH_EDGES_M.tolist())


def _bin_name(title: str, near_m: float, far_m: float) -> str:
    return f"{title} at {near_m:.2g} to {far_m:.2g} m"


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
    yield Figure(
        "patches, MMD x 1000, 95 % by chance", "", {name: _thousand(test.mmd2_p95) for name, test in tests.items()}
    )
    yield Figure("patches, MMD, p", "", {name: test.p_value for name, test in tests.items()})


def _mean_octaves(first: Float64, second: Float64) -> float:
    """Return the mean of abs(log2(first / second)) over the bins that both have; NaN without any."""
    both = (first > 0) & (second > 0)
    return float(np.mean(np.abs(np.log2(first[both] / second[both])))) if both.any() else math.nan


def _median(values: Float64) -> float:
    return float(np.median(values)) if values.size else math.nan


def _thousand(value: float | None) -> float | None:
    return None if value is None else 1000 * value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
