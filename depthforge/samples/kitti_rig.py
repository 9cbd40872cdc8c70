"""KITTI's recording car in a procedural street: four rectified cameras, a laser above them, GPS and IMU behind.

Sizes, intrinsics and mountings are those of the five days that KITTI was recorded on, rounded; the small turns between
laser, cameras and rectified cameras are there too, so that a reader that leaves one out is seen to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import Float64, invert_pose
from depthforge.samples.streets import Moment, numbers
from depthforge.scenes.sweep import sweep
from depthforge.seeding import frame_generator
from depthforge.sensors.lidar import Lidar

__all__ = ["DAYS", "RIGHT_M", "Rig", "Scan", "T_world_imu", "imu_packet", "scan_of", "to_first"]

DAYS: dict[str, Camera] = {
    "2011_09_26": Camera(721.5377, 721.5377, 609.5593, 172.854, 1242, 375),
    "2011_09_28": Camera(707.0493, 707.0493, 604.0814, 180.5066, 1224, 370),
    "2011_09_29": Camera(718.3351, 718.3351, 600.3891, 181.5122, 1238, 374),
    "2011_09_30": Camera(707.0912, 707.0912, 601.8873, 183.1104, 1226, 370),
    "2011_10_03": Camera(718.856, 718.856, 607.1928, 185.2157, 1241, 376),
}
RIGHT_M = (0.0, 0.537, -0.06, 0.473)
"""How far right of camera 0 each camera stands: grey left and right, colour left and right."""

_EARTH_RADIUS_M = 6378137.0
_LATITUDE_DEG, _LONGITUDE_DEG, _ALTITUDE_M = 49.011212804408, 8.4228850417969, 112.83492279053
_OXTS_FIELDS = 30
# What each class of the vocabulary `vkitti` reflects, roughly.
_REFLECTANCE = np.array([0, 0.3, 0, 0.35, 0.4, 0.3, 0.2, 0.5, 0.9, 0.3, 0.4, 0.3, 0.3, 0.25, 0.3])

Scan = npt.NDArray[np.float32]


def _small_turn(*degrees: float) -> Float64:
    T = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        R = np.eye(4)
        R[i, i] = R[j, j] = c
        R[i, j], R[j, i] = -s, s
        T = T @ R
    return T


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """Where everything is on the car: the camera of the day, and transforms between its parts."""

    camera: Camera
    R_rect: Float64
    """From camera 0 to rectified camera 0."""
    T_cam_velo: Float64
    """From the laser to camera 0, not rectified."""
    T_velo_imu: Float64

    @classmethod
    def of(cls, camera: Camera) -> Rig:
        axes = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
        T_cam_velo = _small_turn(0.4, -0.2, 0.85) @ axes
        T_cam_velo[:3, 3] = -0.0041, -0.0763, -0.2718
        T_velo_imu = _small_turn(0.1, -0.05, 0.08)
        T_velo_imu[:3, 3] = -0.8087, 0.3196, -0.7997
        return cls(camera, _small_turn(-0.3, 0.55, -0.42), T_cam_velo, T_velo_imu)

    @property
    def T_cam0_velo(self) -> Float64:
        """From the laser to rectified camera 0."""
        return self.R_rect @ self.T_cam_velo

    def projection(self, number: int) -> str:
        """Return P of a rectified camera as 12 words."""
        K = self.camera.K
        return numbers(np.hstack([K, (K @ [-RIGHT_M[number], 0, 0])[:, None]]))

    def raw_files(self) -> dict[str, str]:
        """Return the three calibration files of a day."""
        size = numbers(self.camera.width, self.camera.height)
        lines = ["calib_time: 09-Jan-2012 13:57:47", "corner_dist: 9.950000e-02"]
        for number in range(4):
            lines += [
                f"S_0{number}: 1392 512",
                f"K_0{number}: {numbers(self.camera.K)}",
                f"D_0{number}: 0 0 0 0 0",
                f"R_0{number}: {numbers(np.eye(3))}",
                f"T_0{number}: {numbers(-RIGHT_M[number], 0, 0)}",
                f"S_rect_0{number}: {size}",
                f"R_rect_0{number}: {numbers(self.R_rect[:3, :3])}",
                f"P_rect_0{number}: {self.projection(number)}",
            ]
        return {
            "calib_cam_to_cam.txt": "\n".join([*lines, ""]),
            "calib_velo_to_cam.txt": _rigid_file(self.T_cam_velo),
            "calib_imu_to_velo.txt": _rigid_file(self.T_velo_imu),
        }

    def object_file(self) -> str:
        """Return the calibration file of a frame of the object benchmark."""
        lines = [f"P{number}: {self.projection(number)}" for number in range(4)]
        lines += [
            f"R0_rect: {numbers(self.R_rect[:3, :3])}",
            f"Tr_velo_to_cam: {numbers(self.T_cam_velo[:3])}",
            f"Tr_imu_to_velo: {numbers(self.T_velo_imu[:3])}",
        ]
        return "\n".join([*lines, "", ""])

    def odometry_file(self) -> str:
        """Return the calibration file of a sequence of the odometry benchmark."""
        lines = [f"P{number}: {self.projection(number)}" for number in range(4)]
        return "\n".join([*lines, f"Tr: {numbers(self.T_cam0_velo[:3])}", ""])


def _rigid_file(T: Float64) -> str:
    rows = [f"R: {numbers(T[:3, :3])}", f"T: {numbers(T[:3, 3])}"]
    return "\n".join(["calib_time: 15-Mar-2012 11:37:16", *rows, ""])


def scan_of(moment: Moment, rig: Rig, T_world_cam0: Float64, *, seed: int, key: str) -> Scan:
    """Return one turn of the HDL-64E (N, 4) x, y, z, reflectance, with its noise of range and lost returns."""
    lidar = Lidar()
    rng = frame_generator(seed, key, "laser")
    T_world_velo = T_world_cam0 @ rig.T_cam0_velo
    azimuth_rad = np.deg2rad(np.arange(180.0, -180.0, -lidar.azimuth_step_deg))
    turns = []
    for block in lidar.beams:
        raised = T_world_velo.copy()
        raised[:3, 3] += T_world_velo[:3, 2] * block.height_m
        elevation_rad = block.elevations_rad
        met = sweep(moment.world.scene, raised, azimuth_rad, elevation_rad, max_range_m=lidar.max_range_m)
        range_m = met.range_m + rng.normal(0.0, lidar.range_sigma_m, met.range_m.shape)
        kept = (met.shape >= 0) & (met.range_m > lidar.min_range_m)
        kept &= rng.random(met.range_m.shape) >= lidar.random_dropout
        level_m = range_m * np.cos(elevation_rad)
        points = np.stack(
            [
                level_m * np.cos(azimuth_rad)[:, None],
                level_m * np.sin(azimuth_rad)[:, None],
                range_m * np.sin(elevation_rad) + block.height_m,
                _REFLECTANCE[moment.world.semantic[met.shape]],
            ],
            axis=-1,
        )
        turns.append(points[kept])
    return np.concatenate(turns).astype(np.float32)


def imu_packet(T_world_imu: Float64, T_world_first: Float64) -> str:
    """Return the line of a GPS/IMU packet; the drive's first one is where the recordings began, world axes level."""
    scale = np.cos(np.deg2rad(_LATITUDE_DEG)) * _EARTH_RADIUS_M
    east, north, up = T_world_imu[:3, 3] - T_world_first[:3, 3]
    longitude = _LONGITUDE_DEG + np.rad2deg(east / scale)
    start = np.log(np.tan(np.deg2rad(90.0 + _LATITUDE_DEG) / 2))
    latitude = 2 * np.rad2deg(np.arctan(np.exp(start + north / scale))) - 90.0
    R = T_world_imu[:3, :3]
    roll, pitch = np.arctan2(R[2, 1], R[2, 2]), np.arctan2(-R[2, 0], np.hypot(R[2, 1], R[2, 2]))
    yaw = np.arctan2(R[1, 0], R[0, 0])
    first = [latitude, longitude, _ALTITUDE_M + up, roll, pitch, yaw]
    return " ".join([*(f"{value:.14g}" for value in first), *["0"] * (_OXTS_FIELDS - len(first))])


def T_world_imu(T_world_cam0: Float64, rig: Rig) -> Float64:
    """Return the pose of the IMU by that of rectified camera 0."""
    return T_world_cam0 @ rig.T_cam0_velo @ rig.T_velo_imu


def to_first(T_world_first: Float64, T_world_cam: Float64) -> Float64:
    """Return a pose in the axes of the first one."""
    return invert_pose(T_world_first) @ T_world_cam
