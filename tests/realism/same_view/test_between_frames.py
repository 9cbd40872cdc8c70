"""A wall seen twice, the second time from 10 pixels to the right: what belongs to it, and what to the image."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthforge.realism.same_view.between_frames import PairErrors, correspondence, measure_pair, summarise
from tests.realism.same_view.made import truth
from tests.realism.scenes import CAMERA

WALL = truth(np.full(CAMERA.size, 2.0))
SHIFT = 10
HERE = np.eye(4)
ASIDE = np.eye(4)
ASIDE[0, 3] = SHIFT * 2.0 / CAMERA.fx


def pair(valid_before: np.ndarray, valid_now: np.ndarray, first: np.ndarray, second: np.ndarray) -> PairErrors:
    points = correspondence(WALL, HERE, WALL, ASIDE)
    assert points is not None
    return measure_pair(points, WALL, valid_before, valid_now, first.astype(np.float32), second.astype(np.float32))


def holes(columns: slice) -> np.ndarray:
    valid = np.ones(CAMERA.size, bool)
    valid[:, columns] = False
    return valid


NONE = np.zeros(CAMERA.size)


def test_points_are_those_that_both_see() -> None:
    points = correspondence(WALL, HERE, WALL, ASIDE)
    assert points is not None
    assert len(points.now) == (CAMERA.width - SHIFT) // 2 * CAMERA.height // 2
    assert set((points.before - points.now).tolist()) == {SHIFT}


def test_holes_of_a_surface_are_kept_and_those_of_the_image_are_not() -> None:
    kept = pair(holes(slice(100, 130)), holes(slice(90, 120)), NONE, NONE)
    assert kept.holes_kept_iou == 1
    assert kept.hole_flicker == 0
    stuck = pair(holes(slice(100, 130)), holes(slice(100, 130)), NONE, NONE)
    assert stuck.holes_kept_iou == pytest.approx(0.5)
    assert stuck.hole_flicker == pytest.approx(100 * 20 / 310)


def test_random_holes_meet_by_chance() -> None:
    draw = np.random.default_rng(0)
    before, now = (draw.uniform(size=CAMERA.size) >= 0.1 for _ in range(2))
    found = pair(before, now, NONE, NONE)
    assert found.holes_kept_iou == pytest.approx(0.1 / 1.9, abs=0.01)
    assert found.hole_flicker == pytest.approx(18, abs=1)


def test_errors_that_last_correlate_by_their_share() -> None:
    """Errors of 1/z of 0.01 1/m, 64 % of their power belonging to the wall: 2 % of 2 m, of which 60 % changes."""
    draw = np.random.default_rng(1)
    lasting = draw.normal(size=(CAMERA.height, CAMERA.width + SHIFT))
    first = 0.01 * (0.8 * lasting[:, :-SHIFT] + 0.6 * draw.normal(size=CAMERA.size))
    second = 0.01 * (0.8 * lasting[:, SHIFT:] + 0.6 * draw.normal(size=CAMERA.size))
    first[100:120] = np.nan
    everywhere = np.ones(CAMERA.size, bool)
    found = pair(everywhere, everywhere, first, second)
    assert found.error_correlation == pytest.approx(0.64, abs=0.02)
    assert found.error_flicker == pytest.approx(100 * 0.01 * 0.6 * 2, rel=0.02)


def test_frames_that_share_too_little_are_not_compared() -> None:
    away, around = np.eye(4), np.diag([-1.0, 1.0, -1.0, 1.0])
    away[0, 3] = 0.7
    assert correspondence(WALL, HERE, WALL, away) is None
    assert correspondence(WALL, HERE, WALL, around) is None
    assert correspondence(truth(np.full(CAMERA.size, 1.5)), HERE, WALL, ASIDE) is None


def test_the_median_over_pairs_leaves_out_what_is_not_known() -> None:
    found = summarise([PairErrors(0.2, 1, math.nan, 1), PairErrors(0.4, 2, math.nan, 3), PairErrors(0.9, 6, 0.5, 8)])
    assert found == {"holes_kept_iou": 0.4, "hole_flicker": 2, "error_correlation": 0.5, "error_flicker": 3}
    assert math.isnan(summarise([])["holes_kept_iou"])
