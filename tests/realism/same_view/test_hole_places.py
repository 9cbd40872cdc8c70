"""Masks and probabilities whose scores are known by arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from depthforge.realism.same_view.hole_places import calibration_curve, frequency, measure_overlap, summarise

EVERYWHERE = np.ones((600, 600), bool)


def mask(*columns: int) -> np.ndarray:
    """Valid but for the pixels of the first row at ``columns``."""
    valid = np.ones((4, 10), bool)
    valid[0, list(columns)] = False
    return valid


def test_overlap_of_two_masks() -> None:
    frame = measure_overlap(np.ones((4, 10), bool), mask(0, 1, 2, 3), mask(2, 3, 4))
    found = summarise([frame])
    assert found["hole_iou"] == pytest.approx(2 / 5)
    assert found["hole_precision"] == pytest.approx(100 * 2 / 3)
    assert found["hole_recall"] == pytest.approx(50)
    assert found["hole_rate"] == pytest.approx(100 * 3 / 40)
    assert "hole_auc" not in found


def test_pixels_without_truth_do_not_count() -> None:
    found = summarise([measure_overlap(mask(0, 1), mask(0, 1, 2), mask(0, 1, 2))])
    assert found["hole_iou"] == 1
    assert found["hole_rate"] == pytest.approx(100 / 38)


def test_holes_drawn_with_known_probabilities_score_as_arithmetic_says() -> None:
    """Of probabilities even over [0, 1]: AUC 5/6, average precision 5/6, log loss 1/2, that of a constant log 2."""
    draw = np.random.default_rng(0)
    probability = draw.uniform(size=EVERYWHERE.shape)
    real_valid = draw.uniform(size=EVERYWHERE.shape) >= probability
    halves = [
        measure_overlap(EVERYWHERE[rows], real_valid[rows], EVERYWHERE[rows], probability[rows])
        for rows in (slice(0, 200), slice(200, 600))
    ]
    found = summarise(halves)
    assert found["hole_auc"] == pytest.approx(5 / 6, abs=0.003)
    assert found["hole_average_precision"] == pytest.approx(5 / 6, abs=0.003)
    assert found["hole_log_loss"] == pytest.approx(0.5, abs=0.003)
    assert found["hole_log_loss_skill"] == pytest.approx(100 * (1 - 0.5 / math.log(2)), abs=0.5)
    assert found["hole_calibration_error"] < 0.5
    for point in calibration_curve(halves):
        assert point.found == pytest.approx(point.promised, abs=0.02)


def test_half_the_probability_keeps_the_order_and_loses_the_calibration() -> None:
    draw = np.random.default_rng(1)
    probability = draw.uniform(size=EVERYWHERE.shape)
    real_valid = draw.uniform(size=EVERYWHERE.shape) >= probability
    frames = [measure_overlap(EVERYWHERE, real_valid, EVERYWHERE, probability / 2)]
    found = summarise(frames)
    assert found["hole_auc"] == pytest.approx(5 / 6, abs=0.003)
    assert found["hole_calibration_error"] == pytest.approx(25, abs=0.5)
    assert found["hole_log_loss"] > 0.55
    assert all(point.promised == pytest.approx(point.found / 2, abs=0.02) for point in calibration_curve(frames))


def test_a_constant_has_no_skill_and_an_auc_of_a_half() -> None:
    real_valid = np.random.default_rng(2).uniform(size=EVERYWHERE.shape) >= 0.08
    rate = np.full(EVERYWHERE.shape, 1 - real_valid.mean())
    found = summarise([measure_overlap(EVERYWHERE, real_valid, EVERYWHERE, rate)])
    assert found["hole_auc"] == 0.5
    assert found["hole_log_loss_skill"] == pytest.approx(0, abs=0.01)


def test_what_was_no_hole_in_eight_draws_may_still_become_one() -> None:
    np.testing.assert_allclose(frequency(np.array([[0, 4, 8]]), 8), [[0.5 / 9, 0.5, 8.5 / 9]], rtol=1e-6)
    with_zero = np.zeros(EVERYWHERE.shape)
    real_valid = np.random.default_rng(3).uniform(size=EVERYWHERE.shape) >= 0.5
    assert math.isfinite(summarise([measure_overlap(EVERYWHERE, real_valid, EVERYWHERE, with_zero)])["hole_log_loss"])
