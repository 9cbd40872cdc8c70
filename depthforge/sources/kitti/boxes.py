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
    underside: npt.ArrayLike,
    height_m: npt.ArrayLike,
    rotation_y: npt.ArrayLike,
    rotation_x: npt.ArrayLike = 0.0,
    rotation_z: npt.ArrayLike = 0.0,
) -> Float64:
    """Return T_cam_box (..., 4, 4) of boxes by the middles of their undersides (..., 3), metres, heights and rotations
    (...) in radians.
    """
    place = np.asarray(underside, np.float64)
    T_cam_box = np.zeros((*place.shape[:-1], 4, 4))
    T_cam_box[..., :3, :3] = _about(1, rotation_y) @ _about(0, rotation_x) @ _about(2, rotation_z)
    T_cam_box[..., :3, 3] = place - T_cam_box[..., :3, 1] * (np.asarray(height_m, np.float64)[..., None] / 2)
    T_cam_box[..., 3, 3] = 1.0
    return T_cam_box


def _about(axis: int, angle: npt.ArrayLike) -> Float64:
    """Return the rotations (..., 3, 3) about an axis."""
    angles = np.asarray(angle, np.float64)
    c, s = np.cos(angles), np.sin(angles)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.zeros((*angles.shape, 3, 3))
    rotation[..., axis, axis] = 1.0
    rotation[..., i, i] = rotation[..., j, j] = c
    rotation[..., i, j], rotation[..., j, i] = -s, s
    return rotation
