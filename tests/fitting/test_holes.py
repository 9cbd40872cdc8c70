"""Holes within surfaces: at which depth, and how long."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.fitting.hole_counts import NUM_LENGTHS, holes_within_surfaces
from depthforge.realism.noise import DEPTH_EDGES_M


@pytest.mark.parametrize(("length", "octave"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (31, 4)])
def test_a_hole_in_a_wall_is_as_long_as_its_row(length: int, octave: int) -> None:
    depth_m, valid = np.full((3, 48), 2.2, np.float32), np.ones((3, 48), np.bool_)
    valid[1, 5 : 5 + length] = False
    by_depth, lengths = holes_within_surfaces(depth_m, valid)
    place = int(np.digitize(2.2, DEPTH_EDGES_M)) - 1
    assert by_depth[place].tolist() == [3 * 48, length]
    assert lengths.tolist() == [length * (k == octave) for k in range(NUM_LENGTHS)]


def test_what_lies_between_two_surfaces_or_at_the_border_is_of_none() -> None:
    depth_m, valid = np.full((1, 48), 2.2, np.float32), np.ones((1, 48), np.bool_)
    depth_m[:, 20:] = 1.1
    valid[:, 15:20] = valid[:, :4] = valid[:, 44:] = False
    by_depth, lengths = holes_within_surfaces(depth_m, valid)
    assert by_depth[:, 1].sum() == 0
    assert lengths.sum() == 0


def test_a_shadow_is_as_long_as_it_is_high_and_no_column_says_so() -> None:
    """Above and below the shadow of a box is the same wall: along columns it would be a hole of 20 px."""
    depth_m, valid = np.full((30, 48), 2.0, np.float32), np.ones((30, 48), np.bool_)
    depth_m[5:25, 20:40] = 1.0
    valid[5:25, 15:20] = False
    assert holes_within_surfaces(depth_m, valid)[1].sum() == 0
