"""Contact sheets: real scans beside what sensors make of the same views; silhouettes and flat walls enlarged.

python -m benchmarks.draw_same_room --recording NAME --out DIR [--sensor PRESET_OR_FILE ...] [--frames 3] [--half 2]

DIR/NAME-views.png has a row for each view and a column for each of: clean (the fused truth), the sensors, the real
scan; depth in false colour with a common scale, black is no measurement. DIR/NAME-surfaces.png has the same surfaces
under a lamp. DIR/NAME-zooms.png enlarges parts of native resolution, depth and surface: where the truth has most edges,
and where it is flattest. What looks fake in these an expert sees first. Real scans are other people's: the pictures
stay outside the project.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.recordings import RECORDINGS, View, fused, half_of, measured_by, sensor_for, view_of
from depthforge.corpus.picture import coloured_depth, titled
from depthforge.frame import Camera, DepthImage
from depthforge.geometry import normals_from_depth

_ZOOM: Final = 4
_PART: Final = (96, 128)
_GAP: Final = 4
_LAMP: Final = np.array([0.5, -0.5, -0.707], np.float32)

Picture = npt.NDArray[np.uint8]


class Column(NamedTuple):
    """One column of a sheet: depth images (H, W) metres in the order of the views, 0 is no measurement."""

    title: str
    depths_m: list[DepthImage]


def columns_of(views: list[View], recording: str, sensors: list[str]) -> list[Column]:
    """Return the clean, the simulated and the real depth of every view."""
    clean = [view.clean.depth_m * view.clean.valid for view in views]
    found = [Column("clean: the truth that is fused", clean)]
    for name in sensors:
        sensor = sensor_for(name, RECORDINGS[recording])
        found.append(Column(Path(name).stem, [measured_by(sensor, view.clean).depth_m for view in views]))
    # What has no truth no simulation could have measured.
    real = [np.where(view.clean.valid, view.real_m, np.float32(0)) for view in views]
    return [*found, Column("real", real)]


def surface(depth_m: DepthImage, camera: Camera) -> Picture:
    """Return the surface under a lamp beside the camera, (H, W, 3): noise that depth hides is plain to see."""
    normals = normals_from_depth(depth_m, depth_m > 0, camera, max_jump=0.1)
    light = np.clip(normals @ _LAMP, 0, 1)
    return np.repeat((light * 255).astype(np.uint8)[..., None], 3, axis=2)


def between(depth_m: DepthImage, near_m: float, far_m: float) -> Picture:
    """Return depth in false colour from ``near_m`` to ``far_m``."""
    shown = np.where(depth_m > 0, np.clip(depth_m - near_m, 1e-6, far_m - near_m), np.float32(0))
    return coloured_depth(shown.astype(np.float32), max(far_m - near_m, 1e-3))


def parts_of(view: View) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the top left corners (row, column) of two parts: with most edges of the truth, and the flattest."""
    clean_m = view.clean.depth_m
    inverse = np.divide(1.0, clean_m, out=np.zeros_like(clean_m), where=view.clean.valid)
    curvature = np.abs(cv2.Laplacian(inverse, cv2.CV_32F, ksize=3))
    edges = ((curvature > 0.05) & view.clean.valid).astype(np.float32)
    missing = (~view.clean.valid | (view.real_m == 0)).astype(np.float32)
    # Where the real camera measures something: an empty part shows nothing.
    busy = _mean(edges) - 2.0 * np.maximum(_mean(missing) - 0.3, 0)
    flat = -_mean(edges) - 2.0 * _mean(missing)
    corners = [np.unravel_index(int(score.argmax()), score.shape) for score in (busy, flat)]
    return (int(corners[0][0]), int(corners[0][1])), (int(corners[1][0]), int(corners[1][1]))


def _mean(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the mean over the part whose top left corner is each pixel, for parts inside the image."""
    height, width = _PART
    sums = cv2.integral(image)
    total = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    return (total / (height * width)).astype(np.float32)


def sheet(rows: list[list[Picture]], titles: list[str], width: int) -> Picture:
    """Return rows of pictures, each ``width`` wide, under the titles of their columns."""

    def shrunk(picture: Picture) -> Picture:
        height = round(picture.shape[0] * width / picture.shape[1])
        way = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_NEAREST
        return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)

    def line(cells: list[Picture]) -> Picture:
        gap = np.full((cells[0].shape[0], _GAP, 3), 40, np.uint8)
        return np.hstack([part for cell in cells for part in (cell, gap)])

    first = [titled(shrunk(cell), title) for cell, title in zip(rows[0], titles, strict=True)]
    lines = [line(first), *(line([shrunk(cell) for cell in row]) for row in rows[1:])]
    return np.vstack(lines)


def main() -> None:
    """Write the three sheets of a recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--recording", choices=RECORDINGS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sensor", action="append", default=[], metavar="PRESET_OR_FILE")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--half", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--width", type=int, default=480, help="of a view on the sheet, pixels")
    parser.add_argument("--prepared", type=Path, help="where fused meshes are kept for the next run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        source, refs = fused(options.recording, options.prepared or Path(folder))
        refs = half_of(refs, options.half)
        chosen = [refs[(2 * number + 1) * len(refs) // (2 * options.frames)] for number in range(options.frames)]
        views = [view_of(source, ref) for ref in chosen]
    columns = columns_of(views, options.recording, options.sensor or list(RECORDINGS[options.recording].presets))
    titles = [column.title for column in columns]
    whole, lit, zoomed = [], [], []
    for index, view in enumerate(views):
        depths_m = [column.depths_m[index] for column in columns]
        near_m, far_m = (float(limit) for limit in np.percentile(depths_m[0][depths_m[0] > 0], (0.5, 99.5)))
        whole.append([between(depth_m, near_m, far_m) for depth_m in depths_m])
        surfaces = [surface(depth_m, view.clean.camera) for depth_m in depths_m]
        lit.append(surfaces)
        for row, column in parts_of(view):
            part = np.s_[row : row + _PART[0], column : column + _PART[1]]
            truth_m = depths_m[0][part]
            near_m, far_m = (float(limit) for limit in np.percentile(truth_m[truth_m > 0], (1, 99)))
            margin_m = 0.01 * near_m
            zoomed.append([between(depth_m[part], near_m - margin_m, far_m + margin_m) for depth_m in depths_m])
            zoomed.append([image[part] for image in surfaces])
    options.out.mkdir(parents=True, exist_ok=True)
    for name, rows, width in (
        ("views", whole, options.width),
        ("surfaces", lit, options.width),
        ("zooms", zoomed, _ZOOM * _PART[1]),
    ):
        path = options.out / f"{options.recording}-{name}.png"
        if not cv2.imwrite(str(path), sheet(rows, titles, width)):
            raise OSError(f"cannot write {path}")
        print(path)


if __name__ == "__main__":
    main()
