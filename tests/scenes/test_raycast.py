from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.geometry import back_project, invert_pose, look_at, pixel_rays, rotation_from_quaternion
from depthforge.scenes.raycast import Scene, Shape, box, cast, cone, cushion, cylinder, ellipsoid

CAMERA = Camera(100.0, 100.0, 50.0, 40.0, 101, 81)
FORWARD = np.eye(4)


def test_a_box_ahead_is_hit_on_its_face() -> None:
    hits = cast(Scene([box((1, 1, 1), (0, 0, 3))]), FORWARD, CAMERA)
    assert hits.depth_m[40, 50] == 2.5
    np.testing.assert_array_equal(hits.normals[40, 50], [0, 0, -1])
    # The face is 1 m at 2.5 m: 40 pixels, and the ray on its very edge still hits.
    assert np.count_nonzero(hits.valid[40]) == 41
    assert hits.shape[40, 50] == 0
    assert hits.shape[0, 0] == -1
    assert hits.depth_m[0, 0] == 0
    assert not hits.normals[0, 0].any()


def test_a_sphere_has_its_closed_form() -> None:
    hits = cast(Scene([ellipsoid((2, 2, 2), (0.3, -0.2, 4))]), FORWARD, CAMERA)
    x, y = pixel_rays(CAMERA)
    ray = np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones(CAMERA.size)], axis=-1)
    centre = np.array([0.3, -0.2, 4.0])
    b, a = ray @ centre, (ray**2).sum(-1)
    inside = b * b - a * (centre @ centre - 1)
    np.testing.assert_array_equal(hits.valid, inside > 0)
    expected = (b - np.sqrt(np.maximum(inside, 0))) / a
    np.testing.assert_allclose(hits.depth_m[hits.valid], expected[hits.valid], rtol=1e-6)
    normals = expected[..., None] * ray - centre
    np.testing.assert_allclose(hits.normals[hits.valid], normals[hits.valid], atol=1e-6)


def test_a_tilted_plane_is_exact() -> None:
    tilt = rotation_from_quaternion([0.9, 0.3, 0.2, 0.1])
    hits = cast(Scene([box((50, 50, 0.2), (0, 0, 3), tilt)]), FORWARD, CAMERA)
    normal = tilt[:, 2] * -np.sign(tilt[2, 2])
    x, y = pixel_rays(CAMERA)
    on_face = np.array([0, 0, 3.0]) + 0.1 * normal
    expected = normal @ on_face / (normal[0] * x + normal[1] * y[:, None] + normal[2])
    assert hits.valid.all()
    np.testing.assert_allclose(hits.depth_m, expected, rtol=1e-6)
    np.testing.assert_allclose(hits.normals, np.broadcast_to(normal, hits.normals.shape), atol=1e-6)


def test_the_end_and_the_side_of_a_cylinder() -> None:
    end = cast(Scene([cylinder(0.5, 2, (0, 0, 4))]), FORWARD, CAMERA)
    assert end.depth_m[40, 50] == 3.0
    np.testing.assert_array_equal(end.normals[40, 50], [0, 0, -1])
    side = cast(Scene([cylinder(0.5, 2, (0, 0, 4), rotation_from_quaternion([1, 1, 0, 0]))]), FORWARD, CAMERA)
    assert side.depth_m[40, 50] == pytest.approx(3.5)
    np.testing.assert_allclose(side.normals[40, 50], [0, 0, -1], atol=1e-7)


def test_a_cone_from_its_tip_from_its_base_and_from_the_side() -> None:
    tip = cast(Scene([cone(0.5, 0.0, 2, (0, 0, 4), rotation_from_quaternion([0, 1, 0, 0]))]), FORWARD, CAMERA)
    # A ray at x/z = 0.05 meets x = 0.5 * (z - 3) / 2 at z = 0.75 / 0.2.
    assert tip.depth_m[40, 55] == pytest.approx(0.75 / 0.2)
    base = cast(Scene([cone(0.5, 0.0, 2, (0, 0, 4))]), FORWARD, CAMERA)
    assert base.depth_m[40, 50] == 3.0
    side = cast(Scene([cone(0.5, 0.25, 2, (0, 0, 4), rotation_from_quaternion([1, 1, 0, 0]))]), FORWARD, CAMERA)
    assert side.depth_m[40, 50] == pytest.approx(4 - 0.375)


def test_the_nearest_shape_wins_in_any_order() -> None:
    shapes = [box((1, 1, 1), (0, 0, 5)), ellipsoid((0.5, 0.5, 0.5), (0, 0, 3)), cushion((2, 2, 0.3), (0.1, 0, 4))]
    forwards, backwards = (cast(Scene(order), FORWARD, CAMERA) for order in (shapes, shapes[::-1]))
    np.testing.assert_array_equal(forwards.depth_m, backwards.depth_m)
    np.testing.assert_array_equal(forwards.shape, np.where(backwards.valid, 2 - backwards.shape, -1))


def test_what_is_behind_or_around_the_camera_is_not_seen() -> None:
    behind = box((1, 1, 1), (0, 0, -3))
    around = ellipsoid((2, 2, 2))
    assert not cast(Scene([behind, around]), FORWARD, CAMERA).valid.any()
    assert not cast(Scene([]), FORWARD, CAMERA).valid.any()


