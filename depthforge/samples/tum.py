"""Procedural rooms in TUM RGB-D's layout, as a Kinect sees them: three clocks, 5000 units a metre, and what is missing.

Depth, colour and poses have stamps of their own: colour comes 11 ms after depth, poses 3 and 9 ms after it. A sequence
of three frames or more has one depth image without colour and another without a pose. The folders are named freiburg3,
whose camera it is: undistorted. Accelerometer data is left out. 0.15 s and 0.7 MB a frame.
Source: "File Formats" of the TUM RGB-D benchmark.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np

from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, pose_line, require_empty, write_file
from depthforge.sensors.preset import parse_sensor

__all__ = ["TumLayout"]

CAMERA = Camera(535.4, 539.2, 320.1, 247.6, 640, 480)
_UNITS_PER_M = 5000.0
_FIRST, _STEP = Decimal("1305031102.160407"), Decimal("0.033")
_COLOUR_LATER, _POSE_LATER, _SECOND_POSE_LATER = Decimal("0.011"), Decimal("0.003"), Decimal("0.009")


@layouts.register("tum")
class TumLayout(Layout):
    """TUM RGB-D's sequences; the camera may be made smaller for tests, and is stated in the manifest then."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write a sequence of each room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            self._write_sequence(rooms, scene, frames_per_scene, root / f"rgbd_dataset_freiburg3_room_{scene:04d}")
        return num_scenes * frames_per_scene

    def _write_sequence(self, rooms: RoomViews, scene: int, num_frames: int, folder: Path) -> None:
        lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
        sensor = parse_sensor("kinect_v1_published")
        for number in range(num_frames):
            stamp = _FIRST + number * _STEP
            frame = rooms.see(scene, number, self._camera)
            depth = np.rint(rooms.measure(frame, sensor).depth_m * _UNITS_PER_M).clip(0, 65535).astype(np.uint16)
            write_file(folder / f"depth/{stamp}.png", png(depth))
            lists["depth"].append(f"{stamp} depth/{stamp}.png")
            if num_frames < 3 or number != 1:
                later = stamp + _COLOUR_LATER
                write_file(folder / f"rgb/{later}.png", png(colour_of(frame)))
                lists["rgb"].append(f"{later} rgb/{later}.png")
            if num_frames < 3 or number != 2:
                line = pose_line(rooms.walk(scene)[number])
                lists["groundtruth"] += [f"{stamp + later} {line}" for later in (_POSE_LATER, _SECOND_POSE_LATER)]
        for name, what in (
            ("rgb", "color images"),
            ("depth", "depth maps"),
            ("groundtruth", "ground truth trajectory"),
        ):
            columns = "timestamp tx ty tz qx qy qz qw" if name == "groundtruth" else "timestamp filename"
            head = [f"# {what}", f"# file: '{folder.name}'", f"# {columns}"]
            write_file(folder / f"{name}.txt", "\n".join([*head, *lists[name], ""]))
