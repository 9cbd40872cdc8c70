"""Intrinsics as people keep them, to one record: matrices, a few numbers, names in JSON.

Nine numbers in one row may be a matrix column by column (Open3D, Record3D): its zeros say so. Skew, a negative focal
length and a last row that is not 0 0 1 are refused: the house's camera is a pinhole with square axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.frame import Camera
from depthforge.sources.conventions import centre_of_corner
from depthforge.sources.numbers_file import is_json, parse_json, read_numbers

__all__ = ["Intrinsics", "intrinsics_of_names", "parse_intrinsics"]

_MATRICES = ("K", "k", "cam_K", "intrinsic_matrix", "intrinsics", "camera_matrix", "matrix", "intrinsic")
_WHAT = "intrinsics"


class Intrinsics(NamedTuple):
    """A pinhole in pixels of an image of ``size`` (height, width), None where a file does not say which.

    ``distortion`` is what the file says besides, by name, where it is not 0.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    size: tuple[int, int] | None = None
    distortion: Mapping[str, float] = {}

    def counted_from_centre(self) -> Intrinsics:
        """Return the same where (0, 0) is the centre of the first pixel, of one where it is its corner."""
        return self._replace(cx=centre_of_corner(self.cx), cy=centre_of_corner(self.cy))

    def camera(self, size: tuple[int, int], baseline_m: float | None, *, where: str) -> Camera:
        """Return the camera of an image of ``size``, the same view in other pixels where the file is of another size.

        Raises DecodeError when the proportions differ: that is another view.
        """
        height, width = size
        if self.size is None or self.size == size:
            return Camera(self.fx, self.fy, self.cx, self.cy, width, height, baseline_m)
        sy, sx = height / self.size[0], width / self.size[1]
        if abs(sx / sy - 1) > 0.01:
            raise DecodeError(
                "the intrinsics are of an image of other proportions",
                where=where,
                expected=f"{width} x {height} pixels, or the same view in other ones",
                found=f"{self.size[1]} x {self.size[0]}",
            )
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Camera(self.fx * sx, self.fy * sy, cx, cy, width, height, baseline_m)


def parse_intrinsics(data: bytes, key: str | None, *, where: str) -> Intrinsics:
    """Return the intrinsics of a file: text, .npy, .npz, HDF5 or JSON.

    3 x 3, 3 x 4 or 4 x 4 numbers, four (fx fy cx cy), three (f cx cy), or names. Raises DecodeError naming ``where``.
    """
    if is_json(data):
        value = parse_json(data, key, where=where)
        if isinstance(value, dict):
            return intrinsics_of_names(value, where=where)
        if isinstance(value, list) and len(value) == 9 and not any(isinstance(row, list) for row in value):
            return _of_nine(_numbers(value, where), where)
    return _of_array(read_numbers(data, key, where=where, what=_WHAT), where)


def intrinsics_of_names(named: Mapping[str, Any], *, where: str) -> Intrinsics:
    """Return the intrinsics in a mapping with fx or fl_x, a matrix K, or camera_angle_x; raise DecodeError."""
    size = None
    for across, down in (("w", "h"), ("width", "height"), ("image_width", "image_height")):
        if across in named and down in named:
            width, height = _scalars([named[across], named[down]], where)
            if not (1 <= width <= 1 << 16 and 1 <= height <= 1 << 16):
                raise DecodeError("not the size of an image", where=where, found=f"{width:g} x {height:g}")
            size = (int(height), int(width))
    for fx, fy, cx, cy in (("fx", "fy", "cx", "cy"), ("fl_x", "fl_y", "cx", "cy"), ("fx", "fy", "ppx", "ppy")):
        if fx in named and cx in named and cy in named:
            values = [named[fx], named.get(fy, named[fx]), named[cx], named[cy]]
            focal_x, focal_y, centre_x, centre_y = _scalars(values, where)
            return _sound(focal_x, focal_y, centre_x, centre_y, size, _distortion(named, where), where)
    for name in _MATRICES:
        if name in named:
            numbers = named[name]
            if isinstance(numbers, dict) and "data" in numbers:
                numbers = numbers["data"]
            if isinstance(numbers, dict):
                return intrinsics_of_names(numbers, where=where)
            array = _numbers(numbers, where)
            found = _of_nine(array, where) if array.size == 9 and array.ndim == 1 else _of_array(array, where)
            return found._replace(size=size, distortion=_distortion(named, where))
    if "camera_angle_x" in named and size is not None:
        height, width = size
        angle = _scalars([named["camera_angle_x"]], where)[0]
        if not 0 < angle < math.pi:
            raise DecodeError("not an angle of view in radians", where=where, found=angle)
        f = width / (2 * math.tan(angle / 2))
        return _sound(f, f, width / 2, height / 2, size, {}, where)
    raise DecodeError(
        "no intrinsics in this file",
        where=where,
        expected="fx fy cx cy, fl_x fl_y cx cy, or a matrix K",
        found=told(named),
        remedy="name them with `key`",
    )


