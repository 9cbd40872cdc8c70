"""Known noise is recovered: amplitude, correlation length, quantisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.realism.noise import DEPTH_EDGES_M, correlation_length_px, measure_noise
from tests.realism.scenes import CAMERA, correlated, wall, white

ALL = np.ones(CAMERA.size, bool)


def lengths(depth_m: np.ndarray) -> list[float]:
    found = measure_noise(depth_m.astype(np.float32), ALL)
    return [correlation_length_px(along / found.num_correlated) for along in found.correlation]


@pytest.mark.parametrize("sigma_m", [0.0005, 0.003, 0.01])
def test_white_noise_on_a_slanted_wall_is_recovered(sigma_m: float) -> None:
    found = measure_noise((wall() + white(1, sigma_m)).astype(np.float32), ALL)
    assert len(found.sigma_m) == (320 // 24) * (240 // 24)
    assert np.median(found.sigma_m) == pytest.approx(sigma_m, rel=0.05)
    assert found.depth_m == pytest.approx(wall()[12:240:24, 12:312:24].ravel(), rel=0.02)


def test_a_clean_wall_has_no_noise_and_no_correlation_at_any_slant() -> None:
    for normal in ((0.0, 0.0, -1.0), (0.9, 0.3, -1.0)):
        found = measure_noise(wall(normal), ALL)
        assert np.median(found.sigma_m) < 1e-6


def test_windows_across_edges_and_holes_are_left_out() -> None:
    depth = wall((0, 0, -1))
    depth[:, 108:] = 1.0  # the edge is inside the windows of one column
    valid = ALL.copy()
    valid[100, 200] = False
    found = measure_noise(np.where(valid, depth, np.float32(0)), valid)
    assert len(found.sigma_m) == (13 - 1) * 10 - 1
    assert found.sigma_m.max() < 1e-6


@pytest.mark.parametrize("blur_px", [0.8, 1.2])
def test_correlation_length_is_recovered(blur_px: float) -> None:
    along_x, along_y = lengths(wall((0, 0, -1)) + 0.003 * correlated(2, blur_px))
    assert along_x == pytest.approx(2 * blur_px, rel=0.1)
    assert along_y == pytest.approx(2 * blur_px, rel=0.1)


def test_white_noise_is_correlated_over_less_than_a_pixel() -> None:
    assert lengths(wall((0, 0, -1)) + white(3, 0.002)) == pytest.approx([1 - np.exp(-1)] * 2, abs=0.02)


def test_noise_longer_than_the_last_lag_has_its_length() -> None:
    assert correlation_length_px(np.full(8, 0.9)) == 8


def test_disparity_steps_are_recovered_in_every_depth_bin() -> None:
    focal_baseline, steps_per_px = 500 * 0.075, 8
    inverse = np.linspace(1 / 4.0, 1 / 1.0, CAMERA.width * CAMERA.height).reshape(CAMERA.size)
    disparity = np.round(focal_baseline * inverse * steps_per_px) / steps_per_px
    found = measure_noise((focal_baseline / disparity).astype(np.float32), ALL)
    assert found.num_distinct == len(np.unique(disparity))
    for index in range(4, 8):  # 1 to 4 m
        middle = np.sqrt(DEPTH_EDGES_M[index] * DEPTH_EDGES_M[index + 1])
        assert found.step_m[index] == pytest.approx(middle**2 / (steps_per_px * focal_baseline), rel=0.05)
    assert np.isnan(found.step_m[0])


@given(st.floats(0.4, 0.9))
def test_exponential_correlation_has_the_length_of_its_exponent(fall: float) -> None:
    lag = np.arange(1, 9)
    expected = -1 / np.log(fall)
    found = correlation_length_px(fall**lag)
    assert found == pytest.approx(min(expected, 8), abs=0.15)


def test_an_image_without_measurements_has_no_noise() -> None:
    found = measure_noise(np.zeros(CAMERA.size, np.float32), ~ALL)
    assert (len(found.sigma_m), found.num_correlated, found.num_distinct) == (0, 0, 0)
    assert np.isnan(found.step_m).all()
