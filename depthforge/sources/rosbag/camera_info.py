"""sensor_msgs/CameraInfo to the camera of a depth image.

K belongs to raw images, P to rectified ones; which of them an image is, its topic says: ``image_rect`` and
``image_rect_raw`` are rectified. Pixel centres are integers. ROS 1 writes K, D, P, ROS 2 k, d, p.
Source: sensor_msgs/CameraInfo.msg; the naming of topics in image_proc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from depthforge.errors import DecodeError
from depthforge.frame import Camera

__all__ = ["camera_of", "is_distorted", "is_rectified"]


def is_rectified(topic: str) -> bool:
    """Say whether a topic holds rectified images, as image_proc names them."""
    return any(part.startswith("image_rect") for part in topic.split("/"))


def is_distorted(info: Any, *, rectified: bool) -> bool:
    """Say whether the pixels that a CameraInfo describes are off a pinhole's; rectified ones never are."""
    return not rectified and bool(np.any(_field(info, "D")))


def camera_of(info: Any, *, rectified: bool, where: str) -> Camera:
    """Return the camera of an image; raise DecodeError where the message says none, or one of a part of the sensor."""
    roi = info.roi
    whole = (0, 0, info.height, info.width)
    cut = (roi.x_offset, roi.y_offset, roi.height, roi.width)
    if info.binning_x > 1 or info.binning_y > 1 or cut not in ((0, 0, 0, 0), whole):
        raise DecodeError(
            "the intrinsics are of other pixels than those of the image",
            where=where,
            expected="no binning, and no region of interest or the whole image",
            found=f"binning {info.binning_x} x {info.binning_y}, region {cut[3]} x {cut[2]} at {cut[0]}, {cut[1]}",
            remedy="state the camera of the images under `camera:` of the source",
        )
    matrix = np.asarray(_field(info, "P"), np.float64).reshape(3, 4)[:, :3]
    if not rectified:
        matrix = np.asarray(_field(info, "K"), np.float64).reshape(3, 3)
    fx, fy, cx, cy = matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    if not (np.isfinite(matrix).all() and fx > 0 and fy > 0 and info.width > 0 and info.height > 0):
        raise DecodeError(
            "a camera without intrinsics: it was not calibrated",
            where=where,
            expected=f"focal lengths above 0 in {'P' if rectified else 'K'}, and a size",
            found=f"fx {fx:g}, fy {fy:g}, {info.width} x {info.height}",
            remedy="state the camera under `camera:` of the source",
        )
    return Camera(fx, fy, cx, cy, int(info.width), int(info.height))


def _field(info: Any, name: str) -> Any:
    return getattr(info, name) if hasattr(info, name) else getattr(info, name.lower())
