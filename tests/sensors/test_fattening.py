"""Near surfaces grow by what was asked, holes stay what they were, and the seam of doubt moves outwards."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.sensors.fattening import fattened

FAR, NEAR = np.float32(5), np.float32(20)


def near_box() -> tuple[np.ndarray, np.ndarray]:
    disparity = np.full((40, 60), FAR)
    disparity[15:25, 20:40] = NEAR
    return disparity, np.ones(disparity.shape, np.bool_)


@pytest.mark.parametrize("reach", [(1, 1), (3, 3), (3, 4), (5, 2), (2, 0), (0, 2)])
def test_a_near_surface_grows_along_rows_and_columns_by_the_reach(reach: tuple[int, int]) -> None:
    disparity, all_of_it = near_box()
    grown, kept = fattened(disparity, all_of_it, all_of_it, reach, 1.5)
    columns, rows = reach
    assert kept.all()
    np.testing.assert_array_equal(np.flatnonzero(grown[20] == NEAR), np.arange(20 - columns, 40 + columns))
    np.testing.assert_array_equal(np.flatnonzero(grown[:, 30] == NEAR), np.arange(15 - rows, 25 + rows))
    assert set(np.unique(grown)) == {FAR, NEAR}


def test_what_grows_has_the_mean_of_what_is_near_and_the_rest_its_own() -> None:
    disparity, all_of_it = near_box()
    disparity[15:25, 20:40] += np.random.default_rng(0).normal(0, 0.1, (10, 20)).astype(np.float32)
    grown, _ = fattened(disparity, all_of_it, all_of_it, (3, 3), 1.5)
    np.testing.assert_array_equal(grown[15:25, 20:40], disparity[15:25, 20:40])
    np.testing.assert_allclose(grown[20, 42], disparity[19:22, 39].mean(), rtol=1e-6)  # what an ellipse holds there
    assert abs(float(grown[16:24, 40:43].mean()) - 20.0) < 0.1
    np.testing.assert_array_equal(grown[:, :17], FAR)


def test_steps_below_the_jump_do_not_grow_and_nothing_does_without_reach() -> None:
    disparity = np.full((20, 30), FAR)
    disparity[:, 15:] += np.float32(1.4)
    all_of_it = np.ones(disparity.shape, np.bool_)
    np.testing.assert_array_equal(fattened(disparity, all_of_it, all_of_it, (3, 3), 1.5)[0], disparity)
    disparity, all_of_it = near_box()
    np.testing.assert_array_equal(fattened(disparity, all_of_it, all_of_it, (0, 0), 1.5)[0], disparity)


def test_holes_within_a_surface_and_of_the_near_one_stay() -> None:
    disparity, found = near_box()
    kept = found.copy()
    kept[5:7, 5:7] = False  # far, away from any silhouette
    kept[18:20, 38:40] = False  # on the near surface's rim
    grown, measured = fattened(disparity, found & kept, kept, (3, 3), 1.5)
    assert not measured[5:7, 5:7].any()
    assert not measured[18:20, 38:40].any()
    assert measured.sum() == measured.size - 8
    np.testing.assert_array_equal(grown[kept & (disparity == NEAR)], NEAR)


def test_the_seam_of_doubt_beside_a_silhouette_moves_outwards() -> None:
    disparity, found = near_box()
    kept = found.copy()
    kept[:, 40:42] = False
    found_nowhere = found.copy()
    found_nowhere[:, 40:42] = False
    grown, measured = fattened(disparity, found, kept, (3, 3), 1.5)
    np.testing.assert_array_equal(np.flatnonzero(~measured[20]), [43, 44])
    np.testing.assert_array_equal(grown[20, 40:43], NEAR)
    assert fattened(disparity, found_nowhere, kept, (3, 3), 1.5)[1][20].all()  # a shadow is covered, and is no doubt
