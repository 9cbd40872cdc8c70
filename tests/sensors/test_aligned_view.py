"""Depth aligned to a camera beside: what is seen from there, and how its pixels are brought back."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.sensors.aligned_view import brought_back, seen_beside


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A wall of disparity 10 behind a thing of 30, which is white."""
    disparity = np.full((4, 80), 10.0, np.float32)
    disparity[:, 40:50] = 30.0
    return disparity, np.where(disparity > 20, 1.0, 0.25).astype(np.float32)


def test_every_surface_moves_by_its_share_of_disparity() -> None:
    disparity, albedo = scene()
    seen, worn = seen_beside(disparity, albedo, 0.5)
    pad = seen.shape[1] - 80
    assert pad == 17
    np.testing.assert_array_equal(np.flatnonzero(seen[0] > 20), np.arange(25, 35) + pad)  # 15 px to the left
    np.testing.assert_allclose(np.unique(seen), [10.0, 30.0])
    np.testing.assert_allclose(worn, np.where(seen > 20, 1.0, 0.25))


def test_a_view_from_the_left_is_one_from_the_right_of_the_mirrored_scene() -> None:
    disparity, albedo = scene()
    left = seen_beside(disparity, albedo, -0.5)
    right = seen_beside(disparity[:, ::-1].copy(), albedo[:, ::-1].copy(), 0.5)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other[:, ::-1])


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_seen_comes_back_less_what_is_hidden_there(sign: int) -> None:
    """Away from the depth camera a thing casts a shadow as wide as the two move apart; pixels stand out by one."""
    disparity, albedo = scene()
    seen, _ = seen_beside(disparity, albedo, 0.5 * sign)
    back = brought_back(60.0 / seen, 60.0 * 0.5 * sign, (4, 80), (4, 80))
    if sign < 0:
        back, disparity = back[:, ::-1], disparity[:, ::-1]
    row = back[1]
    near = np.flatnonzero(row == 2.0)
    start = int(np.flatnonzero(disparity[0] > 20)[0])
    # A pixel covers all that it touches; moved by whole pixels it touches the next one.
    assert near.min() in (start - 1, start)
    assert near.max() in (start + 9, start + 10)
    shadow = np.flatnonzero(row == 0)
    assert 8 <= shadow.size <= 10
    assert shadow.max() < start
    np.testing.assert_allclose(row[row > 0], np.where(row[row > 0] < 3, 2.0, 6.0))


def test_pixels_of_a_larger_frame_are_all_covered() -> None:
    depth_m = np.full((30, 44), 2.0, np.float32)
    back = brought_back(depth_m, 8.0, (45, 60), (30, 40))
    np.testing.assert_array_equal(back, np.full((45, 60), 2.0, np.float32))
