"""Triangle meshes as PLY files, binary little endian: what GraspNet and BOP ship their models in.

50 bytes of text, then float32 vertices and a count with three int32 for each triangle; Open3D, trimesh and MeshLab
read it. Source: Turk, "The PLY polygon file format", 1994.
"""

from __future__ import annotations

import numpy as np

from depthforge.render import Mesh

__all__ = ["ply_bytes"]

_FACE = np.dtype([("count", "u1"), ("vertices", "<i4", 3)])


def ply_bytes(mesh: Mesh, *, units_per_metre: float = 1.0) -> bytes:
    """Return ``mesh`` as a PLY file; ``units_per_metre`` 1000 gives the millimetres of BOP."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(mesh.triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    vertices = np.multiply(mesh.vertices, units_per_metre, dtype=np.float64).astype("<f4")
    faces = np.empty(len(mesh.triangles), _FACE)
    faces["count"], faces["vertices"] = 3, mesh.triangles
    return header.encode() + vertices.tobytes() + faces.tobytes()
