"""Poses of every convention against values worked out by hand, and matrices that are no pose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError
from depthforge.geometry import invert_pose, rotation_from_quaternion
from depthforge.sources.conventions import (
    AXES,
    Axes,
    Direction,
    as_stored,
    centre_of_corner,
    first_not_rigid,
    to_house_pose,
    why_not_rigid,
)

RIGHT, DOWN, FORWARD = np.eye(3)


def pose(axes: Axes, matrix: np.ndarray, direction: Direction = "camera_to_world") -> np.ndarray:
    found = to_house_pose(matrix, direction, axes, where="here")
    assert found is not None
    return found


def rigid(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion(rng.normal(size=4))
    T[:3, 3] = rng.normal(size=3)
    return T


@pytest.mark.parametrize(
    ("axes", "right", "down", "forward"),
    [
        ("opencv", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        ("opengl", (1, 0, 0), (0, -1, 0), (0, 0, -1)),
        ("ned", (0, 1, 0), (0, 0, 1), (1, 0, 0)),
        ("robot", (0, -1, 0), (0, 0, -1), (1, 0, 0)),
    ],
)
def test_a_camera_without_rotation_looks_where_its_axes_say(
    axes: Axes, right: tuple[int, ...], down: tuple[int, ...], forward: tuple[int, ...]
) -> None:
    T = np.eye(4)
    T[:3, 3] = 1, 2, 3
    found = pose(axes, T)
    np.testing.assert_array_equal(found[:3, :3] @ RIGHT, right)
    np.testing.assert_array_equal(found[:3, :3] @ DOWN, down)
    np.testing.assert_array_equal(found[:3, :3] @ FORWARD, forward)
    np.testing.assert_array_equal(found[:3, 3], (1, 2, 3))


def test_unity_turns_by_yaw_about_y_and_keeps_its_view() -> None:
    c, s = np.cos(np.radians(25)), np.sin(np.radians(25))
    T = np.eye(4)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = 1, 2, 3
    found = pose("unity", T)
    np.testing.assert_allclose(found[:3, :3] @ FORWARD, (0.42262, 0, 0.90631), atol=1e-5)
    np.testing.assert_array_equal(found[:3, 3], (1, -2, 3))


def test_unreal_looks_along_x_and_mirrors_its_world() -> None:
    T = np.eye(4)
    T[:3, 3] = 5, 2, 1  # forward, right, up
    found = pose("unreal", T)
    np.testing.assert_array_equal(found[:3, :3], np.eye(3))
    np.testing.assert_array_equal(found[:3, 3], (2, -1, 5))


@given(seed=st.integers(0, 10_000), axes=st.sampled_from(AXES))
def test_every_convention_gives_a_rigid_motion_and_an_inverse_is_undone(seed: int, axes: Axes) -> None:
    T = rigid(seed)
    found = pose(axes, T)
    assert why_not_rigid(found) is None
    np.testing.assert_allclose(pose(axes, invert_pose(T), "world_to_camera"), found, atol=1e-12)
    for direction in ("camera_to_world", "world_to_camera"):
        np.testing.assert_allclose(as_stored(pose(axes, T, direction), direction, axes), T, atol=1e-12)


def test_a_lost_pose_is_none() -> None:
    zeros_kept = np.eye(4)
    zeros_kept[:3, :3] = 0
    infinite = np.full((4, 4), -np.inf)
    for matrix in (np.zeros((4, 4)), zeros_kept, infinite, np.full((4, 4), np.nan)):
        assert to_house_pose(matrix, "camera_to_world", "opencv", where="here") is None


def _with(change: str) -> np.ndarray:
    T = rigid(3)
    if change == "scaled":
        T[:3, :3] *= 2
    elif change == "scaled and mirrored":
        T[:3, :3] *= -0.5
    elif change == "mirrored":
        T[:3, 0] *= -1
    elif change == "transposed":
        T = T.T.copy()
    elif change == "sheared":
        T[:3, 0] += 0.3 * T[:3, 1]
    else:
        T[3] = 0, 0, 0, 2
    return T


@pytest.mark.parametrize("direction", ["camera_to_world", "world_to_camera"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("scaled", "scaled by 2"),
        ("scaled and mirrored", "scaled by 0.5 and mirrored"),
        ("mirrored", "determinant of its rotation is -1"),
        ("transposed", "transposed"),
        ("sheared", "sheared"),
        ("last row", "last row 0 0 0 2"),
    ],
)
def test_what_is_not_rigid_is_named(change: str, words: str, direction: Direction) -> None:
    with pytest.raises(DecodeError, match="not a rigid transform") as caught:
        to_house_pose(_with(change), direction, "opencv", where="pose.txt")
    assert words in str(caught.value.found)
    assert caught.value.where == "pose.txt"


def test_a_rotation_printed_with_four_digits_is_one() -> None:
    for seed in range(20):
        assert why_not_rigid(np.round(rigid(seed), 4)) is None


def test_a_corner_lies_half_a_pixel_before_the_centre() -> None:
    assert centre_of_corner(320.0) == 319.5


def test_the_first_of_many_that_is_not_rigid_is_named_for_what_it_is() -> None:
    T = np.tile(np.eye(4), (4, 1, 1))
    assert first_not_rigid(T) is None
    assert first_not_rigid(T[:0]) is None
    for spoil, words in ((np.diag([-1.0, 1, 1]), "mirrored"), (2 * np.eye(3), "scaled by 2"), (np.nan, "not finite")):
        wrong = T.copy()
        wrong[2, :3, :3] = spoil
        assert (found := first_not_rigid(wrong)) is not None
        assert found[0] == 2
        assert words in found[1]
    transposed = T.copy()
    transposed[1, 3, :3] = 5
    assert first_not_rigid(transposed) == (1, "a transposed matrix: the translation is its last row")
    coarse = T.copy()
    coarse[3, 0, 1] = 0.004
    assert first_not_rigid(coarse, within=1e-2) is None
    assert (first_not_rigid(coarse) or (0, ""))[0] == 3
