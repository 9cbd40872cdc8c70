"""The score ranks what is nearer to the sensor first, and no perfect noise buys bent geometry."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.errors import InputError, UnknownNameError
from depthforge.realism.bias import measure_bias
from depthforge.realism.choice import (
    TERMS,
    THRESHOLDS,
    WORST,
    Judged,
    evaluate_translator,
    hole_threshold_sensitivity,
    score,
)
from depthforge.realism.compare import HELD_OUT, REFERENCE, Comparison, Figure, compare
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView
from tests.realism.scenes import CAMERA, correlated, view, wall, white

CLEAN = (wall(), np.ones(CAMERA.size, bool))


def translated(
    seed: int, sigma_m: float = 0.004, holes: float = 0.05, bend: npt.NDArray[np.floating] | float = 1.0
) -> DepthView:
    """The wall through a sensor; ``bend`` multiplies the depth."""
    valid = np.kron(np.random.default_rng(seed).random((30, 40)) >= holes, np.ones((8, 8), bool))
    return view(wall() * bend + sigma_m * correlated(seed, 1.0), valid)._replace(clean=CLEAN)


@pytest.fixture(scope="module")
def real() -> Description:
    return describe(translated(seed)._replace(clean=None) for seed in range(16))


def judge(real: Description, **sensor: float | npt.NDArray[np.floating]) -> Judged:
    return evaluate_translator([translated(seed, **sensor) for seed in range(100, 106)], real)  # type: ignore[arg-type]


def test_the_sensor_itself_is_near_0(real: Description) -> None:
    found, comparison = judge(real)
    assert tuple(found.terms) == TERMS
    assert found.total == math.fsum(found.terms.values())
    for name in ("holes", "hole sizes", "noise", "roughness", "normals", "depth"):
        assert found.terms[name] < 0.1, name
    assert found.terms["patches"] < 0.3
    assert comparison is not None
    assert comparison.value("depth off clean, median", "translated") == pytest.approx(0.02, abs=0.02)


def test_what_is_farther_from_the_sensor_scores_worse(real: Description) -> None:
    best = judge(real).score
    louder = judge(real, sigma_m=0.008).score
    loudest = judge(real, sigma_m=0.016).score
    assert louder.terms["noise"] == pytest.approx(0.5, abs=0.05)
    assert loudest.terms["noise"] == pytest.approx(1, abs=0.1)
    fewer = judge(real, holes=0.025).score
    none = judge(real, holes=0.0).score
    assert fewer.terms["holes"] == pytest.approx(0.5, abs=0.15)
    assert (none.terms["holes"], none.terms["hole sizes"]) == (pytest.approx(1, abs=0.05), 1)
    assert best.total < louder.total < loudest.total
    assert best.total < fewer.total < none.total


def test_a_wall_that_stands_5_percent_too_far_costs_half_the_term_though_its_noise_is_right(real: Description) -> None:
    best, (found, comparison) = judge(real).score, judge(real, bend=1.05)
    assert found.terms["depth"] == pytest.approx(0.5, abs=0.01)
    assert found.terms["noise"] < 0.15
    assert found.terms["normals"] < 0.1
    assert comparison is not None
    assert comparison.value("depth off clean, signed median", "translated") == pytest.approx(5, abs=0.05)
    assert comparison.value("depth off clean, median", "translated") == pytest.approx(5, abs=0.05)
    assert comparison.value("depth off clean, median", REFERENCE) is None
    assert found.total > best.total + 0.4
    # Half of it nearer and half farther: the sign cancels, the size does not.
    across = 1 + 0.1 * np.linspace(-1, 1, CAMERA.width)
    _, bent = judge(real, bend=across)
    assert bent is not None
    assert bent.value("depth off clean, signed median", "translated") == pytest.approx(0, abs=0.6)
    assert bent.value("depth off clean, median", "translated") == pytest.approx(5, abs=0.6)


def test_realism_does_not_make_up_for_depth_of_another_scene(real: Description) -> None:
    thirty = judge(real, bend=1.3).score
    assert min(thirty.terms.values()) == pytest.approx(0.5, abs=0.01)
    assert thirty.terms["depth"] == 1
    assert judge(real, bend=2.0).score == WORST
    # At 10 % the other terms are still their own.
    assert judge(real, bend=1.1).score.terms["normals"] < 0.1


def test_nothing_but_holes_is_the_worst_there_is(real: Description) -> None:
    dead = DepthView(np.zeros(CAMERA.size, np.float32), np.zeros(CAMERA.size, bool), CAMERA, CLEAN)
    assert evaluate_translator([dead] * 4, real) == (WORST, None)
    assert WORST.total == len(TERMS) == 7
    specks = np.zeros(CAMERA.size, bool)
    specks[::16, ::16] = True
    found = evaluate_translator([view(wall(), specks)._replace(clean=CLEAN)] * 4, real)
    assert found.score.terms == WORST.terms | {"hole sizes": found.score.terms["hole sizes"]}


def test_sparse_outputs_without_a_block_to_average_still_rank() -> None:
    def lines(every: int) -> list[DepthView]:
        valid = np.zeros(CAMERA.size, bool)
        valid[:, ::every] = True
        return [view(wall(), valid)._replace(clean=CLEAN)] * 4

    found, _ = evaluate_translator(lines(8), describe(lines(5)))
    assert found.terms["depth"] == 1
    assert found.terms["holes"] == pytest.approx((1 / 5 - 1 / 8) / (4 / 5), abs=1e-6)


def test_a_judgement_needs_clean_depth_and_a_known_name(real: Description) -> None:
    with pytest.raises(InputError, match="beside the clean depth"):
        evaluate_translator([view(wall())], real)
    with pytest.raises(InputError, match="beside the clean depth"):
        evaluate_translator([], real)
    comparison = compare({}, real)
    assert score(comparison, "nobody").terms == WORST.terms
    with pytest.raises(UnknownNameError):
        comparison.value("depth of clean, median", REFERENCE)


def published(name: str, values: dict[str, float | None]) -> Comparison:
    """A comparison of the given figures with the Kinect of docs/realism.md."""
    real = {"holes": 11.1, "roughness of normals, median": 16.6}
    floor = {"patches told apart, AUC": 0.48}
    rows = [Figure(f, "", {name: v, REFERENCE: real.get(f), HELD_OUT: floor.get(f)}) for f, v in values.items()]
    return Comparison({}, tuple(rows), (), 0)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([2.1, 0.45, 0.0, 0.0, 0.99, 9.0, 1.5, 3.9, 16.4], 4.17),
        ([5.3, 15.3, 10.1, 0.0, 0.95, 5.9, 1.7, 0.55, 2.7], 2.31),
    ],
)
def test_the_scores_that_the_documentation_names(values: list[float], total: float) -> None:
    figures = (
        "holes",
        "roughness of normals, median",
        "normals off clean, median",
        "depth off clean, median",
        "patches told apart, AUC",
        "holes a frame, Wasserstein",
        "hole sizes, Wasserstein",
        "noise against depth",
        "roughness, Wasserstein",
    )
    comparison = published("it", dict(zip(figures, values, strict=True)))
    assert score(comparison, "it").total == pytest.approx(total, abs=0.03)


def test_bias_is_a_share_of_depth_over_what_both_have() -> None:
    valid = np.random.default_rng(0).random(CAMERA.size) > 0.3
    far = np.where(valid, wall() * np.float32(1.02), np.float32(np.nan))
    with np.errstate(all="raise"):
        found = measure_bias(far, valid, CLEAN)
    assert found.shape == ((240 // 16) * (320 // 16),)
    np.testing.assert_allclose(found, 0.02, atol=1e-5)
    noisy = (wall() * (1 + 0.01 * white(1))).astype(np.float32)
    assert measure_bias(noisy, CLEAN[1], CLEAN).std() == pytest.approx(0.01 / 16, rel=0.15)
    few = np.zeros(CAMERA.size, bool)
    few[:, ::6] = True
    assert measure_bias(wall(), few, CLEAN).size == 0
    small = np.ones((15, 40), np.float32)
    assert measure_bias(small, small > 0, (small, small > 0)).size == 0


def test_holes_follow_the_threshold() -> None:
    output = np.linspace(0, 0.1, 1001, dtype=np.float32)[None]
    everywhere = np.ones(output.shape, bool)
    found = hole_threshold_sensitivity([output, output], [everywhere, everywhere], (0.0, 0.01, 0.05, 1.0))
    assert [threshold for threshold, _ in found] == [0.0, 0.01, 0.05, 1.0]
    np.testing.assert_allclose([share for _, share in found], [1 / 1001, 101 / 1001, 501 / 1001, 1], atol=2e-3)
    assert found[0][1] == 1 / 1001
    half = np.arange(1001)[None] >= 500
    assert hole_threshold_sensitivity([output], [half], (0.01,)) == [(0.01, 0.0)]
    broken = np.full((1, 4), np.nan, np.float32)
    assert hole_threshold_sensitivity([broken], [broken != 0], (0.0,)) == [(0.0, 1.0)]
    shares = [share for _, share in hole_threshold_sensitivity([output], [everywhere])]
    assert shares == sorted(shares)
    assert len(shares) == len(THRESHOLDS)
    with pytest.raises(InputError, match="no valid clean pixel"):
        hole_threshold_sensitivity([], [])
