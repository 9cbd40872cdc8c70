"""The annotations of BOP data sets: cameras, object poses, boxes and pixel counts of every image of a scene.

``scene_camera.json`` holds for each image ``cam_K`` (9, row by row), ``depth_scale`` (a stored depth times it is in
*millimetres*) and, in some sets, the world's pose ``cam_R_w2c`` (9), ``cam_t_w2c`` (3, mm); ``scene_gt.json`` a row
for each object: ``obj_id``, ``cam_R_m2c`` (9), ``cam_t_m2c`` (3, mm), model to camera in OpenCV axes;
``scene_gt_info.json``, row for row with it, boxes (x, y, width, height) and pixel counts. A file is parsed once and
becomes small arrays: 1000 images of 20 objects (8 MB of JSON) take 0.25 s and keep 4 MB, where the parsed JSON itself
would keep 31 MB. An entry that makes no sense costs its own image only.
Source: thodan/bop_toolkit, `docs/bop_datasets_format.md`; boxes end as in its `misc.calc_2d_bbox`, where the width is
the last column less the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera
from depthforge.geometry import Float64, invert_pose
from depthforge.sources.conventions import first_not_rigid

__all__ = [
    "ByImage",
    "Objects",
    "Pixels",
    "View",
    "boxes_of",
    "parse_json",
    "parse_objects",
    "parse_pixels",
    "parse_view",
]

_METRES_PER_MM = 1e-3
# An object nearer than 20 mm or farther than 100 m is a pose in another unit.
_PLAUSIBLE_DISTANCE_MM = (20.0, 100_000.0)
_ORTHONORMAL_WITHIN = 0.01

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class View:
    """The camera of one image. None where not given: ``metres_per_unit`` of stored depth, ``T_world_cam`` (4, 4), and
    the ``size`` (height, width) of the only images that it is for."""

    fx: float
    fy: float
    cx: float
    cy: float
    metres_per_unit: float | None
    T_world_cam: Float64 | None = None
    size: tuple[int, int] | None = None

    def camera(self, size: tuple[int, int]) -> Camera:
        """Return the pinhole for images of ``size`` (height, width); DecodeError for images that it is not for."""
        if self.size is not None and self.size != size:
            raise DecodeError(
                "the camera of these images is not known",
                expected=f"{self.size[1]} x {self.size[0]} pixels, or a file that gives cam_K",
                found=f"{size[1]} x {size[0]}",
            )
        return Camera(self.fx, self.fy, self.cx, self.cy, size[1], size[0])


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of one image: ``ids`` (N,) uint32 and ``T_cam_object`` (N, 4, 4) float64, metres."""

    ids: npt.NDArray[np.uint32]
    T_cam_object: Float64


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What each object of one image covers, row for row with ``Objects``.

    ``count_all`` and ``count_visib`` (N,) uint32 pixels of the whole silhouette (beyond the image too) and of what is
    seen; ``box_obj`` and ``box_visib`` (N, 4) float32 left, top, right, bottom of them, NaN where nothing is.
    """

    count_all: npt.NDArray[np.uint32]
    count_visib: npt.NDArray[np.uint32]
    box_obj: npt.NDArray[np.float32]
    box_visib: npt.NDArray[np.float32]


class ByImage(Generic[T]):
    """Entries by image number; one that makes no sense raises when it is asked for.

    ``parse`` is called at once, which keeps less, or with ``on_demand`` when an entry is asked for.
    """

    def __init__(
        self, entries: Mapping[int, Any], parse: Callable[[Any], T], *, where: str, on_demand: bool = False
    ) -> None:
        self._where = where
        self._parse = parse if on_demand else None
        self._entries = entries if on_demand else {key: self._attempt(parse, key, entries[key]) for key in entries}

    def __contains__(self, image: int) -> bool:
        return image in self._entries

    def images(self) -> list[int]:
        """Return the numbers of all images, ascending."""
        return sorted(self._entries)

    def get(self, image: int) -> T:
        """Return the entry of an image; raise DecodeError when there is none or it makes no sense."""
        if image not in self._entries:
            raise DecodeError(
                "the image has no entry in the annotations",
                where=self._where,
                expected=f'an entry "{image}"',
                remedy="the image and the annotation files are of different packages; extract both again",
            )
        entry = self._entries[image]
        found: T | DecodeError = entry if self._parse is None else self._attempt(self._parse, image, entry)
        if isinstance(found, DecodeError):
            raise found
        return found

    def _attempt(self, parse: Callable[[Any], T], image: int, entry: Any) -> T | DecodeError:
        where = f"{self._where}, image {image}"
        try:
            return parse(entry)
        except DecodeError as error:
            return DecodeError(
                error.message, where=where, expected=error.expected, found=error.found, remedy=error.remedy
            )
        except (KeyError, TypeError, ValueError) as error:
            missing = f"no {error}" if isinstance(error, KeyError) else str(error)
            return DecodeError("an annotation cannot be read", where=where, found=missing)


def parse_json(data: bytes, parse: Callable[[Any], T], *, where: str, on_demand: bool = False) -> ByImage[T]:
    """Return every image's entry of a scene file; raise DecodeError unless it is such a file."""
    try:
        content = json.loads(data)
        entries = {int(image): entry for image, entry in content.items()}
    except (ValueError, AttributeError) as error:
        raise DecodeError(
            "the scene file cannot be read",
            where=where,
            expected="a JSON object with one entry for each image number",
            found=error,
            remedy="extract the archive again; `depthforge check` reads every scene",
        ) from None
    return ByImage(entries, parse, where=where, on_demand=on_demand)


