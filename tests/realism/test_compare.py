"""Sets are described and compared: figures, floor, samples, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import FrameError, InputError, MissingDataError, UnknownNameError
from depthforge.frame import Camera
from depthforge.realism.compare import (
    DISTANCES,
    HELD_OUT,
    REFERENCE,
    Comparison,
    compare,
    evaluate_corpus,
    wasserstein,
)
from depthforge.realism.describe import describe
from depthforge.realism.views import DepthView, evenly_spaced
from tests.realism.scenes import correlated, view, wall


def sensor(seeds: range, sigma_m: float = 0.004, hole_fraction: float = 0.05) -> Iterator[DepthView]:
    """Walls seen by a sensor with correlated noise and holes of 8x8 pixels."""
    for seed in seeds:
        cells = np.random.default_rng(seed).random((30, 40)) >= hole_fraction
        valid = np.kron(cells, np.ones((8, 8), bool))
        yield view(wall() + sigma_m * correlated(seed, 1.0), valid)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    clean = describe(view(wall()) for _ in range(8))
    louder = describe(sensor(range(100, 108), sigma_m=0.008, hole_fraction=0.1))
    return compare({"clean": clean, "louder": louder}, describe(sensor(range(16))))


def test_figures_are_those_of_the_sensor(comparison: Comparison) -> None:
    assert comparison.value("holes", REFERENCE) == pytest.approx(5, abs=0.5)
    assert comparison.value("holes", "louder") == pytest.approx(10, abs=1)
    assert comparison.value("hole size, median by area", REFERENCE) == 64
    assert comparison.value("noise at 1.4 to 2 m", REFERENCE) == pytest.approx(4, rel=0.05)
    assert comparison.value("noise at 1.4 to 2 m", "louder") == pytest.approx(8, rel=0.05)
    assert comparison.value("noise correlation along x", HELD_OUT) == pytest.approx(2, rel=0.1)
    assert comparison.value("holes", "clean") == 0
    assert comparison.value("hole size, median by area", "clean") is None


def test_real_is_nearest_to_real(comparison: Comparison) -> None:
    for figure in comparison.distances[:6]:
        floor, louder = figure.values[HELD_OUT], figure.values["louder"]
        if figure.name not in ("hole sizes, Wasserstein", "step against depth"):
            assert floor is not None
            assert louder is not None
            assert floor < louder, figure.name
    assert comparison.value("noise against depth", "louder") == pytest.approx(1, abs=0.1)
    assert comparison.value("patches told apart, AUC", "louder") == pytest.approx(1, abs=0.03)
    assert comparison.value("patches told apart, AUC", HELD_OUT) == pytest.approx(0.5, abs=0.15)


def test_the_names_of_distances_are_those_of_the_table(comparison: Comparison) -> None:
    by_chance = ("patches, MMD x 1000, 95 % by chance", "patches, MMD, p")
    assert tuple(figure.name for figure in comparison.distances if figure.name not in by_chance) == DISTANCES


def test_the_table_names_every_figure_set_and_sample(comparison: Comparison) -> None:
    text = "\n".join(comparison.lines())
    for word in ("clean", "louder", HELD_OUT, "floor", "320x240 at 500 px", "patches", "holes"):
        assert word in text, word
    plain = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    assert plain["samples"]["louder"] == {
        "num_frames": 8,
        "num_windows": comparison.samples["louder"].num_windows,
        "num_patches": 8 * 16,
        "cameras": "320x240 at 500 px",
    }


def test_an_unknown_figure_names_the_closest(comparison: Comparison) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'holes'"):
        comparison.value("hole", REFERENCE)


def test_the_same_frames_and_seed_give_the_same_figures(comparison: Comparison) -> None:
    clean = describe(view(wall()) for _ in range(8))
    louder = describe(sensor(range(100, 108), sigma_m=0.008, hole_fraction=0.1))
    assert compare({"clean": clean, "louder": louder}, describe(sensor(range(16)))) == comparison


def test_sizes_and_intrinsics_may_differ_and_are_stated() -> None:
    small = [
        DepthView(v.depth_m[:120, :160], v.valid[:120, :160], Camera(250, 250, 80, 60, 160, 120))
        for v in sensor(range(4))
    ]
    found = compare({"small": describe(small)}, describe(sensor(range(4))))
    assert found.samples["small"].cameras == "160x120 at 250 px"
    assert found.value("noise at 1.4 to 2 m", "small") is not None


def test_one_dead_frame_is_measured_as_a_hole() -> None:
    dead = view(wall(), np.zeros((240, 320), bool))
    found = describe([*sensor(range(2)), dead])
    assert found.hole_fractions[2] == 1


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "no frame"),
        ([view(wall(), np.zeros((240, 320), bool))] * 2, "no frame measures anything"),
        ([DepthView(np.ones((16, 40), np.float32), np.ones((16, 40), bool), Camera(9, 9, 9, 9, 40, 16))], "patch"),
    ],
)
def test_sets_that_cannot_be_measured_are_refused(views: list[DepthView], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        describe(views, name="real")
    assert "real" in str(refused.value.where)


@pytest.mark.parametrize("worst", [0.0, -1.0, np.nan, np.inf])
def test_valid_depth_that_is_no_depth_is_refused_and_under_a_hole_it_is_not_read(worst: float) -> None:
    good = view(wall())
    depth, valid = good.depth_m.copy(), good.valid.copy()
    depth[50, 60] = worst
    with pytest.raises(FrameError, match="positive finite"):
        describe([DepthView(depth, valid, good.camera)])
    valid[50, 60] = False
    with np.errstate(all="raise"):
        found = describe([DepthView(depth, valid, good.camera, (depth, valid))] * 2)
    expected = describe([DepthView(np.where(valid, depth, np.float32(0)), valid, good.camera, (depth, valid))] * 2)
    table = ["\n".join(compare({}, description).lines()) for description in (found, expected)]
    assert table[0] == table[1]


def test_arrays_that_do_not_fit_the_camera_are_refused() -> None:
    good = view(wall())
    for wrong in (
        DepthView(good.depth_m[:100], good.valid[:100], good.camera),
        DepthView(good.depth_m, good.valid[:100], good.camera),
        DepthView(good.depth_m.astype(np.float64), good.valid, good.camera),  # type: ignore[arg-type]
        good._replace(clean=(good.depth_m[:100], good.valid[:100])),
    ):
        with pytest.raises(FrameError, match="do not fit"):
            describe([wrong])


def test_one_real_frame_is_not_enough() -> None:
    with pytest.raises(InputError, match="halves"):
        compare({}, describe(sensor(range(1))))


def test_a_candidate_may_not_be_called_real() -> None:
    described = describe(sensor(range(2)))
    with pytest.raises(InputError, match="name of the real scans"):
        compare({REFERENCE: described}, described)


def test_a_corpus_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError):
        evaluate_corpus(tmp_path / "nowhere", sensor(range(2)))


samples = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20).map(np.array)


@given(samples, samples, st.floats(-100, 100))
def test_wasserstein_is_a_distance_and_the_length_of_a_shift(
    first: np.ndarray, second: np.ndarray, shift: float
) -> None:
    assert wasserstein(first, first) == 0
    assert wasserstein(first, second) == pytest.approx(wasserstein(second, first))
    assert wasserstein(first, first + shift) == pytest.approx(abs(shift), rel=1e-6, abs=1e-6)
    assert wasserstein(first, second) >= abs(first.mean() - second.mean()) - 1e-6
    if len(first) == len(second):
        assert wasserstein(first, second) == pytest.approx(np.mean(np.abs(np.sort(first) - np.sort(second))), abs=1e-6)


@given(st.integers(0, 500), st.integers(2, 100))
def test_evenly_spaced_positions_are_distinct_and_span_the_whole(total: int, count: int) -> None:
    found = evenly_spaced(total, count)
    assert len(found) == min(total, count)
    assert found == sorted(set(found))
    assert not found or (found[0], found[-1]) == (0, total - 1)
