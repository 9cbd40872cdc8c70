"""Procedural rooms in TartanAir v1's layout: depth and mesh ids as .npy, poses with NED axes, and a sky.

Where a ray leaves through a window, depth is 10000, as AirSim's sky is. The world has z down, as NED has; no right
camera and no flow is written. 0.15 s and 2 MB a frame.
Source: castacks/tartanair_tools, ``data_type.md``.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.geometry import Float64
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, pose_line, require_empty, write_file

__all__ = ["TartanAirLayout", "ned_pose", "sky_filled"]

CAMERA = Camera(320.0, 320.0, 320.0, 240.0, 640, 480)
_SKY_M = 10000.0
# Columns: where x forward, y right, z down of the camera lie in x right, y down, z forward.
_NED = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
_Z_DOWN = np.diag([1.0, -1.0, -1.0])


@layouts.register("tartanair")
class TartanAirLayout(Layout):
    """TartanAir v1: an environment with one trajectory of each room."""

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            folder = root / f"room{scene:04d}/Easy/P000"
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, CAMERA)
                name = f"{number:06d}_left"
                write_file(folder / f"image_left/{name}.png", png(colour_of(frame)))
                write_file(folder / f"depth_left/{name}_depth.npy", _npy(sky_filled(frame)))
                write_file(folder / f"seg_left/{name}_seg.npy", _npy(frame.labels["instance"].astype(np.uint8)))
            lines = [pose_line(ned_pose(pose)) for pose in rooms.walk(scene)]
            write_file(folder / "pose_left.txt", "\n".join([*lines, ""]))
        return num_scenes * frames_per_scene


def sky_filled(frame: Frame) -> npt.NDArray[np.float32]:
    """Return depth (H, W) in metres with the sky where there is none."""
    return np.where(frame.valid, frame.depth_m, np.float32(_SKY_M))


def ned_pose(T_world_cam: Float64) -> Float64:
    """Return the pose of a camera with NED axes in a world of z down."""
    T = np.eye(4)
    T[:3, :3] = _Z_DOWN @ T_world_cam[:3, :3] @ _NED
    T[:3, 3] = _Z_DOWN @ T_world_cam[:3, 3]
    return T


def _npy(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
