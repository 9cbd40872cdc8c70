"""Procedural streets in the layout of Virtual KITTI 2.0.3, kinds of files side by side; ``vkitti1`` writes 1.3.1.

Worlds are named as Virtual KITTI's five, in turn. The frames of a scene are shared out to the five directions of the
camera (clone, 15 and 30 degrees to either side); the five weathers repeat clone's depth, labels and poses bit for bit
under another light, as they do in the real set, and are not counted. Both cameras of the stereo pair are written.
Depth is uint16 centimetres of planar z; poses are world-to-camera; classes are colours, instances indices of a palette,
flow 16-bit RGB. About 0.4 s and 1.4 MB a frame, its right camera and its share of the weathers included.
Source: the README of Virtual KITTI 2.0.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import invert_pose
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.streets import Moment, Seen, Sighting, numbers, rotation_y, table, upright
from depthforge.samples.vkitti_streets import (
    BASELINE_M,
    DIRECTIONS,
    T_GAME_STREET,
    WEATHERS,
    colours_of,
    depth_png,
    flow_png,
    frames_of,
    indexed_png,
    shots_of,
    streets_of,
)
from depthforge.samples.writing import png, require_empty, rgb_jpeg, write_file

__all__ = ["VkittiLayout"]

_COLOURS = {
    "Terrain": (210, 0, 200), "Sky": (90, 200, 255), "Tree": (0, 199, 0), "Vegetation": (90, 240, 0),
    "Building": (140, 140, 140), "Road": (100, 60, 100), "GuardRail": (250, 100, 255), "TrafficSign": (255, 255, 0),
    "TrafficLight": (200, 200, 0), "Pole": (255, 130, 0), "Misc": (80, 80, 80), "Truck": (160, 60, 60),
    "Car": (255, 127, 80), "Van": (0, 139, 139),
}  # fmt: skip
_EXTRINSIC = "frame cameraID r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0 0 1"
_INTRINSIC = "frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]"
_BBOX = "frame cameraID trackID left right top bottom number_pixels truncation_ratio occupancy_ratio isMoving"
_POSE = (
    "frame cameraID trackID alpha width height length world_space_X world_space_Y world_space_Z "
    "rotation_world_space_y rotation_world_space_x rotation_world_space_z camera_space_X camera_space_Y camera_space_Z "
    "rotation_camera_space_y rotation_camera_space_x rotation_camera_space_z"
)


@layouts.register("vkitti")
class VkittiLayout(Layout):
    """Virtual KITTI 2.0.3."""

    camera: ClassVar[Camera] = Camera(725.0087, 725.0087, 620.5, 187.0, 1242, 375)

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the streets under ``root`` and return the number of frames written, one per view and direction.

        Raises InputError when ``root`` is a file or holds any.
        """
        require_empty(root)
        shares = frames_of(frames_per_scene)
        for world_number, street in streets_of(seed, num_scenes, shares):
            world = f"Scene{world_number:02d}"
            videos = {name: _Tables() for name in shares} | {name: _Tables() for name in WEATHERS}
            for moment, direction, is_last in shots_of(street, shares):
                for number in (0, 1):
                    seen = Seen(moment, self.camera, yaw_deg=DIRECTIONS[direction], right_m=BASELINE_M * number)
                    self._write_view(root, world, direction, number, seen, videos, is_last=is_last)
            for name, tables in videos.items():
                tables.write(root / "vkitti_2.0.3_textgt" / world / name)
        return num_scenes * frames_per_scene

    def _write_view(
        self,
        root: Path,
        world: str,
        direction: str,
        number: int,
        seen: Seen,
        videos: dict[str, _Tables],
        *,
        is_last: bool,
    ) -> None:
        """Write the images of a view and note its rows; those of clone for every weather too."""
        frame = seen.moment.frame
        files = {
            ("depth", "depth"): depth_png(seen.hits),
            ("classSegmentation", "classgt"): png(_class_colours()[seen.semantic]),
            ("instanceSegmentation", "instancegt"): indexed_png(seen.tracks),
        }
        if not is_last:
            files["forwardFlow", "flow"] = flow_png(seen.flow())
        for variation, colour in colours_of(seen, direction):
            for (kind, stem), content in [*files.items(), (("rgb", "rgb"), rgb_jpeg(colour))]:
                suffix = "jpg" if kind == "rgb" else "png"
                name = f"{world}/{variation}/frames/{kind}/Camera_{number}/{stem}_{frame:05d}.{suffix}"
                write_file(root / f"vkitti_2.0.3_{kind}" / name, content)
            videos[variation].add(seen, number)


class _Tables:
    """The text tables of a video, row by row."""

    def __init__(self) -> None:
        self.rows: dict[str, list[str]] = {name: [] for name in ("extrinsic", "intrinsic", "bbox", "pose")}
        self.tracks: dict[int, str] = {}

    def add(self, seen: Seen, number: int) -> None:
        camera, view = seen.camera, f"{seen.moment.frame} {number}"
        self.rows["extrinsic"].append(f"{view} {numbers(invert_pose(T_GAME_STREET @ seen.T_street_cam))}")
        self.rows["intrinsic"].append(f"{view} {numbers(camera.fx, camera.fy, camera.cx, camera.cy)}")
        for sighting in seen.sightings():
            self._add_vehicle(seen.moment, sighting, view)

    def _add_vehicle(self, moment: Moment, at: Sighting, view: str) -> None:
        vehicle, model = at.vehicle, at.vehicle.model
        length, width, height = model.size
        label = class_names("vkitti")[model.semantic]
        self.tracks[vehicle.track] = f"{vehicle.track} {label} {model.name} {model.colour}"
        edges = f"{at.left} {at.right} {at.top} {at.bottom} {at.num_pixels}"
        self.rows["bbox"].append(f"{view} {vehicle.track} {edges} {numbers(at.truncated, at.occupied)} {vehicle.moves}")
        place, turn = at.T_cam_vehicle[:3, 3], rotation_y(at.T_cam_vehicle)
        alpha = turn - np.arctan2(place[0], place[2])
        T_game_vehicle = upright(T_GAME_STREET @ moment.street.vehicle_pose(vehicle, moment.frame))
        in_world = numbers(T_game_vehicle[:3, 3], rotation_y(T_game_vehicle), 0, 0)
        sizes = numbers(width, height, length)
        in_camera = numbers(place, turn, 0, 0)
        self.rows["pose"].append(f"{view} {vehicle.track} {numbers(alpha)} {sizes} {in_world} {in_camera}")

    def write(self, folder: Path) -> None:
        if not self.rows["extrinsic"]:
            return
        headers = {"extrinsic": _EXTRINSIC, "intrinsic": _INTRINSIC, "bbox": _BBOX, "pose": _POSE}
        for name, rows in self.rows.items():
            write_file(folder / f"{name}.txt", table(headers[name], rows))
        colours = [f"{name} {numbers(colour)}" for name, colour in _COLOURS.items()]
        write_file(folder / "colors.txt", table("Category r g b", colours))
        tracks = [self.tracks[track] for track in sorted(self.tracks)]
        write_file(folder / "info.txt", table("trackID label model color", tracks))


def _class_colours() -> npt.NDArray[np.uint8]:
    """Return the colour of each class id."""
    return np.array([(0, 0, 0), *(_COLOURS[name] for name in class_names("vkitti")[1:])], np.uint8)
