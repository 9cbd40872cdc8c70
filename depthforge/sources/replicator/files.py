"""The files of BasicWriter: depth as .npy, the camera as JSON, segmentations as PNG with a JSON for each frame.

``cameraViewTransform`` is world to camera for row vectors, whatever the annotator's description says: its translation
is the last row. ``cameraProjection`` gives the focal lengths; the vertical aperture does not, pixels are square. The
colours of a segmentation mean something within their frame alone: they are joined on the names in its JSON.
Source: omni.replicator.core, annotators_default and BasicWriter; IsaacSim issue 199.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera, DepthImage
from depthforge.kernels import njit
from depthforge.sources.conventions import centre_of_corner, to_house_pose
from depthforge.sources.images import decode_ids, decode_rgb
from depthforge.sources.npy import read_npy_header

__all__ = ["CameraParams", "Segments", "decode_npy_depth", "parse_camera_params", "parse_json", "segments_of"]

_COLOUR: Final = re.compile(r"\(\s*(\d+),\s*(\d+),\s*(\d+)(?:,\s*(\d+))?\s*\)")
_PNG_GREY: Final = 0
_LARGEST: Final = 16384


class CameraParams(NamedTuple):
    """A frame's camera, the stored view transform (4, 4) for row vectors, and the metres of a unit of the stage."""

    camera: Camera
    view: npt.NDArray[np.float64]
    metres_per_unit: float | None

    def pose(self, metres_per_unit: float, *, where: str) -> npt.NDArray[np.float64] | None:
        """Return T_world_cam (4, 4) in metres; raise DecodeError where the view is no rigid motion."""
        T_cam_world = self.view.T.copy()
        T_cam_world[:3, 3] *= metres_per_unit
        return to_house_pose(T_cam_world, "world_to_camera", "opengl", where=f"{where}, cameraViewTransform")


class Segments(NamedTuple):
    """A segmentation: ``places`` (H, W) in ``values``, what the JSON of the frame says of each colour or id."""

    places: npt.NDArray[np.int32]
    values: list[Any]


def decode_npy_depth(data: bytes, *, where: str) -> DepthImage:
    """Return metres (H, W) float32, 0 for what is infinite, no number or not above 0; raise DecodeError.

    The size that the header states is held against the bytes before anything is allocated.
    """
    stream = io.BytesIO(data)
    try:
        shape, is_fortran, dtype = read_npy_header(stream)
    except Exception as error:
        # NumPy parses the header as Python: what it raises for arbitrary bytes is not listed anywhere.
        raise DecodeError("not a .npy file", where=where, found=f"{type(error).__name__}: {error}") from None
    image = shape[:2] if len(shape) == 3 and shape[2] == 1 else shape
    num_bytes = len(data) - stream.tell()
    fits = len(image) == 2 and all(1 <= length <= _LARGEST for length in image) and dtype.kind == "f"
    if not fits or math.prod(shape) * dtype.itemsize != num_bytes:
        raise DecodeError(
            "the .npy file is no depth image, or is truncated",
            where=where,
            expected="(H, W) floating point, and as many bytes",
            found=f"{shape} {dtype}, {num_bytes} bytes",
        )
    stored = np.frombuffer(data, dtype, offset=stream.tell()).reshape(image, order="F" if is_fortran else "C")
    with np.errstate(invalid="ignore", over="ignore"):
        depth_m = stored.astype(np.float32)
        depth_m[~((depth_m > 0) & (depth_m < np.inf))] = 0
    return np.ascontiguousarray(depth_m)


