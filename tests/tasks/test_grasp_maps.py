"""Maps of grasps: what is drawn where, and that what was drawn is read off again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.tasks.grasp_maps import drawn, read_off
from depthforge.tasks.grasp_rectangles import angle_between_deg, best_overlap, overlaps


def test_the_middle_third_is_drawn() -> None:
    angle = 0.0
    maps = drawn(np.array([[100.0, 60.0, angle, 90.0, 20.0]]), 300)
    rows, columns = np.nonzero(maps[0])
    assert (columns.min(), columns.max()) == (85, 115)
    assert (rows.min(), rows.max()) == (50, 70)
    assert maps[0, 60, 100] == 1
    assert maps[:, 0, 0].tolist() == [0, 1, 0, 0]
    np.testing.assert_allclose(maps[:, 60, 100], [1, 1, 0, 90 / 150])


def test_values_are_those_of_twice_the_angle_and_wide_is_one() -> None:
    angle = np.deg2rad(30)
    maps = drawn(np.array([[150.0, 150.0, angle, 200.0, 20.0]]), 300)
    np.testing.assert_allclose(maps[:, 150, 150], [1, 0.5, np.sqrt(3) / 2, 1], atol=1e-6)
    half_a_turn = drawn(np.array([[150.0, 150.0, angle + np.pi, 200.0, 20.0]]), 300)
    np.testing.assert_allclose(maps, half_a_turn, atol=1e-6)


def test_the_best_is_on_top() -> None:
    best, worse = [50.0, 50.0, 0.0, 30.0, 10.0], [50.0, 50.0, np.pi / 2, 60.0, 30.0]
    maps = drawn(np.array([best, worse]), 100)
    assert maps[1, 50, 50] == pytest.approx(1)
    assert maps[1, 50, 62] == pytest.approx(-1)
    # 60 pixels of 100 are more than 150 of 300.
    assert maps[3, 50, 62] == 1
    assert maps[3, 50, 50] == pytest.approx(0.6)


@settings(max_examples=20)
@given(st.floats(-1.5, 1.5), st.floats(40, 100), st.floats(30, 50), st.floats(80, 220), st.floats(80, 220))
def test_what_was_drawn_is_read_off_again(angle: float, opening: float, jaw: float, x: float, y: float) -> None:
    truth = np.array([[x, y, angle, opening, jaw]])
    found = read_off(drawn(truth, 300), most=1)
    assert found.shape == (1, 5)
    assert angle_between_deg(found[0, 2], angle) < 3
    assert found[0, 3] == pytest.approx(opening, rel=0.1)
    assert found[0, 4] == found[0, 3] / 2
    assert np.hypot(*(found[0, :2] - truth[0, :2])) < max(opening / 6, jaw / 2) + 2


def test_three_peaks_that_lie_apart_are_read_the_best_first() -> None:
    maps = np.zeros((4, 300, 300), np.float32)
    maps[1], maps[3] = 1, 0.2
    for height, (row, column) in zip((0.6, 1.0, 0.9, 0.8), ((50, 50), (150, 150), (150, 165), (250, 60)), strict=True):
        maps[0, row - 3 : row + 4, column - 3 : column + 4] = height
    found = read_off(maps)
    np.testing.assert_allclose(found[:, :2], [[150, 150], [60, 250], [50, 50]])
    np.testing.assert_allclose(found[:, 2:], [[0, 30, 15]] * 3, atol=1e-4)
    assert len(read_off(maps, most=2)) == 2
    assert len(read_off(0.1 * maps)) == 0


def test_an_angle_near_a_right_one_is_not_averaged_away() -> None:
    """Beside each other +89 and -89 degrees: their mean is a right angle, and not none."""
    truth = np.array([[150.0, 148.0, np.deg2rad(89), 80.0, 40.0], [150.0, 152.0, np.deg2rad(-89), 80.0, 40.0]])
    found = read_off(drawn(truth, 300), most=1)
    assert angle_between_deg(found[0, 2], np.pi / 2) < 2
    assert best_overlap(found, truth)[0] == overlaps(found, truth).max()
