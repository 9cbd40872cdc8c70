"""Planted holes are counted, sized and placed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from depthforge.realism.holes import measure_holes


def test_planted_holes_fall_into_the_octave_of_their_area() -> None:
    valid = np.ones((64, 64), bool)
    valid[2, 2] = valid[10:12, 10:13] = valid[30:40, 30:40] = False
    found = measure_holes(np.ones((64, 64), np.float32), valid)
    assert (found.num_holes, found.num_pixels) == (1 + 6 + 100, 64 * 64)
    assert dict(enumerate(found.pixels_by_octave[:8])) == {0: 1, 1: 0, 2: 6, 3: 0, 4: 0, 5: 0, 6: 100, 7: 0}
    assert (found.num_near_edge, found.num_left_shadow, found.num_right_shadow) == (0, 0, 0)


def test_diagonal_neighbours_are_two_holes() -> None:
    valid = np.ones((8, 8), bool)
    valid[2, 2] = valid[3, 3] = False
    assert measure_holes(np.ones((8, 8), np.float32), valid).pixels_by_octave[0] == 2


@pytest.mark.parametrize(("first", "last", "side"), [(18, 20, "left"), (40, 42, "right")])
def test_a_shadow_lies_on_its_side_of_the_near_object(first: int, last: int, side: str) -> None:
    depth = np.full((60, 60), 2.0, np.float32)
    depth[:, 20:40] = 1.0
    valid = np.ones((60, 60), bool)
    valid[10:50, first:last] = False
    depth[~valid] = 0
    found = measure_holes(depth, valid)
    assert {"left": found.num_left_shadow, "right": found.num_right_shadow}[side] == 2 * 40
    assert found.num_left_shadow + found.num_right_shadow == found.num_near_edge == 2 * 40


def test_a_hole_in_a_surface_is_near_no_edge() -> None:
    depth = np.full((60, 60), 2.0, np.float32)
    depth[:, 30:] = 1.0
    valid = np.ones((60, 60), bool)
    valid[10:20, 5:15] = False
    assert measure_holes(depth, valid).num_near_edge == 0


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)), st.booleans())
def test_every_invalid_pixel_is_in_one_hole_and_mirrors_swap_the_shadows(valid: np.ndarray, far: bool) -> None:
    depth = np.where(np.arange(valid.size).reshape(valid.shape) % 7 < 3, 1.0, 2.0 if far else 1.01).astype(np.float32)
    depth[~valid] = 0
    found = measure_holes(depth, valid)
    assert found.num_holes == np.count_nonzero(~valid)
    assert max(found.num_near_edge, found.num_left_shadow + found.num_right_shadow) <= found.num_holes
    mirrored = measure_holes(np.ascontiguousarray(depth[:, ::-1]), np.ascontiguousarray(valid[:, ::-1]))
    assert (mirrored.num_left_shadow, mirrored.num_right_shadow) == (found.num_right_shadow, found.num_left_shadow)
