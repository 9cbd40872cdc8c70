from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge import geometry
from depthforge.errors import InputError
from depthforge.frame import Camera

CAMERA = Camera(60.0, 55.0, 31.5, 24.25, 64, 48, baseline_m=0.055)
finite = st.floats(-10, 10)
quaternions = st.tuples(finite, finite, finite, finite).filter(lambda q: np.linalg.norm(q) > 0.1)
images = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(0.2, 30, CAMERA.size).astype(np.float32)
)


def tilted_plane(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth of the plane through (0, 0, 2) with a known normal, and the normal."""
    normal = np.array([0.2, 0.3, -1.0]) / np.linalg.norm([0.2, 0.3, -1.0])
    x, y = geometry.pixel_rays(camera)
    depth = normal[2] * 2.0 / (normal[0] * x + normal[1] * y[:, None] + normal[2])
    return depth.astype(np.float32), normal


def test_ray_length_of_a_golden_pixel() -> None:
    camera = Camera(600, 600, 320, 240, 640, 480)
    ray = np.zeros(camera.size, np.float32)
    ray[240, 320] = ray[0, 0] = 3.0
    z = geometry.ray_length_to_z(ray, camera)
    assert z[240, 320] == 3.0
    assert z[0, 0] == pytest.approx(3.0 / np.sqrt(1 + (320 / 600) ** 2 + (240 / 600) ** 2), rel=1e-6)
    assert z[0, 0] == pytest.approx(2.4962, abs=1e-4)
    assert np.count_nonzero(z) == 2
    assert z.dtype == np.float32


def test_ray_length_of_integer_millimetres_is_not_truncated() -> None:
    z = geometry.ray_length_to_z(np.full(CAMERA.size, 1000, np.uint16), CAMERA)
    assert z.dtype == np.float32
    assert 0 < 1000 - z[0, 0] < 400


@given(images)
def test_ray_length_round_trip(depth: np.ndarray) -> None:
    there = geometry.z_to_ray_length(depth, CAMERA)
    assert (there >= depth * (1 - 1e-6)).all()
    np.testing.assert_allclose(geometry.ray_length_to_z(there, CAMERA), depth, rtol=5e-7)


@given(images)
def test_ray_length_is_the_length_of_the_point(depth: np.ndarray) -> None:
    points = geometry.back_project(depth, CAMERA)
    lengths = np.linalg.norm(points.astype(np.float64), axis=-1)
    np.testing.assert_allclose(geometry.z_to_ray_length(depth, CAMERA), lengths, rtol=1e-6)


@given(images)
def test_disparity_round_trip(depth: np.ndarray) -> None:
    depth[3, 4] = 0
    disparity = geometry.depth_to_disparity(depth, CAMERA)
    assert disparity[3, 4] == 0
    assert disparity[0, 0] == pytest.approx(60.0 * 0.055 / depth[0, 0], rel=1e-6)
    np.testing.assert_allclose(geometry.disparity_to_depth(disparity, CAMERA), depth, rtol=5e-7)


def test_disparity_needs_a_baseline() -> None:
    with pytest.raises(InputError, match="baseline"):
        geometry.depth_to_disparity(np.ones((48, 64), np.float32), Camera(60, 55, 31.5, 24.25, 64, 48))


def test_back_projection_projects_back() -> None:
    depth, _ = tilted_plane(CAMERA)
    points = geometry.back_project(depth, CAMERA)
    pixels = points @ CAMERA.K.T
    v, u = np.indices(CAMERA.size)
    np.testing.assert_allclose(pixels[..., 0] / pixels[..., 2], u, atol=1e-4)
    np.testing.assert_allclose(pixels[..., 1] / pixels[..., 2], v, atol=1e-4)
    assert points.dtype == np.float32


def test_normals_of_a_plane_are_the_planes() -> None:
    depth, normal = tilted_plane(CAMERA)
    normals = geometry.normals_from_depth(depth, np.ones(CAMERA.size, bool), CAMERA)
    np.testing.assert_allclose(normals[1:-1, 1:-1], np.broadcast_to(normal, (46, 62, 3)), atol=1e-5)
    assert not normals[0].any()
    assert not normals[:, -1].any()


def test_there_are_no_normals_at_holes_and_edges() -> None:
    depth = np.full(CAMERA.size, 2.0, np.float32)
    depth[:, 30:] = 3.0
    valid = np.ones(CAMERA.size, bool)
    valid[10, 10] = False
    has_normal = geometry.normals_from_depth(depth, valid, CAMERA).any(axis=-1)
    expected = np.zeros(CAMERA.size, bool)
    expected[1:-1, 1:-1] = True
    expected[:, 29:31] = False
    for dv, du in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)):
        expected[10 + dv, 10 + du] = False
    np.testing.assert_array_equal(has_normal, expected)


@settings(deadline=None)  # the first call compiles
@given(images)
def test_normals_face_the_camera(depth: np.ndarray) -> None:
    normals = geometry.normals_from_depth(depth, np.ones(CAMERA.size, bool), CAMERA, max_jump=np.inf)
    facing = np.einsum("hwc,hwc->hw", normals, geometry.back_project(depth, CAMERA))
    assert facing.max() <= 1e-4


@settings(deadline=None)  # the first call compiles
@given(images)
def test_reprojection_into_the_same_camera_changes_nothing(depth: np.ndarray) -> None:
    valid = depth < 25
    seen_depth, seen = geometry.reproject(depth, valid, CAMERA, np.eye(4), CAMERA)
    np.testing.assert_array_equal(seen, valid)
    np.testing.assert_array_equal(seen_depth, np.where(valid, depth, 0))


def test_reprojection_of_a_wall_shifts_it_by_its_disparity() -> None:
    depth = np.full(CAMERA.size, 2.0, np.float32)
    depth[20:30, 30:40] = 1.0
    T = np.eye(4)
    T[0, 3] = -2.0 * 4 / 60.0  # the target is right of the source: a wall at 2 m moves 4 pixels left, at 1 m 8
    seen_depth, seen = geometry.reproject(depth, np.ones(CAMERA.size, bool), CAMERA, T, CAMERA)
    assert not seen[:, -4:].any()
    assert seen[0, :-4].all()
    assert (seen_depth[20:30, 22:32] == 1.0).all()
    assert (seen_depth[20:30, :22] == 2.0).all()
    np.testing.assert_array_equal(seen[25, 32:36], [False] * 4)  # what the near box uncovers nobody saw


def test_reprojection_closes_a_magnified_wall_and_culls_what_is_behind() -> None:
    depth = np.full(CAMERA.size, 2.0, np.float32)
    T = np.eye(4)
    T[2, 3] = -1.0
    seen_depth, seen = geometry.reproject(depth, np.ones(CAMERA.size, bool), CAMERA, T, CAMERA)
    assert seen.all()
    assert (seen_depth == 1.0).all()
    T[2, 3] = -3.0
    assert not geometry.reproject(depth, np.ones(CAMERA.size, bool), CAMERA, T, CAMERA)[1].any()


@given(st.integers(0, 2**32 - 1))
def test_normals_survive_their_encoding(seed: int) -> None:
    normals = np.random.default_rng(seed).normal(size=(5, 7, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[2, 3] = 0
    encoded = geometry.encode_normals(normals)
    assert encoded.dtype == np.int16
    decoded = geometry.decode_normals(encoded)
    assert decoded.dtype == np.float32
    assert not decoded[2, 3].any()
    assert np.abs(decoded - normals).max() <= 0.5 / 32767 + 1e-7
    np.testing.assert_array_equal(geometry.encode_normals(decoded), encoded)


def test_encoding_reaches_but_never_passes_the_poles() -> None:
    np.testing.assert_array_equal(geometry.encode_normals(np.diag([1.0, -1.0, 1.0])), np.diag([32767, -32767, 32767]))


def test_opengl_to_opencv_flips_the_camera_and_not_the_world() -> None:
    T = geometry.look_at((1, 2, 3), (4, 5, 6))
    converted = geometry.opencv_to_opengl(T)
    np.testing.assert_array_equal(converted[:3, 3], [1, 2, 3])
    np.testing.assert_array_equal(converted[:3, 0], T[:3, 0])
    np.testing.assert_array_equal(converted[:3, 1:3], -T[:3, 1:3])
    np.testing.assert_array_equal(geometry.opengl_to_opencv(converted), T)
    np.testing.assert_array_equal(geometry.opengl_to_opencv(np.stack([T, T])).shape, (2, 4, 4))


def test_quaternion_of_a_quarter_turn() -> None:
    rotation = geometry.rotation_from_quaternion([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, 1, 0], atol=1e-15)


@given(quaternions)
def test_quaternion_round_trip(wxyz: tuple[float, float, float, float]) -> None:
    rotation = geometry.rotation_from_quaternion(wxyz)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    back = geometry.quaternion_from_rotation(rotation)
    assert back[0] >= 0
    np.testing.assert_allclose(geometry.rotation_from_quaternion(back), rotation, atol=1e-12)


def test_quaternions_are_taken_in_batches_and_never_zero() -> None:
    assert geometry.rotation_from_quaternion(np.eye(4)).shape == (4, 3, 3)
    with pytest.raises(InputError, match="not zero"):
        geometry.rotation_from_quaternion([0, 0, 0, 0])
    with pytest.raises(InputError, match="finite"):
        geometry.rotation_from_quaternion([np.nan, 0, 0, 1])


@given(st.tuples(finite, finite, finite), st.tuples(finite, finite, finite))
def test_look_at_looks_at(eye: tuple[float, ...], target: tuple[float, ...]) -> None:
    if np.linalg.norm(np.subtract(eye, target)[:2]) < 1e-3:
        return
    T = geometry.look_at(eye, target)
    seen = geometry.invert_pose(T) @ [*target, 1.0]
    np.testing.assert_allclose(seen[:2], 0, atol=1e-6)
    assert seen[2] == pytest.approx(np.linalg.norm(np.subtract(eye, target)))
    assert T[2, 1] <= 1e-12, "the image's down is not up in the world"
    np.testing.assert_allclose(np.linalg.inv(T), geometry.invert_pose(T), atol=1e-9)


@pytest.mark.parametrize("target", [(0, 0, 0), (0, 0, 5)])
def test_look_at_needs_a_direction_that_is_not_up(target: tuple[float, ...]) -> None:
    with pytest.raises(InputError):
        geometry.look_at((0, 0, 0), target)
