"""Procedural rooms in ScanNet's layout, with its units, axes, file formats and traps.

Scans go in turn to folders as SensReader exports them and to a ``.sens`` stream with archives of labels. Depth is what
a structured-light sensor measures, in uint16 millimetres; colour and labels are 1296x968 and come from a camera of
another focal length, as ScanNet's do. File numbers are not padded, one pose of a scan is -infinity, and label ids are
ScanNet's own, with the table to NYU40. The mesh is the room itself; segments and IMU data are left out. About 0.5 s
and 0.4 MB a frame.
Source: ScanNet/ScanNet, README and SensReader; the numbers of the cameras are those of scene0000_00.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import Float64
from depthforge.labels.vocabularies import class_names
from depthforge.meshes import encode_ply
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import png, require_empty, rgb_jpeg, write_file
from depthforge.sensors.preset import parse_sensor

__all__ = ["ScanNetLayout", "sens_bytes"]

DEPTH_CAMERA = Camera(571.623718, 571.623718, 319.5, 239.5, 640, 480)
COLOUR_CAMERA = Camera(1170.187988, 1170.187988, 647.75, 483.75, 1296, 968)
_DEPTH_SHIFT = 1000.0
_STREAMED = 1
# ScanNet's ids of the classes of NYU40 that it has a label of the same name for; the others get 1000 + theirs.
_IDS = {
    1: 1, 2: 3, 3: 7, 4: 11, 5: 2, 6: 6, 7: 4, 8: 5, 9: 16, 10: 18, 11: 15, 12: 35, 14: 9, 15: 8, 16: 21, 17: 36,
    18: 13, 21: 32, 22: 41, 23: 22, 24: 27, 25: 33, 27: 31, 29: 26, 32: 34, 33: 17, 34: 14, 35: 28, 36: 42,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One frame, encoded: depth is (H, W) uint16 millimetres, ids are (H', W')."""

    depth_mm: npt.NDArray[np.uint16]
    colour_jpeg: bytes
    label_png: bytes
    instance_png: bytes
    pose: Float64


