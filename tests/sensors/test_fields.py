"""Correlated noise: unit variance at every pixel, the promised correlation, a function of words and stream alone."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.sensors.draws import standard_normals
from depthforge.sensors.fields import correlated_normals, stretched


@pytest.mark.parametrize("length_px", [0.7, 2.0, 3.3, 10.0])
def test_neighbours_correlate_as_promised_in_every_direction(length_px: float) -> None:
    field = correlated_normals((5, 6), (700, 800), length_px).astype(np.float64)
    for dy, dx in ((0, 1), (1, 0), (2, 2), (0, 4), (round(length_px), 0)):
        shared = (field[: 700 - dy, : 800 - dx] * field[dy:, dx:]).mean()
        assert shared == pytest.approx(np.exp(-(dx**2 + dy**2) / length_px**2), abs=0.035), (dy, dx)


def test_every_pixel_has_variance_one_wherever_it_lies_in_the_lattice() -> None:
    fields = np.stack([correlated_normals((n, 1), (9, 13), 4.7) for n in range(3000)])
    np.testing.assert_allclose(fields.mean(0), 0, atol=4 / np.sqrt(3000))
    np.testing.assert_allclose(fields.var(0), 1, atol=4.5 * np.sqrt(2 / 3000))


def test_without_length_it_is_white_noise() -> None:
    np.testing.assert_array_equal(correlated_normals((1, 2), (7, 9), 0.0), standard_normals((1, 2), (7, 9)))


def test_streams_and_words_are_independent_and_repeat() -> None:
    first = correlated_normals((1, 2), (300, 400), 2.0)
    np.testing.assert_array_equal(correlated_normals((1, 2), (300, 400), 2.0), first)
    for other in (correlated_normals((1, 2), (300, 400), 2.0, stream=1), correlated_normals((1, 3), (300, 400), 2.0)):
        assert abs((first * other).mean()) < 0.03


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_any_size(size: tuple[int, int]) -> None:
    for length_px in (0.5, 3.0, 200.0):
        field = correlated_normals((1, 2), size, length_px)
        assert field.shape == size
        assert field.dtype == np.float32
        assert np.isfinite(field).all()


def test_a_map_is_drawn_out_through_its_numbers_without_kinks() -> None:
    values = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    drawn = stretched(values, (27, 45))
    np.testing.assert_allclose(drawn[4::9, 4::9], values, atol=1e-6)
    np.testing.assert_allclose(drawn[:4, :4], values[0, 0], atol=1e-6)
    ramp = stretched(np.add.outer(np.arange(4), np.arange(6)).astype(np.float32), (40, 60)).astype(np.float64)
    np.testing.assert_allclose(np.diff(ramp[15:25, 15:45], axis=1), 0.1, atol=1e-5)
