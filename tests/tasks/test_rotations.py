"""Rotations: angles worked out by hand, laws that hold for any rotation, symmetric objects, and distances of points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from depthforge.geometry import quaternion_from_rotation, rotation_from_quaternion
from depthforge.tasks.rotations import (
    NO_SYMMETRY,
    Symmetry,
    add_m,
    adds_m,
    least_error_deg,
    quaternion_loss,
    ray_rotation,
    rotation_error_deg,
)

Z = np.array([0.0, 0.0, 1.0])
quaternions = (
    arrays(np.float64, 4, elements=st.floats(-1, 1))
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)


def about(axis: str, angle_deg: float) -> np.ndarray:
    half = np.deg2rad(angle_deg) / 2
    q = np.zeros(4)
    q[0], q["wxyz".index(axis)] = np.cos(half), np.sin(half)
    return q


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return quaternion_from_rotation(rotation_from_quaternion(a) @ rotation_from_quaternion(b))


def test_the_error_is_the_angle_that_is_left() -> None:
    assert rotation_error_deg(about("x", 10), about("x", 40)) == pytest.approx(30)
    assert rotation_error_deg(about("x", 0), about("y", 180)) == pytest.approx(180)
    assert rotation_error_deg(about("z", 1e-6), about("z", 0)) == pytest.approx(1e-6, rel=1e-6)
    both = rotation_error_deg([about("x", 0), about("x", 20)], [about("x", 90), about("x", -20)])
    assert both == pytest.approx([90, 40])


@given(quaternions, quaternions, quaternions)
def test_the_error_knows_neither_sign_nor_order_nor_frame(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> None:
    error = rotation_error_deg(p, q)
    assert 0 <= error <= 180 + 1e-9
    assert error == pytest.approx(np.rad2deg(2 * np.arccos(min(1.0, abs(p @ q)))), abs=1e-5)
    assert rotation_error_deg(q, p) == error
    assert rotation_error_deg(-p, q) == error
    assert rotation_error_deg(times(r, p), times(r, q)) == pytest.approx(error, abs=1e-6)
    assert rotation_error_deg(times(p, r), times(q, r)) == pytest.approx(error, abs=1e-6)
    assert least_error_deg(p, q, NO_SYMMETRY) == pytest.approx(error, abs=1e-6)


def test_a_bowl_may_turn_about_its_axis_and_a_box_by_half() -> None:
    bowl, box = Symmetry(NO_SYMMETRY.turns, Z), Symmetry(np.array([about("z", 0), about("z", 180)]))
    target = times(about("x", 30), about("y", 70))
    assert least_error_deg(times(target, about("z", 77)), target, bowl) == pytest.approx(0, abs=1e-6)
    assert least_error_deg(times(target, about("z", 77)), target, box) == pytest.approx(77)
    assert least_error_deg(times(target, about("z", 170)), target, box) == pytest.approx(10)
    # Tilting the axis is an error whatever the turn about it.
    tilted = times(times(target, about("x", 25)), about("z", 123))
    assert least_error_deg(tilted, target, bowl) == pytest.approx(25)
    upside_down = Symmetry(np.array([about("z", 0), about("x", 180)]), Z)
    assert least_error_deg(times(target, about("y", 180)), target, upside_down) == pytest.approx(0, abs=1e-6)


@given(quaternions, quaternions, st.floats(-180, 180))
def test_the_least_error_is_the_least_over_all_turns(p: np.ndarray, q: np.ndarray, angle_deg: float) -> None:
    bowl = Symmetry(NO_SYMMETRY.turns, Z)
    least = least_error_deg(p, q, bowl)
    turns = np.arange(-180.0, 180.0, 1.0)
    tried = min(float(rotation_error_deg(p, times(q, about("z", turn)))) for turn in turns[::8])
    assert least <= tried + 1e-6
    assert tried <= least + 4 + 1e-6
    assert least_error_deg(p, times(q, about("z", angle_deg)), bowl) == pytest.approx(least, abs=1e-5)


def test_the_loss_takes_the_nearer_sign() -> None:
    p = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]], requires_grad=True)
    target = torch.tensor([[-1.0, 0, 0, 0], [0, 0.6, 0.8, 0]])
    loss = quaternion_loss(p, target)
    assert loss.item() == pytest.approx((0.4**2 + 0.8**2) / 8)
    loss.backward()  # type: ignore[no-untyped-call]
    assert p.grad is not None
    assert p.grad[0].abs().max() == 0
    assert p.grad[1].tolist() == pytest.approx([0, 0.4 / 4, -0.8 / 4, 0])


@given(arrays(np.float64, 3, elements=st.floats(-2, 2)))
def test_the_ray_rotation_turns_the_axis_to_the_ray_and_about_nothing_else(offset: np.ndarray) -> None:
    point = offset + 3 * Z
    R = ray_rotation(point)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(R @ Z, point / np.linalg.norm(point), atol=1e-12)
    angle_deg = np.rad2deg(np.arccos(np.clip(point[2] / np.linalg.norm(point), -1, 1)))
    assert rotation_error_deg(quaternion_from_rotation(R), [1, 0, 0, 0]) == pytest.approx(angle_deg, abs=1e-5)


def test_add_is_the_way_of_points_and_adds_that_to_the_nearest() -> None:
    square = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    turned, quarter = (rotation_from_quaternion(about("z", angle)) for angle in (30, 90))
    assert add_m(square, turned, np.eye(3)) == pytest.approx(2 * np.sin(np.deg2rad(15)))
    assert adds_m(square, turned, np.eye(3)) == pytest.approx(2 * np.sin(np.deg2rad(15)))
    assert add_m(square, quarter, np.eye(3)) == pytest.approx(np.sqrt(2))
    assert adds_m(square, quarter, np.eye(3)) == pytest.approx(0, abs=1e-12)
