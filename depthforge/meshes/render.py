"""Clean depth, normals and ids of triangle meshes at known poses, by Open3D's ray-caster.

For datasets that come as models and poses (GraspNet, LineMOD, a scan's mesh). Rays are made here and not by
``create_rays_pinhole``, whose rays pass through (u + 0.5, v + 0.5): ours pass through the pixel centre (u, v) and
have z = 1, so that ``t_hit``, which counts in lengths of the direction, *is* planar z. A million triangles build in
0.1 s; a 640x480 frame then takes about 100 ms on one core, and the same bytes on any number of them.
For scenes of analytic shapes ``depthforge.scenes.raycast`` is exact, faster, and needs no Open3D; :func:`tessellate`
turns its shapes into meshes so that each caster checks the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, InputError, MissingDataError, MissingDependencyError
from depthforge.frame import Camera
from depthforge.geometry import Float32, Float64, pixel_rays
from depthforge.scenes.raycast import Hits, Shape

__all__ = ["Mesh", "MeshScene", "encode_ply", "import_open3d", "load_mesh", "mesh_bytes", "tessellate"]

# Open3D itself takes 70 MiB, and a scene of a mesh 4.0 to 5.6 times its binary .ply.
_OPEN3D_BYTES = 80 * 2**20
_BYTES_PER_FILE_BYTE = 6


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """``vertices`` (V, 3) float32 metres and ``triangles`` (T, 3) uint32 rows of them."""

    vertices: Float32
    triangles: npt.NDArray[np.uint32]


def load_mesh(path: Path, *, metres_per_unit: float = 1.0) -> Mesh:
    """Return the triangles of a .ply, .obj or .stl file, in metres.

    Raises MissingDataError when there is no such file, DecodeError when it holds no triangle, and
    MissingDependencyError when Open3D cannot be imported.
    """
    if not path.is_file():
        raise MissingDataError("no such mesh", where=path, remedy="fetch the models of the data set as well")
    o3d = import_open3d()
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        read = o3d.io.read_triangle_mesh(str(path))
    vertices, triangles = np.asarray(read.vertices), np.asarray(read.triangles)
    if not len(triangles) or not np.isfinite(vertices).all():
        raise DecodeError("the mesh cannot be read or has no triangle", where=path, remedy="fetch the file again")
    # Of a file that is cut short Open3D returns the triangles that it has; polygons become more of them, never fewer.
    declared = _ply_counts(path) if path.suffix.lower() == ".ply" else {}
    if len(vertices) < declared.get("vertex", 0) or len(triangles) < declared.get("face", 0):
        raise DecodeError(
            "the mesh is truncated",
            where=path,
            expected=f"{declared.get('vertex')} vertices and {declared.get('face')} faces",
            found=f"{len(vertices)} and {len(triangles)}",
            remedy="fetch the file again",
        )
    return Mesh((vertices * metres_per_unit).astype(np.float32), triangles.astype(np.uint32))


def encode_ply(mesh: Mesh) -> bytes:
    """Return a mesh as a binary little-endian PLY file, every bit of its vertices kept."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.triangles), dtype=[("count", "u1"), ("vertices", "<i4", 3)])
    faces["count"] = 3
    faces["vertices"] = mesh.triangles
    return header.encode() + mesh.vertices.astype("<f4").tobytes() + faces.tobytes()


def mesh_bytes(files: Iterable[Path], kept: int) -> int:
    """Return what a process's memory grows by, at most, to cast meshes of these files, ``kept`` of them at a time."""
    sizes = sorted((path.stat().st_size for path in files), reverse=True)
    return _OPEN3D_BYTES + _BYTES_PER_FILE_BYTE * sum(sizes[:kept])


