"""Colour, normals and boxes as a manifest describes them, to the house's labels.

Normals come as colours (0 to 1, or 0 to the largest integer, for -1 to 1) or as the numbers themselves; the house
stores unit vectors in OpenCV camera axes, (0, 0, 0) where there is none. 640x480 takes 12 ms beside decoding.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, FrameError
from depthforge.frame import Camera
from depthforge.geometry import encode_normals
from depthforge.labels.catalogue import BOX_2D, BOX_CLASS, BOX_INSTANCE
from depthforge.sources.containers import Form, read_container
from depthforge.sources.exr import read_exr
from depthforge.sources.images import decode_as_stored
from depthforge.sources.numbers_file import read_rows
from depthforge.sources.rgbd_blocks import BoxesBlock, NormalsBlock

__all__ = ["box_labels", "read_boxes", "read_normals", "same_view"]

_EXR = b"v/1\x01"
_LENGTHS = (0.5, 1.5)  # of a vector that means a normal: 8 bits and antialiasing shorten it


def same_view(rgb: npt.NDArray[np.uint8], camera: Camera, *, where: str) -> npt.NDArray[np.uint8]:
    """Return colour (H, W, 3) in the pixels of ``camera``, averaged where it has more of the same view.

    Raises FrameError for colour of other proportions, or of fewer pixels: that shows another view.
    """
    height, width = rgb.shape[:2]
    if height * camera.width != width * camera.height or height < camera.height:
        raise FrameError(
            "the colour image is not the view of the depth image",
            where=where,
            expected=f"{camera.width} x {camera.height} pixels, or larger in the same proportion",
            found=f"{width} x {height}",
            remedy="register colour to depth first, or leave `rgb` out",
        )
    smaller = cv2.resize(rgb, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def read_normals(
    data: bytes, block: NormalsBlock, T_world_cam: npt.NDArray[np.float64] | None, *, where: str
) -> npt.NDArray[np.int16]:
    """Return encoded unit normals (H, W, 3) int16 in OpenCV camera axes; (0, 0, 0) where a vector is no unit.

    Raises DecodeError when the file does not hold three numbers a pixel, and when normals in world axes have no pose.
    """
    stored = _three_channels(data, block, where)
    values = stored.astype(np.float32)
    if block.encoding == "unsigned":
        largest = np.float32((1 << 8 * stored.dtype.itemsize) - 1 if stored.dtype.kind == "u" else 1.0)
        missing = ~stored.any(axis=2)
        values = values * np.float32(2.0 / largest) - np.float32(1.0)
        values[missing] = 0.0
    if block.space == "world":
        if T_world_cam is None:
            raise DecodeError("normals in world axes of a frame without a pose", where=where)
        values = values @ T_world_cam[:3, :3].astype(np.float32)
    elif block.axes == "opengl":
        values = values * np.array([1, -1, -1], np.float32)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length = np.linalg.norm(values, axis=2, keepdims=True)
        usable = (length > _LENGTHS[0]) & (length < _LENGTHS[1])
        unit = np.where(usable, values / length, np.float32(0))
    return encode_normals(unit)


def box_labels(block: BoxesBlock) -> tuple[str, ...]:
    """Return the names of the labels that boxes give: always ``box_2d``; class and instance where they are columns."""
    named = ((BOX_CLASS.name, "class"), (BOX_INSTANCE.name, "instance"))
    return (BOX_2D.name, *(label for label, column in named if column in block.columns))


def read_boxes(data: bytes, block: BoxesBlock, camera: Camera, *, where: str) -> dict[str, npt.NDArray[np.generic]]:
    """Return the boxes of a frame: ``box_2d`` (N, 4) float32 pixels, ``box_class`` and ``box_instance`` (N,) if given.

    Raises DecodeError for a row of another length, and for a class that is no whole number.
    """
    rows = [row for row in read_rows(data, block.key, where=where, what="a list of boxes") if row.size]
    for index, row in enumerate(rows):
        if row.shape != (len(block.columns),):
            raise DecodeError(
                "a box with other numbers than `columns` says",
                where=f"{where}, box {index}",
                expected=" ".join(block.columns),
                found=f"{row.size} numbers",
            )
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(block.columns))
    column: dict[str, npt.NDArray[np.float64]] = {name: table[:, index] for index, name in enumerate(block.columns)}
    width, height = (camera.width, camera.height) if block.normalised else (1, 1)
    left, right = _edges(column, "left", "right", "width", "x", width)
    top, bottom = _edges(column, "top", "bottom", "height", "y", height)
    found: dict[str, npt.NDArray[np.generic]] = {
        BOX_2D.name: np.stack([left, top, right, bottom], axis=1).astype(np.float32)
    }
    for spec, name in ((BOX_CLASS, "class"), (BOX_INSTANCE, "instance")):
        if name in column:
            numbers, largest = column[name], np.iinfo(spec.dtype).max
            if not (np.isfinite(numbers) & (numbers == np.rint(numbers)) & (numbers >= 0) & (numbers <= largest)).all():
                raise DecodeError(
                    f"the {name} of a box is no number of 0 to {largest}", where=where, found=numbers[:4].tolist()
                )
            found[spec.name] = numbers.astype(spec.dtype)
    return found


def _edges(
    column: dict[str, npt.NDArray[np.float64]], near: str, far: str, size: str, centre: str, scale: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if near in column:
        first = column[near]
        return first * scale, (column[far] if far in column else first + column[size]) * scale
    half = column[size] / 2
    return (column[centre] - half) * scale, (column[centre] + half) * scale


def _three_channels(data: bytes, block: NormalsBlock, where: str) -> npt.NDArray[np.generic]:
    if data.startswith(_EXR):
        if block.channels is None:
            raise DecodeError(
                "normals in EXR need the names of their channels",
                where=where,
                expected="normals.channels",
                remedy="channels: [Normal.X, Normal.Y, Normal.Z]",
            )
        return np.stack([read_exr(data, name, where=where) for name in block.channels], axis=2)
    stored = read_container(data, Form(key=block.key), where=where)
    if stored is None:
        image = decode_as_stored(data, where=where)
        if image.ndim == 3 and image.shape[2] in (3, 4):
            order = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB
            stored = np.asarray(cv2.cvtColor(image, order))
        else:
            stored = image
    if stored.ndim != 3 or stored.shape[2] != 3 or stored.dtype.kind not in "iuf" or not stored.size:
        raise DecodeError(
            "normals have three numbers a pixel",
            where=where,
            expected="(H, W, 3)",
            found=f"{stored.shape} {stored.dtype}",
        )
    return stored
