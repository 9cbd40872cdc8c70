"""Procedural rooms in InteriorNet's layout, with its units, axes and file formats.

Rooms go in turn to the two trees that InteriorNet ships: ``HD7/<scene>_<RoomType>`` (single views) and
``HD1/<scene>`` with ``GroundTruth_HD1-HD6/<scene>`` (sequences 1 and 3, each under original and random light); the
third room is a pair of .zip archives, as downloaded. Depth is uint16 millimetres of *ray length*; poses are
camera-to-world of OpenGL cameras; normals are uint16 RGB, 2 v / 65535 - 1, and HD7 has none. In which frame
InteriorNet's normals are is not documented: here they are in camera axes, OpenGL's like the poses, and all zero
where nothing was hit. Panoramas, the IMU, shutter poses and COCO lists are left out. About 0.2 s and 1 MB a frame.
Source: interiornet.org; the layout as read by google-research/lighthouse and ethz-mrl/supereight2.
"""

from __future__ import annotations

import colorsys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame, FrameRef
from depthforge.geometry import (
    Float64,
    decode_normals,
    opencv_to_opengl,
    quaternion_from_rotation,
    z_to_ray_length,
)
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.writing import png, require_empty
from depthforge.scenes.raycast import cast
from depthforge.scenes.shading import Lighting
from depthforge.seeding import frame_generator
from depthforge.sources.procedural import Procedural, ProceduralConfig

__all__ = ["InteriorNetLayout"]

Write = Callable[[str, bytes], None]

_FRAME_NS = 40_000_000
_ZIPPED_SCENE = 2


