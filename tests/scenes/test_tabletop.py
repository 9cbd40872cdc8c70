"""Procedural tables: what a pose, an outline and a mesh promise, held against the ray-caster."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.geometry import Float64, invert_pose
from depthforge.scenes.raycast import Scene, cast
from depthforge.scenes.tabletop import NUM_MODELS, TABLE_SIZE_M, Tabletop, build_tabletop, object_mesh, object_model

CAMERA = Camera(80.0, 80.0, 31.5, 23.5, 64, 48)
FINE = Camera(320.0, 320.0, 63.5, 47.5, 128, 96)
ALL = range(NUM_MODELS)


def table(seed: int, models: list[int] | None = None) -> Tabletop:
    return build_tabletop(np.random.default_rng(seed), models=models)


def placed_vertices(world: Tabletop) -> dict[int, Float64]:
    return {
        instance: object_mesh(world.model_of[instance]).vertices @ T[:3, :3].T + T[:3, 3]
        for instance, T in world.T_world_object.items()
    }


def inside(points: Float64, number: int) -> np.ndarray:
    """Which of the points (N, 3) of a model's frame lie within one of its solids by more than 0.1 mm."""
    within = np.zeros(len(points), bool)
    for shape, _ in object_model(number):
        T_unit = np.linalg.inv(shape.T_world_unit)
        x, y, z = (points @ T_unit[:3, :3].T + T_unit[:3, 3]).T
        A, B, C = shape.profile
        least = 1 - 1e-4 / np.linalg.norm(shape.T_world_unit[:3, :3], axis=0).min()
        within |= (np.abs([x, y, z]).max(axis=0) < least) & (x * x + y * y < (A + B * z + C * z * z) * least)
    return within


@pytest.mark.parametrize("seed", range(4))
def test_objects_rest_on_the_table_apart_from_each_other(seed: int) -> None:
    world = table(seed)
    assert 5 <= len(world.model_of) <= 12
    assert len(set(world.model_of.values())) == len(world.model_of), "each model once"
    vertices = placed_vertices(world)
    for instance, points in vertices.items():
        assert points[:, 2].min() == pytest.approx(0.0, abs=1e-7)
        assert np.abs(points[:, :2]).max() < TABLE_SIZE_M[0] / 2
        for other, T in world.T_world_object.items():
            if other != instance:
                own = points @ T[:3, :3] - T[:3, :3].T @ T[:3, 3]
                assert not inside(own, world.model_of[other]).any()


@pytest.mark.parametrize("number", ALL)
def test_the_mesh_of_a_model_is_its_solids(number: int) -> None:
    vertices = object_mesh(number).vertices
    np.testing.assert_allclose(vertices.min(axis=0) + vertices.max(axis=0), 0, atol=1e-6)
    extent = np.sort(np.ptp(vertices, axis=0))
    assert extent[0] < 0.1, "a gripper of 0.1 m can hold it"
    assert 0.03 < extent[2] < 0.25
    # Seen by the caster of solids from a metre away, it covers what its vertices cover.
    T_world_cam = np.eye(4)
    T_world_cam[2, 3] = -1.0
    hits = cast(Scene([shape for shape, _ in object_model(number)]), T_world_cam, FINE)
    v, u = np.nonzero(hits.valid)
    seen = vertices + np.array([0.0, 0.0, 1.0])
    columns = FINE.fx * seen[:, 0] / seen[:, 2] + FINE.cx
    rows = FINE.fy * seen[:, 1] / seen[:, 2] + FINE.cy
    assert u.min() - columns.min() == pytest.approx(0.5, abs=0.75)
    assert columns.max() - u.max() == pytest.approx(0.5, abs=0.75)
    assert rows.max() - v.max() == pytest.approx(0.5, abs=0.75)


def test_models_are_told_apart_and_always_the_same() -> None:
    sizes = {tuple(np.round(np.ptp(object_mesh(number).vertices, axis=0), 4)) for number in ALL}
    assert len(sizes) == NUM_MODELS
    (shape, material), *_ = object_model(7)
    (again, same), *_ = object_model(7)
    np.testing.assert_array_equal(shape.T_world_unit, again.T_world_unit)
    assert material == same
    with pytest.raises(InputError, match="no such object model"):
        object_model(NUM_MODELS)


def test_a_seed_gives_one_table() -> None:
    first, again, other = table(3), table(3), table(4)
    assert first.model_of == again.model_of != other.model_of
    np.testing.assert_array_equal(first.scene.T_world_unit, again.scene.T_world_unit)


def test_named_models_stand_in_that_order() -> None:
    world = table(0, [4, 4, 1])
    assert world.model_of == {3: 4, 4: 4, 5: 1}
    assert world.T_world_object.keys() == world.model_of.keys()
    with pytest.raises(InputError, match="no room"):
        table(0, [0] * 60)
    with pytest.raises(InputError, match="stands on a table once"):
        build_tabletop(np.random.default_rng(0), num_objects=21)


def test_cameras_look_at_the_objects_from_the_distance_asked_for() -> None:
    world = table(1)
    poses = world.camera_poses(np.random.default_rng(0), 12, (0.5, 0.6))
    assert poses.shape == (12, 4, 4)
    distance = np.linalg.norm(poses[:, :3, 3], axis=1)
    assert (distance > 0.45).all()
    assert (distance < 0.65).all()
    assert (poses[:, 2, 3] > 0.2).all(), "above the table"
    for T_world_cam in poses:
        centre = invert_pose(T_world_cam)[:3, 3]
        assert abs(centre[0] / centre[2]) < 0.2
    hits = cast(world.scene, poses[0], CAMERA)
    assert np.isin(world.instance[hits.shape], list(world.model_of)).mean() > 0.02
    labels = world.labels(hits, poses[0], frozenset({"object_pose", "object_id"}))
    instance = int(labels["object_id"][0])
    np.testing.assert_allclose(poses[0] @ labels["object_pose"][0], world.T_world_object[instance], atol=1e-12)
    assert world.camera_poses(np.random.default_rng(0), 0).shape == (0, 4, 4)