def parse_json(data: bytes, *, where: str) -> dict[str, Any]:
    """Return a JSON object; raise DecodeError for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DecodeError("not a JSON file", where=where, found=error) from None
    if not isinstance(value, dict):
        raise DecodeError("not a JSON object", where=where, found=type(value).__name__)
    return value


def parse_camera_params(data: bytes, *, where: str) -> CameraParams:
    """Return what ``camera_params_####.json`` says; raise DecodeError where it is no pinhole camera."""
    params = parse_json(data, where=where)
    model = params.get("cameraModel", "pinhole")
    if model != "pinhole":
        raise DecodeError(
            "the camera is no pinhole", where=where, expected="cameraModel pinhole", found=str(model)[:80]
        )
    projection = _numbers(params, "cameraProjection", 16, where)
    view = _numbers(params, "cameraViewTransform", 16, where).reshape(4, 4)
    width, height = _numbers(params, "renderProductResolution", 2, where).tolist()
    offset = _numbers({"cameraApertureOffset": (0.0, 0.0), **params}, "cameraApertureOffset", 2, where)
    if offset.any() or projection[8] or projection[9]:
        raise DecodeError(
            "the principal point is off the middle of the image, which is not read",
            where=where,
            expected="cameraApertureOffset 0, 0",
            found=offset.tolist(),
            remedy="render with horizontalApertureOffset and verticalApertureOffset 0, or state `camera:`",
        )
    fx, fy = projection[0] * width / 2, projection[5] * height / 2
    is_size = all(length == int(length) and 0 < length <= _LARGEST for length in (width, height))
    if not (is_size and fx > 0 and fy > 0):
        found = f"{projection[0]:g}, {projection[5]:g} for {width:g} x {height:g}"
        raise DecodeError("the projection is that of no camera", where=where, expected="P[0], P[5] > 0", found=found)
    unit = params.get("metersPerSceneUnit")
    if unit is not None and not (isinstance(unit, (int, float)) and 0 < unit < math.inf):
        raise DecodeError("the unit of the stage is no length", where=where, expected="metres, > 0", found=unit)
    camera = Camera(fx, fy, centre_of_corner(width / 2), centre_of_corner(height / 2), int(width), int(height))
    return CameraParams(camera, view, None if unit is None else float(unit))


def segments_of(png: bytes, names: Mapping[str, Any], *, where: str) -> Segments:
    """Join a segmentation with the JSON of its frame; raise DecodeError for a colour or id that is not in it.

    Keys are colours ``(r, g, b, a)`` or whole numbers. Alpha, which tells the background from the unlabelled alone, is
    not looked at. Numbers lie in a grey image, or in the bytes of a coloured one, the lowest first.
    """
    keys: dict[int, Any] = {}
    for text, value in names.items():
        key = _key(text, where)
        if key in keys and keys[key] != value and key != 0:
            raise DecodeError("two names for one colour", where=where, found=f"{keys[key]} and {value}")
        keys.setdefault(key, value)
    is_grey = png[25:26] == bytes([_PNG_GREY])
    image = decode_ids(png, where=where)[..., None] if is_grey else decode_rgb(png, where=where)
    order = np.array(sorted(keys), np.int64)
    places = _places(image, order)
    unknown = image[places < 0]
    if unknown.size:
        examples = np.unique(unknown, axis=0)[:4].tolist()
        raise DecodeError(
            "a segmentation with colours that its JSON does not name",
            where=where,
            expected=f"the {len(order)} of the JSON file of that frame",
            found=", ".join(str(tuple(example)) for example in examples),
            remedy="was the image scaled, or saved again as another kind of PNG?",
        )
    return Segments(places, [keys[key] for key in order.tolist()])


@njit()
def _places(image, order):  # type: ignore[no-untyped-def]
    """Return where the number in the channels of each pixel, the lowest first, is in ``order`` (sorted); -1: nowhere.

    Neighbours are mostly of one segment, so that a search is rare.
    """
    height, width, channels = image.shape
    places = np.empty((height, width), np.int32)
    last_key, last_place = np.int64(-1), np.int64(-1)
    for v in range(height):
        for u in range(width):
            key = np.int64(0)
            for channel in range(channels):
                key |= np.int64(image[v, u, channel]) << (8 * channel)
            if key != last_key:
                at = np.searchsorted(order, key)
                last_key = key
                last_place = np.int64(at) if at < len(order) and order[at] == key else np.int64(-1)
            places[v, u] = last_place
    return places


def _key(text: str, where: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 1 << 32:
        return int(text)
    match = _COLOUR.fullmatch(text.strip()) if len(text) < 80 else None
    channels = [int(channel) for channel in match.groups() if channel] if match else [256]
    if max(channels) > 255:
        raise DecodeError(
            "a segment that is no colour and no id", where=where, expected="(r, g, b, a) or an id", found=text[:80]
        )
    return channels[0] | channels[1] << 8 | channels[2] << 16


def _numbers(params: Mapping[str, Any], name: str, count: int, where: str) -> npt.NDArray[np.float64]:
    try:
        values = np.asarray(params.get(name, ()), np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.zeros(0)
    if values.size != count or not np.isfinite(values).all():
        found = str(params.get(name, "nothing"))[:120]
        raise DecodeError(f"no {name}", where=where, expected=f"{count} finite numbers", found=found)
    return values.reshape(count)