def test_a_floor_that_reaches_behind_the_camera_is_seen_whole() -> None:
    hits = cast(Scene([box((100, 0.1, 99), (0, 1.05, 0))]), FORWARD, CAMERA)
    np.testing.assert_array_equal(hits.valid.all(axis=1), np.arange(81) > 42)
    assert hits.depth_m[80, 3] == pytest.approx(1.0 / 0.4)


kinds = st.sampled_from(["box", "cylinder", "cone", "ellipsoid", "cushion"])


def some_shape(kind: str, rng: np.random.Generator) -> Shape:
    rotation = rotation_from_quaternion(rng.normal(size=4))
    centre = rng.uniform(-1, 1, 3)
    a, b, c = rng.uniform(0.1, 1.0, 3)
    if kind == "box":
        return box((a, b, c), centre, rotation)
    if kind == "cylinder":
        return cylinder(a / 2, b, centre, rotation)
    if kind == "cone":
        return cone(a / 2, rng.choice([0.0, b / 2]), c, centre, rotation)
    if kind == "ellipsoid":
        return ellipsoid((a, b, c), centre, rotation)
    return cushion((a, b, c), centre, rotation)


@settings(deadline=None, max_examples=40)
@given(st.lists(kinds, min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_hits_lie_on_their_shape_and_face_the_camera(kinds: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [some_shape(kind, rng) for kind in kinds]
    scene, T_world_cam = Scene(shapes), look_at(rng.normal(size=3) + np.array([0, 4, 0]), rng.uniform(-0.5, 0.5, 3))
    hits = cast(scene, T_world_cam, CAMERA)
    points = back_project(hits.depth_m, CAMERA)[hits.valid].astype(np.float64)
    world = points @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]
    T_unit = scene.T_unit_world[hits.shape[hits.valid]]
    unit = np.einsum("nij,nj->ni", T_unit[:, :3, :3], world) + T_unit[:, :3, 3]
    A, B, C = scene.profile[hits.shape[hits.valid]].T
    x, y, z = unit.T
    beyond = np.maximum(np.abs(unit).max(axis=1) - 1, x * x + y * y - (A + B * z + C * z * z))
    np.testing.assert_allclose(beyond, 0, atol=1e-3)  # float32 depth, on shapes of 5 cm and more
    normals = hits.normals[hits.valid]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.einsum("nc,nc->n", normals, points) < 1e-5).all()


@settings(deadline=None, max_examples=25)
@given(kinds, st.integers(0, 2**32 - 1))
def test_tiles_and_bounds_drop_nothing(kind: str, seed: int) -> None:
    """One ray at a time, through a camera of a single pixel, is the caster without any culling between pixels."""
    rng = np.random.default_rng(seed)
    scene, T = Scene([some_shape(kind, rng), box((6, 6, 0.1), (0, 0, -1))]), look_at((0.3, 3, 0.4), (0, 0, 0))
    hits = cast(scene, T, CAMERA)
    for v, u in rng.integers((0, 0), CAMERA.size, (12, 2)):
        alone = cast(scene, T, Camera(CAMERA.fx, CAMERA.fy, CAMERA.cx - u, CAMERA.cy - v, 1, 1))
        assert alone.depth_m[0, 0] == pytest.approx(hits.depth_m[v, u], rel=1e-6)


def test_bytes_repeat_in_any_thread() -> None:
    rng = np.random.default_rng(5)
    shapes = [some_shape(kind, rng) for kind in ["box", "cylinder", "cone", "ellipsoid", "cushion"] * 6]
    scene, T = Scene(shapes), look_at((0, 4, 1), (0, 0, 0))
    expected = cast(scene, T, CAMERA)
    with ThreadPoolExecutor(4) as pool:
        for hits in pool.map(lambda _: cast(scene, T, CAMERA), range(16)):
            for found, wanted in zip(hits, expected, strict=True):
                assert found.tobytes() == wanted.tobytes()


def test_moving_the_scene_is_moving_the_camera_back() -> None:
    T = look_at((1, -2, 0.5), (0, 0, 0))
    shapes = [box((1.01, 0.51, 0.4), (0, 0, 3)), cylinder(0.203, 1.01, (0.5, 0, 3))]
    moved = cast(Scene([shape.placed(T) for shape in shapes]), T, CAMERA)
    still = cast(Scene(shapes), FORWARD, CAMERA)
    np.testing.assert_allclose(moved.depth_m, still.depth_m, atol=1e-6)
    np.testing.assert_allclose(invert_pose(T) @ shapes[0].placed(T).T_world_unit, shapes[0].T_world_unit, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: box((1, 0, 1)),
        lambda: ellipsoid((1, float("nan"), 1)),
        lambda: cone(0, 0, 1),
        lambda: cone(-1, 1, 1),
        lambda: cushion((1, 1, 1), fullness=2.0),
    ],
)
def test_impossible_shapes_are_refused(make: object) -> None:
    with pytest.raises(InputError):
        make()  # type: ignore[operator]
