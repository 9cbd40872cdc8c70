"""An image and its labels in another size; each label as its LabelSpec says.

Ids and depth take the nearest pixel (averaging would invent depths between objects), colour averages, normals average
and are made unit again, optical flow and pixel coordinates scale with the image. The centre of pixel u lands at
(u + 0.5) s - 0.5, for the camera as for every label. Costs 1 to 4 ms for a frame of 640x480 with colour and normals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError
from depthforge.frame import Camera, Frame
from depthforge.geometry import decode_normals, encode_normals
from depthforge.labels.catalogue import INTRINSICS
from depthforge.labels.recomputing import after_noise
from depthforge.labels.spec import LabelSpec

__all__ = ["resize_camera", "resize_frame", "resize_label"]

Array = npt.NDArray[Any]


def resize_camera(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera of the same view in ``width`` x ``height`` pixels."""
    sx, sy = width / camera.width, height / camera.height
    centre = ((camera.cx + 0.5) * sx - 0.5, (camera.cy + 0.5) * sy - 0.5)
    return Camera(camera.fx * sx, camera.fy * sy, *centre, width, height, camera.baseline_m)


def resize_frame(frame: Frame, specs: Mapping[str, LabelSpec], width: int, height: int) -> Frame:
    """Return the same view in ``width`` x ``height`` pixels, with every label resized as its spec in ``specs`` says."""
    if (height, width) == frame.camera.size:
        return frame
    before = frame.camera
    pick = _nearest(before, width, height)
    labels = {name: resize_label(value, specs[name], before, width, height) for name, value in frame.labels.items()}
    resized = replace(
        frame,
        depth_m=pick(frame.depth_m),
        valid=pick(frame.valid),
        camera=resize_camera(before, width, height),
        rgb=None if frame.rgb is None else _area(frame.rgb, width, height),
        labels=labels,
    )
    return after_noise(resized, resized.valid, specs)


def resize_label(value: Array, spec: LabelSpec, camera: Camera, width: int, height: int) -> Array:
    """Return a label of an image of ``camera``'s size for one of ``width`` x ``height``; the spec says how."""
    if spec.name == INTRINSICS.name:
        raise InputError("intrinsics are resized with the camera", where=spec.name)
    if spec.layout != "image" and spec.resize in ("nearest", "area", "normals", "flow"):
        raise FrameError(
            "only images can be resampled",
            where=spec.name,
            expected="layout: image, or resize: none",
            found=spec.layout,
        )
    sx, sy = width / camera.width, height / camera.height
    match spec.resize:
        case "none":
            return value
        case "nearest":
            return _nearest(camera, width, height)(value)
        case "area":
            return _area(value, width, height)
        case "normals":
            return _normals(value, camera, width, height)
        case "flow":
            scaled = _nearest(camera, width, height)(value) * np.array([sx, sy], value.dtype)
            return np.asarray(scaled, value.dtype)
        case "box_2d":
            edges = (value + 0.5) * np.array([sx, sy, sx, sy]) - 0.5
            return np.asarray(edges, value.dtype)
        case "count":
            return np.rint(value * (sx * sy)).astype(value.dtype)
        case "rect_grasps":
            return _rect_grasps(value, sx, sy)


def _nearest(camera: Camera, width: int, height: int) -> Callable[[Array], Array]:
    """Return the function that takes of an image the pixel nearest to each new centre (the left or upper of two)."""
    columns = _sources(camera.width, width)
    rows = _sources(camera.height, height)
    return lambda image: np.ascontiguousarray(image[rows[:, None], columns[None, :]])


def _sources(before: int, after: int) -> npt.NDArray[np.intp]:
    # In whole numbers, so that no rounding decides which of two pixels is nearer.
    positions = (2 * np.arange(after) + 1) * before
    return np.minimum((positions - 1) // (2 * after), before - 1).astype(np.intp)


def _area(image: Array, width: int, height: int) -> Array:
    is_smaller = width <= image.shape[1] and height <= image.shape[0]
    how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.asarray(image), (width, height), interpolation=how), image.dtype)


def _normals(stored: Array, camera: Camera, width: int, height: int) -> Array:
    nearest = _nearest(camera, width, height)(stored)
    mean = _area(decode_normals(np.asarray(stored, np.int16)), width, height).astype(np.float32)
    length = np.sqrt(np.einsum("hwc,hwc->hw", mean, mean))
    # Where opposite normals cancel, or the nearest pixel has none, there is nothing to make unit.
    usable = (length > 0.1) & nearest.any(axis=2)
    unit = np.divide(mean, length[..., None], out=np.zeros_like(mean), where=usable[..., None])
    averaged = encode_normals(unit)
    averaged[~usable] = nearest[~usable]
    return averaged


def _rect_grasps(value: Array, sx: float, sy: float) -> Array:
    """Scale centre and open point; the height scales as lengths across the opening direction do."""
    grasps = np.array(value, np.float64)
    across = np.stack([-(grasps[:, 3] - grasps[:, 1]), grasps[:, 2] - grasps[:, 0]], axis=1)
    length = np.linalg.norm(across, axis=1)
    unit = np.divide(across, length[:, None], out=np.zeros_like(across), where=length[:, None] > 0)
    grasps[:, 4] *= np.hypot(unit[:, 0] * sx, unit[:, 1] * sy)
    grasps[:, :4] = (grasps[:, :4] + 0.5) * np.array([sx, sy, sx, sy]) - 0.5
    return grasps.astype(value.dtype)
