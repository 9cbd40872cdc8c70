"""A contact sheet of a corpus: a row per frame, a column per field, one metric colour scale for all.

Depth is coloured from 0 m to a fixed round distance, never to each image's own maximum, so that frames compare; the
difference is noisy minus clean in millimetres, blue nearer and red farther. Black is no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusFrame, CorpusReader
from depthforge.durable import write_atomically
from depthforge.errors import CorpusError
from depthforge.labels.catalogue import DEPTH_RAW, INSTANCE, INTRINSICS, NORMALS, RGB, SEMANTIC_NYU40
from depthforge.storage import Place

__all__ = [
    "blue_to_red",
    "coloured_depth",
    "field_picture",
    "picture",
    "round_up",
    "sheet",
    "sheet_png",
    "spread_mm",
    "titled",
]

Picture = npt.NDArray[np.uint8]

_CELL_WIDTH: Final = 240
_TITLE_HEIGHT: Final = 22
_LEGEND_HEIGHT: Final = 44
_ROUND: Final = (1, 1.5, 2, 3, 4, 5, 6, 8)
_WHITE: Final = (255, 255, 255)
_POINTS: Final = "points from aside"


def picture(root: Place, path: Path, *, count: int = 6, keys: Sequence[str] | None = None) -> None:
    """Write a contact sheet as PNG: frames of ``keys``, or ``count`` frames evenly spaced through the corpus.

    What the translator produced besides depth is shown where it is colour. Raises CorpusError when nothing is
    committed, MissingDataError for an unknown key, StorageError when ``path`` cannot be written.
    """
    reader = CorpusReader(root, allow_unfinished=True)
    if not len(reader):
        raise CorpusError("the corpus holds no frame yet", where=reader.storage.address)
    chosen: Sequence[str | int] = keys or [int(i) for i in np.unique(np.linspace(0, len(reader) - 1, count).round())]
    stored = {spec.name for spec in reader.schema.fields}
    labels = [spec.name for spec in (DEPTH_RAW, RGB, NORMALS, SEMANTIC_NYU40, INSTANCE) if spec.name in stored]
    labels += [spec.name for spec in reader.schema.produced if (spec.dtype, spec.trailing) == (RGB.dtype, RGB.trailing)]
    read = [reader.read(frame, [*labels, INTRINSICS.name]) for frame in chosen]
    sheet(read, path, labels=labels)


def sheet(
    frames: Sequence[CorpusFrame], path: Path, *, labels: Sequence[str] = (), beside: Sequence[CorpusFrame] = ()
) -> None:
    """Write frames of one size as a contact sheet; StorageError as of ``picture``, the rest as ``sheet_png``."""
    write_atomically(path, sheet_png(frames, labels=labels, beside=beside))


def sheet_png(
    frames: Sequence[CorpusFrame], *, labels: Sequence[str] = (), beside: Sequence[CorpusFrame] = ()
) -> bytes:
    """Return a PNG of frames of one size, all with noisy depth or none, a column for each of ``labels``.

    ``labels`` may name images that a translator produced. ``beside`` are frames to compare with, a real scan in each
    row: only their noisy depth is shown.
    """
    far_m = round_up(max(float(f.clean_depth_m.max()) for f in frames) or 1.0)
    off_mm = round_up(max(1.0, float(np.median([spread_mm(f) for f in frames]))))
    noisy = ["noisy", "noisy - clean"] if frames[0].noisy is not None else []
    points = [_POINTS] if INTRINSICS.name in frames[0].labels else []
    columns = ["clean", *noisy, *points, *labels]
    size = (_CELL_WIDTH, round(_CELL_WIDTH * frames[0].clean_depth_m.shape[0] / frames[0].clean_depth_m.shape[1]))
    titles = [*columns, "real"] if beside else columns
    rows = [np.hstack([titled(np.zeros((0, _CELL_WIDTH, 3), np.uint8), name) for name in titles])]
    for index, frame in enumerate(frames):
        cells = [field_picture(name, frame, far_m, off_mm) for name in columns]
        if beside:
            cells.append(field_picture("noisy", beside[index % len(beside)], far_m, off_mm))
        resized = [cv2.resize(cell, size, interpolation=cv2.INTER_NEAREST) for cell in cells]
        rows.append(titled(np.hstack(resized), frame.key))
    rows.append(_legend(far_m, off_mm, rows[0].shape[1]))
    _, png = cv2.imencode(".png", np.vstack(rows))
    return png.tobytes()


def field_picture(name: str, frame: CorpusFrame, far_m: float, spread_mm: float) -> Picture:
    """Return one column of the sheet, or one picture of a report: (H, W, 3) BGR.

    ``name`` is "clean", "noisy", "noisy - clean", or a field of the frame; black where it has none. Depth goes from 0
    to ``far_m`` metres, the difference from minus to plus ``spread_mm`` millimetres.
    """
    if name == "clean":
        return coloured_depth(frame.clean_depth_m, far_m)
    if name == "noisy":
        return coloured_depth(frame.noisy_depth_m, far_m)
    if name == "noisy - clean":
        both = frame.clean_valid & frame.noisy_valid
        difference_mm = (frame.noisy_depth_m - frame.clean_depth_m) * 1000
        return np.where(both[..., None], blue_to_red(difference_mm / spread_mm), np.uint8(0))
    if name == _POINTS:
        return _seen_from_aside(frame, far_m)
    if name in frame.images:
        return np.ascontiguousarray(frame.images[name][..., ::-1])
    label = frame.labels.get(name)
    if label is None:
        return np.zeros((*frame.clean_depth_m.shape, 3), np.uint8)
    if name == DEPTH_RAW.name:
        return coloured_depth(np.nan_to_num(label).astype(np.float32), far_m)
    if label.dtype == np.uint8 and label.shape[2:] == (3,):
        return np.ascontiguousarray(label[..., ::-1])
    if name == NORMALS.name:
        unit = label.astype(np.float32) / 32767
        return np.where(label.any(-1, keepdims=True), (unit[..., ::-1] + 1) * 127.5, 0).astype(np.uint8)
    return _coloured_ids(label)


def _seen_from_aside(frame: CorpusFrame, far_m: float) -> Picture:
    """Draw the points of noisy depth (clean where there is none) as seen from 35 degrees to the right of the camera.

    They turn about a point at their median depth, and nearer ones hide those behind: what a picture of depth does not
    show, such as points that float between surfaces, shows here.
    """
    depth_m = frame.clean_depth_m if frame.noisy is None else frame.noisy_depth_m
    height, width = depth_m.shape
    canvas = np.zeros((height, width, 3), np.uint8)
    v, u = np.nonzero(depth_m > 0)
    if v.size == 0:
        return canvas
    K, z = frame.labels[INTRINSICS.name], depth_m[v, u]
    x, y = (u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z
    middle, angle = float(np.median(z)), np.radians(35)
    across = np.cos(angle) * x + np.sin(angle) * (z - middle)
    along = middle - np.sin(angle) * x + np.cos(angle) * (z - middle)
    in_front = along > 0.1 * middle
    # Twice as far away as the camera, so that what the turn moves aside stays in the picture.
    scale = np.divide(1, along + middle, out=np.zeros_like(along), where=in_front)
    column = np.rint(across * scale * 1.6 * K[0, 0] + width / 2).astype(int)
    row = np.rint(y * scale * 1.6 * K[1, 1] + height / 2).astype(int)
    shown = in_front & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    order = np.flatnonzero(shown)[np.argsort(-along[shown], kind="stable")]
    colours = coloured_depth(depth_m, far_m)[v[order], u[order]]
    canvas[row[order], column[order]] = colours
    return canvas


def coloured_depth(depth_m: npt.NDArray[np.float32], far_m: float) -> Picture:
    """Colour depth (H, W) metres from blue at 0 to red at ``far_m``: (H, W, 3) BGR; black where it is 0."""
    steps = np.clip(depth_m * (255 / far_m), 0, 255).astype(np.uint8)
    return np.where((depth_m > 0)[..., None], cv2.applyColorMap(steps, cv2.COLORMAP_TURBO), np.uint8(0))


def blue_to_red(signed: npt.NDArray[np.floating[Any]]) -> Picture:
    """Colour -1 blue, 0 white, +1 red (BGR)."""
    red = np.clip(1 + signed, 0, 1)
    blue = np.clip(1 - signed, 0, 1)
    return (np.stack([blue, np.minimum(red, blue), red], axis=-1) * 255).astype(np.uint8)


def _coloured_ids(ids: npt.NDArray[Any]) -> Picture:
    """Give each id a colour of its own, the same in every frame; 0 is black."""
    mixed = ids.astype(np.uint32) * np.uint32(2654435761)
    hsv = np.stack([(mixed >> 8) % 180, 120 + (mixed >> 16) % 136, 160 + (mixed >> 24) % 96], axis=-1)
    colours = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR)
    return np.where((ids != 0)[..., None], colours, np.uint8(0))


def titled(cell: Picture, text: str) -> Picture:
    """Return a picture with a line of text above it."""
    bar = np.full((_TITLE_HEIGHT, cell.shape[1], 3), 40, np.uint8)
    _write(bar, text, 6, _TITLE_HEIGHT - 7)
    return np.vstack([bar, cell])


def _legend(far_m: float, spread_mm: float, width: int) -> Picture:
    bar = np.full((_LEGEND_HEIGHT, width, 3), 40, np.uint8)
    ramp = np.linspace(0, 1, _CELL_WIDTH, dtype=np.float32)[None]
    scales = [
        (
            "depth",
            coloured_depth(np.maximum(ramp * np.float32(far_m), np.float32(1e-6)), far_m),
            ("0 m", f"{far_m:g} m"),
        ),
        ("noisy - clean", blue_to_red(ramp * 2 - 1), (f"-{spread_mm:g} mm", f"+{spread_mm:g} mm")),
    ]
    x = 6
    for title, colours, (low, high) in scales:
        _write(bar, title, x, 17)
        x += 100
        bar[4:20, x : x + _CELL_WIDTH] = colours
        _write(bar, low, x, 36)
        _write(bar, high, x + _CELL_WIDTH - 60, 36)
        x += _CELL_WIDTH + 24
    return bar


def _write(image: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)


def spread_mm(frame: CorpusFrame) -> float:
    """Return the 95th percentile of |noisy - clean| of a frame in millimetres, 0 without any: for a colour scale."""
    if frame.noisy is None:
        return 0.0
    both = frame.clean_valid & frame.noisy_valid
    difference = np.abs(frame.noisy_depth_m[both] - frame.clean_depth_m[both])
    return float(np.percentile(difference, 95)) * 1000 if difference.size else 0.0


def round_up(value: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15 ... (also below 1): where a colour scale ends."""
    scale = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next((step * scale for step in _ROUND if step * scale >= value), 10 * scale))
