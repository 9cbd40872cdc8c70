"""Shadows of known width and silhouettes moved by a known number of pixels."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.realism.same_view.silhouettes import find_edges, measure_silhouettes, summarise
from depthforge.realism.same_view.truth import Truth, inverse_depth
from tests.realism.same_view.made import box, measured, truth
from tests.realism.scenes import CAMERA


def figures(of: Truth, depth_m: np.ndarray, valid: np.ndarray | None = None) -> dict[str, float]:
    """The figures of two frames alike: there are 20 silhouettes on a side of each."""
    seen = measured(depth_m, valid)
    frame = measure_silhouettes(of, find_edges(of), seen.valid, inverse_depth(seen))
    return summarise([frame, frame])


def without(rows: slice, columns: slice) -> np.ndarray:
    valid = np.ones(CAMERA.size, bool)
    valid[rows, columns] = False
    return valid


@pytest.mark.parametrize(("near_m", "jump"), [(1.0, "16_to_30"), (1.25, "10_to_16"), (1.6, "3_to_6")])
def test_a_shadow_is_as_wide_as_it_was_made_on_the_side_where_it_was_made(near_m: float, jump: str) -> None:
    """50 px x (1 / near - 1 / 2): 25, 15 and 6.25 px; the last jump is not below 6."""
    jump = "6_to_10" if near_m == 1.6 else jump
    depth_m = box(near_m)
    found = figures(truth(depth_m), depth_m, without(slice(None), slice(108, 120)))
    assert found[f"shadow_left_{jump}_median"] == 12
    assert found[f"shadow_left_{jump}_mean"] == 12
    assert found[f"shadow_left_{jump}_none"] == 0
    assert found[f"shadow_right_{jump}_median"] == 0
    assert found[f"shadow_right_{jump}_none"] == 100
    assert np.isnan(found["shadow_left_3_to_6_median"])


def test_the_share_without_a_shadow() -> None:
    found = figures(truth(box()), box(), without(slice(80, 120), slice(200, 208)))
    assert found["shadow_right_16_to_30_none"] == 50
    assert found["shadow_right_16_to_30_mean"] == 4
    assert found["shadow_left_16_to_30_none"] == 100


def test_a_hole_that_runs_into_missing_truth_is_no_shadow() -> None:
    known = without(slice(None), slice(60, 110))
    frame_truth = truth(box(), known)
    found = figures(frame_truth, box(), without(slice(None), slice(60, 120)))
    assert np.isnan(found["shadow_left_16_to_30_median"])
    assert found["shadow_right_16_to_30_none"] == 100


def test_a_hole_far_from_the_silhouette_and_a_lost_wall_are_no_shadows() -> None:
    far = figures(truth(box()), box(), without(slice(None), slice(100, 112)))
    assert far["shadow_left_16_to_30_none"] == 100
    lost = figures(truth(box()), box(), without(slice(None), slice(20, 120)))
    assert np.isnan(lost["shadow_left_16_to_30_median"])


def test_without_a_baseline_there_are_no_jumps_and_bleed_all_the_same() -> None:
    found = figures(truth(box(), baseline_m=None), box(grown_px=2))
    assert np.isnan(found["shadow_left_16_to_30_median"])
    assert found["bleed_x_median"] == 2


@pytest.mark.parametrize("grown_px", [-4, 0, 3, 8])
def test_a_silhouette_that_grew_or_shrank_is_told_by_how_much(grown_px: int) -> None:
    found = figures(truth(box()), box(grown_px=grown_px))
    for axis in "xy":
        assert found[f"bleed_{axis}_median"] == grown_px
        assert found[f"bleed_{axis}_mean"] == grown_px
        assert found[f"bleed_{axis}_sd"] == 0


def test_bleed_on_one_side_shows_in_mean_and_spread() -> None:
    moved = np.roll(box(), 4, axis=1)
    found = figures(truth(box()), moved)
    assert found["bleed_x_mean"] == 0
    assert found["bleed_x_sd"] == 4
    assert found["bleed_y_sd"] == 0


def test_a_shadow_beside_a_silhouette_does_not_move_it() -> None:
    found = figures(truth(box()), box(), without(slice(None), slice(100, 120)))
    assert found["bleed_x_mean"] == 0
    eaten = figures(truth(box()), box(), without(slice(None), slice(118, 125)))
    assert eaten["bleed_x_mean"] == -2.5
