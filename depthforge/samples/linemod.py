"""Procedural tables as LineMOD, in both of its forms: ``lm`` (BOP) and ``Linemod_preprocessed`` (DenseFusion).

Scene n shows object n among others, as in LineMOD, 0.65 to 1.05 m from its camera and through a simulated Kinect, in
millimetres; objects 3 and 7 are left out, as the preprocessed form does. Both forms hold the same images: in BOP's,
images are annotated for object n alone (split ``test``); in the other one folder 02 lists every object in view, and
train.txt has every seventh image. About 0.5 s and 1.5 MB a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.bop_writer import depth_codes, mask_image, write_bop_scene, write_camera, write_models
from depthforge.samples.ply import ply_bytes
from depthforge.samples.posed_views import PosedObject, PosedView, bop_box, measured, model_info, posed_views
from depthforge.samples.writing import png, require_empty, write_file
from depthforge.scenes.tabletop import Tabletop, build_tabletop, object_mesh
from depthforge.seeding import frame_generator
from depthforge.sensors.base import Sensor
from depthforge.sensors.structured_light import StructuredLight

__all__ = ["LinemodLayout"]

_OBJECTS = (1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15)
_CAMERA = Camera(572.4114, 573.57043, 325.2611, 242.04899, 640, 480)
_DISTANCE_M = (0.65, 1.05)
_MILLIMETRES = 1.0
# Of LineMOD's images the scene's object is hidden in none: the least hidden of four poses drawn for each are kept.
_POSES_DRAWN = 4
_PREVIEW = Camera(71.5, 71.5, 40.0, 30.0, 80, 60)
_TRAIN_EVERY = 7


@layouts.register("linemod")
class LinemodLayout(Layout):
    """LineMOD as ``lm`` and as ``Linemod_preprocessed``, the same images in each."""

    camera = _CAMERA
    sensor: Sensor | None = StructuredLight(preset="kinect_v1_published")

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the scenes under ``root``, twice, and return the number of images of one form.

        Raises InputError when ``root`` holds anything and for more scenes than LineMOD has objects.
        """
        if num_scenes > len(_OBJECTS):
            raise InputError(
                "LineMOD has one scene for each object",
                where="--scenes",
                expected=f"at most {len(_OBJECTS)}",
                found=num_scenes,
            )
        require_empty(root)
        bop, preprocessed = root / "lm", root / "Linemod_preprocessed"
        write_camera(bop, self.camera, _MILLIMETRES)
        write_models(bop, [object_id - 1 for object_id in _OBJECTS])
        _write_models(preprocessed / "models")
        for object_id in _OBJECTS[:num_scenes]:
            key = f"linemod/{object_id:06d}"
            table, poses = _table_of(object_id, frames_per_scene, seed)
            views = list(posed_views(table, poses, self.camera, key))
            own = [object_id - 1]
            write_bop_scene(
                bop / "test" / f"{object_id:06d}",
                views,
                depth_scale=_MILLIMETRES,
                sensor=self.sensor,
                seed=seed,
                jpeg=False,
                annotated=own,
            )
            _write_preprocessed(preprocessed / "data" / f"{object_id:02d}", views, object_id, self.sensor, seed)
        return num_scenes * frames_per_scene


def _table_of(object_id: int, num_frames: int, seed: int) -> tuple[Tabletop, np.ndarray]:
    rng = frame_generator(seed, f"linemod/{object_id}", "tabletop")
    others = [number - 1 for number in _OBJECTS if number != object_id]
    # Placed first, the object of the scene lies in the middle.
    models = [object_id - 1, *rng.permutation(others)[: int(rng.integers(4, 9))].tolist()]
    table = build_tabletop(rng, models=models)
    poses = table.camera_poses(rng, _POSES_DRAWN * num_frames, _DISTANCE_M)
    seen = np.array([_share_seen(view.objects[0]) for view in posed_views(table, poses, _PREVIEW, "preview")])
    best = np.sort(np.argsort(-seen, kind="stable")[:num_frames])
    return table, poses[best]


def _share_seen(thing: PosedObject) -> float:
    return float(thing.seen.sum()) / max(int(thing.silhouette.sum()), 1)


def _write_models(folder: Path) -> None:
    for object_id in _OBJECTS:
        mesh = object_mesh(object_id - 1)
        write_file(folder / f"obj_{object_id:02d}.ply", ply_bytes(mesh, units_per_metre=1000.0))
    infos = {str(object_id): model_info(object_id - 1) for object_id in _OBJECTS}
    lines = [f"{name}: {_flow(info)}" for name, info in infos.items()]
    write_file(folder / "models_info.yml", "\n".join([*lines, ""]).encode())


def _write_preprocessed(
    folder: Path, views: Sequence[PosedView], object_id: int, sensor: Sensor | None, seed: int
) -> None:
    truth: list[str] = []
    infos: list[str] = []
    for image, view in enumerate(views):
        assert view.frame.rgb is not None
        depth_m, valid = measured(view, sensor, seed)
        own = view.objects[0]
        write_file(folder / "rgb" / f"{image:04d}.png", png(view.frame.rgb))
        write_file(folder / "depth" / f"{image:04d}.png", png(depth_codes(depth_m, valid, _MILLIMETRES)))
        write_file(folder / "mask" / f"{image:04d}.png", png(np.dstack([mask_image(own.seen)] * 3)))
        truth += [f"{image}:", *(_gt_lines(view, object_id))]
        cam_K = ", ".join(repr(value) for value in view.frame.camera.K.ravel().tolist())
        infos += [f"{image}:", f"  cam_K: [{cam_K}]", f"  depth_scale: {_MILLIMETRES}"]
    write_file(folder / "gt.yml", "\n".join([*truth, ""]).encode())
    write_file(folder / "info.yml", "\n".join([*infos, ""]).encode())
    numbers = range(len(views))
    for name, is_train in (("train", True), ("test", False)):
        listed = [f"{n:04d}" for n in numbers if (n % _TRAIN_EVERY == _TRAIN_EVERY - 1) == is_train]
        write_file(folder / f"{name}.txt", "\n".join(listed).encode())


def _gt_lines(view: PosedView, object_id: int) -> list[str]:
    lines = []
    for thing in view.objects if object_id == 2 else view.objects[:1]:
        box = bop_box(thing.box_all)
        lines += [
            f"- cam_R_m2c: [{', '.join(f'{value:.8f}' for value in thing.T_cam_object[:3, :3].ravel())}]",
            f"  cam_t_m2c: [{', '.join(f'{value * 1000:.8f}' for value in thing.T_cam_object[:3, 3])}]",
            f"  obj_bb: [{', '.join(str(edge) for edge in box)}]",
            f"  obj_id: {thing.number + 1}",
        ]
    return lines


def _flow(info: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {value:.6f}" for name, value in info.items()) + "}"
