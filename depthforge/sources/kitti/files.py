"""The other files of KITTI: laser scans, GPS/IMU packets, label rows and odometry poses; and scans as depth images.

A scan is float32 (N, 4) x, y, z, reflectance, metres, x forward, y left, z up; of its 120,000 points 19,000 fall into
an image, which then has a value at 4 to 5 % of its pixels. Reading and projecting one takes 2 ms.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera, DepthImage
from depthforge.kernels import njit
from depthforge.labels.vocabularies import class_names
from depthforge.sources.conventions import first_not_rigid
from depthforge.sources.kitti.boxes import box_pose

__all__ = ["Labels", "Scan", "parse_labels", "parse_oxts", "parse_poses", "parse_scan", "project_scan"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_BYTES_PER_POINT = 16
# The HDL-64E measures up to 120 m.
_FARTHEST_M = 250.0
_NEAREST_M = 0.1
_FETCH_AGAIN = "unpack the archive again; `depthforge check` lists every such file"
_EARTH_RADIUS_M = 6378137.0
_OXTS_FIELDS = 30
_LABEL_FIELDS = 15
_CLASSES = {name.casefold(): number for number, name in enumerate(class_names("kitti_object"))}
_DONT_CARE = "dontcare"


class Scan(NamedTuple):
    """The points (N, 4) of a scan, and how many were left out, by what was wrong with them."""

    points: Float32
    dropped: dict[str, int]


def parse_scan(data: bytes, *, where: str) -> Scan:
    """Return the points of a velodyne .bin file; raise DecodeError when it is not one, or not whole.

    Points that are not finite (beams without a return) or farther than any of this laser are left out. The unit is
    judged by the bulk of them.
    """
    if not data or len(data) % _BYTES_PER_POINT:
        raise DecodeError(
            "the laser scan is not whole" if data else "the laser scan is empty",
            where=where,
            expected=f"a multiple of {_BYTES_PER_POINT} bytes: float32 x, y, z, reflectance",
            found=f"{len(data)} bytes",
            remedy=_FETCH_AGAIN,
        )
    points = np.frombuffer(data, "<f4").reshape(-1, 4)
    is_finite = np.isfinite(points).all(axis=1)
    reach_m = np.abs(points[:, :3]).max(axis=1)
    with np.errstate(invalid="ignore"):
        is_near = reach_m <= _FARTHEST_M
    if is_finite.any() and float(np.median(reach_m[is_finite])) > _FARTHEST_M:
        raise DecodeError(
            "the laser scan is in the wrong unit",
            where=where,
            expected=f"metres, most points within {_FARTHEST_M:g}",
            found=f"half of them beyond {float(np.median(reach_m[is_finite])):g}",
            remedy="is this a file of float32 x, y, z, reflectance in metres, as KITTI ships it?",
        )
    kept = is_finite & is_near
    if kept.all():
        return Scan(points, {})
    counts = {
        "points of the laser that are not finite": int(np.count_nonzero(~is_finite)),
        f"points of the laser beyond {_FARTHEST_M:g} m": int(np.count_nonzero(is_finite & ~is_near)),
    }
    return Scan(points[kept], {what: count for what, count in counts.items() if count})


def project_scan(points: Float32, T_cam_velo: Float64, camera: Camera) -> DepthImage:
    """Return the depth image (H, W) of points (N, 4), metres, 0 where none falls; the nearest of a pixel wins.

    Pixel (u, v) takes what projects to within half a pixel of its centre at (u, v). The laser stands above the camera
    and sees over what hides the background from it: a few such points lie within the outlines of near objects, as in
    KITTI's own ``velodyne_raw``.
    """
    intrinsics = (float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy))
    nearest = _splat(points, np.ascontiguousarray(T_cam_velo, np.float64), intrinsics, camera.height, camera.width)
    return np.where(np.isfinite(nearest), nearest, np.float32(0))


@njit(error_model="numpy")
def _splat(points, T, intrinsics, height, width):  # type: ignore[no-untyped-def]
    fx, fy, cx, cy = intrinsics
    nearest = np.full((height, width), np.inf, np.float32)
    for n in range(points.shape[0]):
        px, py, pz = float(points[n, 0]), float(points[n, 1]), float(points[n, 2])
        z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
        if z <= _NEAREST_M:
            continue
        x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3]
        y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3]
        u, v = fx * x / z + (cx + 0.5), fy * y / z + (cy + 0.5)
        if u >= 0.0 and v >= 0.0 and u < width and v < height:
            row, column = int(v), int(u)
            if z < nearest[row, column]:
                nearest[row, column] = z
    return nearest


def parse_oxts(text: str, *, where: str) -> Float64:
    """Return latitude, longitude (degrees), altitude (m), roll, pitch and yaw (rad) of a packet; raise DecodeError."""
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    if values.size != _OXTS_FIELDS or not np.isfinite(values).all():
        raise DecodeError(
            "not a packet of the GPS/IMU unit",
            where=where,
            expected=f"{_OXTS_FIELDS} numbers",
            found=text[:80] or "an empty file",
            remedy=_FETCH_AGAIN,
        )
    return values[:6]


def imu_pose(packet: Float64, origin: Float64) -> Float64:
    """Return T_world_imu (4, 4) of a packet, the world being level with its origin at that of ``origin``.

    World axes are east, north, up in the Mercator projection scaled at the origin's latitude; the IMU's are forward,
    left, up. Source: KITTI raw development kit, convertOxtsToPose.m.
    """
    scale = np.cos(np.deg2rad(origin[0]))
    T = np.eye(4)
    roll, pitch, yaw = packet[3:]
    T[:3, :3] = _about_z(yaw) @ _about_y(pitch) @ _about_x(roll)
    T[:3, 3] = _mercator(packet, scale) - _mercator(origin, scale)
    return T


def _mercator(packet: Float64, scale: float) -> Float64:
    latitude, longitude, altitude = packet[:3]
    east = scale * _EARTH_RADIUS_M * np.deg2rad(longitude)
    north = scale * _EARTH_RADIUS_M * np.log(np.tan(np.deg2rad(90.0 + latitude) / 2))
    return np.array([east, north, altitude])


def _about_x(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Float64:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def parse_poses(text: str, *, where: str) -> Float64:
    """Return T_world_cam0 (N, 4, 4) of every row of 12 numbers; the world is camera 0 at the first row."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    try:
        poses = np.tile(np.eye(4), (len(rows), 1, 1))
        poses[:, :3] = np.array([[float(word) for word in row] for row in rows]).reshape(-1, 3, 4)
        wrong = first_not_rigid(poses)
        found = None if wrong is None else f"row {wrong[0] + 1}: {wrong[1]}"
    except ValueError:
        found = text[:80]
    if found is not None:
        raise DecodeError(
            "not a file of poses", where=where, expected="12 numbers a row: 3 x 4, camera 0 to world",
            found=found, remedy=_FETCH_AGAIN,
        )  # fmt: skip
    return poses


