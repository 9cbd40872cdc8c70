"""The search alone, on residuals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.fitting.recipes import Number, Stage
from depthforge.fitting.search import Float64, match_stages, softened
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
    def judge(sensor: Sensor, stage: Stage) -> Float64:
        return np.concatenate([off(sensor, stage), np.full(4, 300.0)])

    sensor = GaussianDropout(sigma_constant_m=0.003, sigma_quadratic_per_m=0.001)
    found = match_stages(sensor, [STAGE], judge, radii=((0.5, 0.2, 0.08, 0.03),))
    assert isinstance(found, GaussianDropout)
    assert found.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.02)
