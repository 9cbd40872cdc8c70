"""Procedural rooms as nerfstudio's folders: ``transforms.json``, JPEG colour, clean depth as 16-bit PNG of millimetres.

The world is turned as ns-process-data turns it, and says so (``applied_transform``); principal points count from the
corner. 0.1 s and 0.3 MB a frame.
Source: nerfstudio-project/nerfstudio, ``docs/quickstart/data_conventions.md``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from depthforge.frame import Camera
from depthforge.geometry import opencv_to_opengl
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, require_empty, rgb_jpeg, write_file

__all__ = ["NerfstudioLayout"]

CAMERA = Camera(525.0, 525.0, 319.5, 239.5, 640, 480)
_APPLIED = np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


@layouts.register("nerfstudio")
class NerfstudioLayout(Layout):
    """A folder with ``transforms.json`` of each room; the camera may be made smaller for tests."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        camera = self._camera
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            folder = root / f"room_{scene:04d}"
            shots = []
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, camera)
                colour, depth = f"images/frame_{number + 1:05d}.jpg", f"depth/frame_{number + 1:05d}.png"
                write_file(folder / colour, rgb_jpeg(colour_of(frame)))
                write_file(folder / depth, png(np.rint(frame.depth_m * 1000.0).clip(0, 65535).astype(np.uint16)))
                matrix = _APPLIED @ opencv_to_opengl(np.asarray(frame.T_world_cam))
                shots.append({"file_path": colour, "depth_file_path": depth, "transform_matrix": matrix.tolist()})
            stated = {
                "camera_model": "OPENCV",
                "fl_x": camera.fx,
                "fl_y": camera.fy,
                "cx": camera.cx + 0.5,
                "cy": camera.cy + 0.5,
                "w": camera.width,
                "h": camera.height,
                **dict.fromkeys(("k1", "k2", "p1", "p2"), 0.0),
                "applied_transform": _APPLIED[:3].tolist(),
                "frames": shots,
            }
            write_file(folder / "transforms.json", json.dumps(stated, indent=1) + "\n")
        return num_scenes * frames_per_scene