@layouts.register("interiornet")
class InteriorNetLayout(Layout):
    """InteriorNet's HD7 and HD1-HD6 trees."""

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the rooms under ``root`` and return the number of views written.

        A view under random light counts with its original. Raises InputError when ``root`` is a file or holds any.
        """
        require_empty(root)
        source = Procedural(ProceduralConfig(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed))
        refs = list(source.frames())
        for scene in range(num_scenes):
            views = refs[scene * frames_per_scene : (scene + 1) * frames_per_scene]
            name = _scene_name(seed, scene)
            # HD7, HD1, HD1, HD7 and again: half and half, with both kinds from the second room on.
            if scene % 4 in (0, 3):
                with _folder(root / "HD7" / f"{name}_{source.room(scene)[0].kind}") as write:
                    _write_views(write, source, views)
            else:
                packed = _archive if scene == _ZIPPED_SCENE else _folder
                with packed(root / "HD1" / name) as write, packed(root / "GroundTruth_HD1-HD6" / name) as write_truth:
                    _write_sequences(write, write_truth, source, views)
        return len(refs)


def _scene_name(seed: int, scene: int) -> str:
    """Return an id as InteriorNet has them, like 3FO4KA6US640."""
    rng = frame_generator(seed, f"interiornet/{scene}", "scene name")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return f"3FO4{scene:02d}" + "".join(letters[k] for k in rng.integers(len(letters), size=6))


@contextmanager
def _folder(path: Path) -> Iterator[Write]:
    def write(name: str, content: bytes) -> None:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)

    yield write


@contextmanager
def _archive(path: Path) -> Iterator[Write]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo made from a name alone has a fixed date: the same seed gives the same archive.
        yield lambda name, content: archive.writestr(zipfile.ZipInfo(f"{path.name}/{name}"), content)


def _write_views(write: Write, source: Procedural, refs: list[FrameRef]) -> None:
    """Write a room of HD7: single views, named by number."""
    poses = []
    for number, ref in enumerate(refs):
        frame = source.read(ref, frozenset(source.labels))
        poses.append(_pose(frame))
        write(f"cam0/data/{number}.png", png(_colour(frame)))
        write(f"random_lighting_cam0/data/{number}.png", png(_under_random_light(source, ref, frame)))
        for name, content in _depth_and_label_files(frame, str(number)):
            write(name, content)
    write("cam0.render", _render_file(poses, range(len(refs))))


def _write_sequences(write: Write, write_truth: Write, source: Procedural, refs: list[FrameRef]) -> None:
    """Write a room of HD1 to HD6: sequences 1 and 3 under two lights, named by timestamp, and their ground truth."""
    half = (len(refs) + 1) // 2
    for trajectory, part in (("1_1", refs[:half]), ("3_3", refs[half:])):
        stamps = [_FRAME_NS * (number + 1) for number in range(len(part))]
        poses = []
        for stamp, ref in zip(stamps, part, strict=True):
            frame = source.read(ref, frozenset(source.labels))
            poses.append(_pose(frame))
            write(f"original_{trajectory}/cam0/data/{stamp}.png", png(_colour(frame)))
            write(f"random_{trajectory}/cam0/data/{stamp}.png", png(_under_random_light(source, ref, frame)))
            files = [*_depth_and_label_files(frame, str(stamp)), (f"normal0/data/{stamp}.png", _normal_png(frame))]
            for name, content in files:
                write(f"original_{trajectory}/{name}", content)
                write(f"random_{trajectory}/{name}", content)
        if not part:
            continue
        for light in ("original", "random"):
            for sensor in ("cam0", "depth0"):
                rows = [f"{stamp},{stamp}.png" for stamp in stamps]
                write(f"{light}_{trajectory}/{sensor}/data.csv", _lines(["#timestamp [ns],filename", *rows]))
        truth = f"velocity_angular_{trajectory}"
        write_truth(f"{truth}/cam0.ccam", _ccam_file(poses, source.config.camera))
        write_truth(f"{truth}/cam0.render", _render_file(poses, stamps))
        rows = [f"{stamp},{stamp}.png" for stamp in stamps]
        write_truth(f"{truth}/cam0.timestamp", _lines(["timestamp,image_name", *rows]))
        write_truth(f"{truth}/cam0_gt.visim", _visim_file(poses, stamps))


def _colour(frame: Frame) -> npt.NDArray[np.uint8]:
    assert frame.rgb is not None
    return frame.rgb


def _pose(frame: Frame) -> Float64:
    assert frame.T_world_cam is not None
    return frame.T_world_cam


def _under_random_light(source: Procedural, ref: FrameRef, frame: Frame) -> npt.NDArray[np.uint8]:
    rng = frame_generator(source.config.seed, ref.scene, "random light")
    lamp, window, ambient = (tuple(power * rng.uniform(0.2, 1.4, 3)) for power in (2.5, 1.5, 0.3))
    room, _ = source.room(int(ref.locator.split("/")[0]))
    hits = cast(room.scene, _pose(frame), frame.camera)
    return room.colour(hits, _pose(frame), frame.camera, Lighting(lamp, window, ambient))


def _depth_and_label_files(frame: Frame, name: str) -> Iterator[tuple[str, bytes]]:
    millimetres = np.rint(z_to_ray_length(frame.depth_m, frame.camera) * 1000.0)
    semantic = frame.labels["semantic"]
    yield f"depth0/data/{name}.png", png(millimetres.astype(np.uint16))
    yield f"label0/data/{name}_nyu.png", png(semantic.astype(np.uint8))
    yield f"label0/data/{name}_instance.png", png(frame.labels["instance"])
    yield f"label0/data/{name}_nyu_mask.png", png(_class_colours()[semantic.astype(np.intp)])


def _normal_png(frame: Frame) -> bytes:
    normals = decode_normals(frame.labels["normals"].astype(np.int16)) * np.array([1, -1, -1], np.float32)
    coded = np.rint((normals + 1.0) * (65535.0 / 2.0)).clip(0, 65535).astype(np.uint16)
    coded[~normals.any(axis=2)] = 0
    return png(coded)


def _class_colours() -> npt.NDArray[np.uint8]:
    # Hues a golden section apart are told apart best; class 0 is black.
    colours = [colorsys.hsv_to_rgb(0.618 * k % 1.0, 0.55 + 0.15 * (k % 4), 0.95 if k else 0.0) for k in range(41)]
    table: npt.NDArray[np.uint8] = np.rint(255 * np.array(colours)).astype(np.uint8)
    return table


def _lines(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _numbers(*values: npt.ArrayLike) -> list[str]:
    return [f"{value:.9f}" for array in values for value in np.ravel(array)]


def _render_file(poses: list[Float64], stamps: range | list[int]) -> bytes:
    """Two lines a frame, for the shutter's opening and closing: eye, look-at point and up *point*."""
    lines = ["#camera poses", "#shutter time 0", "#timestamp eye.x y z lookat.x y z up.x y z"]
    for stamp, pose in zip(stamps, poses, strict=True):
        eye, forward, up = pose[:3, 3], pose[:3, 2], -pose[:3, 1]
        lines += [" ".join([str(stamp), *_numbers(eye, eye + forward, eye + up)])] * 2
    return _lines(lines)


def _ccam_file(poses: list[Float64], camera: Camera) -> bytes:
    """15 columns: f cx cy, three of distortion, quaternion w x y z, position, width and height."""
    lines = [
        "#camera version 1.0",
        f"#number of cameras {len(poses)}",
        "#camera-to-world, x right, y up, z backwards, metres",
        "#shutter time 0",
        "#one line a frame",
        "#f cx cy d0 d1 d2 qw qx qy qz px py pz width height",
    ]
    for pose in poses:
        quaternion = quaternion_from_rotation(opencv_to_opengl(pose)[:3, :3])
        columns = _numbers([camera.fx, camera.cx, camera.cy, 0, 0, 0], quaternion, pose[:3, 3])
        lines.append(" ".join([*columns, str(camera.width), str(camera.height)]))
    return _lines(lines)


def _visim_file(poses: list[Float64], stamps: list[int]) -> bytes:
    lines = ["#timestamp,px,py,pz,qw,qx,qy,qz"]
    for stamp, pose in zip(stamps, poses, strict=True):
        quaternion = quaternion_from_rotation(opencv_to_opengl(pose)[:3, :3])
        lines.append(",".join([str(stamp), *_numbers(pose[:3, 3], quaternion)]))
    return _lines(lines)
