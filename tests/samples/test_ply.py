"""The PLY writer: bytes laid out by hand from the format's own page, and read back by another reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from depthforge.meshes import Mesh, load_mesh
from depthforge.samples.ply import ply_bytes

TRIANGLE = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0, 0.5, 0]], np.float32), np.array([[0, 1, 2]], np.uint32))


def test_bytes_of_one_triangle_in_millimetres() -> None:
    head, body = ply_bytes(TRIANGLE, units_per_metre=1000.0).split(b"end_header\n")
    assert head.decode().splitlines() == [
        "ply",
        "format binary_little_endian 1.0",
        "element vertex 3",
        "property float x",
        "property float y",
        "property float z",
        "element face 1",
        "property list uchar int vertex_indices",
    ]
    assert body == struct.pack("<9f", 0, 0, 0, 1000, 0, 0, 0, 500, 0) + struct.pack("<B3i", 3, 0, 1, 2)


def test_open3d_reads_it(tmp_path: Path) -> None:
    pytest.importorskip("open3d")
    (tmp_path / "mesh.ply").write_bytes(ply_bytes(TRIANGLE))
    mesh = load_mesh(tmp_path / "mesh.ply")
    np.testing.assert_array_equal(mesh.vertices, TRIANGLE.vertices)
    np.testing.assert_array_equal(mesh.triangles, TRIANGLE.triangles)
