"""Meshes to depth and depth to meshes, by Open3D: ``meshes`` casts them, ``fusion`` makes them of posed frames.

The only package that imports Open3D, and only when it is used.
"""

from __future__ import annotations

from depthforge.meshes.fusion import TsdfVolume
from depthforge.meshes.render import Mesh, MeshScene, encode_ply, load_mesh, mesh_bytes, tessellate

__all__ = ["Mesh", "MeshScene", "TsdfVolume", "encode_ply", "load_mesh", "mesh_bytes", "tessellate"]
