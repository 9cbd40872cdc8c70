"""Islands: what is small goes, what is joined stays, and a step between surfaces parts them."""

from __future__ import annotations

import cv2
import numpy as np

from depthforge.sensors.islands import without_islands


def test_an_island_of_fewer_pixels_goes_and_one_of_as_many_stays() -> None:
    kept = np.zeros((6, 12), bool)
    kept[1, 1:4] = True  # three
    kept[3:5, 6:8] = True  # four
    remaining = without_islands(np.ones((6, 12), np.float32), kept, 4, 1.0)
    np.testing.assert_array_equal(np.argwhere(remaining), [[3, 6], [3, 7], [4, 6], [4, 7]])


def test_a_step_parts_two_surfaces_and_a_slope_does_not() -> None:
    values = np.ones((2, 8), np.float32)
    values[:, 5:] = 3.0
    kept = np.ones((2, 8), bool)
    assert without_islands(values, kept, 8, 1.0).sum() == 10
    assert without_islands(values, kept, 8, 2.0).all()
    slope = np.arange(16, dtype=np.float32).reshape(1, 16)
    assert without_islands(slope, np.ones((1, 16), bool), 16, 1.0).all()


def test_branches_that_meet_late_are_one_island() -> None:
    """A comb: its teeth are joined only by its last row."""
    kept = np.zeros((9, 21), bool)
    kept[:, ::2] = True
    kept[-1] = True
    remaining = without_islands(np.zeros(kept.shape, np.float32), kept, int(kept.sum()), 0.5)
    np.testing.assert_array_equal(remaining, kept)


def test_it_is_what_a_flood_finds() -> None:
    random = np.random.default_rng(0)
    for share in (0.4, 0.6, 0.8):
        kept = random.random((70, 90)) < share
        count, labels, stats, _ = cv2.connectedComponentsWithStats(kept.astype(np.uint8), connectivity=4)
        large = np.array([False] + [stats[label, cv2.CC_STAT_AREA] >= 20 for label in range(1, count)])
        np.testing.assert_array_equal(without_islands(np.zeros(kept.shape, np.float32), kept, 20, 1.0), large[labels])
