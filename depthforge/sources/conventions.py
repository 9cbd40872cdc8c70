"""Poses as data sets store them, to T_world_cam: direction, axes of the camera, handedness; and what is no pose.

Axes (source -> the camera's x, y, z in them): OpenCV right, down, forward; OpenGL, Blender, USD, ARKit right, up, back;
NED (AirSim, TartanAir) forward, right, down; a robot's body (ROS REP 103) forward, left, up; Unity right, up, forward
and Unreal, CARLA forward, right, up, both left-handed: their world is mirrored with the camera, since a mirrored camera
alone would be no rigid motion. Each conversion costs a product of 4 x 4.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.geometry import invert_pose

__all__ = [
    "AXES",
    "Axes",
    "Direction",
    "as_stored",
    "centre_of_corner",
    "first_not_rigid",
    "to_house_pose",
    "why_not_rigid",
]

Direction: TypeAlias = Literal["camera_to_world", "world_to_camera"]
Axes: TypeAlias = Literal["opencv", "opengl", "ned", "robot", "unity", "unreal"]
Matrix = npt.NDArray[np.float64]

_TOLERANCE: Final = 1e-3  # rotations are often printed with four digits

#: Columns: where the OpenCV camera's x, y, z lie in the camera axes of a data set whose world stays as it is.
_CAMERA: Final = MappingProxyType(
    {
        "opencv": np.eye(3),
        "opengl": np.diag([1.0, -1.0, -1.0]),
        "ned": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        "robot": np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    }
)
#: The same for left-handed data sets: camera and world are mirrored together.
_MIRROR: Final = MappingProxyType(
    {
        "unity": np.diag([1.0, -1.0, 1.0]),
        "unreal": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]),
    }
)
AXES: Final[tuple[Axes, ...]] = ("opencv", "opengl", "ned", "robot", "unity", "unreal")


def to_house_pose(matrix: Matrix, direction: Direction, axes: Axes, *, where: str) -> Matrix | None:
    """Return T_world_cam (4, 4) float64, OpenCV axes, from a stored pose (4, 4).

    None when it says that tracking was lost: numbers that are not finite (ScanNet writes -inf), or a rotation of
    zeros (SceneNN). Raises DecodeError, naming ``where``, when it is no rigid motion.
    """
    if not np.isfinite(matrix).all() or not matrix[:3, :3].any():
        return None
    reason = why_not_rigid(matrix)
    if reason is not None:
        raise DecodeError(
            "the pose is not a rigid transform",
            where=where,
            expected="a rotation (orthonormal, determinant +1), a translation, and 0 0 0 1 as the last row",
            found=reason,
        )
    stored = matrix if direction == "camera_to_world" else invert_pose(matrix)
    if axes in _MIRROR:
        mirror = _MIRROR[axes]
        T_world_cam = np.eye(4)
        T_world_cam[:3, :3] = mirror @ stored[:3, :3] @ mirror.T
        T_world_cam[:3, 3] = mirror @ stored[:3, 3]
        return T_world_cam
    T_world_cam = np.array(stored, dtype=np.float64)
    T_world_cam[:3, :3] = stored[:3, :3] @ _CAMERA[axes]
    return T_world_cam


def as_stored(T_world_cam: Matrix, direction: Direction, axes: Axes) -> Matrix:
    """Return the pose (4, 4) that :func:`to_house_pose` reads as ``T_world_cam``: its inverse."""
    T = np.array(T_world_cam, dtype=np.float64)
    if axes in _MIRROR:
        mirror = _MIRROR[axes]
        T[:3, :3] = mirror.T @ T_world_cam[:3, :3] @ mirror
        T[:3, 3] = mirror.T @ T_world_cam[:3, 3]
    else:
        T[:3, :3] = T_world_cam[:3, :3] @ _CAMERA[axes].T
    return T if direction == "camera_to_world" else invert_pose(T)


def why_not_rigid(matrix: npt.NDArray[np.floating]) -> str | None:
    """Return in words why a matrix (4, 4) is no rigid motion, None when it is one to within 1e-3."""
    T = np.asarray(matrix, dtype=np.float64)
    if not np.isfinite(T).all():
        return "numbers that are not finite"
    if np.abs(T[3] - (0, 0, 0, 1)).max() > _TOLERANCE:
        row_vectors = np.abs(T[:, 3] - (0, 0, 0, 1)).max() <= _TOLERANCE
        return "a transposed matrix: the translation is its last row" if row_vectors else f"the last row {_row(T[3])}"
    R = T[:3, :3]
    if not R.any():
        return "a rotation of zeros"
    if np.abs(R.T @ R - np.eye(3)).max() <= _TOLERANCE:
        return None if np.linalg.det(R) > 0 else "a mirrored matrix: the determinant of its rotation is -1"
    scale = float(np.cbrt(abs(np.linalg.det(R))))
    if scale > 0 and np.abs(R.T @ R / scale**2 - np.eye(3)).max() <= _TOLERANCE:
        mirrored = " and mirrored" if np.linalg.det(R) < 0 else ""
        return f"a rotation scaled by {scale:.4g}{mirrored}"
    return f"a sheared matrix: the lengths of its columns are {_row(np.linalg.norm(R, axis=0))}, or they are not square"


def first_not_rigid(T: Matrix, *, within: float = _TOLERANCE) -> tuple[int, str] | None:
    """Return the row of the first of ``T`` (N, 4, 4) that is no rigid motion to ``within``, and why; None if none."""
    R = T[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2), initial=0.0)
        last_row = np.abs(T[:, 3] - (0, 0, 0, 1)).max(axis=1, initial=0.0)
        sound = np.isfinite(T).all(axis=(1, 2)) & (off <= within) & (last_row <= _TOLERANCE) & (np.linalg.det(R) > 0)
    if sound.all():
        return None
    row = int(sound.argmin())
    return row, why_not_rigid(T[row]) or "a matrix that is not orthonormal"


def centre_of_corner(c_px: float) -> float:
    """Return a principal point counted from the centre of the first pixel, from one counted from its corner.

    COLMAP, nerfstudio, Unreal, Unity and Isaac count from the corner.
    """
    return c_px - 0.5


def _row(values: npt.NDArray[np.float64]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
