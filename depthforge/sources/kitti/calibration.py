"""KITTI's calibration: text files of ``key: numbers``, and how a point of the laser comes into a camera's image.

All cameras are rectified: they share axes, and P = K [I | t] places camera k by t = K^-1 P[:, 3], so that
x_cam_k = x_cam_0 + t. A laser point is in camera 0 by R_rect_00 Tr_velo_to_cam, whatever camera it is projected into.
Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, equations 4 to 8; the development kits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, told
from depthforge.sources.conventions import why_not_rigid

__all__ = ["Calibration", "of_object", "of_odometry", "of_raw", "parse_keys", "parse_pinhole"]

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What a recording needs: the projections of its cameras by number, and the laser and the IMU in camera 0."""

    projections: dict[int, Float64]
    """P_rect (3, 4) of each camera that there is: zeros, which stand for one that there is not, are left out."""
    T_cam0_velo: Float64 | None = None
    T_cam0_imu: Float64 | None = None
    sizes: dict[int, tuple[int, int]] | None = None
    """(height, width) of each camera's images, where the files say."""

    def projection(self, camera: int, *, where: str) -> Float64:
        P = self.projections.get(camera)
        if P is None:
            raise DecodeError(
                f"the calibration has no camera {camera}",
                where=where,
                expected=f"a projection that is not zeros, as of {', '.join(map(str, sorted(self.projections)))}",
                remedy="name a camera that there is: `camera: 2` in the source block",
            )
        if not (np.isfinite(P).all() and P[0, 0] > 0 and P[1, 1] > 0 and np.array_equal(P[2, :3], [0, 0, 1])):
            raise DecodeError(
                f"P{camera} is not the projection of a rectified camera",
                where=where,
                expected="K [I | t]",
                found=P.tolist(),
            )
        return P

    def intrinsics(self, camera: int, *, where: str) -> tuple[float, float, float, float]:
        """Return fx, fy, cx, cy in pixels of the whole image."""
        P = self.projection(camera, where=where)
        return float(P[0, 0]), float(P[1, 1]), float(P[0, 2]), float(P[1, 2])

    def T_cam_cam0(self, camera: int, *, where: str) -> Float64:
        """Return the transform (4, 4) from rectified camera 0 to a rectified camera."""
        P = self.projection(camera, where=where)
        T = np.eye(4)
        T[:3, 3] = np.linalg.solve(P[:, :3], P[:, 3])
        return T

    def baseline_m(self, left: int, right: int, *, where: str) -> float:
        """Return how far right of one camera another stands."""
        T_left, T_right = (self.T_cam_cam0(camera, where=where) for camera in (left, right))
        return float(T_left[0, 3] - T_right[0, 3])


def parse_keys(text: str, needed: tuple[str, ...], *, where: str) -> dict[str, Float64]:
    """Return the numbers of every ``key: numbers`` line; other lines (dates) are left out. Raises DecodeError."""
    values = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        try:
            numbers = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue
        if colon and numbers.size:
            values[key.strip()] = numbers
    missing = [key for key in needed if key not in values]
    if missing:
        raise DecodeError(
            f"the calibration has no {', '.join(missing)}",
            where=where,
            expected=f"lines of {', '.join(f'{key}: numbers' for key in needed)}",
            found=told(values, none="no such line"),
        )
    for key in needed:
        if not np.isfinite(values[key]).all():
            raise DecodeError(f"{key} of the calibration is not finite", where=where, found="nan or inf")
    return values


def of_raw(cam_to_cam: str, velo_to_cam: str | None, imu_to_velo: str | None, *, where: str) -> Calibration:
    """Return the calibration of a day of recordings from the texts of its three files; raise DecodeError."""
    values = parse_keys(cam_to_cam, ("R_rect_00", "P_rect_02"), where=where)
    R_rect = _rotation(_shaped(values, "R_rect_00", (3, 3), where), where)
    T_cam0_velo = T_cam0_imu = None
    if velo_to_cam is not None:
        T_cam0_velo = R_rect @ _rigid(parse_keys(velo_to_cam, ("R", "T"), where=where), where)
        if imu_to_velo is not None:
            T_cam0_imu = T_cam0_velo @ _rigid(parse_keys(imu_to_velo, ("R", "T"), where=where), where)
    cameras = [camera for camera in range(4) if f"P_rect_0{camera}" in values]
    sizes = {camera: values[f"S_rect_0{camera}"] for camera in cameras if f"S_rect_0{camera}" in values}
    return Calibration(
        _projections(values, "P_rect_0", where),
        T_cam0_velo,
        T_cam0_imu,
        {camera: (int(height), int(width)) for camera, (width, height) in sizes.items()},
    )


def of_object(text: str, *, where: str) -> Calibration:
    """Return the calibration of one frame of the object benchmark; raise DecodeError."""
    values = parse_keys(text, ("P2", "R0_rect", "Tr_velo_to_cam"), where=where)
    R_rect = _rotation(_shaped(values, "R0_rect", (3, 3), where), where)
    T_cam_velo = np.eye(4)
    T_cam_velo[:3] = _shaped(values, "Tr_velo_to_cam", (3, 4), where)
    return Calibration(_projections(values, "P", where), R_rect @ T_cam_velo)


def of_odometry(text: str, *, where: str) -> Calibration:
    """Return the calibration of a sequence of the odometry benchmark; raise DecodeError.

    Its ``Tr`` goes from the laser to *rectified* camera 0. Older copies of the images lack it.
    """
    values = parse_keys(text, ("P0",), where=where)
    T_cam0_velo = None
    if "Tr" in values:
        T_cam0_velo = np.eye(4)
        T_cam0_velo[:3] = _shaped(values, "Tr", (3, 4), where)
    return Calibration(_projections(values, "P", where), T_cam0_velo)


def parse_pinhole(text: str, *, where: str) -> Calibration:
    """Return the calibration of an image of ``val_selection_cropped`` from its 3 x 3 matrix; raise DecodeError."""
    try:
        K = np.array([float(word) for word in text.split()]).reshape(3, 3)
    except ValueError:
        raise DecodeError("not a matrix of intrinsics", where=where, expected="9 numbers", found=text[:80]) from None
    P = np.hstack([K, np.zeros((3, 1))])
    return Calibration({2: P, 3: P})


def _projections(values: dict[str, Float64], prefix: str, where: str) -> dict[int, Float64]:
    """Return the projections that are not zeros: converters to KITTI's format write those for cameras they lack."""
    found = {
        camera: _shaped(values, f"{prefix}{camera}", (3, 4), where)
        for camera in range(4)
        if f"{prefix}{camera}" in values
    }
    return {camera: P for camera, P in found.items() if P.any()}


def _shaped(values: dict[str, Float64], key: str, shape: tuple[int, int], where: str) -> Float64:
    if values[key].size != shape[0] * shape[1]:
        raise DecodeError(
            f"{key} of the calibration is not whole",
            where=where,
            expected=f"{shape[0] * shape[1]} numbers",
            found=values[key].size,
        )
    return values[key].reshape(shape)


def _rotation(R: Float64, where: str) -> Float64:
    T = np.eye(4)
    T[:3, :3] = R
    reason = why_not_rigid(T)
    if reason is not None:
        raise DecodeError(
            "a rotation of the calibration is none",
            where=where,
            expected="an orthonormal matrix of determinant +1",
            found=f"{reason}: {R.tolist()}",
        )
    return T


def _rigid(values: dict[str, Float64], where: str) -> Float64:
    T = _rotation(_shaped(values, "R", (3, 3), where), where)
    T[:3, 3] = _shaped(values, "T", (3, 1), where)[:, 0]
    return T
