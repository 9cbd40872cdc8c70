"""BOP's scenewise layout: ``<split>/<scene number>/`` with depth, colour, object poses and masks.

``depth/`` is what the sensor would have measured (clean depth where the corpus has no noisy one), ``depth_clean/`` the
clean one beside it, in the corpus' own steps (``depth_scale``); poses in millimetres. ``mask`` comes from
``object_silhouettes``, ``mask_visib`` from ``instance`` where that numbers the rows of ``object_id``. Scenes and images
are numbers in BOP: ``scene_keys.json`` of a scene says which frames they are. The corpus holds no models, so there is
no models/.
Source: thodan/bop_toolkit, `docs/bop_datasets_format.md`; boxes as `misc.calc_2d_bbox`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.schema import DEPTH_CLEAN
from depthforge.export.base import ExportFrame, Files, Format, Part
from depthforge.export.images import png
from depthforge.geometry import invert_pose
from depthforge.labels.catalogue import (
    BOX_2D,
    INSTANCE,
    INTRINSICS,
    OBJECT_ID,
    OBJECT_POSE,
    OBJECT_PX_COUNT_ALL,
    OBJECT_PX_COUNT_VISIB,
    OBJECT_SILHOUETTES,
    POSE,
    RGB,
)
from depthforge.registry import formats

__all__ = ["BopScenes"]

_MM_PER_M: Final = 1000.0
_NO_BOX: Final = [-1, -1, -1, -1]
_CARRIED: Final = frozenset(
    spec.name
    for spec in (
        *(RGB, INTRINSICS, POSE, OBJECT_ID, OBJECT_POSE, OBJECT_SILHOUETTES, INSTANCE, BOX_2D),
        *(OBJECT_PX_COUNT_ALL, OBJECT_PX_COUNT_VISIB),
    )
) | {"object_px_count_valid"}

Mask = npt.NDArray[np.bool_]


@formats.register("bop")
class BopScenes(Format):
    """BOP's scenewise layout: scene_camera, scene_gt, scene_gt_info, depth, rgb, masks."""

    depth_kinds = ("uint16",)
    works_by = "scene"

    def losses(self) -> list[str]:
        told = [f"{spec.name}: BOP has no place for it" for spec in self.labels if spec.name not in _CARRIED]
        if self.has(INSTANCE.name) and not self.has(OBJECT_ID.name):
            told.append("instance: BOP has masks of objects with poses alone, and the corpus has no object_id")
        if self.has(OBJECT_ID.name):
            told.append("models/: the corpus holds poses and no models; copy them from the data set")
        return [*super().losses(), *told]

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        folder = f"{part.split}/{part.number:06d}"
        cameras: dict[str, Any] = {}
        truth: dict[str, Any] = {}
        infos: dict[str, Any] = {}
        keys: dict[str, str] = {}
        for frame in frames:
            image, stem = str(frame.index), f"{frame.index:06d}"
            keys[image] = frame.key
            depths = {name: frame.depth_steps(name, self.step_m) for name in self.depths}
            for name, steps in depths.items():
                is_second = name == DEPTH_CLEAN and len(depths) > 1
                out.write(f"{folder}/{'depth_clean' if is_second else 'depth'}/{stem}.png", png(steps))
            self._write_colour(frame, f"{folder}/rgb/{stem}", out)
            cameras[image] = self._camera(frame)
            ids, poses = self._label(frame, OBJECT_ID.name), self._label(frame, OBJECT_POSE.name)
            if ids is None or poses is None:
                continue
            truth[image] = [_pose_row(int(number), pose) for number, pose in zip(ids, poses, strict=True)]
            whole, visible = self._masks(frame, len(ids))
            for kind, masks in (("mask", whole), ("mask_visib", visible)):
                for row, mask in enumerate(masks or ()):
                    content = png(np.where(mask, np.uint8(255), np.uint8(0)))
                    out.write(f"{folder}/{kind}/{stem}_{row:06d}.png", content)
            if whole is not None and visible is not None:
                measured = next(iter(depths.values())) > 0 if depths else np.zeros(visible[0].shape, np.bool_)
                infos[image] = self._infos(frame, whole, visible, measured)
        named = {"scene_camera": cameras, "scene_gt": truth, "scene_gt_info": infos, "scene_keys": keys}
        for name, entries in named.items():
            if entries:
                out.write(f"{folder}/{name}.json", _scene_json(entries))
        return {}

    def _label(self, frame: ExportFrame, name: str) -> npt.NDArray[Any] | None:
        return frame.label(name) if self.has(name) else None

    def _write_colour(self, frame: ExportFrame, stem: str, out: Files) -> None:
        if not self.has(RGB.name):
            return
        file = frame.jpeg()
        if file is not None:
            out.write(f"{stem}.jpg", file)
        elif (rgb := frame.label(RGB.name)) is not None:
            out.write(f"{stem}.png", png(rgb))

    def _camera(self, frame: ExportFrame) -> dict[str, Any]:
        entry: dict[str, Any] = {"depth_scale": self.step_m * _MM_PER_M}
        K, pose = self._label(frame, INTRINSICS.name), self._label(frame, POSE.name)
        if K is not None:
            entry["cam_K"] = K.ravel().tolist()
        if pose is not None and np.isfinite(pose).all():
            T_cam_world = invert_pose(pose)
            entry["cam_R_w2c"] = T_cam_world[:3, :3].ravel().tolist()
            entry["cam_t_w2c"] = (T_cam_world[:3, 3] * _MM_PER_M).tolist()
        return entry

    def _masks(self, frame: ExportFrame, rows: int) -> tuple[list[Mask] | None, list[Mask] | None]:
        """Return the whole and the visible mask of every row of ``object_id``, None for those that there are none of.

        ``instance`` counts as rows where it numbers no more than there are, and as many pixels of each as the corpus
        says are visible.
        """
        bits, instance = self._label(frame, OBJECT_SILHOUETTES.name), self._label(frame, INSTANCE.name)
        whole = (
            None if bits is None else [(bits >> np.uint64(row) & np.uint64(1)).astype(np.bool_) for row in range(rows)]
        )
        if instance is None:
            return whole, None
        counts = np.bincount(instance.ravel(), minlength=rows + 1)
        stated = frame.label(OBJECT_PX_COUNT_VISIB.name) if _is_stored(frame, OBJECT_PX_COUNT_VISIB.name) else None
        if len(counts) > rows + 1 or (stated is not None and not np.array_equal(counts[1:], stated)):
            frame.losses.add("frames without mask_visib: `instance` does not number the rows of `object_id`")
            return whole, None
        return whole, [instance == row + 1 for row in range(rows)]

    def _infos(
        self, frame: ExportFrame, whole: list[Mask], visible: list[Mask], measured: Mask
    ) -> list[dict[str, Any]]:
        stated = self._label(frame, OBJECT_PX_COUNT_ALL.name)
        rows = []
        for row, (all_of_it, seen) in enumerate(zip(whole, visible, strict=True)):
            count_all = int(all_of_it.sum()) if stated is None else int(stated[row])
            count_seen = int(seen.sum())
            rows.append(
                {
                    "bbox_obj": _box(all_of_it),
                    "bbox_visib": _box(seen),
                    "px_count_all": count_all,
                    "px_count_valid": int(np.count_nonzero(all_of_it & measured)),
                    "px_count_visib": count_seen,
                    "visib_fract": count_seen / count_all if count_all else 0.0,
                }
            )
        return rows


def _is_stored(frame: ExportFrame, name: str) -> bool:
    return any(spec.name == name for spec in frame.reader.schema.fields)


def _pose_row(number: int, T_cam_object: npt.NDArray[np.float64]) -> dict[str, Any]:
    return {
        "cam_R_m2c": T_cam_object[:3, :3].ravel().tolist(),
        "cam_t_m2c": (T_cam_object[:3, 3] * _MM_PER_M).tolist(),
        "obj_id": number,
    }


def _box(mask: Mask) -> list[int]:
    """Return x, y, width, height of a mask: width and height end at the last pixel, as the toolkit's do."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return _NO_BOX
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left, int(rows[-1]) - top]


def _scene_json(entries: Mapping[str, Any]) -> bytes:
    """Return JSON with a line for each image, as the toolkit writes it."""
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in entries.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