@layouts.register("scannet")
class ScanNetLayout(Layout):
    """ScanNet's ``scans/`` and its table of labels; the cameras may be made smaller for tests."""

    def __init__(self, depth_camera: Camera = DEPTH_CAMERA, colour_camera: Camera = COLOUR_CAMERA) -> None:
        self._depth_camera, self._colour_camera = depth_camera, colour_camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write one scan of each room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed)
        write_file(root / "scannetv2-labels.combined.tsv", _label_table())
        for scene in range(num_scenes):
            views = [self._view(rooms, scene, number) for number in range(frames_per_scene)]
            if frames_per_scene > 2:
                views[frames_per_scene // 2].pose[...] = -np.inf
            folder = root / "scans" / f"scene{scene:04d}_00"
            write_file(folder / f"{folder.name}.txt", self._meta(frames_per_scene))
            write_file(folder / f"{folder.name}_vh_clean_2.ply", encode_ply(rooms.mesh(scene)))
            if scene % 3 == _STREAMED:
                self._write_stream(folder, views)
            else:
                self._write_folder(folder, views)
        return num_scenes * frames_per_scene

    def _view(self, rooms: RoomViews, scene: int, number: int) -> _View:
        seen = rooms.see(scene, number, self._colour_camera)
        measured = rooms.measure(rooms.see(scene, number, self._depth_camera), parse_sensor("kinect_v1_published"))
        nyu40 = seen.labels["semantic"].astype(np.intp)
        return _View(
            depth_mm=np.rint(measured.depth_m * _DEPTH_SHIFT).clip(0, 65535).astype(np.uint16),
            colour_jpeg=rgb_jpeg(colour_of(seen)),
            label_png=png(_label_ids()[nyu40]),
            instance_png=png(seen.labels["instance"].astype(np.uint8)),
            pose=rooms.walk(scene)[number].copy(),
        )

    def _write_folder(self, folder: Path, views: Sequence[_View]) -> None:
        for number, view in enumerate(views):
            write_file(folder / f"depth/{number}.png", png(view.depth_mm))
            write_file(folder / f"color/{number}.jpg", view.colour_jpeg)
            write_file(folder / f"label-filt/{number}.png", view.label_png)
            write_file(folder / f"instance-filt/{number}.png", view.instance_png)
            write_file(folder / f"pose/{number}.txt", _matrix_text(view.pose))
        for name, camera in (("depth", self._depth_camera), ("color", self._colour_camera)):
            write_file(folder / f"intrinsic/intrinsic_{name}.txt", _matrix_text(_four(camera)))
            write_file(folder / f"intrinsic/extrinsic_{name}.txt", _matrix_text(np.eye(4)))

    def _write_stream(self, folder: Path, views: Sequence[_View]) -> None:
        frames = [(view.pose, view.colour_jpeg, view.depth_mm) for view in views]
        write_file(folder / f"{folder.name}.sens", sens_bytes(self._depth_camera, self._colour_camera, frames))
        for kind in ("label", "instance"):
            with zipfile.ZipFile(folder / f"{folder.name}_2d-{kind}-filt.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for number, view in enumerate(views):
                    content = view.label_png if kind == "label" else view.instance_png
                    # A ZipInfo made from a name alone has a fixed date: the same seed gives the same archive.
                    archive.writestr(zipfile.ZipInfo(f"{kind}-filt/{number}.png"), content)

    def _meta(self, num_frames: int) -> bytes:
        depth, colour = self._depth_camera, self._colour_camera
        values = {
            "axisAlignment": " ".join(f"{value:.6f}" for value in np.eye(4).ravel()),
            "colorHeight": colour.height,
            "colorWidth": colour.width,
            "depthHeight": depth.height,
            "depthWidth": depth.width,
            "fx_color": colour.fx,
            "fx_depth": depth.fx,
            "fy_color": colour.fy,
            "fy_depth": depth.fy,
            "mx_color": colour.cx,
            "mx_depth": depth.cx,
            "my_color": colour.cy,
            "my_depth": depth.cy,
            "numColorFrames": num_frames,
            "numDepthFrames": num_frames,
            "sceneType": "Procedural",
        }
        return "".join(f"{key} = {value}\n" for key, value in values.items()).encode()


def sens_bytes(depth: Camera, colour: Camera, frames: Sequence[tuple[Float64, bytes, npt.NDArray[np.uint16]]]) -> bytes:
    """Return a .sens stream, version 4, of (pose, JPEG, depth in millimetres); depth is deflated."""
    name = b"depthforge"
    matrices = np.stack([_four(colour), np.eye(4), _four(depth), np.eye(4)]).astype("<f4")
    parts = [
        struct.pack("<IQ", 4, len(name)) + name + matrices.tobytes(),
        struct.pack("<ii", 2, 1),
        struct.pack("<IIII", colour.width, colour.height, depth.width, depth.height),
        struct.pack("<fQ", _DEPTH_SHIFT, len(frames)),
    ]
    for number, (pose, jpeg, depth_mm) in enumerate(frames):
        deflated = zlib.compress(depth_mm.astype("<u2").tobytes())
        stamp = 33_333 * number
        parts += [pose.astype("<f4").tobytes(), struct.pack("<QQQQ", stamp, stamp, len(jpeg), len(deflated))]
        parts += [jpeg, deflated]
    return b"".join(parts)


def _four(camera: Camera) -> Float64:
    K = np.eye(4)
    K[:3, :3] = camera.K
    return K


def _matrix_text(matrix: Float64) -> bytes:
    return "".join(" ".join(f"{value:.6f}" for value in row) + "\n" for row in matrix).encode()


def _label_ids() -> npt.NDArray[np.uint16]:
    """Return ScanNet's id of each class of NYU40; 0 is 0."""
    return np.array([0, *(_IDS.get(nyu40, 1000 + nyu40) for nyu40 in range(1, 41))], np.uint16)


def _label_table() -> bytes:
    names = class_names("nyu40")
    rows = sorted((int(label), nyu40) for nyu40, label in enumerate(_label_ids()) if nyu40)
    lines = ["id\traw_category\tcategory\tcount\tnyu40id\tnyuClass\tnyu40class"]
    lines += [f"{label}\t{names[k]}\t{names[k]}\t1\t{k}\t{names[k]}\t{names[k]}" for label, k in rows]
    return ("\n".join(lines) + "\n").encode()