class MeshScene:
    """Meshes at their poses, built once and cast from any number of cameras; the row of a mesh is its id.

    ``T_world_mesh`` (M, 4, 4) places each mesh; None leaves all where they are. Raises InputError when the numbers
    of meshes and poses differ, and MissingDependencyError when Open3D cannot be imported.
    """

    def __init__(self, meshes: Sequence[Mesh], T_world_mesh: Float64 | None = None) -> None:
        poses = np.broadcast_to(np.eye(4), (len(meshes), 4, 4)) if T_world_mesh is None else np.asarray(T_world_mesh)
        if poses.shape != (len(meshes), 4, 4):
            raise InputError("a pose is needed for each mesh", expected=(len(meshes), 4, 4), found=poses.shape)
        self._o3d = import_open3d()
        self._scene = self._o3d.t.geometry.RaycastingScene(nthreads=1)
        for mesh, pose in zip(meshes, poses, strict=True):
            vertices = (mesh.vertices @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
            self._scene.add_triangles(
                self._o3d.core.Tensor(np.ascontiguousarray(vertices)),
                self._o3d.core.Tensor(np.ascontiguousarray(mesh.triangles, dtype=np.uint32)),
            )
        # The first cast builds the tree, which two threads must not do at once.
        self._scene.cast_rays(self._o3d.core.Tensor(np.zeros((1, 6), np.float32)), nthreads=1)

    def cast(self, T_world_cam: Float64, camera: Camera, *, num_threads: int = 1, fronts_only: bool = False) -> Hits:
        """Return what ``camera`` sees at ``T_world_cam`` (4, 4, camera-to-world, OpenCV axes).

        Normals are the triangles' own, turned towards the camera. A mesh's back is seen like its front; with
        ``fronts_only`` (triangles anti-clockwise from outside) a ray that meets a back meets nothing.
        """
        x, y = pixel_rays(camera)
        rotation = np.asarray(T_world_cam, dtype=np.float64)[:3, :3]
        rays = np.empty((*camera.size, 6), np.float32)
        rays[..., :3] = T_world_cam[:3, 3]
        rays[..., 3:] = (
            x[None, :, None] * rotation[:, 0] + y[:, None, None] * rotation[:, 1] + rotation[:, 2]
        )  # the world direction of (x, y, 1)
        answer = self._scene.cast_rays(self._o3d.core.Tensor(rays), nthreads=num_threads)
        depth_m = answer["t_hit"].numpy()
        valid = np.isfinite(depth_m)
        normals = answer["primitive_normals"].numpy()
        away = np.einsum("ijk,ijk->ij", normals, rays[..., 3:]) > 0
        if fronts_only:
            valid &= ~away
        normals = np.where(away[..., None], -normals, normals) @ rotation.astype(np.float32)
        mesh = answer["geometry_ids"].numpy().astype(np.int32)  # Open3D's "none" is 2^32 - 1, which becomes -1
        mesh[~valid] = -1
        normals[~valid] = 0
        return Hits(np.where(valid, depth_m, np.float32(0)), valid, normals, mesh)


def tessellate(shape: Shape, segments: int = 64) -> Mesh:
    """Return a closed mesh of an analytic shape: rings of ``segments`` (a multiple of 8) vertices along its z axis.

    Exact for boxes; cylinders and cones deviate by half their radius times (pi / segments)^2 at most.
    """
    if segments < 8 or segments % 8:
        raise InputError("a box needs a vertex on each corner", expected="segments, a multiple of 8", found=segments)
    A, B, C = shape.profile
    angle = 2 * np.pi * np.arange(segments) / segments
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # Closer together towards the ends, where an ellipsoid turns fastest.
    z = -np.cos(np.pi * np.arange(segments // 2 + 1) / (segments // 2)) if C < 0 else np.array([-1.0, 1.0])
    radius = np.sqrt(np.maximum(A + B * z + C * z * z, 0.0))
    to_cube = 1.0 / np.abs(circle).max(axis=1)
    rings = np.minimum(radius[:, None], to_cube[None, :])[..., None] * circle
    vertices = np.concatenate([rings, np.broadcast_to(z[:, None, None], (*rings.shape[:2], 1))], axis=2).reshape(-1, 3)
    vertices = np.concatenate([vertices, [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]])

    here = np.arange(segments)
    following = (here + 1) % segments
    triangles = []
    for row in range(len(z) - 1):
        low, high = row * segments, (row + 1) * segments
        triangles.append(np.stack([low + here, low + following, high + following], axis=1))
        triangles.append(np.stack([low + here, high + following, high + here], axis=1))
    bottom, top, last = len(vertices) - 2, len(vertices) - 1, (len(z) - 1) * segments
    triangles.append(np.stack([np.full(segments, bottom), following, here], axis=1))
    triangles.append(np.stack([np.full(segments, top), last + here, last + following], axis=1))
    T = shape.T_world_unit
    placed = vertices @ T[:3, :3].T + T[:3, 3]
    return Mesh(placed.astype(np.float32), np.concatenate(triangles).astype(np.uint32))


def _ply_counts(path: Path) -> dict[str, int]:
    """Return the number of each element that the header of a PLY file declares."""
    counts = {}
    with open(path, "rb") as file:
        for _ in range(200):
            words = file.readline(1024).split()
            if not words or words[0] == b"end_header":
                break
            if words[0] == b"element" and len(words) == 3 and words[2].isdigit():
                counts[words[1].decode(errors="replace")] = int(words[2])
    return counts


def import_open3d() -> Any:
    """Return the module; raise MissingDependencyError, saying what to install, when it cannot be imported."""
    try:
        import open3d
    except ModuleNotFoundError as error:
        if error.name != "open3d":
            raise
        raise MissingDependencyError(
            "rendering meshes needs Open3D, which is not installed", remedy="pip install 'depthforge[open3d]'"
        ) from error
    except (ImportError, OSError) as error:
        # The package is there, and a system library that it links is not.
        raise MissingDependencyError(
            "Open3D is installed but a system library that it needs is missing",
            found=error,
            remedy="apt-get install libgl1 libegl1 libx11-6 libusb-1.0-0 libudev1",
        ) from error
    return open3d
