"""Holes drawn with given probabilities: as many as asked, in pieces as large as the fields."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.sensors.fields import correlated_normals
from depthforge.translators.hole_sampling import LEVELS, fixed_point, sampled_holes

SIZE = (240, 320)


def field(frame: int) -> np.ndarray:
    return correlated_normals((frame, 1), SIZE, 10.0)


@pytest.mark.parametrize("probability", [0.02, 0.1, 0.5, 0.9])
def test_a_pixel_is_a_hole_as_often_as_its_probability_says(probability: float) -> None:
    levels = fixed_point(np.full(SIZE, probability, np.float32))
    share = np.mean([sampled_holes(levels, field(frame)).mean() for frame in range(60)])
    assert share == pytest.approx(probability, abs=0.02)


def test_certain_is_certain() -> None:
    levels = fixed_point(np.array([[0.0, 1.0, -3.0, 7.0]], np.float32))
    assert levels.tolist() == [[0, LEVELS, 0, LEVELS]]
    extremes = np.array([[-6.3, 6.3, -6.3, 6.3]], np.float32)
    assert sampled_holes(levels, extremes).tolist() == [[False, True, False, True]]


def test_what_rounding_over_threads_changes_moves_no_hole() -> None:
    random = np.random.default_rng(0)
    probability = (random.integers(0, LEVELS + 1, SIZE) / LEVELS).astype(np.float32)
    nudged = np.nextafter(probability, np.float32(2))
    np.testing.assert_array_equal(fixed_point(probability), fixed_point(nudged))
