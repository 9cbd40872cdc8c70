"""Clean depth of objects at known poses: their models, ray-cast one by one and put together by depth.

A model is loaded and indexed once, in its own frame; an image casts each object through a camera that is cropped to
its box, from the camera's pose in that frame. So nothing is built per image, and the whole silhouette of an object,
hidden parts and what lies beyond the image included, is at hand: boxes and pixel counts are BOP's own (whole
silhouettes are taken on a canvas of three times the image's size, as bop_toolkit's `calc_gt_info.py` does). One core
renders seven objects of 100 to 2500 triangles that fill a third of a 640x480 image in 40 ms, and a single one of
LineMOD in 3 ms. The alternative, one scene with all of them, takes 100 ms to build and cast over the whole image, and
as many casts again as there are objects for the silhouettes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.geometry import Float32, Float64, invert_pose
from depthforge.meshes import MeshScene, load_mesh
from depthforge.scenes.raycast import Hits
from depthforge.sources.bop.annotations import Objects, Pixels

__all__ = ["MODELS_KEPT", "ModelRenderer", "Rendered"]

_METRES_PER_MM = 1e-3
MODELS_KEPT = 40
# A model of 5 mm or of 10 m across is in another unit than millimetres.
_PLAUSIBLE_SIZE_M = (0.005, 10.0)
_NEAREST_M = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """Objects as a camera sees them. ``row`` (H, W) int32 is the row of the object that is seen, -1 where none is.

    ``silhouettes`` has an image (H, W) for each object, hidden parts included; ``pixels`` counts beyond the image.
    """

    depth_m: DepthImage
    normals: Float32
    row: npt.NDArray[np.int32]
    silhouettes: list[BoolImage]
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    scene: MeshScene
    corners: Float64


class ModelRenderer:
    """Renders the models that ``find`` (object id -> file, millimetres) names; keeps the last 40, for any thread."""

    def __init__(self, find: Callable[[int], Path]) -> None:
        self._find = find
        self._models: OrderedDict[int, _Model] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, objects: Objects, camera: Camera) -> Rendered:
        """Return what ``camera`` sees of ``objects`` and nothing else.

        Raises DecodeError for a model that is missing, broken or not in millimetres.
        """
        height, width = camera.size
        nearest = np.full((height, width), np.inf, np.float32)
        normals = np.zeros((height, width, 3), np.float32)
        row_of = np.full((height, width), -1, np.int32)
        silhouettes: list[BoolImage] = []
        boxes, counts = [], []
        for row, (object_id, T_cam_object) in enumerate(zip(objects.ids.tolist(), objects.T_cam_object, strict=True)):
            silhouette = np.zeros((height, width), np.bool_)
            silhouettes.append(silhouette)
            model = self._model(object_id)
            left, top, hits = _cast_alone(model, T_cam_object, camera)
            boxes.append(_box(hits.valid, left, top))
            counts.append(np.count_nonzero(hits.valid))
            inside, part = _overlap(left, top, hits.valid.shape, (height, width))
            seen = hits.valid[part]
            silhouette[inside] = seen
            in_front = seen & (hits.depth_m[part] < nearest[inside])
            nearest[inside][in_front] = hits.depth_m[part][in_front]
            normals[inside][in_front] = hits.normals[part][in_front]
            row_of[inside][in_front] = row
        pixels = Pixels(
            count_all=np.array(counts, np.uint32),
            count_visib=np.array([np.count_nonzero(row_of == row) for row in range(len(counts))], np.uint32),
            box_obj=np.array(boxes, np.float32).reshape(-1, 4),
            box_visib=np.array([_box(row_of == row, 0, 0) for row in range(len(counts))], np.float32).reshape(-1, 4),
        )
        return Rendered(np.where(row_of >= 0, nearest, np.float32(0)), normals, row_of, silhouettes, pixels)

    def clear(self) -> None:
        """Forget all models."""
        with self._lock:
            self._models.clear()

    def _model(self, object_id: int) -> _Model:
        with self._lock:
            if object_id not in self._models:
                self._models[object_id] = _load(self._find(object_id))
            self._models.move_to_end(object_id)
            while len(self._models) > MODELS_KEPT:
                self._models.popitem(last=False)
            return self._models[object_id]


def _load(path: Path) -> _Model:
    try:
        mesh = load_mesh(path, metres_per_unit=_METRES_PER_MM)
    except MissingDataError as error:
        raise DecodeError(
            "an object of the image has no model",
            where=path,
            remedy="extract the archive of the models too, and see `models` of the source block",
        ) from error
    low, high = mesh.vertices.min(axis=0).astype(np.float64), mesh.vertices.max(axis=0).astype(np.float64)
    size_m = float(np.linalg.norm(high - low))
    if not _PLAUSIBLE_SIZE_M[0] <= size_m <= _PLAUSIBLE_SIZE_M[1]:
        raise DecodeError(
            "the model is not in millimetres",
            where=path,
            expected=f"{_PLAUSIBLE_SIZE_M[0] * 1000:g} to {_PLAUSIBLE_SIZE_M[1] * 1000:g} units across",
            found=f"{size_m * 1000:.4g}",
            remedy="BOP's models are in millimetres; multiply metres by 1000",
        )
    choose = np.array([[(corner >> axis) & 1 for axis in range(3)] for corner in range(8)], np.bool_)
    return _Model(MeshScene([mesh]), np.where(choose, high, low))


def _cast_alone(model: _Model, T_cam_object: Float64, camera: Camera) -> tuple[int, int, Hits]:
    """Return the left and top of the window of the image plane that holds a model, and what is met in it."""
    left, top, right, bottom = _window(model.corners @ T_cam_object[:3, :3].T + T_cam_object[:3, 3], camera)
    window = Camera(camera.fx, camera.fy, camera.cx - left, camera.cy - top, max(right - left, 1), max(bottom - top, 1))
    return left, top, model.scene.cast(invert_pose(T_cam_object), window)


def _window(corners: Float64, camera: Camera) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom (ends exclusive) of the pixels that may see a box of ``corners`` (8, 3)."""
    canvas = (-camera.width, -camera.height, 2 * camera.width, 2 * camera.height)
    if (corners[:, 2] <= 0).all():
        return 0, 0, 1, 1
    if corners[:, 2].min() < _NEAREST_M:
        return canvas
    u = camera.fx * corners[:, 0] / corners[:, 2] + camera.cx
    v = camera.fy * corners[:, 1] / corners[:, 2] + camera.cy
    edges = [np.floor(u.min()) - 1, np.floor(v.min()) - 1, np.ceil(u.max()) + 2, np.ceil(v.max()) + 2]
    limits = [(canvas[0], canvas[2]), (canvas[1], canvas[3])] * 2
    left, top, right, bottom = (int(np.clip(edge, *limit)) for edge, limit in zip(edges, limits, strict=True))
    return left, top, right, bottom


def _overlap(
    left: int, top: int, window: tuple[int, ...], size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of an image of ``size`` that a window covers, as slices of the image and of the window."""
    u0, v0 = max(left, 0), max(top, 0)
    u1, v1 = max(min(left + window[1], size[1]), u0), max(min(top + window[0], size[0]), v0)
    return (slice(v0, v1), slice(u0, u1)), (slice(v0 - top, v1 - top), slice(u0 - left, u1 - left))


def _box(mask: BoolImage, left: int, top: int) -> tuple[float, float, float, float]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return (float("nan"),) * 4
    return float(columns[0] + left), float(rows[0] + top), float(columns[-1] + left), float(rows[-1] + top)