@dataclass(frozen=True, slots=True)
class Labels:
    """The boxes of one frame, row for row, 3-D ones in the axes of rectified camera 0; NaN where there is none."""

    classes: npt.NDArray[np.uint16]
    box_2d: npt.NDArray[np.float32]
    pose: Float64
    size: Float64
    dropped: dict[str, int] = field(default_factory=dict)
    """Boxes whose class is unknown, which is stored as 0, by its name."""


def parse_labels(text: str, *, where: str) -> Labels:
    """Return the labels of the object benchmark; ``DontCare`` regions are class 0 and have no 3-D box.

    Names of classes are read in any case. A class of another data set in this format is 0, and its box kept. Raises
    DecodeError.
    """
    classes, edges, poses, sizes = [], [], [], []
    dropped: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            # Results have a 16th field, the score.
            if len(words) not in (_LABEL_FIELDS, _LABEL_FIELDS + 1):
                raise ValueError
            values = [float(word) for word in words[1:_LABEL_FIELDS]]
        except ValueError:
            raise DecodeError(
                "not a label of the object benchmark",
                where=f"{where}:{number}",
                expected=f"a type ({', '.join(class_names('kitti_object')[1:])}, DontCare) and 14 numbers",
                found=line[:80],
            ) from None
        name = words[0].casefold()
        height, width, length, x, y, z, rotation_y = values[7:14]
        is_box = name != _DONT_CARE
        if is_box and name not in _CLASSES:
            dropped[f"classes of boxes: {words[0]!r} is none of the object benchmark, and stored as 0"] += 1
        classes.append(_CLASSES.get(name, 0))
        edges.append(values[3:7])
        poses.append(box_pose((x, y, z), height, rotation_y) if is_box else np.full((4, 4), np.nan))
        sizes.append((length, height, width) if is_box else (np.nan,) * 3)
    return Labels(
        np.array(classes, np.uint16),
        np.array(edges, np.float32).reshape(-1, 4),
        np.array(poses, np.float64).reshape(-1, 4, 4),
        np.array(sizes, np.float64).reshape(-1, 3),
        dict(dropped),
    )
