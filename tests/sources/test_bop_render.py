"""Objects cast one by one through cropped cameras against one scene of all of them, and planes found among outliers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.frame import Camera
from depthforge.geometry import invert_pose, rotation_from_quaternion
from depthforge.meshes import Mesh, MeshScene, encode_ply, tessellate
from depthforge.scenes.raycast import box, cone
from depthforge.sources.bop.annotations import Objects
from depthforge.sources.bop.plane import fit_support_plane, render_plane
from depthforge.sources.bop.render import ModelRenderer

CAMERA = Camera(60.0, 62.0, 30.5, 20.25, 64, 48)
MESHES = {1: tessellate(box((0.1, 0.06, 0.2)), 8), 2: tessellate(cone(0.08, 0.02, 0.15), 16)}


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> ModelRenderer:
    folder = tmp_path_factory.mktemp("models")
    for object_id, mesh in MESHES.items():
        in_mm = Mesh(mesh.vertices * np.float32(1000), mesh.triangles)
        (folder / f"{object_id}.ply").write_bytes(encode_ply(in_mm))
    return ModelRenderer(lambda object_id: Path(folder / f"{object_id}.ply"))


def pose(x: float, y: float, z: float, quaternion: tuple[float, ...]) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = rotation_from_quaternion(quaternion)
    T[:3, 3] = x, y, z
    return T


component = st.floats(-1, 1).map(lambda value: round(value, 3))
quaternions = st.tuples(component, component, component, st.floats(0.1, 1))
poses = st.builds(pose, st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(0.2, 1.5), quaternions)


@given(first=poses, second=poses)
@settings(max_examples=25, deadline=None)
def test_cropped_casts_put_together_are_one_cast_of_all(
    renderer: ModelRenderer, first: np.ndarray, second: np.ndarray
) -> None:
    ids = np.array([1, 2], np.uint32)
    T_cam_object = np.stack([first, second])
    rendered = renderer.render(Objects(ids, T_cam_object), CAMERA)
    whole = MeshScene([MESHES[1], MESHES[2]], T_cam_object).cast(np.eye(4), CAMERA)
    # A ray along an edge may pass on either side of it in float32.
    same = rendered.row == whole.shape
    assert np.count_nonzero(~same) <= 12
    np.testing.assert_allclose(rendered.depth_m[same], whole.depth_m[same], rtol=2e-4)
    for row, object_id in enumerate(ids.tolist()):
        alone = MeshScene([MESHES[object_id]]).cast(invert_pose(T_cam_object[row]), CAMERA).valid
        assert np.count_nonzero(rendered.silhouettes[row] != alone) <= 4
        assert rendered.pixels.count_all[row] >= np.count_nonzero(rendered.silhouettes[row])
        assert rendered.pixels.count_visib[row] == np.count_nonzero(rendered.row == row)
        assert not (rendered.row == row)[~rendered.silhouettes[row]].any()


def test_each_object_may_be_there_several_times(renderer: ModelRenderer) -> None:
    T = np.stack([pose(x, 0, 0.6, (1, 0, 0, 0)) for x in (-0.2, 0.0, 0.2)])
    rendered = renderer.render(Objects(np.array([1, 1, 1], np.uint32), T), CAMERA)
    counts = rendered.pixels.count_visib
    assert (counts > 50).all()
    assert set(np.unique(rendered.row)) == {-1, 0, 1, 2}


tilts = st.tuples(st.floats(-0.6, 0.6), st.floats(-1.5, 0.3))


@given(tilt=tilts, distance=st.floats(0.5, 1.2), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_plane_is_found_among_outliers(tilt: tuple[float, float], distance: float, seed: int) -> None:
    normal = np.array([tilt[0], tilt[1], -1.0])
    normal /= np.linalg.norm(normal)
    plane = np.append(normal, -normal[2] * distance)  # through (0, 0, distance), towards the camera
    centres = np.array([[0.0, 0.0, distance]]) + 0.05 * normal
    exact = render_plane(plane, CAMERA, centres)
    rng = np.random.default_rng(seed)
    depth = exact + np.where(exact > 0, rng.normal(0, 0.001, exact.shape), 0).astype(np.float32)
    lost = rng.random(exact.shape)
    depth[lost < 0.3] *= 0.8
    usable = (exact > 0) & (lost < 0.9)
    found = fit_support_plane(depth, usable, CAMERA, centres, np.random.default_rng(1))
    assert found is not None
    assert found[:3] @ normal > np.cos(np.deg2rad(1.0))
    assert abs(found[3] - plane[3]) < 0.01
    again = fit_support_plane(depth, usable, CAMERA, centres, np.random.default_rng(1))
    np.testing.assert_array_equal(found, again)


def test_a_rendered_plane_ends_a_metre_from_the_objects() -> None:
    plane = np.array([0.0, 0.0, -1.0, 2.0])
    depth = render_plane(plane, CAMERA, np.array([[0.0, 0.0, 2.0]]))
    x = (np.arange(64) - 30.5) / 60 * 2
    y = (np.arange(48) - 20.25) / 62 * 2
    np.testing.assert_array_equal(depth > 0, x[None, :] ** 2 + y[:, None] ** 2 <= 1.0)
    assert set(np.unique(depth)) == {0.0, 2.0}


def test_a_plane_with_objects_on_its_far_side_is_not_their_support() -> None:
    """A wall between the camera and the objects: whatever it is, nothing stands on it."""
    usable = np.ones(CAMERA.size, np.bool_)
    wall = np.full(CAMERA.size, 0.6, np.float32)
    behind = np.array([[0.0, 0.0, 0.8]])
    assert fit_support_plane(wall, usable, CAMERA, behind, np.random.default_rng(0)) is None
    before = np.array([[0.0, 0.0, 0.5]])
    found = fit_support_plane(wall, usable, CAMERA, before, np.random.default_rng(0))
    assert found is not None
    np.testing.assert_allclose(found, [0, 0, -1, 0.6], atol=1e-6)
    assert fit_support_plane(wall, usable, CAMERA, np.empty((0, 3)), np.random.default_rng(0)) is None
