"""Grasps: the formulas against a literal transcription of the format's page, and the choice among many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.sources.graspnet.grasps import (
    first_of,
    grasp_rotations,
    grasp_rows,
    order_keys,
    suppress_neighbours,
    to_camera,
    view_directions,
)


def literal_view(i: int, N: int) -> list[float]:
    phi = (math.sqrt(5) - 1) / 2
    Z = (2 * i + 1) / N - 1
    X = math.sqrt(1 - Z**2) * math.cos(2 * math.pi * i * phi)
    Y = math.sqrt(1 - Z**2) * math.sin(2 * math.pi * i * phi)
    return [X, Y, Z]


def literal_rotation(approach: np.ndarray, angle: float) -> np.ndarray:
    x = approach / math.sqrt(sum(c * c for c in approach))
    y = np.array([-x[1], x[0], 0.0])
    y = np.array([0.0, 1.0, 0.0]) if not y.any() else y / math.sqrt(y[0] ** 2 + y[1] ** 2)
    z = np.array([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0]])
    R2 = np.array([[x[k], y[k], z[k]] for k in range(3)])
    c, s = math.cos(angle), math.sin(angle)
    R1 = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return R2 @ R1


def test_views_are_the_fibonacci_lattice() -> None:
    views = view_directions()
    assert views.shape == (300, 3)
    for i in range(300):
        np.testing.assert_allclose(views[i], literal_view(i, 300), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(views, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(views[0], [0.0815816, 0.0, -0.9966667], atol=1e-6)


def test_rotations_are_r2_r1_of_minus_the_view() -> None:
    rng = np.random.default_rng(0)
    view, angle = rng.integers(0, 300, 200), rng.uniform(0, np.pi, 200)
    R = grasp_rotations(-view_directions()[view], angle)
    for k in range(200):
        approach = -np.array(literal_view(int(view[k]), 300))
        np.testing.assert_allclose(R[k], literal_rotation(approach, angle[k]), atol=1e-12)
        np.testing.assert_allclose(R[k][:, 0], approach, atol=1e-12)


def test_an_approach_along_z_closes_along_y() -> None:
    down = grasp_rotations(np.array([[0.0, 0.0, -2.0]]), np.array([0.0]))[0]
    np.testing.assert_array_equal(down, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = grasp_rotations(np.array([[0.0, 0.0, -2.0]]), np.array([np.pi / 2]))[0]
    np.testing.assert_allclose(turned[:, 1], [1, 0, 0], atol=1e-15)


def test_a_row_is_a_grasp_group() -> None:
    (row,) = grasp_rows(
        np.array([[0.1, 0.2, 0.3]]),
        np.array([7]),
        np.array([0.5]),
        np.array([0.02]),
        np.array([0.06]),
        np.array([0.4]),
        41,
    )
    assert row.dtype == np.float32
    np.testing.assert_allclose(row[:4], [0.7, 0.06, 0.02, 0.02], atol=1e-7)
    np.testing.assert_allclose(
        row[4:13].reshape(3, 3), literal_rotation(-np.array(literal_view(7, 300)), 0.5), atol=1e-7
    )
    np.testing.assert_allclose(row[13:], [0.1, 0.2, 0.3, 41], atol=1e-7)


def test_to_camera_turns_and_moves() -> None:
    row = grasp_rows(np.array([[0.1, 0, 0]]), np.array([0]), np.zeros(1), np.zeros(1), np.zeros(1), np.ones(1), 3)
    T = np.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    moved = to_camera(row, T)
    np.testing.assert_allclose(moved[0, 13:16], [1.0, 2.1, 3.0], atol=1e-6)
    np.testing.assert_allclose(moved[0, 4:13].reshape(3, 3), T[:3, :3] @ row[0, 4:13].reshape(3, 3), atol=1e-6)
    np.testing.assert_array_equal(moved[:, [0, 1, 2, 3, 16]], row[:, [0, 1, 2, 3, 16]])


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    most=st.integers(1, 70),
    salt=st.integers(0, 2**64 - 1),
)
def test_the_first_are_the_best_and_no_order_of_rows_changes_them(steps: list[int], most: int, salt: int) -> None:
    friction = np.array(steps, np.float32) * np.float32(0.1)
    label = np.arange(len(steps), dtype=np.uint32) * np.uint32(7919)
    keys = order_keys(friction, label, salt)
    assert len(set(keys.tolist())) == len(keys), "different labels, different keys"
    chosen = first_of(keys, most)
    assert len(chosen) == min(most, len(steps))
    assert (np.diff(friction[chosen]) >= 0).all()
    if len(chosen) < len(steps):
        assert friction[chosen].max() <= np.delete(friction, chosen).min()
    shuffled = np.random.default_rng(0).permutation(len(steps))
    again = first_of(order_keys(friction[shuffled], label[shuffled], salt), most)
    np.testing.assert_array_equal(label[shuffled][again], label[chosen])


def test_ties_are_spread_and_go_by_the_salt() -> None:
    label = np.arange(100_000, dtype=np.uint32)
    friction = np.full(len(label), 0.1, np.float32)
    first, other = (first_of(order_keys(friction, label, salt), 1000) for salt in (1, 2 << 40))
    assert len(np.intersect1d(first, other)) < 40, "10 are expected by chance"
    counts = np.histogram(first, bins=10, range=(0, len(label)))[0]
    assert counts.min() > 65
    assert counts.max() < 140


def random_rows(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return grasp_rows(
        rng.uniform(-0.05, 0.05, (count, 3)),
        rng.integers(0, 300, count),
        rng.uniform(0, np.pi, count),
        np.zeros(count),
        np.zeros(count),
        np.ones(count),
        0,
    )


def are_near(a: np.ndarray, b: np.ndarray, distance_m: float, angle_deg: float) -> bool:
    A, B = a[4:13].reshape(3, 3).astype(float), b[4:13].reshape(3, 3).astype(float)
    turns = (B, B @ np.diag([1.0, -1.0, -1.0]))
    angle = min(math.degrees(math.acos(np.clip((np.trace(A.T @ turn) - 1) / 2, -1, 1))) for turn in turns)
    return float(np.linalg.norm(a[13:16] - b[13:16])) <= distance_m and angle <= angle_deg


@pytest.mark.parametrize(("distance_m", "angle_deg"), [(0.02, 30.0), (0.05, 80.0), (0.2, 90.0)])
def test_suppression_is_the_greedy_one(distance_m: float, angle_deg: float) -> None:
    rows = random_rows(120, 3)
    expected: list[int] = []
    for k in range(len(rows)):
        if not any(are_near(rows[k], rows[other], distance_m, angle_deg) for other in expected):
            expected.append(k)
    assert len(expected) < len(rows)
    kept = suppress_neighbours(rows, distance_m=distance_m, angle_deg=angle_deg, most=1000)
    assert kept.tolist() == expected
    assert suppress_neighbours(rows, distance_m=distance_m, angle_deg=angle_deg, most=5).tolist() == expected[:5]


def test_suppression_may_be_done_in_parts() -> None:
    rows = random_rows(90, 5)
    whole = rows[suppress_neighbours(rows, distance_m=0.03, angle_deg=60.0, most=1000)]
    part = rows[:40][suppress_neighbours(rows[:40], distance_m=0.03, angle_deg=60.0, most=1000)]
    both = np.concatenate([part, rows[40:]])
    np.testing.assert_array_equal(both[suppress_neighbours(both, distance_m=0.03, angle_deg=60.0, most=1000)], whole)
