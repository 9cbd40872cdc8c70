"""Normals of planes are exact, and noise turns them by what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.realism.normals import measure_normals, window_normals
from tests.realism.scenes import CAMERA, wall, white

ALL = np.ones(CAMERA.size, bool)


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8), st.floats(0.5, 5))
def test_the_normal_of_a_plane_is_its_normal(x: float, y: float, distance_m: float) -> None:
    expected = np.array([x, y, -1.0]) / np.linalg.norm([x, y, -1.0])
    normals = window_normals(wall((x, y, -1.0), distance_m), ALL, CAMERA)
    assert normals.shape == (240 // 7, 320 // 7, 3)
    assert np.abs(normals - expected).max() < 1e-3
    assert measure_normals(wall((x, y, -1.0), distance_m), ALL, CAMERA).roughness_deg.max() < 0.1


def test_white_noise_turns_normals_by_the_error_of_a_least_squares_slope() -> None:
    """A slope over 7x7 pixels has sigma / sqrt(7 * 28); the angle of two such errors is Rayleigh distributed."""
    sigma_m, depth_m = 0.002, 2.0
    clean = wall((0, 0, -1), depth_m)
    noisy = (clean + white(4, sigma_m)).astype(np.float32)
    found = measure_normals(noisy, ALL, CAMERA, (clean, ALL))
    assert found.distortion_deg is not None
    slope = sigma_m / np.sqrt(7 * 28) * np.sqrt(CAMERA.fx * CAMERA.fy) / depth_m
    expected_deg = np.degrees(slope * np.sqrt(2 * np.log(2)))
    assert np.median(found.distortion_deg) == pytest.approx(expected_deg, rel=0.06)
    assert np.median(found.roughness_deg) == pytest.approx(np.sqrt(2) * expected_deg, rel=0.06)


def test_no_clean_depth_no_distortion_and_no_measurement_no_angle() -> None:
    assert measure_normals(wall(), ALL, CAMERA).distortion_deg is None
    nothing = np.zeros(CAMERA.size, np.float32)
    found = measure_normals(nothing, ~ALL, CAMERA, (nothing, ~ALL))
    assert found.roughness_deg.size == 0
    assert found.distortion_deg is not None
    assert found.distortion_deg.size == 0
