"""Procedural rooms in TartanAir v2's layout: depth as the four bytes of a PNG's pixels, six-faced cameras' front alone.

As TartanAir v1's sample otherwise (see ``tartanair``); 640 x 640, 0.15 s and 1.5 MB a frame.
Source: castacks/tartanairpy, ``docs/modalities.rst``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.tartanair import ned_pose, sky_filled
from depthforge.samples.writing import json_bytes, png, pose_line, require_empty, write_file

__all__ = ["TartanAir2Layout", "float_png"]

CAMERA = Camera(320.0, 320.0, 319.5, 319.5, 640, 640)


@layouts.register("tartanair2")
class TartanAir2Layout(Layout):
    """TartanAir v2: an environment with one trajectory of each room."""

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            environment = root / f"Room{scene:04d}"
            folder = environment / "Data_easy/P000"
            meshes: set[int] = set()
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, CAMERA)
                name = f"{number:06d}_lcam_front"
                ids = frame.labels["instance"].astype(np.uint8)
                meshes |= set(np.unique(ids).tolist())
                write_file(folder / f"image_lcam_front/{name}.png", png(colour_of(frame)))
                write_file(folder / f"depth_lcam_front/{name}_depth.png", float_png(sky_filled(frame)))
                write_file(folder / f"seg_lcam_front/{name}_seg.png", png(ids))
            lines = [pose_line(ned_pose(pose)) for pose in rooms.walk(scene)]
            write_file(folder / "pose_lcam_front.txt", "\n".join([*lines, ""]))
            names = {f"mesh_{mesh}": mesh for mesh in sorted(meshes)}
            write_file(environment / "seg_label_map.json", json_bytes({"name_map": names}))
        return num_scenes * frames_per_scene


def float_png(values: npt.NDArray[np.float32]) -> bytes:
    """Return float32 (H, W) as the bytes blue, green, red, alpha of a PNG's pixels, little-endian."""
    pixels = np.ascontiguousarray(values.astype("<f4")).view(np.uint8).reshape(*values.shape, 4)
    encoded, content = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert encoded
    return bytes(content)
