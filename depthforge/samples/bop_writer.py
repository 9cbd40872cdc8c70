"""Scenes, models and lists in BOP's scenewise layout, from views of procedural tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.samples.ply import ply_bytes
from depthforge.samples.posed_views import PosedView, gt_info_row, gt_row, measured, model_info
from depthforge.samples.writing import json_bytes, png, rgb_jpeg, write_file
from depthforge.scenes.tabletop import object_mesh
from depthforge.sensors.base import Sensor

__all__ = ["depth_codes", "mask_image", "write_bop_scene", "write_camera", "write_models"]

_MM_PER_M = 1000.0


def write_models(root: Path, numbers: Iterable[int]) -> None:
    """Write models/ and models_eval/ with models_info.json; model ``number`` of the catalogue has id number + 1."""
    known = sorted(set(numbers))
    for folder, segments in (("models", 32), ("models_eval", 16)):
        for number in known:
            mesh = object_mesh(number, segments)
            write_file(root / folder / f"obj_{number + 1:06d}.ply", ply_bytes(mesh, units_per_metre=_MM_PER_M))
        infos = {str(number + 1): model_info(number) for number in known}
        write_file(root / folder / "models_info.json", json_bytes(infos))


def write_camera(root: Path, camera: Camera, depth_scale: float) -> None:
    """Write camera.json, the nominal camera of the data set."""
    entries = {"cx": camera.cx, "cy": camera.cy, "depth_scale": depth_scale, "fx": camera.fx, "fy": camera.fy}
    write_file(root / "camera.json", json_bytes({**entries, "height": camera.height, "width": camera.width}))


def write_bop_scene(
    folder: Path,
    views: Iterable[PosedView],
    *,
    depth_scale: float,
    sensor: Sensor | None,
    seed: int,
    jpeg: bool,
    annotated: Iterable[int] | None = None,
) -> list[list[int]]:
    """Write a scene's images and annotations and return the object ids of each image.

    Only the models ``annotated`` get rows and masks; None is all of them. Depth goes through ``sensor`` if there is
    one.
    """
    cameras: dict[str, Any] = {}
    truth: dict[str, Any] = {}
    infos: dict[str, Any] = {}
    only = None if annotated is None else set(annotated)
    ids = []
    for image, view in enumerate(views):
        assert view.frame.rgb is not None
        depth_m, valid = measured(view, sensor, seed)
        objects = [thing for thing in view.objects if only is None or thing.number in only]
        name = f"{image:06d}"
        write_file(folder / "depth" / f"{name}.png", png(depth_codes(depth_m, valid, depth_scale)))
        colour, suffix = (rgb_jpeg, "jpg") if jpeg else (png, "png")
        write_file(folder / "rgb" / f"{name}.{suffix}", colour(view.frame.rgb))
        for row, thing in enumerate(objects):
            write_file(folder / "mask" / f"{name}_{row:06d}.png", png(mask_image(thing.silhouette)))
            write_file(folder / "mask_visib" / f"{name}_{row:06d}.png", png(mask_image(thing.seen)))
        cameras[str(image)] = _camera_entry(view, depth_scale)
        truth[str(image)] = [gt_row(thing, thing.number + 1) for thing in objects]
        infos[str(image)] = [gt_info_row(thing, valid) for thing in objects]
        ids.append([thing.number + 1 for thing in objects])
    for name, entries in (("scene_camera", cameras), ("scene_gt", truth), ("scene_gt_info", infos)):
        write_file(folder / f"{name}.json", json_bytes(entries))
    return ids


def depth_codes(depth_m: DepthImage, valid: BoolImage, depth_scale: float) -> npt.NDArray[np.uint16]:
    """Return depth as stored, rounded: a code times ``depth_scale`` is millimetres, 0 is no measurement."""
    codes = np.rint(depth_m.astype(np.float64) * (_MM_PER_M / depth_scale))
    # Beyond what 16 bits hold there is no measurement: 6.5 m at a scale of 0.1.
    return np.where(valid & (codes <= np.iinfo(np.uint16).max), codes, 0).astype(np.uint16)


def mask_image(mask: BoolImage) -> npt.NDArray[np.uint8]:
    """Return a mask as BOP stores it: 255 within, 0 elsewhere."""
    return np.where(mask, np.uint8(255), np.uint8(0))


def _camera_entry(view: PosedView, depth_scale: float) -> dict[str, Any]:
    T_cam_world = view.T_cam_world
    return {
        "cam_K": view.frame.camera.K.ravel().tolist(),
        "cam_R_w2c": T_cam_world[:3, :3].ravel().tolist(),
        "cam_t_w2c": (T_cam_world[:3, 3] * _MM_PER_M).tolist(),
        "depth_scale": depth_scale,
    }
