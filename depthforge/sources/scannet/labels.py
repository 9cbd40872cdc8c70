"""ScanNet's label ids as NYU40 classes, and images of the colour camera laid over those of the depth camera.

The two cameras of a scan look from the same place in the same direction (their extrinsics are the identity) and
differ in focal length by up to a few percent: with plain resizing, labels of 2018's scans sit up to 4 pixels beside
their depth at the border. Column u of depth is column (u - cx) fx' / fx + cx' of colour, likewise rows.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDataError, told
from depthforge.frame import Camera

__all__ = ["colour_over_depth", "ids_over_depth", "read_nyu40_table", "to_nyu40"]

LABEL_TABLE = "scannetv2-labels.combined.tsv"
_UNKNOWN = np.uint16(65535)
_LAST_NYU40 = 40


def read_nyu40_table(path: Path) -> npt.NDArray[np.uint16]:
    """Return (65536,) uint16: the NYU40 class of every label id, 65535 where the table has none.

    Raises MissingDataError and DecodeError, naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise MissingDataError(
            "no table from ScanNet's labels to NYU40",
            where=path,
            expected=f"{LABEL_TABLE}, which comes with the data set",
            remedy="fetch it, or set `semantic: raw` in the source, or labels.semantic: off",
        ) from None
    rows = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    if not {"id", "nyu40id"} <= set(rows.fieldnames or ()):
        raise DecodeError(
            "not a table of ScanNet's labels",
            where=path,
            expected="tab-separated columns, id and nyu40id among them",
            found=", ".join(rows.fieldnames or ()) or "an empty file",
        )
    table = np.full(1 << 16, _UNKNOWN)
    table[0] = 0
    for number, row in enumerate(rows, start=2):
        try:
            # Some rows have no class: unlabelled.
            label, nyu40 = int(row["id"]), int(row["nyu40id"] or 0)
            if not (0 < label < 1 << 16 and 0 <= nyu40 <= _LAST_NYU40):
                raise ValueError
        except (ValueError, TypeError):
            raise DecodeError(
                "not a row of ScanNet's labels", where=f"{path}:{number}", found=f"{row['id']}, {row['nyu40id']}"
            ) from None
        table[label] = nyu40
    return table


def to_nyu40(ids: npt.NDArray[np.uint16], table: npt.NDArray[np.uint16], *, where: str) -> npt.NDArray[np.uint16]:
    """Return NYU40 classes (H, W) uint16; raise DecodeError for an id that the table does not have."""
    classes = table.take(ids)
    if (classes == _UNKNOWN).any():
        raise DecodeError(
            "a label id is not in the table",
            where=where,
            expected=f"ids of {LABEL_TABLE}",
            found=told(sorted(set(ids[classes == _UNKNOWN].tolist()))),
            remedy="is this the instance image, or the table of another version?",
        )
    return classes


def ids_over_depth(ids: npt.NDArray[np.uint16], camera: Camera, depth: Camera) -> npt.NDArray[np.uint16]:
    """Return (H, W) of the depth camera: of an id image of ``camera`` the pixel nearest to each of its rays, or 0."""
    columns = np.rint((np.arange(depth.width) - depth.cx) * (camera.fx / depth.fx) + camera.cx).astype(np.intp)
    rows = np.rint((np.arange(depth.height) - depth.cy) * (camera.fy / depth.fy) + camera.cy).astype(np.intp)
    inside = ((rows >= 0) & (rows < camera.height))[:, None] & ((columns >= 0) & (columns < camera.width))[None, :]
    picked = ids[rows.clip(0, camera.height - 1)[:, None], columns.clip(0, camera.width - 1)[None, :]]
    return np.where(inside, picked, np.uint16(0))


def colour_over_depth(rgb: npt.NDArray[np.uint8], camera: Camera, depth: Camera) -> npt.NDArray[np.uint8]:
    """Return colour (H, W, 3) uint8 averaged over each pixel of the depth camera; its border is continued outwards."""
    left, right = _window(depth.cx, depth.fx, depth.width, camera.cx, camera.fx)
    top, bottom = _window(depth.cy, depth.fy, depth.height, camera.cy, camera.fy)
    image: npt.NDArray[Any] = rgb
    pads = (max(0, -top), max(0, bottom - camera.height), max(0, -left), max(0, right - camera.width))
    if any(pads):
        image = np.asarray(cv2.copyMakeBorder(image, *pads, cv2.BORDER_REPLICATE))
    window = image[top + pads[0] : bottom + pads[0], left + pads[2] : right + pads[2]]
    how = cv2.INTER_AREA if window.shape[0] >= depth.height else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(window, (depth.width, depth.height), interpolation=how), np.uint8)


def _window(centre: float, focal: float, count: int, centre_to: float, focal_to: float) -> tuple[int, int]:
    """Return the first pixel of the other camera that the images share, and the one after the last."""
    edges = (np.array([-0.5, count - 0.5]) - centre) * (focal_to / focal) + centre_to + 0.5
    first, last = (round(float(edge)) for edge in edges)
    return first, max(last, first + 1)
