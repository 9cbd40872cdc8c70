"""Noise that belongs to places: unit variance everywhere, the promised length, one value from wherever it is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.geometry import invert_pose, rotation_from_quaternion
from depthforge.sensors.world_fields import world_normals

WORLD = np.eye(4)
PINNED = [0.367432, -0.121037, 1.508164]


def scattered(count: int, reach_m: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-reach_m, reach_m, (3, 1, count)).astype(np.float32)


def moved(points_m: np.ndarray, T: np.ndarray) -> np.ndarray:
    return (np.einsum("ij,jhw->ihw", T[:3, :3], points_m) + T[:3, 3, None, None]).astype(np.float32)


def pose(quaternion: tuple[float, ...], place_m: tuple[float, ...]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_from_quaternion(np.array(quaternion)), place_m
    return T


@pytest.mark.parametrize("length_m", [0.05, 5.0])
def test_any_point_has_variance_one_over_seeds(length_m: float) -> None:
    points_m = scattered(12, 50)
    values = np.stack([world_normals(points_m, WORLD, (seed, 7), length_m)[0] for seed in range(2000)])
    np.testing.assert_allclose(values.mean(0), 0, atol=4.5 / np.sqrt(2000))
    np.testing.assert_allclose(values.var(0), 1, atol=4.5 * np.sqrt(2 / 2000))


def test_one_field_has_variance_one_over_places_near_nodes_and_between_them() -> None:
    values = world_normals(scattered(400_000, 100), WORLD, (3, 4), 1.0)
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.var() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("length_m", [0.05, 0.4, 3.0])
def test_the_autocorrelation_at_the_stated_length_is_1_over_e(length_m: float) -> None:
    first = scattered(400_000, 80 * length_m)
    direction = np.random.default_rng(1).normal(size=first.shape)
    direction *= length_m / np.linalg.norm(direction, axis=0)
    values = [world_normals(p, WORLD, (5, 6), length_m) for p in (first, (first + direction).astype(np.float32))]
    assert np.mean(values[0] * values[1]) == pytest.approx(np.exp(-1), abs=0.015)
    far = world_normals((first + 3 * direction).astype(np.float32), WORLD, (5, 6), length_m)
    assert abs(np.mean(values[0] * far)) < 0.01


quaternions = st.tuples(*4 * [st.floats(-1, 1)]).filter(lambda q: np.linalg.norm(q) > 0.1)


@given(quaternions, st.tuples(*3 * [st.floats(-20, 20)]))
@settings(max_examples=20, deadline=None)
def test_a_point_has_one_value_from_wherever_it_is_seen(
    quaternion: tuple[float, ...], place_m: tuple[float, ...]
) -> None:
    in_world = scattered(200, 4)
    T_world_cam = pose(quaternion, place_m)
    seen = moved(in_world, invert_pose(T_world_cam))
    expected = world_normals(in_world, WORLD, (1, 2), 0.5)
    np.testing.assert_allclose(world_normals(seen, T_world_cam, (1, 2), 0.5), expected, atol=1e-3)


def test_ten_kilometres_from_the_origin_two_cameras_agree_to_a_thousandth() -> None:
    far = pose((0.9, 0.1, -0.3, 0.2), (10_000.0, -7_000.0, 300.0))
    other = far @ pose((1.0, 0.05, 0.02, 0.0), (0.7, -0.2, 0.4))
    points_m = scattered(500, 3)
    from_other = moved(points_m, invert_pose(other) @ far)
    first, second = world_normals(points_m, far, (1, 2), 0.1), world_normals(from_other, other, (1, 2), 0.1)
    np.testing.assert_allclose(first, second, atol=2e-3)
    assert first.std() == pytest.approx(1, abs=0.15)


def test_words_and_streams_are_independent_and_repeat() -> None:
    points_m = scattered(100_000, 100)
    first = world_normals(points_m, WORLD, (1, 2), 0.5)
    np.testing.assert_array_equal(world_normals(points_m, WORLD, (1, 2), 0.5), first)
    for words, stream in (((1, 2), 1), ((1, 3), 0), ((2, 2), 0), ((1, 2 + 2**63), 0)):
        assert abs(np.mean(first * world_normals(points_m, WORLD, words, 0.5, stream=stream))) < 0.015


def test_values_are_pinned() -> None:
    """A change of these numbers changes corpora with patches on surfaces."""
    points_m = np.array([[0.1, -2.5, 30.0], [0.2, 1.5, -7.0], [1.3, 4.0, 12.0]], np.float32)[:, None, :]
    np.testing.assert_allclose(world_normals(points_m, WORLD, (1, 2), 0.3)[0], PINNED, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 2)])
def test_any_size_and_holes_at_the_camera(size: tuple[int, int]) -> None:
    values = world_normals(np.zeros((3, *size), np.float32), WORLD, (1, 2), 0.3)
    assert values.shape == size
    assert values.dtype == np.float32
    assert np.ptp(values) == 0
