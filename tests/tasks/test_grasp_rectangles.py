"""Rectangles: overlaps worked out by hand and by counting pixels, laws, what is near, and the label's rows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.tasks.grasp_rectangles import (
    angle_between_deg,
    best_overlap,
    corners,
    from_labels,
    overlaps,
    suppress,
)

rectangles = st.tuples(st.floats(40, 60), st.floats(40, 60), st.floats(-4, 4), st.floats(1, 40), st.floats(1, 40)).map(
    lambda row: np.array([row])
)
angles = st.floats(-7, 7)


def test_rows_of_the_label_become_centre_angle_opening_and_jaw() -> None:
    rows = np.array([[10, 20, 13, 24, 6, 0.9, 7], [5, 5, 5, 1, 2, 0.5, 7]], np.float32)
    np.testing.assert_allclose(
        from_labels(rows), [[10, 20, np.arctan2(4, 3), 10, 6], [5, 5, -np.pi / 2, 8, 2]], atol=1e-6
    )
    np.testing.assert_allclose(corners(from_labels(rows)[1:])[0], [[4, 9], [4, 1], [6, 1], [6, 9]], atol=1e-6)


def test_overlaps_that_can_be_worked_out() -> None:
    square, shifted = np.array([[0.0, 0, 0, 2, 2]]), np.array([[1.0, 0, 0, 2, 2]])
    assert overlaps(square, shifted)[0, 0] == pytest.approx(2 / 6)
    # A square and itself turned by 45 degrees share an octagon of 8 (sqrt 2 - 1).
    octagon = 8 * (np.sqrt(2) - 1)
    turned = np.array([[0.0, 0, np.pi / 4, 2, 2]])
    assert overlaps(square, turned)[0, 0] == pytest.approx(octagon / (8 - octagon))
    within = np.array([[0.1, -0.2, 1.0, 0.5, 0.5]])
    assert overlaps(square, within)[0, 0] == pytest.approx(0.25 / 4)
    assert overlaps(square, np.array([[9.0, 0, 0, 2, 2], [2.0, 0, 0, 2, 2], [0, 0, 0, 0, 2]])).tolist() == [[0, 0, 0]]


@given(rectangles, rectangles, angles)
def test_overlaps_are_the_same_both_ways_and_after_half_a_turn(a: np.ndarray, b: np.ndarray, turn: float) -> None:
    overlap = overlaps(a, b)[0, 0]
    assert 0 <= overlap <= 1 + 1e-9
    assert overlaps(b, a)[0, 0] == pytest.approx(overlap, abs=1e-9)
    assert overlaps(a, a)[0, 0] == pytest.approx(1)
    assert overlaps(a, b + np.array([0, 0, np.pi, 0, 0]))[0, 0] == pytest.approx(overlap, abs=1e-9)
    # Turned by a quarter, opening and jaw change places.
    assert overlaps(a, b[:, [0, 1, 2, 4, 3]] + np.array([0, 0, np.pi / 2, 0, 0]))[0, 0] == pytest.approx(
        overlap, abs=1e-9
    )
    # The whole picture turned and moved.
    cosine, sine = np.cos(turn), np.sin(turn)
    moved = [r.copy() for r in (a, b)]
    for r in moved:
        r[:, :2] = r[:, :2] @ [[cosine, sine], [-sine, cosine]] + (3.0, -8.0)
        r[:, 2] += turn
    assert overlaps(*moved)[0, 0] == pytest.approx(overlap, abs=1e-9)


@given(rectangles, rectangles)
def test_overlaps_are_what_counting_fine_pixels_gives(a: np.ndarray, b: np.ndarray) -> None:
    scale, masks = 8, []
    for r in (a, b):
        mask = np.zeros((100 * scale, 100 * scale), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(corners(r)[0] * scale).astype(np.int32), 1)
        masks.append(mask.astype(bool))
    union = (masks[0] | masks[1]).sum()
    counted = (masks[0] & masks[1]).sum() / union
    # A pixel's width around the outlines is what counting is off by.
    slack = sum(2 * (r[0, 3] + r[0, 4]) * scale for r in (a, b)) / union
    assert overlaps(a, b)[0, 0] == pytest.approx(counted, abs=slack)


def test_angles_have_no_sense() -> None:
    assert angle_between_deg(0, np.pi) == pytest.approx(0, abs=1e-9)
    assert angle_between_deg(np.deg2rad(89), np.deg2rad(-89)) == pytest.approx(2)
    assert angle_between_deg(np.deg2rad(10), np.deg2rad(100)) == pytest.approx(90)


def test_what_is_turned_too_far_does_not_match() -> None:
    truth = np.array([[0.0, 0, 0, 4, 4], [50, 50, 0, 4, 4]])
    turned = np.deg2rad([29.0, 31.0, 180.0])
    predicted = np.column_stack([np.zeros((3, 2)), turned, np.full((3, 2), 4.0)])
    best = best_overlap(predicted, truth)
    assert best[0] == pytest.approx(0.7356, abs=1e-4)
    assert best[1] == 0
    assert best[2] == pytest.approx(1)
    assert best_overlap(predicted, np.empty((0, 5))).tolist() == [0, 0, 0]


def test_the_better_of_two_near_ones_is_kept() -> None:
    d = np.deg2rad
    rows = np.array(
        [
            [0.0, 0, 0, 9, 3],
            [3.0, 4, d(10), 9, 3],  # 5 px and 10 degrees: near
            [3.0, 4, d(16), 9, 3],  # turned
            [6.0, 0, d(175), 9, 3],  # beside the first, near the second that is gone
            [0.0, 0, d(178), 9, 3],  # the first, almost turned by half
        ]
    )
    assert suppress(rows, distance_px=5, angle_deg=15, most=200).tolist() == [0, 2, 3]
    assert suppress(rows, distance_px=5, angle_deg=15, most=2).tolist() == [0, 2]
    assert suppress(rows[:0], distance_px=5, angle_deg=15, most=2).tolist() == []
