"""The search alone, on residuals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.fitting.candidates import Float64, softened
from depthforge.fitting.recipes import Choice, Number, Stage
from depthforge.fitting.search import ResidualsOf, match_stages
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout

STAGE = Stage(
    ("noise against depth",),
    numbers=(
        Number("sigma_constant_m", 1e-4, 0.1, "log", start=0.001),
        Number("sigma_quadratic_per_m", 1e-5, 0.05, "log", start=0.001),
    ),
)
TRUE = GaussianDropout(sigma_constant_m=0.03, sigma_quadratic_per_m=0.0002)
DEPTH_M = np.linspace(0.8, 4.0, 8)


def sigma_of(sensor: Sensor) -> Float64:
    assert isinstance(sensor, GaussianDropout)
    return np.log2(sensor.sigma_constant_m + sensor.sigma_quadratic_per_m * DEPTH_M**2)


def off(sensor: Sensor, stage: Stage) -> Float64:
    """Residuals that are a hundred errors large far away, as those of noise are."""
    return np.asarray((sigma_of(sensor) - sigma_of(TRUE)) / 0.01)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_softened_residuals_keep_their_sign_and_their_order(first: float, second: float) -> None:
    a, b = softened(np.array([first, second]))
    assert np.sign(a) == np.sign(first)
    assert (a <= b) == (first <= second) or first == pytest.approx(second)
    assert abs(a) <= abs(first)


@pytest.mark.parametrize("start", [0.0003, 0.003, 0.09])
def test_the_answer_is_found_from_wherever_the_search_begins(start: float) -> None:
    """Small regions move on while their answer lies at their border."""
    sensor = GaussianDropout(sigma_constant_m=start, sigma_quadratic_per_m=0.001)
    found = match_stages(sensor, [STAGE], off, radii=((0.5, 0.2, 0.08, 0.03),))
    assert isinstance(found, GaussianDropout)
    assert found.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.02)


def test_a_curve_that_no_parameter_moves_does_not_spoil_the_others() -> None:
    def residuals_of(sensor: Sensor, stage: Stage) -> Float64:
        return np.concatenate([off(sensor, stage), np.full(4, 300.0)])

    sensor = GaussianDropout(sigma_constant_m=0.003, sigma_quadratic_per_m=0.001)
    found = match_stages(sensor, [STAGE], residuals_of, radii=((0.5, 0.2, 0.08, 0.03),))
    assert isinstance(found, GaussianDropout)
    assert found.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.02)


def unit_of(sensor: Sensor) -> Float64:
    return np.array([number.to_unit(getattr(sensor, number.name)) for number in STAGE.numbers])


def ripples(sensor: Sensor, stage: Stage) -> Float64:
    """A slope with ripples that no quadratic follows."""
    u, v = unit_of(sensor)
    return np.array([3 * np.sin(23 * u) + u, 3 * np.cos(17 * v) + v])


def a_narrow_valley(sensor: Sensor, stage: Stage) -> Float64:
    """Nothing to be seen of the answer from half a region away; the far wall is a cliff."""
    u, v = unit_of(sensor)
    return np.array([min(abs(u - 0.31), 0.03) * 50, 40.0 * (v > 0.6) - v])


def a_kink(sensor: Sensor, stage: Stage) -> Float64:
    u, v = unit_of(sensor)
    return np.array([9 * np.sqrt(abs(u - 0.13)), 9 * np.sqrt(abs(v - 0.91))])


@pytest.mark.parametrize("made_up", [ripples, a_narrow_valley, a_kink])
@pytest.mark.parametrize("start", [0.0003, 0.02])
def test_the_best_candidate_that_was_tried_is_returned(made_up: ResidualsOf, start: float) -> None:
    costs = {}

    def residuals_of(sensor: Sensor, stage: Stage) -> Float64:
        off = made_up(sensor, stage)
        costs[sensor] = float(np.sum(softened(off) ** 2))
        return off

    sensor = GaussianDropout(sigma_constant_m=start, sigma_quadratic_per_m=0.001)
    found = match_stages(sensor, [STAGE], residuals_of, radii=((0.4, 0.15), (0.06,)))
    assert costs[found] == min(costs.values())


def test_a_value_that_the_bounds_leave_out_stays_where_it_is_best() -> None:
    def residuals_of(sensor: Sensor, stage: Stage) -> Float64:
        assert isinstance(sensor, GaussianDropout)
        return np.array([30 * sensor.sigma_constant_m, 30 * sensor.sigma_quadratic_per_m])

    silent = GaussianDropout(sigma_constant_m=0.0, sigma_quadratic_per_m=0.0)
    assert match_stages(silent, [STAGE], residuals_of) == silent


@pytest.mark.parametrize("late", [False, True])
def test_a_choice_is_left_alone_where_no_option_is_better(late: bool) -> None:
    edges = Stage(("holes",), choices=(Choice("edge_px", (1, 2, 5), late=late),))
    sensor = GaussianDropout(edge_px=3)

    def best_at(edge_px: int) -> ResidualsOf:
        return lambda candidate, stage: np.array([candidate.edge_px - edge_px, 1.0])  # type: ignore[attr-defined]

    assert match_stages(sensor, [edges], best_at(3), late=late) == sensor
    assert match_stages(sensor, [edges], lambda candidate, stage: np.ones(2), late=late) == sensor
    assert match_stages(sensor, [edges], best_at(6), late=late) == sensor.model_copy(update={"edge_px": 5})


def test_what_one_stage_wins_and_the_others_lose_is_taken_back() -> None:
    noise, edges = Stage(("noise",), numbers=STAGE.numbers), Stage(("holes",), choices=(Choice("edge_px", (1, 4)),))
    sensor = GaussianDropout(sigma_constant_m=0.03, sigma_quadratic_per_m=0.0002, edge_px=1)

    def residuals_of(candidate: Sensor, stage: Stage) -> Float64:
        """More edges are a little better for the holes, and much worse for the noise."""
        assert isinstance(candidate, GaussianDropout)
        if stage is edges:
            return np.array([1.0 - 0.1 * candidate.edge_px])
        return np.append(off(candidate, stage), candidate.edge_px)

    notes: list[str] = []
    assert match_stages(sensor, [noise, edges], residuals_of, note=notes.append) == sensor
    assert "taken back" in notes[-1]
    assert match_stages(sensor, [edges], residuals_of).edge_px == 4  # type: ignore[attr-defined]
    assert match_stages(sensor, [edges], residuals_of, kept_by=[noise, edges]) == sensor
