"""transforms.json: intrinsics and camera-to-world matrices of named images, as nerfstudio and instant-ngp write it.

nerfstudio's own are in OpenGL axes and count pixels from the corner; other writers keep the file and change the axes,
so what matrices and intrinsics mean is the caller's to say: the ``nerfstudio`` source, or a manifest of
``rgbd_folder``. What a frame states wins over what stands at the top. Source: nerfstudio-project/nerfstudio,
`docs/quickstart/data_conventions.md`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.intrinsics import Intrinsics, intrinsics_of_names

__all__ = ["NamedImage", "StatedFrame", "StatedTransforms", "named_images", "read_transforms", "stated_number"]

Matrix = npt.NDArray[np.float64]


class StatedFrame(NamedTuple):
    """A frame as it stands in the file: paths as written, its matrix (4, 4), and all that is stated of it."""

    file_path: str
    depth_file_path: Any
    mask_path: Any
    matrix: Matrix
    stated: Mapping[str, Any]
    where: str


class StatedTransforms(NamedTuple):
    """The frames of a file, and what the world was turned (4, 4) and then scaled by."""

    frames: Sequence[StatedFrame]
    applied_transform: Matrix
    applied_scale: float


class NamedImage(NamedTuple):
    """An image of transforms.json: its matrix (4, 4) as stored, and its intrinsics where the file has any."""

    matrix: Matrix
    intrinsics: Intrinsics | None


def read_transforms(data: bytes, *, where: str) -> StatedTransforms:
    """Return what a transforms.json says; raise DecodeError, naming the frame, for what it cannot say."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DecodeError("not a JSON file", where=where, found=error) from None
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DecodeError(
            "not a transforms.json", where=where, expected='{"frames": [...], ...}, not empty', found=str(whole)[:80]
        )
    stated = {name: value for name, value in whole.items() if name != "frames"}
    found = [_frame(frame, stated, f"{where}, frame {index}") for index, frame in enumerate(frames)]
    transform = whole.get("applied_transform")
    applied = np.eye(4) if transform is None else _matrix(transform, where, "applied_transform")
    scale = stated_number(whole, "applied_scale", where)
    if abs(np.linalg.det(applied)) < 1e-9 or (scale is not None and scale <= 0):
        raise DecodeError("what was applied to the world cannot be undone", where=where, found=f"{transform}, {scale}")
    return StatedTransforms(found, applied, 1.0 if scale is None else scale)


def named_images(data: bytes, *, where: str) -> dict[str, NamedImage]:
    """Return every image of a transforms.json by its name, as its paths are written; raise DecodeError.

    An image with a depth file is there under that name, too. ``applied_scale`` is undone, so that poses are in the
    units they were captured in.
    """
    transforms = read_transforms(data, where=where)
    found: dict[str, NamedImage] = {}
    for frame in transforms.frames:
        matrix = frame.matrix.copy()
        matrix[:3, 3] /= transforms.applied_scale
        image = NamedImage(matrix, _intrinsics(frame))
        for name in (frame.file_path, frame.depth_file_path):
            if isinstance(name, str):
                found[name.removeprefix("./")] = image
    return found


def stated_number(stated: Mapping[str, Any], name: str, where: str) -> float | None:
    """Return a finite number that is stated, None where it is not; raise DecodeError for anything else."""
    value = stated.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DecodeError(f"{name} is no number", where=where, found=value)
    return float(value)


def _frame(frame: Any, stated: Mapping[str, Any], where: str) -> StatedFrame:
    if not isinstance(frame, dict):
        raise DecodeError("not a frame", where=where, expected="{file_path, transform_matrix}", found=str(frame)[:80])
    path = frame.get("file_path")
    if not isinstance(path, str):
        raise DecodeError("a frame without an image", where=where, expected="file_path", found=str(frame)[:80])
    matrix = _matrix(frame.get("transform_matrix"), where, "transform_matrix")
    merged = {**stated, **frame}
    return StatedFrame(path, frame.get("depth_file_path"), frame.get("mask_path"), matrix, merged, where)


def _matrix(value: object, where: str, name: str) -> Matrix:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.empty(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0.0, 0.0, 0.0, 1.0]])
    if matrix.shape != (4, 4):
        raise DecodeError(f"{name} is no matrix", where=where, expected="4 x 4 numbers", found=str(value)[:120])
    return matrix


def _intrinsics(frame: StatedFrame) -> Intrinsics | None:
    if not {"fl_x", "camera_angle_x", "fx", "K"} & frame.stated.keys():
        return None
    return intrinsics_of_names(frame.stated, where=frame.where)
