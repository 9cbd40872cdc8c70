"""transforms.json: intrinsics and camera-to-world matrices of named images, as nerfstudio and instant-ngp write it.

nerfstudio's own are in OpenGL axes and count pixels from the corner; other writers keep the file and change the axes,
so what the matrices mean is the caller's to say. ``applied_scale`` is undone, so that poses are in the units they were
captured in. Source: nerfstudio-project/nerfstudio, `docs/quickstart/data_conventions.md`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.intrinsics import Intrinsics, intrinsics_of_names
from depthforge.sources.numbers_file import parse_json

__all__ = ["NamedImage", "parse_transforms"]


class NamedImage(NamedTuple):
    """An image of transforms.json: its matrix (4, 4) as stored, and its intrinsics where the file has any."""

    matrix: npt.NDArray[np.float64]
    intrinsics: Intrinsics | None


def parse_transforms(data: bytes, *, where: str) -> dict[str, NamedImage]:
    """Return every image of a transforms.json by its name, as its paths are written; raise DecodeError.

    An image with a depth file is there under that name, too.
    """
    whole = parse_json(data, None, where=where)
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list) or not frames:
        raise DecodeError("not a transforms.json", where=where, expected="a list `frames`", found=str(whole)[:80])
    scale = whole.get("applied_scale", 1.0)
    if not isinstance(scale, int | float) or not scale > 0:
        raise DecodeError("not a scale", where=where, expected="applied_scale above 0", found=scale)
    found: dict[str, NamedImage] = {}
    for index, frame in enumerate(frames):
        place = f"{where}, frames[{index}]"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise DecodeError("a frame without file_path", where=place, found=str(frame)[:80])
        image = NamedImage(
            _matrix(frame.get("transform_matrix"), float(scale), place), _intrinsics(whole, frame, place)
        )
        for name in ("file_path", "depth_file_path"):
            if isinstance(frame.get(name), str):
                found[frame[name].removeprefix("./")] = image
    return found


def _matrix(value: Any, scale: float, where: str) -> npt.NDArray[np.float64]:
    try:
        stored = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        stored = np.zeros(0)
    if stored.shape not in ((4, 4), (3, 4)):
        raise DecodeError("not a pose", where=where, expected="transform_matrix, 4 x 4 numbers", found=str(value)[:80])
    matrix = np.eye(4)
    matrix[: stored.shape[0]] = stored
    matrix[:3, 3] /= scale
    return matrix


def _intrinsics(whole: dict[str, Any], frame: dict[str, Any], where: str) -> Intrinsics | None:
    named = {**whole, **frame}
    if not {"fl_x", "camera_angle_x", "fx", "K"} & named.keys():
        return None
    return intrinsics_of_names(named, where=where)
