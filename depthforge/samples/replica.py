"""Procedural rooms as Replica was rendered for iMAP and NICE-SLAM, clean: 6553.5 units a metre, colour as JPEG.

``cam_params.json`` lies beside the rooms; names are padded. 0.3 s and 0.4 MB a frame.
Source: cvg/nice-slam, ``configs/Replica`` and ``src/utils/datasets.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthforge.frame import Camera, Frame
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import json_bytes, png, require_empty, rgb_jpeg, write_file

__all__ = ["CAMERA", "ReplicaLayout", "depth_png", "trajectory_text"]

CAMERA = Camera(600.0, 600.0, 599.5, 339.5, 1200, 680)
_UNITS_PER_M = 6553.5


@layouts.register("replica")
class ReplicaLayout(Layout):
    """NICE-SLAM's Replica; the camera may be made smaller for tests."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        camera = self._camera
        intrinsics = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy, "scale": _UNITS_PER_M}
        stated = {"camera": {"w": camera.width, "h": camera.height, **intrinsics}}
        write_file(root / "cam_params.json", json_bytes(stated))
        for scene in range(num_scenes):
            folder = root / f"room{scene}"
            frames = [rooms.see(scene, number, camera) for number in range(frames_per_scene)]
            for number, frame in enumerate(frames):
                write_file(folder / f"results/frame{number:06d}.jpg", rgb_jpeg(colour_of(frame)))
                write_file(folder / f"results/depth{number:06d}.png", depth_png(frame, _UNITS_PER_M))
            write_file(folder / "traj.txt", trajectory_text(frames))
        return num_scenes * frames_per_scene


def depth_png(frame: Frame, units_per_m: float) -> bytes:
    """Return depth in 16-bit units; 0 is nothing, and what is too far for 16 bits."""
    units = np.rint(frame.depth_m * units_per_m)
    return png(np.where(units > 65535, 0, units).astype(np.uint16))


def trajectory_text(frames: Sequence[Frame]) -> str:
    """Return a line of 16 numbers for each frame: camera-to-world, row by row."""
    return "".join(" ".join(f"{value:.12g}" for value in np.ravel(np.asarray(f.T_world_cam))) + "\n" for f in frames)
