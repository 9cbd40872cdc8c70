"""A static burst: its noise is the sensor's, and one that moves is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.burst import read_burst
from depthforge.fitting.candidates import residuals
from depthforge.fitting.recipes import RECIPES, Stage
from depthforge.fitting.search import match_stages
from depthforge.frame import Frame
from depthforge.sensors.base import Sensor
from depthforge.sensors.gaussian_dropout import GaussianDropout
from tests.fitting.rooms import scan

TRUE = GaussianDropout(sigma_constant_m=0.004, sigma_quadratic_per_m=0.001, correlation_px=1.6)


def burst(count: int = 8, sensor: Sensor = TRUE) -> list[Frame]:
    return [scan(sensor, number, view=0) for number in range(count)]


def test_the_noise_of_a_burst_comes_back_within_a_tenth() -> None:
    still = read_burst(burst(), 0.0, "test")

    def residuals_of(candidate: Sensor, stage: Stage) -> Any:
        return residuals(still.simulated(candidate), still.target, stage.curves)

    start = GaussianDropout()
    found = match_stages(start, RECIPES["gaussian_dropout"].stages[:1], residuals_of, radii=((0.4, 0.15, 0.06),))
    assert isinstance(found, GaussianDropout)
    assert found.sigma_constant_m == pytest.approx(TRUE.sigma_constant_m, rel=0.1)
    assert found.sigma_quadratic_per_m == pytest.approx(TRUE.sigma_quadratic_per_m, rel=0.1)
    assert found.correlation_px == pytest.approx(TRUE.correlation_px, rel=0.1)


def test_what_is_bent_is_no_noise_of_a_burst() -> None:
    """A scene rougher than the noise: a single scan would take it for noise, a burst does not."""
    frames = burst(sensor=GaussianDropout(sigma_constant_m=0.004, sigma_quadratic_per_m=0))
    bumps = 0.01 * np.random.default_rng(0).normal(size=frames[0].depth_m.shape).astype(np.float32)
    bumpy = [replace(frame, depth_m=frame.depth_m + bumps) for frame in frames]
    smooth, rough = (
        read_burst(each, 0.0, "test").target.curves["noise correlation along x"] for each in (frames, bumpy)
    )
    assert np.allclose(smooth, rough, atol=0.05)


def test_a_burst_that_moves() -> None:
    sensor = GaussianDropout(sigma_constant_m=0.002)
    frames = [
        replace(frame, depth_m=frame.depth_m * np.float32(1 + 0.004 * t)) for t, frame in enumerate(burst(8, sensor))
    ]
    with pytest.raises(InputError, match="the burst moves") as caught:
        read_burst(frames, 0.0, "test")
    assert "stand" in str(caught.value.remedy)


def test_frames_of_different_views_are_no_burst() -> None:
    with pytest.raises(InputError, match="the burst moves"):
        read_burst([scan(TRUE, number) for number in range(8)], 0.0, "test")


def test_a_correlated_burst_that_stands_still_is_taken() -> None:
    read_burst(burst(6, GaussianDropout(sigma_constant_m=0.004, correlation_px=4.0)), 0.0, "test")


def test_a_short_burst() -> None:
    with pytest.raises(InputError, match="too short") as caught:
        read_burst(burst(4), 0.0, "test")
    assert caught.value.found == "4"


def test_the_same_frame_over_and_over() -> None:
    frame = scan(TRUE, 0)
    with pytest.raises(InputError, match="all the same"):
        read_burst([frame] * 6, 0.0, "test")


def test_a_burst_that_hardly_measures() -> None:
    holes = GaussianDropout(sigma_constant_m=0.004, pixel_dropout=0.5)
    with pytest.raises(InputError, match="do not show the same view"):
        read_burst(burst(6, holes), 0.0, "test")
