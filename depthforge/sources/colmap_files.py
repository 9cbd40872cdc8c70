"""COLMAP's models: cameras and images, as text or binary.

Images are world-to-camera in OpenCV axes, quaternion w first; pixel (0, 0) is the corner of the first pixel. Ten
thousand images of a text file take 0.1 s, of a binary one 0.05 s. Source: colmap/colmap, `doc/format.rst`.
"""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.intrinsics import Intrinsics
from depthforge.sources.numbers_file import text_of
from depthforge.sources.trajectories import pose_of

__all__ = ["ColmapImage", "parse_colmap_cameras", "parse_colmap_images"]

#: Model: number in binary files, focal lengths, parameters.
_MODELS: Final = MappingProxyType(
    {
        "SIMPLE_PINHOLE": (0, 1, 3),
        "PINHOLE": (1, 2, 4),
        "SIMPLE_RADIAL": (2, 1, 4),
        "RADIAL": (3, 1, 5),
        "OPENCV": (4, 2, 8),
        "OPENCV_FISHEYE": (5, 2, 8),
        "FULL_OPENCV": (6, 2, 12),
        "FOV": (7, 2, 5),
        "SIMPLE_RADIAL_FISHEYE": (8, 1, 4),
        "RADIAL_FISHEYE": (9, 1, 5),
        "THIN_PRISM_FISHEYE": (10, 2, 12),
    }
)
_OF_NUMBER: Final = MappingProxyType({number: name for name, (number, _, _) in _MODELS.items()})


class ColmapImage(NamedTuple):
    """An image's pose as stored, world to camera (4, 4), and the number of its camera."""

    matrix: npt.NDArray[np.float64]
    camera: int


def parse_colmap_cameras(data: bytes, *, binary: bool, where: str) -> dict[int, Intrinsics]:
    """Return the intrinsics of each camera by its number, counted from the centre of the first pixel.

    Raises DecodeError naming ``where``, for a model whose number nobody knows too: its length is not known either.
    """
    return _binary_cameras(data, where) if binary else _text_cameras(data, where)


def parse_colmap_images(data: bytes, *, binary: bool, where: str) -> dict[str, ColmapImage]:
    """Return the pose and camera of each image by its name. Raises DecodeError naming ``where``."""
    found = _binary_images(data, where) if binary else _text_images(data, where)
    if not found:
        raise DecodeError("a COLMAP model without an image", where=where)
    return found


def _intrinsics(model: str, width: int, height: int, values: list[float], where: str) -> Intrinsics:
    _, focals, count = _MODELS[model]
    if len(values) != count or not np.isfinite(values).all() or min(values[:focals]) <= 0 or min(width, height) < 1:
        raise DecodeError(
            "not a COLMAP camera",
            where=where,
            expected=f"{model}: {count} parameters",
            found=f"{values} of {width} x {height}",
        )
    fx, fy = values[0], values[focals - 1]
    distortion = {f"{model} {index}": value for index, value in enumerate(values[focals + 2 :]) if value}
    cx, cy = values[focals : focals + 2]
    return Intrinsics(fx, fy, cx, cy, (height, width), distortion).counted_from_centre()


def _text_cameras(data: bytes, where: str) -> dict[int, Intrinsics]:
    found = {}
    for number, line in enumerate(text_of(data, where=where, what="COLMAP's cameras.txt").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{where}, line {number}"
        try:
            if words[1] not in _MODELS:
                raise ValueError
            camera, width, height = int(words[0]), int(words[2]), int(words[3])
            values = [float(word) for word in words[4:]]
        except (ValueError, IndexError):
            raise DecodeError(
                "not COLMAP's cameras.txt",
                where=place,
                expected=f"CAMERA_ID MODEL WIDTH HEIGHT PARAMS, MODEL one of {', '.join(_MODELS)}",
                found=line[:120],
            ) from None
        found[camera] = _intrinsics(words[1], width, height, values, place)
    if not found:
        raise DecodeError("no camera in COLMAP's cameras.txt", where=where)
    return found


def _text_images(data: bytes, where: str) -> dict[str, ColmapImage]:
    found: dict[str, ColmapImage] = {}
    # Two lines an image; the second may be empty, so that blank lines count.
    is_points = False
    for number, line in enumerate(text_of(data, where=where, what="COLMAP's images.txt").splitlines(), 1):
        if line.startswith("#"):
            continue
        if is_points:
            is_points = False
            continue
        if not line.strip():
            continue
        words = line.split(maxsplit=9)
        try:
            values = [float(word) for word in words[1:8]]
            camera, name = int(words[8]), words[9].strip()
            int(words[0])
        except (ValueError, IndexError):
            raise DecodeError(
                "not COLMAP's images.txt",
                where=f"{where}, line {number}",
                expected="IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points",
                found=line[:120],
            ) from None
        found[name] = ColmapImage(pose_of(values[4:], values[:4], "wxyz"), camera)
        is_points = True
    return found


def _binary_cameras(data: bytes, where: str) -> dict[int, Intrinsics]:
    found, at = {}, 8
    try:
        (count,) = struct.unpack_from("<Q", data)
        for _ in range(count):
            camera, model, width, height = struct.unpack_from("<iiQQ", data, at)
            if model not in _OF_NUMBER:
                raise DecodeError(
                    "a COLMAP camera of an unknown model",
                    where=where,
                    expected=f"a number of 0 to {max(_OF_NUMBER)}",
                    found=model,
                    remedy="write the model as text: colmap model_converter --output_type TXT",
                )
            name = _OF_NUMBER[model]
            values = struct.unpack_from(f"<{_MODELS[name][2]}d", data, at + 24)
            at += 24 + 8 * len(values)
            found[camera] = _intrinsics(name, width, height, list(values), where)
    except struct.error:
        raise _cut_short("cameras.bin", where) from None
    if not found:
        raise DecodeError("no camera in COLMAP's cameras.bin", where=where)
    return found


def _binary_images(data: bytes, where: str) -> dict[str, ColmapImage]:
    found, at = {}, 8
    try:
        (count,) = struct.unpack_from("<Q", data)
        for _ in range(count):
            _, qw, qx, qy, qz, tx, ty, tz, camera = struct.unpack_from("<i7di", data, at)
            at += 64
            end = data.index(b"\0", at)
            name = data[at:end].decode()
            (points,) = struct.unpack_from("<Q", data, end + 1)
            at = end + 9 + 24 * points
            found[name] = ColmapImage(pose_of((tx, ty, tz), (qw, qx, qy, qz), "wxyz"), camera)
    except (struct.error, ValueError, OverflowError):
        raise _cut_short("images.bin", where) from None
    if at > len(data):
        raise _cut_short("images.bin", where)
    return found


def _cut_short(name: str, where: str) -> DecodeError:
    return DecodeError(f"not COLMAP's {name}, or cut short", where=where, remedy="copy the model again, or export text")
