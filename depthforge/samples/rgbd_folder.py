"""Procedural rooms as a plain folder of scans, seen by a simulated Kinect: what your own recordings may look like.

``<scene>/depth/<frame>.png`` (uint16 millimetres, 0 no measurement), ``<scene>/color/<frame>.jpg``,
``<scene>/pose/<frame>.txt`` (4 x 4 camera-to-world): the shape of an exported ScanNet scan, which
`manifests/scans.yaml` describes and `manifests/interiornet.yaml` trains on. Seeds start at 1000 from the one given, so
that these rooms are others than those of the layouts of clean data sets: the two sides never show the same scene. 0.1 s
a frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, require_empty, rgb_jpeg, write_file
from depthforge.sensors.preset import parse_sensor

__all__ = ["RgbdFolderLayout"]

_OTHER_ROOMS = 1000
CAMERA = Camera(577.87, 577.87, 319.5, 239.5, 640, 480)


@layouts.register("rgbd_folder")
class RgbdFolderLayout(Layout):
    """Scans in a plain folder (``manifests/scans.yaml``), as a simulated Kinect takes them."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the rooms under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed + _OTHER_ROOMS)
        sensor = parse_sensor("kinect_v1_published")
        for scene in range(num_scenes):
            folder = root / f"scene{scene:04d}"
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, self._camera)
                depth_mm = np.rint(rooms.measure(frame, sensor).depth_m * 1000.0).astype(np.uint16)
                write_file(folder / "depth" / f"{number}.png", png(depth_mm))
                write_file(folder / "color" / f"{number}.jpg", rgb_jpeg(colour_of(frame)))
                assert frame.T_world_cam is not None
                rows = [" ".join(f"{value:.9f}" for value in row) for row in frame.T_world_cam]
                write_file(folder / "pose" / f"{number}.txt", "\n".join([*rows, ""]))
        return num_scenes * frames_per_scene
