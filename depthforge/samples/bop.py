"""Procedural tables as a BOP data set: rendered training scenes and real-looking test scenes.

Scenes go in turn to ``train_pbr`` (exact depth, ``depth_scale`` 0.1, JPEG colour, as BlenderProc writes it) and
``test`` (through a simulated Kinect, ``depth_scale`` 1, PNG; a single scene goes there), with masks,
``scene_gt_info.json`` and the world's pose in both; ``test_targets_bop19.json`` lists every second test image. The
twenty models are numbered 1 to 20, in millimetres, in ``models`` and, with fewer triangles, ``models_eval``; the camera
is YCB-V's. ``models_info.json`` names no symmetries, and ``scene_gt_coco.json`` is left out. About 0.4 s and 0.7 MB a
frame.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.bop_writer import write_bop_scene, write_camera, write_models
from depthforge.samples.posed_views import posed_views
from depthforge.samples.writing import require_empty, write_file
from depthforge.scenes.tabletop import NUM_MODELS, build_tabletop
from depthforge.seeding import frame_generator
from depthforge.sensors.structured_light import StructuredLight

__all__ = ["BopLayout"]

_CAMERA = Camera(1066.778, 1067.487, 312.9869, 241.3109, 640, 480)
_DISTANCE_M = (0.6, 1.0)
_RENDERED_SCALE, _MEASURED_SCALE = 0.1, 1.0


@layouts.register("bop")
class BopLayout(Layout):
    """A BOP data set with the splits train_pbr and test."""

    camera = _CAMERA

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the scenes under ``root`` and return the number of images. Raises InputError unless it is empty."""
        require_empty(root)
        write_camera(root, self.camera, _MEASURED_SCALE)
        write_models(root, range(NUM_MODELS))
        targets: list[dict[str, Any]] = []
        for scene in range(num_scenes):
            key = f"bop/{scene:06d}"
            rng = frame_generator(seed, key, "tabletop")
            table = build_tabletop(rng)
            poses = table.camera_poses(rng, frames_per_scene, _DISTANCE_M)
            views = posed_views(table, poses, self.camera, key)
            is_test = scene % 2 == 1 or num_scenes == 1
            ids = write_bop_scene(
                root / ("test" if is_test else "train_pbr") / f"{scene:06d}",
                views,
                depth_scale=_MEASURED_SCALE if is_test else _RENDERED_SCALE,
                sensor=StructuredLight(preset="kinect_v1_published") if is_test else None,
                seed=seed,
                jpeg=not is_test,
            )
            for image, found in list(enumerate(ids))[::2] if is_test else []:
                targets += [
                    {"im_id": image, "inst_count": count, "obj_id": object_id, "scene_id": scene}
                    for object_id, count in sorted(Counter(found).items())
                ]
        write_file(root / "test_targets_bop19.json", json.dumps(targets, indent=2).encode())
        return num_scenes * frames_per_scene
