from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from depthforge.errors import InputError, MissingDependencyError
from depthforge.frame import Camera
from depthforge.geometry import look_at, pixel_rays, rotation_from_quaternion
from depthforge.raycast import Scene, box, cast, cone, cushion, cylinder, ellipsoid
from depthforge.render import Mesh, MeshScene, tessellate

CAMERA = Camera(200.0, 190.0, 79.5, 60.0, 160, 120)


@pytest.fixture
def open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:
        pytest.skip(f"Open3D does not import here: {error}")
    return open3d


def test_a_tilted_plane_is_planar_depth_through_pixel_centres(open3d: Any) -> None:
    normal = np.array([0.3, -0.2, -1.0]) / np.linalg.norm([0.3, -0.2, -1.0])
    corners = np.array([[-9, -9], [9, -9], [9, 9], [-9, 9]], float)
    z = 2.0 - (corners @ normal[:2]) / normal[2]
    mesh = Mesh(np.column_stack([corners, z]).astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.uint32))
    hits = MeshScene([mesh]).cast(np.eye(4), CAMERA)
    x, y = pixel_rays(CAMERA)
    expected = 2.0 * normal[2] / (normal[0] * x + normal[1] * y[:, None] + normal[2])
    assert hits.valid.all()
    np.testing.assert_allclose(hits.depth_m, expected, rtol=2e-6)
    np.testing.assert_allclose(hits.normals, np.broadcast_to(normal, hits.normals.shape), atol=1e-6)


def test_open3ds_own_pinhole_rays_are_half_a_pixel_off(open3d: Any) -> None:
    """Why they are not used. Should this fail after an upgrade, the remark in ``render`` is out of date."""
    tensor = open3d.core.Tensor
    rays = open3d.t.geometry.RaycastingScene.create_rays_pinhole(tensor(CAMERA.K), tensor(np.eye(4)), 160, 120).numpy()
    np.testing.assert_allclose(rays[0, 0, 3:], [(0.5 - 79.5) / 200, (0.5 - 60) / 190, 1.0], rtol=1e-6)


def test_both_casters_see_the_same_scene(open3d: Any) -> None:
    turn = rotation_from_quaternion([0.8, 0.1, 0.3, 0.4])
    shapes = [
        box((6, 6, 0.1), (0, 0, -0.6)),
        box((0.6, 0.5, 0.9), (-0.9, 0, 0), turn),
        cylinder(0.3, 0.8, (0.1, 0.4, 0), turn),
        cone(0.35, 0.1, 0.7, (0.9, 0, 0), turn),
        cone(0.0, 0.2, 0.5, (0.2, -0.8, 0.4), turn),
        ellipsoid((0.7, 0.4, 0.5), (0.4, -0.4, 0.1), turn),
        cushion((0.6, 0.6, 0.2), (-0.4, -0.7, 0), turn),
    ]
    T_world_cam = look_at((0.4, -3.0, 1.4), (0, 0, 0))
    analytic = cast(Scene(shapes), T_world_cam, CAMERA)
    meshes = MeshScene([tessellate(shape, 256) for shape in shapes]).cast(T_world_cam, CAMERA)
    same = analytic.shape == meshes.shape
    assert same.mean() > 0.999, "all but a few pixels on silhouettes"
    assert set(np.unique(analytic.shape)) == {-1, *range(7)}
    error = np.abs(analytic.depth_m - meshes.depth_m)[same]
    assert np.quantile(error, 0.99) < 2e-4
    assert error.max() < 2e-2
    exact = same & np.isin(analytic.shape, (0, 1))
    np.testing.assert_allclose(meshes.depth_m[exact], analytic.depth_m[exact], rtol=3e-6)
    agreement = np.einsum("hwc,hwc->hw", analytic.normals, meshes.normals)[same & analytic.valid]
    assert np.quantile(agreement, 0.01) > 0.998


def test_poses_place_meshes(open3d: Any) -> None:
    cube = tessellate(box((1, 1, 1)))
    far = np.eye(4)
    far[:3, 3] = 0.5, 0, 4
    near = np.eye(4)
    near[:3, 3] = -0.5, 0, 3
    hits = MeshScene([cube, cube], np.stack([far, near])).cast(np.eye(4), CAMERA)
    assert hits.depth_m[60, 100] == pytest.approx(3.5)
    assert hits.depth_m[60, 50] == pytest.approx(2.5)
    assert (hits.shape[60, 100], hits.shape[60, 50], hits.shape[0, 0]) == (0, 1, -1)
    assert not hits.normals[~hits.valid].any()
    with pytest.raises(InputError, match="pose"):
        MeshScene([cube], np.stack([far, near]))


def test_bytes_do_not_depend_on_threads(open3d: Any) -> None:
    scene = MeshScene([tessellate(cushion((2, 2, 1), (0, 0, 4)))])
    for one, two in zip(scene.cast(np.eye(4), CAMERA), scene.cast(np.eye(4), CAMERA, num_threads=2), strict=True):
        assert one.tobytes() == two.tobytes()


def test_a_mesh_of_a_box_is_closed_and_has_its_corners() -> None:
    mesh = tessellate(box((2, 4, 6)), 8)
    assert {tuple(corner) for corner in np.abs(mesh.vertices).tolist()} >= {(1.0, 2.0, 3.0)}
    edges = np.sort(mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    a, b, c = mesh.vertices[mesh.triangles].astype(np.float64).transpose(1, 0, 2)
    assert np.einsum("nc,nc->n", a, np.cross(b, c)).sum() / 6 == pytest.approx(48.0), "faces look outwards"


def test_segments_must_meet_the_corners() -> None:
    with pytest.raises(InputError, match="segments"):
        tessellate(box((1, 1, 1)), 12)


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (ModuleNotFoundError("No module named 'open3d'", name="open3d"), "pip install"),
        (ImportError("libusb-1.0.so.0: cannot open shared object file"), "libusb-1.0-0"),
        (OSError("libGL.so.1: cannot open shared object file"), "libgl1 libegl1 libx11-6"),
    ],
)
def test_a_missing_dependency_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, remedy: str
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "open3d":
            raise failure
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError) as caught:
        MeshScene([tessellate(box((1, 1, 1)))])
    assert remedy in str(caught.value)


def test_importing_the_module_loads_no_open3d() -> None:
    code = "import sys, depthforge.render, depthforge.sources.procedural; sys.exit('open3d' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
