"""Draw docs/gallery: one scene through every sensor preset, beside real scans where there are some.

python docs/gallery.py [--out DIR] [--real PRESET=MANIFEST ...]

The scenes are procedural and the same in every run. A real scan is the middle frame of the source of a manifest; it is
drawn below the preset of its camera, so that the two can be looked at together. (Real scans are other people's: none is
kept in this repository.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.corpus.picture import blue_to_red, coloured_depth, titled
from depthforge.frame import Camera, Frame
from depthforge.geometry import back_project, normals_from_depth
from depthforge.manifest_file import load_manifest
from depthforge.scenes.raycast import cast
from depthforge.scenes.street import build_street
from depthforge.seeding import frame_generator, frame_words
from depthforge.sensors.preset import load_preset, parse_sensor, preset_names
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.stages.prepare import make_source

HERE = Path(__file__).resolve().parent
CELL = (400, 300)
WIDE_CELL = (800, 242)
ZOOM = 4
LIDAR_FAR_M = 80.0
Picture = npt.NDArray[np.uint8]


def room() -> Frame:
    """Return the view of a furnished room that every camera sees."""
    source = Procedural(ProceduralConfig(num_scenes=4, frames_per_scene=8, focal_px=525.0))
    ref = list(source.frames())[10]
    return source.read(ref, frozenset({"rgb"}))


def street() -> Frame:
    """Return the view along a street with traffic, of the size and camera of Virtual KITTI."""
    road = build_street(frame_generator(1, "gallery"), 20)
    camera = Camera(725.0, 725.0, 620.5, 187.0, 1242, 375)
    pose, world = road.camera_pose(10), road.world(10)
    hits = cast(world.scene, pose, camera)
    return Frame("gallery/street/10", hits.depth_m, hits.valid, camera, rgb=road.colour(world, hits, pose, camera))


def rows_of(title: str, clean: Frame, depth_m: npt.NDArray[np.float32], far_m: float, spread_mm: float) -> Picture:
    """Return a preset's row: depth, what was added, a part of it enlarged, and its surface under a lamp."""
    both = (depth_m > 0) & clean.valid
    added = np.where(both[..., None], blue_to_red((depth_m - clean.depth_m) * (1000 / spread_mm)), np.uint8(0))
    return titled(np.hstack(_cells(depth_m, added, clean, far_m)), title)


