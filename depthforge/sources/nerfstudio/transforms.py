"""``transforms.json``: cameras and poses of nerfstudio, instant-ngp and Blender's NeRF scenes.

Intrinsics stand at the top or in a frame, which wins; principal points count from the corner of the first pixel, as
COLMAP's do. ``transform_matrix`` is camera-to-world with OpenGL axes. What ns-process-data did to the world
(``applied_transform``, then ``applied_scale``) is undone, so that poses and depth share a unit again where the device
measured both; poses of COLMAP have no scale of their own. Fisheye and panoramas are no pinhole and are refused;
distortion is named, not undone.
Source: nerfstudio-project/nerfstudio, ``docs/quickstart/data_conventions.md`` and ``nerfstudio_dataparser.py``.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera
from depthforge.sources.conventions import centre_of_corner, to_house_pose
from depthforge.sources.transforms_json import read_transforms, stated_number

__all__ = ["Intrinsics", "Shot", "Transforms", "parse_transforms"]

_PINHOLES: Final = frozenset({"PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "SIMPLE_RADIAL", "RADIAL"})
_DISTORTION: Final = ("k1", "k2", "k3", "k4", "p1", "p2")
_SAME_SHAPE: Final = 0.02

Matrix = npt.NDArray[np.float64]


class Intrinsics(NamedTuple):
    """What is stated of a camera: focal lengths and principal point (from the corner) in pixels of an image of
    ``width`` x ``height``, or the horizontal angle of view. None is not stated.
    """

    fx: float | None
    fy: float | None
    cx: float | None
    cy: float | None
    width: int | None
    height: int | None
    angle_x_rad: float | None

    def camera(self, size: tuple[int, int], colour_size: tuple[int, int] | None, *, where: str) -> Camera:
        """Return the pinhole of an image of ``size`` (height, width) that shows what the colour image shows.

        ``colour_size`` is that of the colour file, for cameras that state none. Raises DecodeError when the images
        have other proportions, or focal lengths no size.
        """
        height, width = size
        if self.fx is None:
            assert self.angle_x_rad is not None
            f = width / (2 * math.tan(self.angle_x_rad / 2))
            return Camera(f, f, centre_of_corner(width / 2), centre_of_corner(height / 2), width, height)
        if self.width is not None and self.height is not None:
            of_height, of_width = self.height, self.width
        elif colour_size is not None:
            of_height, of_width = colour_size
        else:
            raise DecodeError(
                "the intrinsics are of an image whose size is not stated",
                where=where,
                expected="w and h beside fl_x, or the colour image of the frame",
            )
        x, y = width / of_width, height / of_height
        if abs(x / y - 1) > _SAME_SHAPE:
            raise DecodeError(
                "depth has not the proportions of the image that the intrinsics are of",
                where=where,
                expected=f"{of_width} x {of_height}, or smaller in the same proportion",
                found=f"{width} x {height}",
            )
        fy = self.fx if self.fy is None else self.fy
        cx = of_width / 2 if self.cx is None else self.cx
        cy = of_height / 2 if self.cy is None else self.cy
        return Camera(self.fx * x, fy * y, centre_of_corner(cx * x), centre_of_corner(cy * y), width, height)


class Shot(NamedTuple):
    """An image of the file: paths below its folder, the matrix as stored, and its camera."""

    colour: str
    depth: str | None
    mask: str | None
    matrix: Matrix
    intrinsics: Intrinsics


class Transforms(NamedTuple):
    """The file: its images, what the world was turned (4, 4) and scaled by, and which distortion is not zero."""

    shots: list[Shot]
    applied_transform: Matrix
    applied_scale: float
    distortion: Mapping[str, float]

    def pose(self, shot: Shot, *, where: str) -> Matrix | None:
        """Return T_world_cam of an image in the world as it was before it was turned and scaled; None when lost."""
        stored = shot.matrix.copy()
        stored[:3, 3] /= self.applied_scale
        return to_house_pose(np.linalg.inv(self.applied_transform) @ stored, "camera_to_world", "opengl", where=where)


def parse_transforms(data: bytes, *, where: str) -> Transforms:
    """Return what a ``transforms.json`` says to nerfstudio; raise DecodeError, naming the frame, for what it cannot."""
    read = read_transforms(data, where=where)
    distortion: dict[str, float] = {}
    shots = []
    for frame in read.frames:
        _require_pinhole(frame.stated, frame.where)
        for name in _DISTORTION:
            value = stated_number(frame.stated, name, frame.where) or 0.0
            if value and name not in distortion:
                distortion[name] = value
        colour = _path(frame.file_path, "file_path", frame.where)
        assert colour is not None, "every frame has a file_path"
        depth = _path(frame.depth_file_path, "depth_file_path", frame.where)
        mask = _path(frame.mask_path, "mask_path", frame.where)
        shots.append(Shot(colour, depth, mask, frame.matrix, _intrinsics(frame.stated, frame.where)))
    return Transforms(shots, read.applied_transform, read.applied_scale, distortion)


def _require_pinhole(stated: Mapping[str, Any], where: str) -> None:
    model = stated.get("camera_model", "PINHOLE")
    if not isinstance(model, str) or model not in _PINHOLES or stated.get("is_fisheye"):
        raise DecodeError(
            "the camera is no pinhole",
            where=where,
            expected=f"camera_model {', '.join(sorted(_PINHOLES))}",
            found="is_fisheye" if stated.get("is_fisheye") else model,
            remedy="undistort the images first: `colmap image_undistorter`, then ns-process-data again",
        )


def _intrinsics(stated: Mapping[str, Any], where: str) -> Intrinsics:
    fx, fy, cx, cy, angle = (
        stated_number(stated, name, where) for name in ("fl_x", "fl_y", "cx", "cy", "camera_angle_x")
    )
    width, height = (stated_number(stated, name, where) for name in ("w", "h"))
    whole = [None if side is None else int(side) for side in (width, height)]
    angle_is_sound = angle is not None and 0 < angle < math.pi
    if not (fx is not None or angle_is_sound) or any(f is not None and f <= 0 for f in (fx, fy, *whole)):
        raise DecodeError(
            "no intrinsics",
            where=where,
            expected="fl_x (and fl_y, cx, cy, w, h) in pixels, or camera_angle_x in radians",
            found={name: stated[name] for name in ("fl_x", "fl_y", "w", "h", "camera_angle_x") if name in stated},
        )
    return Intrinsics(fx, fy, cx, cy, whole[0], whole[1], angle)


def _path(value: object, name: str, where: str) -> str | None:
    if value is None:
        return None
    path = value.replace("\\", "/") if isinstance(value, str) else ""
    if not path or path.startswith("/") or path[1:2] == ":":
        raise DecodeError(f"{name} is no path below the file", where=where, expected="images/0001.png", found=value)
    return posixpath.normpath(path)