def parse_view(entry: Any) -> View:
    """Return the camera of an entry of ``scene_camera.json``; DecodeError unless it is a pinhole with a scale."""
    if "cam_K" not in entry and "cam_model" in entry:
        model = entry["cam_model"]
        name = model.get("projection_model_type", model) if isinstance(model, dict) else model
        raise DecodeError(
            "the camera is not a pinhole",
            expected="cam_K, as every BOP set but HOT3D has it",
            found=f"cam_model {name}",
            remedy="undistort the images to a pinhole first (bop_toolkit, or the data set's own tools)",
        )
    K = _numbers(entry["cam_K"], (9,), "cam_K").reshape(3, 3)
    fx, fy, cx, cy = K[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    if fx <= 0 or fy <= 0 or abs(K[0, 1]) > 1e-3 * fx:
        raise DecodeError(
            "cam_K is not a pinhole without skew", expected="fx 0 cx 0 fy cy 0 0 1", found=K.ravel().tolist()
        )
    metres_per_unit = None
    if "depth_scale" in entry:
        metres_per_unit = float(_numbers([entry["depth_scale"]], (1,), "depth_scale")[0]) * _METRES_PER_MM
        if metres_per_unit <= 0:
            raise DecodeError(
                "depth_scale is not above 0", expected="millimetres per stored unit", found=entry["depth_scale"]
            )
    T_world_cam = None
    if "cam_R_w2c" in entry and "cam_t_w2c" in entry:
        T_world_cam = invert_pose(_rigid([entry["cam_R_w2c"]], [entry["cam_t_w2c"]], "cam_R_w2c", "cam_t_w2c")[0])
    return View(fx, fy, cx, cy, metres_per_unit, T_world_cam)


def parse_objects(entry: Any) -> Objects:
    """Return the objects of an entry of ``scene_gt.json``; DecodeError for a pose that is none, or in metres."""
    ids = np.array([int(row["obj_id"]) for row in entry], np.int64)
    if (ids < 1).any():
        raise DecodeError("object ids start at 1", found=ids.tolist())
    rotations, translations = [row["cam_R_m2c"] for row in entry], [row["cam_t_m2c"] for row in entry]
    T_cam_object = _rigid(rotations, translations, "cam_R_m2c", "cam_t_m2c")
    _require_millimetres(T_cam_object)
    return Objects(ids.astype(np.uint32), T_cam_object)


def _require_millimetres(T_cam_object: Float64) -> None:
    distance_mm = np.linalg.norm(T_cam_object[:, :3, 3], axis=1) / _METRES_PER_MM
    low, high = _PLAUSIBLE_DISTANCE_MM
    # Objects touch the camera in no data set; all of them at once is a unit.
    if len(distance_mm) and (distance_mm.max() < low or distance_mm.min() > high):
        raise DecodeError(
            "the poses are not in millimetres",
            expected=f"objects {low:g} to {high:g} mm from the camera",
            found=f"{distance_mm.min():.4g} to {distance_mm.max():.4g}",
            remedy="BOP stores cam_t_m2c in millimetres; multiply metres by 1000",
        )


def parse_pixels(entry: Any) -> Pixels:
    """Return boxes and counts of an entry of ``scene_gt_info.json``."""
    return Pixels(
        count_all=_counts(entry, "px_count_all"),
        count_visib=_counts(entry, "px_count_visib"),
        box_obj=boxes_of([row["bbox_obj"] for row in entry]),
        box_visib=boxes_of([row["bbox_visib"] for row in entry]),
    )


def _counts(entry: Any, name: str) -> npt.NDArray[np.uint32]:
    counts = np.array([int(row[name]) for row in entry], np.int64)
    if (counts < 0).any():
        raise DecodeError(f"{name} is below 0", found=counts.tolist())
    return counts.astype(np.uint32)


def boxes_of(rows: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Return left, top, right, bottom (N, 4) float32 of boxes x, y, width, height; NaN for BOP's -1, -1, -1, -1."""
    stored = _numbers(rows, (len(rows), 4), "a box")
    edges = stored.copy()
    edges[:, 2:] += stored[:, :2]
    edges[(stored[:, 2:] < 0).any(axis=1)] = np.nan
    return edges.astype(np.float32)


def _rigid(rotations: Any, translations_mm: Any, name_R: str, name_t: str) -> Float64:
    """Return poses (N, 4, 4) in metres of rows of 9 numbers and of 3 in millimetres; DecodeError unless rigid."""
    count = len(rotations)
    T = np.zeros((count, 4, 4))
    R = T[:, :3, :3]
    R[:] = _numbers(rotations, (count, 9), name_R).reshape(count, 3, 3)
    T[:, :3, 3] = _numbers(translations_mm, (count, 3), name_t) * _METRES_PER_MM
    T[:, 3, 3] = 1.0
    wrong = first_not_rigid(T, within=_ORTHONORMAL_WITHIN)
    if wrong is not None:
        row, reason = wrong
        found = f"{reason}: {R[row].ravel().tolist()}"
        raise DecodeError(f"{name_R} is not a rotation", expected="9 numbers, row by row", found=found)
    return T


def _numbers(values: Any, shape: tuple[int, ...], name: str) -> Float64:
    """Return ``values`` as (shape) float64; DecodeError unless they are as many finite numbers."""
    if 0 in shape:
        return np.zeros(shape)
    try:
        array = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        array = None
    if array is None or array.shape != shape or not np.isfinite(array).all():
        raise DecodeError(f"{name} is not {shape[-1]} finite numbers", found=str(values)[:200])
    return array
