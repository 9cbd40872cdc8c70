"""Procedural streets in all four layouts of KITTI: raw, depth completion, object and odometry, of the same drives.

``raw/`` has a drive for each scene, in turn on the five days of the recordings with their image sizes and intrinsics,
with colour pairs, laser scans and GPS/IMU packets. ``depth_completion/`` has its frames but for the first and last
five, as in KITTI (so a drive of 10 frames or fewer has none): one scan, and eleven of them merged and kept where they
agree with the camera's view. ``object/training/`` has every fifth frame with labels, ``odometry/`` a sequence for each
drive with grey pairs and poses. Scans are cast beam by beam, 20 mm of noise included. About 0.7 s and 6 MB a frame.
Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, and the readmes of the development kits.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, DepthImage
from depthforge.geometry import Float64, invert_pose
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.kitti_rig import DAYS, RIGHT_M, Rig, Scan, T_world_imu, imu_packet, scan_of, to_first
from depthforge.samples.streets import Moment, Seen, Sighting, numbers, rotation_y
from depthforge.samples.writing import png, require_empty, write_file
from depthforge.scenes.street import FRAME_S, build_street
from depthforge.seeding import frame_generator
from depthforge.sources.kitti.files import project_scan

__all__ = ["KittiLayout"]

_MERGED = 5
_EVERY_OBJECT = 5
_PER_METRE = 256.0
_FEWEST_PIXELS = 25
# A merged point is kept where it agrees with what the camera sees: KITTI compares with semi-global matching.
_AGREES = 0.05
_LAST_SPLIT = 3


@layouts.register("kitti")
class KittiLayout(Layout):
    """KITTI's raw data and three of its benchmarks, side by side under one root."""

    days: ClassVar[dict[str, Camera]] = DAYS

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the drives under ``root`` and return the number of raw frames written.

        Raises InputError when ``root`` is a file or holds any.
        """
        require_empty(root)
        num_objects = 0
        for scene in range(num_scenes):
            date = list(self.days)[scene % len(self.days)]
            drive = _Drive(root, date, scene, frames_per_scene, seed, self.days[date])
            num_objects = drive.write(num_objects)
        return num_scenes * frames_per_scene


class _Drive:
    """One scene: a raw drive, and what the benchmarks took from it."""

    def __init__(self, root: Path, date: str, scene: int, num_frames: int, seed: int, camera: Camera) -> None:
        self.root = root
        self.date = date
        self.name = f"{date}_drive_{scene + 1:04d}_sync"
        self.num_frames = num_frames
        self.seed = seed
        self.rig = Rig.of(camera)
        self.raw = root / "raw" / date / self.name
        self.sequence = root / "odometry/sequences" / f"{scene:02d}"
        self.poses = root / "odometry/poses" / f"{scene:02d}.txt"
        self.objects = root / "object/training"
        split = "val" if scene % _LAST_SPLIT == _LAST_SPLIT - 1 else "train"
        self.completion = root / "depth_completion" / split / self.name / "proj_depth"
        self.street = build_street(frame_generator(seed, f"kitti/{scene:06d}", "street"), num_frames)

    def write(self, num_objects: int) -> int:
        """Write all of the drive and return how many frames the object benchmark has by then."""
        self._write_tables()
        scans: list[Scan] = []
        seen: list[dict[int, Seen]] = []
        for frame in range(self.num_frames):
            moment = Moment(self.street, frame)
            views = {number: Seen(moment, self.rig.camera, right_m=RIGHT_M[number]) for number in range(4)}
            scan = scan_of(moment, self.rig, self._pose(frame), seed=self.seed, key=f"{self.name}/{frame}")
            scans.append(scan)
            seen.append({number: views[number] for number in (2, 3)})
            images = {number: png(_image(view, grey=number < 2)) for number, view in views.items()}
            self._write_raw(frame, images, scan)
            for number in (0, 1):
                write_file(self.sequence / f"image_{number}/{frame:06d}.png", images[number])
            write_file(self.sequence / f"velodyne/{frame:06d}.bin", scan.tobytes())
            if frame % _EVERY_OBJECT == 0:
                self._write_object(num_objects, views[2], images, scan)
                num_objects += 1
            if frame >= 2 * _MERGED:
                self._write_completion(frame - _MERGED, scans, seen)
                # Only what a later frame merges is kept.
                seen[frame - 2 * _MERGED] = {}
                scans[frame - 2 * _MERGED] = scan[:0]
        return num_objects

    def _pose(self, frame: int) -> Float64:
        """Return the pose of rectified camera 0."""
        return self.street.camera_pose(frame)

    def _write_tables(self) -> None:
        day = self.root / "raw" / self.date
        for name, content in self.rig.raw_files().items():
            write_file(day / name, content)
        frames = range(self.num_frames)
        stamps = "".join(f"2011-09-26 13:{k // 600:02d}:{k * FRAME_S % 60:012.9f}\n" for k in frames)
        for folder in ("image_02", "image_03", "velodyne_points", "oxts"):
            write_file(self.raw / folder / "timestamps.txt", stamps)
        write_file(self.sequence / "calib.txt", self.rig.odometry_file())
        write_file(self.sequence / "times.txt", "".join(f"{k * FRAME_S:e}\n" for k in frames))
        poses = [to_first(self._pose(0), self._pose(frame)) for frame in frames]
        write_file(self.poses, "".join(f"{numbers(pose[:3])}\n" for pose in poses))

    def _write_raw(self, frame: int, images: dict[int, bytes], scan: Scan) -> None:
        name = f"{frame:010d}"
        for number in (2, 3):
            write_file(self.raw / f"image_0{number}/data/{name}.png", images[number])
        write_file(self.raw / f"velodyne_points/data/{name}.bin", scan.tobytes())
        here, first = (T_world_imu(self._pose(at), self.rig) for at in (frame, 0))
        write_file(self.raw / f"oxts/data/{name}.txt", imu_packet(here, first) + "\n")

    def _write_object(self, number: int, view: Seen, images: dict[int, bytes], scan: Scan) -> None:
        name = f"{number:06d}"
        write_file(self.objects / f"image_2/{name}.png", images[2])
        write_file(self.objects / f"image_3/{name}.png", images[3])
        write_file(self.objects / f"velodyne/{name}.bin", scan.tobytes())
        write_file(self.objects / f"calib/{name}.txt", self.rig.object_file())
        labels = [_label(sighting) for sighting in view.sightings()]
        write_file(self.objects / f"label_2/{name}.txt", "".join(f"{label}\n" for label in labels))

    def _write_completion(self, frame: int, scans: list[Scan], seen: list[dict[int, Seen]]) -> None:
        near = range(frame - _MERGED, frame + _MERGED + 1)
        for number, view in seen[frame].items():
            to_camera = np.eye(4)
            to_camera[0, 3] = -RIGHT_M[number]
            T_cam_velo = to_camera @ self.rig.T_cam0_velo
            merged = []
            for other in near:
                # The scan of another frame, carried into the laser's place at this one.
                T = invert_pose(self._pose(frame) @ self.rig.T_cam0_velo) @ self._pose(other) @ self.rig.T_cam0_velo
                points = scans[other].copy()
                points[:, :3] = scans[other][:, :3] @ T[:3, :3].T.astype(np.float32) + T[:3, 3].astype(np.float32)
                merged.append(_agreeing(project_scan(points, T_cam_velo, view.camera), view))
            raw_m = project_scan(scans[frame], T_cam_velo, view.camera)
            for kind, depth_m in (("velodyne_raw", raw_m), ("groundtruth", _nearest(merged))):
                name = f"{kind}/image_0{number}/{frame:010d}.png"
                write_file(self.completion / name, png(np.rint(depth_m * _PER_METRE).astype(np.uint16)))


def _image(view: Seen, *, grey: bool) -> npt.NDArray[np.uint8]:
    rgb = view.colour()
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8) if grey else rgb


def _agreeing(depth_m: DepthImage, view: Seen) -> DepthImage:
    seen_m = view.hits.depth_m
    return np.where(np.abs(depth_m - seen_m) <= _AGREES * seen_m, depth_m, np.float32(0))


def _nearest(images: list[DepthImage]) -> DepthImage:
    far = [np.where(image > 0, image, np.float32(np.inf)) for image in images]
    nearest = np.minimum.reduce(far)
    return np.where(np.isfinite(nearest), nearest, np.float32(0))


def _label(at: Sighting) -> str:
    """Return a row of label_2: what camera 2 hardly sees is a region not to care about; places are in camera 0."""
    edges = f"{at.left}.00 {at.top}.00 {at.right}.00 {at.bottom}.00"
    if at.num_pixels < _FEWEST_PIXELS:
        return f"DontCare -1 -1 -10 {edges} -1 -1 -1 -1000 -1000 -1000 -10"
    model = at.vehicle.model
    length, width, height = model.size
    x, y, z = at.T_cam_vehicle[:3, 3] + [RIGHT_M[2], 0, 0]
    turn = rotation_y(at.T_cam_vehicle)
    occluded = int(at.occupied < 0.6) + int(at.occupied < 0.3)
    name = class_names("vkitti")[model.semantic]
    box = f"{height:.2f} {width:.2f} {length:.2f} {x:.2f} {y:.2f} {z:.2f} {turn:.2f}"
    return f"{name} {at.truncated:.2f} {occluded} {turn - np.arctan2(x, z):.2f} {edges} {box}"
