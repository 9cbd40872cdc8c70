"""A mesh out of posed depth frames: truncated signed distances in hashed blocks of voxels, by Open3D.

Each frame moves the distance to the surface, stored within ``truncation_voxels`` of it, towards its own; what the
frames agree on is the mean, and the surface is its zero (Curless and Levoy, "A volumetric method for building
complex models from range images", SIGGRAPH 1996; hashed blocks: Niessner et al., "Real-time 3D reconstruction at
scale using voxel hashing", SIGGRAPH Asia 2013). Open3D takes of an image the pixel ``floor(u)`` where ours have
their centres at integers: it is handed a principal point half a pixel further on, without which a slanted plane is
0.8 mm off. Two cores fuse 86 frames of 640x480 a second at 1 cm, and the mesh of a kitchen (0.5 million triangles)
takes 0.7 s. Memory is bounded by ``max_blocks``, at ``BYTES_PER_BLOCK`` each: the kitchen has 11 thousand at 1 cm and
0.16 GB, 79 thousand at 4 mm and 1.2 GB. The alternative, one dense grid, grows with the volume and not the surface.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError
from depthforge.frame import Camera, DepthImage
from depthforge.geometry import Float64, invert_pose
from depthforge.meshes.render import Mesh, import_open3d

__all__ = ["BYTES_PER_BLOCK", "TsdfVolume"]

_BLOCK_VOXELS = 8
_FIRST_BLOCKS = 1024
BYTES_PER_BLOCK = 24 * 1024
"""Memory of a block, at most: 512 voxels of 8 bytes, up to twice over in the hash table and once more while it grows;
then 16 bytes a voxel, and the triangles, while the mesh is extracted. Measured: 7 to 10 KB, then 15."""


class TsdfVolume:
    """Distances to the surface of what posed frames saw, in voxels of ``voxel_m``, as blocks that exist near it only.

    Raises InputError for parameters that cannot be, and MissingDependencyError when Open3D cannot be imported.
    """

    def __init__(
        self,
        voxel_m: float = 0.01,
        *,
        truncation_voxels: float = 4.0,
        max_depth_m: float = 4.0,
        max_blocks: int = 160_000,
    ) -> None:
        if not (voxel_m > 0 and truncation_voxels > 0 and max_depth_m > 0 and max_blocks > 0):
            raise InputError("voxels, truncation, depth and blocks must be above 0", where="TsdfVolume")
        self._o3d = import_open3d()
        self._voxel_m = voxel_m
        self._truncation_voxels = float(truncation_voxels)
        self._max_depth_m = float(max_depth_m)
        self._max_blocks = max_blocks
        float32 = self._o3d.core.float32
        self._grid = self._o3d.t.geometry.VoxelBlockGrid(
            attr_names=("tsdf", "weight"),
            attr_dtypes=(float32, float32),
            attr_channels=((1), (1)),
            voxel_size=voxel_m,
            block_resolution=_BLOCK_VOXELS,
            block_count=min(_FIRST_BLOCKS, max_blocks),
            device=self._o3d.core.Device("CPU:0"),
        )

    @property
    def num_blocks(self) -> int:
        """Blocks of 8 x 8 x 8 voxels that some frame has touched."""
        return int(self._grid.hashmap().size())

    def integrate(self, depth_m: DepthImage, camera: Camera, T_world_cam: Float64) -> None:
        """Fuse one frame: ``depth_m`` (H, W) planar z in metres, 0 where invalid, taken at ``T_world_cam`` (4, 4).

        Farther than ``max_depth_m`` is left out; a frame without any depth changes nothing. Raises FrameError for a
        pose that is not finite and InputError when the scene outgrows ``max_blocks``.
        """
        if not np.isfinite(T_world_cam).all():
            raise FrameError("a frame without a pose cannot be fused", expected="a finite (4, 4) matrix")
        if not ((depth_m > 0) & (depth_m <= self._max_depth_m)).any():
            return
        tensor = self._o3d.core.Tensor
        image = self._o3d.t.geometry.Image(tensor(np.ascontiguousarray(depth_m[..., None], dtype=np.float32)))
        K = camera.K
        K[:2, 2] += 0.5
        settings = (tensor(K), tensor(invert_pose(T_world_cam)), 1.0, self._max_depth_m, self._truncation_voxels)
        blocks = self._grid.compute_unique_block_coordinates(image, *settings)
        self._grid.integrate(blocks, image, *settings)
        if self.num_blocks > self._max_blocks:
            raise InputError(
                "the scene needs more memory than it is given",
                expected=f"{self._max_blocks} blocks of {_BLOCK_VOXELS} voxels of {self._voxel_m:g} m",
                found=f"{self.num_blocks} blocks",
                remedy="larger voxels (half as many blocks at 1.4 times the size), a smaller max_depth_m, or more "
                "memory; poses that jump about do this as well",
            )

    def mesh(self, min_weight: float = 8.0) -> Mesh:
        """Return the surface where at least ``min_weight`` frames saw it, triangles anti-clockwise from the free side.

        The same frames give the same bytes on any number of threads; without a surface the mesh is empty.
        """
        if self.num_blocks == 0:
            return Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint32))
        try:
            # Open3D takes what is above the threshold.
            extracted = self._grid.extract_triangle_mesh(weight_threshold=float(min_weight) - 0.5)
        except RuntimeError as error:
            # What it says (0.20) when it finds no vertex at all.
            if "Tensor has shape {0}" not in str(error):
                raise
            return Mesh(np.empty((0, 3), np.float32), np.empty((0, 3), np.uint32))
        return _in_order(extracted.vertex.positions.numpy(), extracted.triangle.indices.numpy())


def _in_order(positions: npt.NDArray[np.float32], triangles: npt.NDArray[np.integer]) -> Mesh:
    """Sort vertices by place and triangles by vertices: threads emit both in the order in which they come to them."""
    positions = positions + np.float32(0)  # which makes -0 a 0
    order = np.lexsort(positions.T[::-1])
    placed = positions[order]
    # Vertices that a zero distance puts into one place become one.
    is_new = np.ones(len(placed), bool)
    is_new[1:] = (placed[1:] != placed[:-1]).any(axis=1)
    index = np.empty(len(placed), np.int64)
    index[order] = np.cumsum(is_new) - 1
    vertices, rows = placed[is_new], index[triangles]
    whole = (rows[:, 0] != rows[:, 1]) & (rows[:, 1] != rows[:, 2]) & (rows[:, 2] != rows[:, 0])
    rows = rows[whole]
    first = rows.argmin(axis=1)[:, None]
    turned = np.take_along_axis(rows, (first + np.arange(3)) % 3, axis=1)
    ordered = turned[np.lexsort(turned.T[::-1])]
    return Mesh(np.ascontiguousarray(vertices, np.float32), ordered.astype(np.uint32))
