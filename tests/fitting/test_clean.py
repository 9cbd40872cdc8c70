"""The clean guess: almost no noise, no holes, and nothing mixed across edges."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting.clean_guess import clean_guess, fill_holes
from depthforge.sensors.fields import correlated_normals
from tests.fitting.rooms import CAMERA, room

WHOLE = np.ones(CAMERA.size, np.bool_)


@pytest.mark.parametrize(("length_px", "share_left"), [(0.0, 0.03), (3.0, 0.15)])
def test_noise_on_a_slanted_wall_is_nearly_gone(length_px: float, share_left: float) -> None:
    wall = (2.0 + 0.004 * np.arange(160, dtype=np.float32))[None, :].repeat(120, axis=0)
    inverse = 1 / wall
    noise = 0.002 * correlated_normals((1, 2), CAMERA.size, length_px)
    off = 1 / clean_guess((1 / (inverse + noise)).astype(np.float32), WHOLE) - inverse
    assert off.var() < share_left * 0.002**2
    assert abs(off.mean()) < 2e-4


def test_a_clean_room_stays_as_it_is() -> None:
    clean = room(0)
    guess = clean_guess(clean, WHOLE)
    assert np.median(np.abs(guess / clean - 1)) < 1e-4
    assert np.mean(np.abs(guess / clean - 1) > 0.01) < 0.05


def test_a_hole_in_a_surface_is_bridged_and_one_beside_a_jump_is_behind() -> None:
    depth = np.full((20, 40), 2.0, np.float32)
    depth[:, 20:] = 1.0
    valid = np.ones(depth.shape, np.bool_)
    valid[:, 5:10] = valid[:, 14:20] = False
    filled = fill_holes(np.where(valid, depth, 0).astype(np.float32), valid)
    assert np.array_equal(filled, depth)


def test_both_sides_of_an_edge_may_be_lost() -> None:
    """Two pixels either side are no shadow: the edge stays in the middle."""
    depth = np.full((20, 40), 2.0, np.float32)
    depth[:, 20:] = 1.0
    valid = np.ones(depth.shape, np.bool_)
    valid[:, 18:22] = False
    assert np.array_equal(fill_holes(depth * valid, valid), depth)


def test_a_speck_beside_an_edge_stays_on_its_side() -> None:
    """A row alone would give the pixel of the near surface to the far one, or the other way round."""
    depth = np.full((20, 40), 2.0, np.float32)
    depth[:, 20:] = 1.0
    for lost in (np.s_[8, 19], np.s_[8, 20], np.s_[8, 17:20], np.s_[8, 20:23]):
        valid = np.ones(depth.shape, np.bool_)
        valid[lost] = False
        assert np.array_equal(fill_holes(depth * valid, valid), depth)


def test_a_row_without_a_measurement_takes_its_neighbour() -> None:
    depth = np.full((20, 40), 2.0, np.float32)
    valid = np.ones(depth.shape, np.bool_)
    valid[3:9] = False
    assert np.array_equal(fill_holes(depth * valid, valid), depth)


def test_nothing_measured_is_nothing_guessed() -> None:
    assert not clean_guess(np.zeros((20, 40), np.float32), np.zeros((20, 40), np.bool_)).any()
