"""Labels of objects at known poses out of their masks, and what stands behind rendered ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, FrameError
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.labels.catalogue import INSTANCE, OBJECT_PX_COUNT_VALID, OBJECT_SILHOUETTES
from depthforge.labels.spec import LabelSpec
from depthforge.seeding import frame_generator
from depthforge.sources.bop.annotations import Objects
from depthforge.sources.bop.plane import fit_support_plane, render_plane
from depthforge.sources.bop.render import Rendered

__all__ = ["SEMANTIC", "Labels", "before_plane", "labels_of_rows", "labels_of_silhouettes", "require_one_unit"]

SEMANTIC = LabelSpec("semantic", "uint16", "image", "id of the object that is seen, as in object_id; 0 is none")

_MOST_SILHOUETTES = 64
# Of the median depth on an object and the distance of its pose; what stands before an object changes it by less.
_MOST_UNIT_RATIO, _LEAST_MEASURED_PX = 3.0, 50

Labels = dict[str, npt.NDArray[np.generic]]


def require_one_unit(depth_m: DepthImage, visible: list[BoolImage], objects: Objects, *, where: str) -> None:
    """Raise DecodeError when no object is measured anywhere near its pose: depth or poses are in another unit."""
    ratios = []
    for mask, distance_m in zip(visible, objects.T_cam_object[:, 2, 3].tolist(), strict=True):
        on_object = depth_m[mask]
        on_object = on_object[on_object > 0]
        if on_object.size >= _LEAST_MEASURED_PX and distance_m > 0:
            ratios.append(float(np.median(on_object)) / distance_m)
    if ratios and not any(1 / _MOST_UNIT_RATIO < ratio < _MOST_UNIT_RATIO for ratio in ratios):
        raise DecodeError(
            "depth and object poses are in different units",
            where=where,
            expected="every object measured near the distance of its pose",
            found=f"measured at {np.median(ratios):.3g} times that distance",
            remedy="compare depth_scale (millimetres per stored unit) and cam_t_m2c (millimetres)",
        )


def labels_of_rows(row: npt.NDArray[np.int32], objects: Objects, wanted: frozenset[str]) -> Labels:
    """Return instance and semantic of an image (H, W) of rows, -1 where no object is."""
    labels: Labels = {}
    if INSTANCE.name in wanted:
        labels[INSTANCE.name] = (row + 1).astype(np.uint16)
    if SEMANTIC.name in wanted:
        ids = np.append(objects.ids, 0)
        if ids.max() > np.iinfo(np.uint16).max:
            raise FrameError("an object id does not fit 16 bits", expected="at most 65535", found=ids.max())
        labels[SEMANTIC.name] = ids.astype(np.uint16)[row]
    return labels


def labels_of_silhouettes(masks: list[BoolImage], valid: BoolImage, wanted: frozenset[str], *, where: str) -> Labels:
    """Return object_silhouettes and the count of ``valid`` pixels of each; FrameError for more than 64 objects."""
    if len(masks) > _MOST_SILHOUETTES:
        raise FrameError(
            "too many objects for object_silhouettes, which has a bit for each",
            where=where,
            expected=f"at most {_MOST_SILHOUETTES}",
            found=f"{len(masks)} objects",
            remedy="set object_silhouettes and object_px_count_valid to off under labels",
        )
    labels: Labels = {}
    if OBJECT_SILHOUETTES.name in wanted:
        bits = np.zeros(valid.shape, np.uint64)
        for row, mask in enumerate(masks):
            bits[mask] |= np.uint64(1 << row)
        labels[OBJECT_SILHOUETTES.name] = bits
    if OBJECT_PX_COUNT_VALID.name in wanted:
        labels[OBJECT_PX_COUNT_VALID.name] = np.array([np.count_nonzero(mask & valid) for mask in masks], np.uint32)
    return labels


def before_plane(
    key: str, rendered: Rendered, measured: DepthImage | None, camera: Camera, objects: Objects
) -> tuple[DepthImage, npt.NDArray[np.float32]]:
    """Return depth and normals with the support plane wherever no object is seen."""
    if measured is None:
        raise FrameError("there is no measured depth to fit a plane to", where=key, remedy="background: none")
    centres = objects.T_cam_object[:, :3, 3]
    usable = (measured > 0) & ~np.logical_or.reduce([np.zeros(camera.size, np.bool_), *rendered.silhouettes])
    plane = fit_support_plane(measured, usable, camera, centres, frame_generator(0, key, "support plane"))
    if plane is None:
        raise FrameError(
            "no plane that the objects stand on was found in the measured depth",
            where=key,
            expected="a fifth of the measurements within 0.5 m of an object on one plane",
            remedy="background: none",
        )
    behind = render_plane(plane, camera, centres)
    shown = (rendered.row < 0) & (behind > 0)
    depth_m, normals = rendered.depth_m.copy(), rendered.normals.copy()
    depth_m[shown] = behind[shown]
    normals[shown] = plane[:3]
    return depth_m, normals
