"""Triangle meshes as PLY files in the unit that a data set ships its models in: GraspNet in metres, BOP in millimetres.

Source: Turk, "The PLY polygon file format", 1994.
"""

from __future__ import annotations

import numpy as np

from depthforge.meshes import Mesh, encode_ply

__all__ = ["ply_bytes"]


def ply_bytes(mesh: Mesh, *, units_per_metre: float = 1.0) -> bytes:
    """Return ``mesh`` as a binary PLY file; ``units_per_metre`` 1000 gives the millimetres of BOP."""
    scaled = np.multiply(mesh.vertices, units_per_metre, dtype=np.float64).astype(np.float32)
    return encode_ply(Mesh(scaled, mesh.triangles))
