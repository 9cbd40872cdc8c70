"""Procedural rooms as Replica was rendered for vMAP, clean: millimetres, colour as PNG, classes and instances.

Names are not padded; nothing states the camera. 0.4 s and 0.7 MB a frame.
Source: kxhit/vMAP, ``dataset.py``.
"""

from __future__ import annotations

from pathlib import Path

from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.replica import CAMERA, depth_png, trajectory_text
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, require_empty, write_file

__all__ = ["VmapLayout"]

_UNITS_PER_M = 1000.0


@layouts.register("vmap")
class VmapLayout(Layout):
    """vMAP's Replica; the camera may be made smaller for tests."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write every room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        for scene in range(num_scenes):
            folder = root / f"room_{scene}/imap/00"
            frames = [rooms.see(scene, number, self._camera) for number in range(frames_per_scene)]
            for number, frame in enumerate(frames):
                write_file(folder / f"rgb/rgb_{number}.png", png(colour_of(frame)))
                write_file(folder / f"depth/depth_{number}.png", depth_png(frame, _UNITS_PER_M))
                for label, kind in (("semantic", "semantic_class"), ("instance", "semantic_instance")):
                    write_file(folder / f"{kind}/{kind}_{number}.png", png(frame.labels[label]))
            write_file(folder / "traj_w_c.txt", trajectory_text(frames))
        return num_scenes * frames_per_scene