def _cells(depth_m: npt.NDArray[np.float32], second: Picture, frame: Frame, far_m: float) -> list[Picture]:
    height, width = depth_m.shape
    top, left = height * 3 // 8, width * 3 // 8
    part = depth_m[top : top + height // ZOOM, left : left + width // ZOOM]
    near, far = np.percentile(part[part > 0], (1, 99)) if (part > 0).any() else (0.0, 1.0)
    shown = np.where(part > 0, np.clip(part - near, 1e-6, None), 0).astype(np.float32)
    cells = [coloured_depth(depth_m, far_m), second, coloured_depth(shown, max(float(far - near), 0.01))]
    cells.append(_lit(depth_m, frame))
    return [cv2.resize(cell, CELL, interpolation=cv2.INTER_NEAREST) for cell in cells]


def _lit(depth_m: npt.NDArray[np.float32], frame: Frame) -> Picture:
    """Return the surface as a lamp beside the camera shows it: noise that depth hides is plain to see."""
    normals = normals_from_depth(depth_m, depth_m > 0, frame.camera, max_jump=0.1)
    light = np.clip(normals @ np.array([0.5, -0.5, -0.707], np.float32), 0, 1)
    return np.repeat((light * 255).astype(np.uint8)[..., None], 3, axis=2)


def draw(frame: Frame, name: str, real: dict[str, Path], out: Path) -> None:
    """Write the picture of a camera: the clean scene, what the preset makes of it, and its real scan below."""
    far_m, spread_mm = float(np.ceil(frame.depth_m.max())), 50.0
    assert frame.rgb is not None
    clean_cells = _cells(frame.depth_m, np.ascontiguousarray(frame.rgb[..., ::-1]), frame, far_m)
    rows = [titled(np.hstack(clean_cells), "clean: depth, colour, a part enlarged, the surface under a lamp")]
    measured = parse_sensor(name).measure(frame, frame_words(0, frame.key, name))
    title = f"{name} ({load_preset(name).sensor}): depth, noisy - clean within {spread_mm:g} mm, enlarged, lit"
    rows.append(rows_of(title, frame, measured.depth_m, far_m, spread_mm))
    if name in real:
        rows.append(_real_row(real[name]))
    write(out, np.vstack(rows))


def draw_lidar(frame: Frame, name: str, real: dict[str, Path], out: Path) -> None:
    """Write the picture of a scanner: clean depth and colour, its points in the image and from above, a real scan."""
    assert frame.rgb is not None
    clean = [coloured_depth(frame.depth_m, LIDAR_FAR_M), np.ascontiguousarray(frame.rgb[..., ::-1])]
    measured = parse_sensor(name).measure(frame, frame_words(0, frame.key, name))
    rows = [
        _wide("clean: depth, colour", clean),
        _wide(f"{name} ({load_preset(name).sensor}): points, from above", _points(measured.depth_m, frame)),
    ]
    if name in real:
        scan = _middle_frame(real[name])
        rows.append(_wide(f"real: {scan.key}: points, from above", _points(scan.depth_m, scan)))
    write(out, np.vstack(rows))


def _wide(title: str, cells: list[Picture]) -> Picture:
    return titled(np.hstack([cv2.resize(c, WIDE_CELL, interpolation=cv2.INTER_NEAREST) for c in cells]), title)


def _points(depth_m: npt.NDArray[np.float32], frame: Frame) -> list[Picture]:
    """Return sparse depth drawn with large points, and the points from above, 12 m to each side and 80 ahead."""
    nearest = np.where(depth_m > 0, depth_m, np.float32(1e9))
    shown = cv2.erode(nearest, np.ones((3, 3), np.uint8))
    points = back_project(depth_m, frame.camera)[depth_m > 0]
    above = np.zeros((WIDE_CELL[1], WIDE_CELL[0], 3), np.uint8)
    u = (points[:, 2] / LIDAR_FAR_M * WIDE_CELL[0]).astype(np.int64)
    v = ((points[:, 0] / 24 + 0.5) * WIDE_CELL[1]).astype(np.int64)
    inside = (u >= 0) & (u < WIDE_CELL[0]) & (v >= 0) & (v < WIDE_CELL[1])
    above[v[inside], u[inside]] = (255, 255, 255)
    return [coloured_depth(np.where(shown < 1e9, shown, np.float32(0)), LIDAR_FAR_M), above]


def _middle_frame(manifest: Path) -> Frame:
    source = make_source(load_manifest(manifest).source)
    source.prepare()
    refs = list(source.frames())
    return source.read(refs[len(refs) // 2], frozenset({"rgb"}))


def _real_row(manifest: Path) -> Picture:
    frame = _middle_frame(manifest)
    colour = np.zeros((*frame.depth_m.shape, 3), np.uint8) if frame.rgb is None else frame.rgb[..., ::-1]
    far_m = float(np.ceil(frame.depth_m.max()))
    cells = _cells(frame.depth_m, np.ascontiguousarray(colour), frame, far_m)
    return titled(np.hstack(cells), f"real: {frame.key}: depth, colour, enlarged, lit")


def write(path: Path, picture: Picture) -> None:
    """Write a JPEG (large flat colours keep their edges at this quality)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise OSError(f"cannot write {path}")


def main() -> None:
    """Draw every picture of the gallery."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "gallery")
    parser.add_argument("--real", action="append", default=[], metavar="PRESET=MANIFEST")
    options = parser.parse_args()
    real = {name: Path(path) for name, path in (item.split("=", 1) for item in options.real)}
    lidars = [name for name in preset_names() if load_preset(name).sensor == "lidar"]
    inside, outside = room(), street()
    for name in preset_names():
        if name in lidars:
            draw_lidar(outside, name, real, options.out / f"{name}.jpg")
        else:
            draw(inside, name, real, options.out / f"{name}.jpg")


if __name__ == "__main__":
    main()
