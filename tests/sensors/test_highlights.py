"""Highlights are small and stand in darker surroundings; a white thing in the sun is none."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.sensors.highlights import highlights

LEVEL, FOCAL_PX = 250, 300.0  # at most 30 x 30 pixels


def grey(level: int = 100, size: tuple[int, int] = (120, 161)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def test_a_small_bright_spot_on_grey_is_one_to_the_pixel() -> None:
    rgb = grey()
    rgb[41:54, 71:90] = 253
    found = highlights(rgb, LEVEL, FOCAL_PX)
    assert found is not None
    expected = np.zeros(rgb.shape[:2], np.bool_)
    expected[41:54, 71:90] = True
    np.testing.assert_array_equal(found, expected)


def test_a_sunlit_patch_is_none_however_bars_cut_it() -> None:
    rgb = grey()
    rgb[20:100, 30:130] = 255
    assert highlights(rgb, LEVEL, FOCAL_PX) is None
    for column in range(40, 130, 10):
        rgb[20:100, column : column + 2] = 60
    assert highlights(rgb, LEVEL, FOCAL_PX) is None


@pytest.mark.parametrize(("around", "is_one"), [(150, True), (180, True), (200, False), (240, False)])
def test_what_stands_in_white_is_white(around: int, is_one: bool) -> None:
    """Half of white light is a luma of 255 x 0.5^(1 / 2.2) = 186."""
    rgb = grey(around)
    rgb[50:60, 70:84] = 255
    assert (highlights(rgb, LEVEL, FOCAL_PX) is not None) == is_one


def test_colours_and_what_lies_below_the_level_are_none() -> None:
    rgb = grey()
    rgb[50:60, 70:84] = (255, 255, 249)
    assert highlights(rgb, LEVEL, FOCAL_PX) is None
    assert highlights(rgb, 249, FOCAL_PX) is not None
    assert highlights(rgb, 256, FOCAL_PX) is None


def test_the_same_spot_is_one_at_twice_the_focal_length_only() -> None:
    rgb = grey()
    rgb[40:80, 60:100] = 255
    assert highlights(rgb, LEVEL, FOCAL_PX) is None
    found = highlights(rgb, LEVEL, 2 * FOCAL_PX)
    assert found is not None
    assert found.sum() == 1600


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (9, 1)])
@pytest.mark.parametrize("level", [0, 255])
def test_any_size(size: tuple[int, int], level: int) -> None:
    assert highlights(grey(level, size), LEVEL, FOCAL_PX) is None
