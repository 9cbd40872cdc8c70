"""Hypersim's cameras as pinholes, and the tables that say which and which split.

A scene's camera is a matrix M_cam_from_uv from image coordinates u, v in [-1, 1] (v up) to a ray in OpenGL axes. 285
of 482 scenes are tilted, shifted or of another focal length than the 886.81 pixels that are often taken for all: z is
then off by more than 1 % in 147 scenes, by 17.8 % in the worst. Every such matrix is a pinhole of another orientation:
with D from pixels to u, v, the rays A = diag(1, -1, -1) M D are A = Q K^-1 by QR, a rotation and an upper triangular
matrix. K has the principal point and the focal lengths, and the camera that has them is turned by Q: depth is measured
along its axis and the pose turns with it. Points agree to 3e-15 m. K of 31 scenes has skew and is refused.
Source: ml-hypersim, ``contrib/mikeroberts3000``.
"""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.frame import Camera

__all__ = ["Pinhole", "pinhole_of", "read_camera_table", "read_split_table"]

CAMERA_TABLE = "metadata_camera_parameters.csv"
SPLIT_TABLE = "metadata_images_split_scene_v1.csv"
_LARGEST_SKEW_PX = 0.01
_MATRIX = tuple(f"M_cam_from_uv_{row}{column}" for row in range(3) for column in range(3))
_FLIP = np.diag([1.0, -1.0, -1.0])

Matrix = npt.NDArray[np.float64]


class Pinhole(NamedTuple):
    """A camera and the rotation (3, 3) of its axes in OpenCV axes of the data set's own camera."""

    camera: Camera
    R_stored_cam: Matrix


def pinhole_of(M_cam_from_uv: Matrix, width: int, height: int, *, where: str) -> Pinhole:
    """Return the pinhole camera of a scene's matrix (3, 3) for images of a size in pixels.

    Raises DecodeError where there is none: a singular or mirrored matrix, or skew of more than 0.01 pixels.
    """
    D = np.array([[2 / width, 0, 1 / width - 1], [0, -2 / height, 1 - 1 / height], [0, 0, 1]])
    largest = np.abs(M_cam_from_uv).max()
    # The scale means nothing: depth is along the ray, whatever its length.
    A = _FLIP @ (M_cam_from_uv / largest) @ D if 0 < largest < np.inf else np.zeros((3, 3))
    if not (np.linalg.det(A) > 0 and np.linalg.cond(A) < 1e12):
        raise DecodeError("the camera of the scene sees no image", where=where, found=M_cam_from_uv.tolist())
    Q, R = np.linalg.qr(A)
    signs = np.sign(np.diag(R))
    K = np.linalg.inv(signs[:, None] * R)
    K /= K[2, 2]
    if abs(K[0, 1]) > _LARGEST_SKEW_PX:
        raise DecodeError(
            "the camera of the scene is no pinhole: its tilt and shift leave skew",
            where=where,
            expected=f"at most {_LARGEST_SKEW_PX} pixels of skew",
            found=f"{K[0, 1]:.4g} pixels",
            remedy="leave the scene out: `exclude` in the source",
        )
    fx, fy, cx, cy = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    return Pinhole(Camera(fx, fy, cx, cy, width, height), Q * signs)


def read_camera_table(data: bytes, *, where: str) -> dict[str, Matrix]:
    """Return M_cam_from_uv (3, 3) of every scene; raise DecodeError naming the line."""
    found = {}
    for number, row in _rows(data, ("scene_name", *_MATRIX), where):
        try:
            found[row["scene_name"]] = np.array([float(row[name]) for name in _MATRIX]).reshape(3, 3)
        except (ValueError, TypeError):
            raise DecodeError("not a row of camera parameters", where=f"{where}, line {number}") from None
    return found


def read_split_table(data: bytes, split: str, *, where: str) -> frozenset[tuple[str, str, int]]:
    """Return (scene, camera, frame) of what the public release has in a split; raise DecodeError naming the line."""
    names = ("scene_name", "camera_name", "frame_id", "included_in_public_release", "split_partition_name")
    found = set()
    for number, row in _rows(data, names, where):
        if row["included_in_public_release"] != "True" or row["split_partition_name"] != split:
            continue
        if not row["frame_id"].isdecimal():
            raise DecodeError("not a row of the split", where=f"{where}, line {number}", found=row["frame_id"])
        found.add((row["scene_name"], row["camera_name"], int(row["frame_id"])))
    return frozenset(found)


def _rows(data: bytes, needed: tuple[str, ...], where: str) -> list[tuple[int, dict[str, str]]]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode(errors="replace"), newline=None)))
    except csv.Error as error:
        raise DecodeError("not a table", where=where, found=error) from None
    names = [name.strip() for name in rows[0]] if rows else []
    if not set(needed) <= set(names):
        missing = [name for name in needed if name not in names]
        raise DecodeError(
            "not the table it should be", where=where, expected=f"columns {', '.join(missing)} too", found=told(names)
        )
    column_of = {name: names.index(name) for name in needed}
    return [
        (number, {name: row[at].strip() if at < len(row) else "" for name, at in column_of.items()})
        for number, row in enumerate(rows[1:], 2)
        if row
    ]
