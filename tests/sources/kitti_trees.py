"""KITTI trees written by hand from the documented layouts, 32x16 crops of which are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthforge.frame import Frame
from depthforge.sources.base import ImageSize
from depthforge.sources.kitti import Kitti, KittiConfig
from tests.sources.tree_files import png, write

WIDTH, HEIGHT = 40, 24
CROP = ImageSize(width=32, height=16)
LEFT, TOP = 4, 8
FOCAL, CX, CY = 20.0, 19.5, 11.25
DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
RED = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
RED[..., 0] = 200
RED[TOP, LEFT] = 1, 2, 3

# Points in laser axes (forward, left, up): 10 m ahead of the camera and on its axis, one nearer behind the same pixel,
# one 2 m to the left, one behind, one beside the image.
SCAN = np.array(
    [
        [10.27, 0.0, -0.08, 0.5],
        [20.27, 0.0, -0.08, 0.5],
        [10.27, 2.0, -0.08, 0.1],
        [-10.0, 0.0, 0.0, 0.9],
        [1.0, 30.0, 0.0, 0.9],
        [5.27, 0.0, -1.58, 0.3],
    ],
    np.float32,
)
VELO_TO_CAM_R = "0 -1 0 0 0 -1 1 0 0"
# x_cam = R x_velo + T: the laser is 8 cm above and 27 cm behind camera 0.
VELO_TO_CAM_T = "0 -0.08 -0.27"
IMU_TO_VELO_R, IMU_TO_VELO_T = "1 0 0 0 1 0 0 0 1", "-0.8 0.3 -0.8"


def projection(right_m: float) -> str:
    """P of a camera that stands ``right_m`` to the right of camera 0."""
    return f"{FOCAL} 0 {CX} {-FOCAL * right_m} 0 {FOCAL} {CY} 0 0 0 1 0"


PROJECTIONS = {0: projection(0.0), 1: projection(0.54), 2: projection(-0.06), 3: projection(0.47)}
LABELS = (
    "Car 0.00 0 1.85 6.00 10.00 20.00 18.00 1.5 1.6 4.0 -2.0 1.7 10.0 0.0\n"
    "DontCare -1 -1 -10 5.0 9.0 7.0 12.0 -1 -1 -1 -1000 -1000 -1000 -10\n"
    "Pedestrian 0.00 0 -0.20 0.0 0.0 3.0 7.0 1.9 0.5 1.2 1.8 1.5 8.4 0.01\n"
)


def oxts(latitude: float, longitude: float, altitude: float, yaw: float = 0.0) -> str:
    return " ".join(str(value) for value in [latitude, longitude, altitude, 0.0, 0.0, yaw, *[0.0] * 24])


def write_calibration(root: Path) -> None:
    cameras = "".join(
        f"S_0{k}: {WIDTH} {HEIGHT}\nS_rect_0{k}: {WIDTH} {HEIGHT}\nR_rect_0{k}: 1 0 0 0 1 0 0 0 1\nP_rect_0{k}: {P}\n"
        for k, P in PROJECTIONS.items()
    )
    write(root / DATE / "calib_cam_to_cam.txt", f"calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\n{cameras}")
    write(root / DATE / "calib_velo_to_cam.txt", f"calib_time: x\nR: {VELO_TO_CAM_R}\nT: {VELO_TO_CAM_T}\n")
    write(root / DATE / "calib_imu_to_velo.txt", f"calib_time: x\nR: {IMU_TO_VELO_R}\nT: {IMU_TO_VELO_T}\n")


def write_raw(root: Path, *, frames: int = 2) -> Path:
    write_calibration(root)
    drive = root / DATE / DRIVE
    for k in range(frames):
        name = f"{k:010d}"
        write(drive / f"velodyne_points/data/{name}.bin", SCAN.tobytes())
        write(drive / f"image_02/data/{name}.png", png(RED))
        write(drive / f"image_03/data/{name}.png", png(np.ascontiguousarray(RED[..., ::-1])))
        # 0.0001 degrees of latitude are 11.13 m north.
        write(drive / f"oxts/data/{name}.txt", oxts(49.0 + 0.0001 * k, 8.0, 112.0 + k))
    write(drive / "velodyne_points/timestamps.txt", "2011-09-26 13:02:25.594360375\n" * frames)
    return drive


STORED = np.zeros((HEIGHT, WIDTH), np.uint16)
STORED[TOP, LEFT] = 2560
STORED[20, 30] = 321
STORED[0, 0] = 9999


def write_completion(root: Path, *, frames: int = 2, split: str = "train") -> Path:
    drive = root / split / DRIVE / "proj_depth"
    for k in range(5, 5 + frames):
        for kind in ("groundtruth", "velodyne_raw"):
            for camera in (2, 3):
                write(drive / f"{kind}/image_0{camera}/{k:010d}.png", png(STORED))
    return drive


def write_object(root: Path, *, frames: int = 2) -> Path:
    top = root / "training"
    lines = [f"P{k}: {P}" for k, P in PROJECTIONS.items()]
    R, T = VELO_TO_CAM_R.split(), VELO_TO_CAM_T.split()
    rows = " ".join(" ".join([*R[3 * i : 3 * i + 3], T[i]]) for i in range(3))
    lines += ["R0_rect: 1 0 0 0 1 0 0 0 1", f"Tr_velo_to_cam: {rows}", f"Tr_imu_to_velo: {rows}", ""]
    for k in range(frames):
        write(top / f"calib/{k:06d}.txt", "\n".join(lines))
        write(top / f"velodyne/{k:06d}.bin", SCAN.tobytes())
        write(top / f"image_2/{k:06d}.png", png(RED))
        write(top / f"label_2/{k:06d}.txt", LABELS)
    return top


def write_odometry(root: Path, *, frames: int = 2, scans: bool = True) -> Path:
    sequence = root / "sequences/00"
    R, T = VELO_TO_CAM_R.split(), VELO_TO_CAM_T.split()
    Tr = " ".join(" ".join([*R[3 * i : 3 * i + 3], T[i]]) for i in range(3))
    write(sequence / "calib.txt", "".join(f"P{k}: {P}\n" for k, P in PROJECTIONS.items()) + f"Tr: {Tr}\n")
    write(sequence / "times.txt", "".join(f"{0.1 * k:e}\n" for k in range(frames)))
    for k in range(frames):
        write(sequence / f"image_2/{k:06d}.png", png(RED))
        if scans:
            write(sequence / f"velodyne/{k:06d}.bin", SCAN.tobytes())
    write(root / "poses/00.txt", "".join(f"1 0 0 {0.5 * k} 0 1 0 0 0 0 1 {1.2 * k}\n" for k in range(frames)))
    return sequence


def source(root: Path, layout: str, **fields: object) -> Kitti:
    return Kitti(KittiConfig(root=root, layout=layout, **{"crop": CROP, **fields}))


def read(root: Path, layout: str, index: int = 0, **fields: object) -> Frame:
    reader = source(root, layout, **fields)
    return reader.read(list(reader.frames())[index], frozenset(reader.labels)).require_sound()


WRITERS = {"raw": write_raw, "object": write_object, "odometry": write_odometry}
