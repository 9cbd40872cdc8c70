"""The generated pattern has the published statistics, without a seam, and never changes."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from depthforge.sensors.dot_pattern import TILE_PX, disc_offsets, dot_tile, tiled_dots


def count_around(dots: npt.NDArray[np.bool_], offsets: list[tuple[int, int]]) -> npt.NDArray[np.int64]:
    return sum((np.roll(dots, offset, (0, 1)).astype(np.int64) for offset in offsets), np.zeros(dots.shape, np.int64))


def test_one_pixel_in_nine_is_a_dot() -> None:
    assert dot_tile().mean() == pytest.approx(0.111, abs=0.0005)


def test_windows_hold_four_to_fourteen_dots() -> None:
    in_window = count_around(dot_tile(), [(dy, dx) for dy in range(9) for dx in range(9)])
    assert in_window.min() >= 4
    assert in_window.max() <= 14
    assert in_window.mean() == pytest.approx(9.0, abs=0.05)
    # The published pattern's is 1.20; a regular grid has none, a Poisson pattern 3.
    assert in_window.std() == pytest.approx(1.2, abs=0.15)


def test_nearest_neighbours_are_two_to_four_pixels_away() -> None:
    dots = dot_tile()
    assert not count_around(dots, disc_offsets(1.99, smallest=1))[dots].any()
    assert count_around(dots, disc_offsets(4, smallest=1))[dots].all()


def test_no_pixel_is_out_of_reach_of_a_dot() -> None:
    assert count_around(dot_tile(), disc_offsets(3)).all()


def test_pattern_is_not_periodic_within_the_tile() -> None:
    spectrum = np.abs(np.fft.fft2(dot_tile() - dot_tile().mean())) ** 2
    correlation = np.fft.ifft2(spectrum).real / spectrum.mean()
    assert np.abs(correlation.ravel()[1:]).max() < 0.2


def test_tile_repeats_over_any_size_and_is_always_the_same() -> None:
    wide = tiled_dots(TILE_PX + 5, 3 * TILE_PX)
    np.testing.assert_array_equal(wide[TILE_PX:, TILE_PX : 2 * TILE_PX], dot_tile()[:5])
    assert tiled_dots(1, 1).shape == (1, 1)
    digest = hashlib.sha256(np.packbits(dot_tile()).tobytes()).hexdigest()
    assert digest == "589e777d3237df590d12ef196930733e5b74c451495346078973a84c6e7a883b", (
        "another pattern is other noise: raise Simulation.version"
    )


def test_disc_offsets_are_nearest_first_then_in_raster_order() -> None:
    assert disc_offsets(1) == [(0, 0), (-1, 0), (0, -1), (0, 1), (1, 0)]
    assert len(disc_offsets(3)) == 29