def _distortion(named: Mapping[str, Any], where: str) -> dict[str, float]:
    found = {}
    for name in ("k1", "k2", "k3", "k4", "p1", "p2"):
        if name in named:
            value = _scalars([named[name]], where)[0]
            if value:
                found[name] = value
    return found


def _numbers(value: Any, where: str) -> npt.NDArray[np.float64]:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DecodeError("not intrinsics", where=where, expected="numbers", found=str(value)[:120]) from None


def _scalars(values: list[Any], where: str) -> list[float]:
    array = _numbers(values, where)
    if array.ndim != 1:
        raise DecodeError("not intrinsics", where=where, expected="one number each", found=str(values)[:120])
    scalars: list[float] = array.tolist()
    return scalars


def _of_nine(numbers: npt.NDArray[np.float64], where: str) -> Intrinsics:
    K = numbers.reshape(3, 3)
    by_column = not K[0, 2] and not K[1, 2] and K[2, 0] and K[2, 1]
    return _of_matrix(K.T if by_column else K, where)


def _of_array(array: npt.NDArray[np.float64], where: str) -> Intrinsics:
    squeezed = array.squeeze()
    match squeezed.size:
        case 9:
            return _of_matrix(squeezed.reshape(3, 3), where)
        case 12:
            return _of_matrix(squeezed.reshape(3, 4)[:, :3], where)
        case 16:
            return _of_matrix(squeezed.reshape(4, 4)[:3, :3], where)
        case 4:
            fx, fy, cx, cy = squeezed.ravel().tolist()
            return _sound(fx, fy, cx, cy, None, {}, where)
        case 3:
            f, cx, cy = squeezed.ravel().tolist()
            return _sound(f, f, cx, cy, None, {}, where)
    raise DecodeError(
        "not intrinsics",
        where=where,
        expected="3 x 3, 3 x 4 or 4 x 4 numbers, fx fy cx cy, or f cx cy",
        found=f"{array.size} numbers, {array.shape}",
    )


def _of_matrix(K: npt.NDArray[np.float64], where: str) -> Intrinsics:
    found = "; ".join(" ".join(f"{value:g}" for value in row) for row in K)
    if np.isfinite(K).all() and np.allclose(K[:2, 2], 0) and K[2, :2].any():
        raise DecodeError(
            "a transposed matrix of intrinsics", where=where, expected="cx, cy in the last column", found=found
        )
    if not np.isfinite(K).all() or not np.allclose(K[2], (0, 0, 1)) or abs(K[1, 0]) > 1e-6:
        raise DecodeError("not a matrix of intrinsics", where=where, expected="fx 0 cx; 0 fy cy; 0 0 1", found=found)
    if abs(K[0, 1]) > 1e-3 * abs(K[0, 0]):
        raise DecodeError("a camera with skew", where=where, expected="fx 0 cx; 0 fy cy; 0 0 1", found=found)
    return _sound(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), None, {}, where)


def _sound(
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    size: tuple[int, int] | None,
    distortion: Mapping[str, float],
    where: str,
) -> Intrinsics:
    if not all(math.isfinite(value) for value in (fx, fy, cx, cy)) or min(fx, fy) <= 0:
        raise DecodeError(
            "not the intrinsics of a pinhole",
            where=where,
            expected="focal lengths above 0, in pixels",
            found=f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}",
            remedy="a negative fy is a flipped image: write it positive and give poses in the axes that go with it",
        )
    return Intrinsics(fx, fy, cx, cy, size, distortion)
