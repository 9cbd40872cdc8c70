"""3-D boxes as KITTI and its relatives write them, as the house has them.

A KITTI box is placed by the middle of its *underside* in camera axes (y down) and turned about them: at rotation 0 its
length lies along the camera's x. The house's ``box_pose`` has the same axes (length, down, width) at its centre.
Source: KITTI object development kit, readme.txt, "rotation_y"; Virtual KITTI documents pitch and roll besides.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["box_pose"]

Float64 = npt.NDArray[np.float64]


def box_pose(
    underside: npt.ArrayLike, height_m: float, rotation_y: float, rotation_x: float = 0.0, rotation_z: float = 0.0
) -> Float64:
    """Return T_cam_box (4, 4) of a box by the middle of its underside (3,), metres, and its rotations in radians."""
    T_cam_box = np.eye(4)
    T_cam_box[:3, :3] = _about(1, rotation_y) @ _about(0, rotation_x) @ _about(2, rotation_z)
    T_cam_box[:3, 3] = np.asarray(underside, np.float64) - T_cam_box[:3, 1] * (height_m / 2)
    return T_cam_box


def _about(axis: int, angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = c
    rotation[i, j], rotation[j, i] = -s, s
    return rotation
