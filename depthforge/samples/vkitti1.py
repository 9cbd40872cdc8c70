"""Procedural streets in the layout of Virtual KITTI 1.3.1: one camera, instances in the colours of each video's table.

The scenes, the shares of the variations and the weathers are those of the layout ``vkitti`` (2.0.3). A vehicle of which
hardly a pixel is seen is DontCare, with its class under ``orig_label``. About 0.4 s and 1 MB a frame.
Source: the README of Virtual KITTI 1.3.1.
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
from depthforge.samples.streets import Seen, Sighting, numbers, rotation_y, table
from depthforge.samples.vkitti_streets import (
    DIRECTIONS,
    T_GAME_STREET,
    WEATHERS,
    colours_of,
    depth_png,
    flow_png,
    frames_of,
    shots_of,
    streets_of,
)
from depthforge.samples.writing import png, require_empty, write_file
from depthforge.scenes.street import MOST_VEHICLES, Street
from depthforge.seeding import frame_generator

__all__ = ["Vkitti1Layout"]

_FEWEST_PIXELS = 100
_EXTRINSICS = "frame r1,1 r1,2 r1,3 t1 r2,1 r2,2 r2,3 t2 r3,1 r3,2 r3,3 t3 0 0.1 0.2 1"
_MOT = (
    "frame tid label truncated occluded alpha l t r b w3d h3d l3d x3d y3d z3d ry rx rz truncr occupr orig_label "
    "moving model color"
)


@layouts.register("vkitti1")
class Vkitti1Layout(Layout):
    """Virtual KITTI 1.3.1."""

    camera: ClassVar[Camera] = Camera(725.0, 725.0, 620.5, 187.0, 1242, 375)

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the streets under ``root`` and return the number of frames written, one per view and direction.

        Raises InputError when ``root`` is a file or holds any.
        """
        require_empty(root)
        shares = frames_of(frames_per_scene)
        for world_number, street in streets_of(seed, num_scenes, shares):
            world = f"{world_number:04d}"
            names = [*shares, *(WEATHERS if shares else ())]
            videos = {name: _Video(root, f"{world}_{name}", street, seed) for name in names}
            for moment, direction, is_last in shots_of(street, shares):
                seen = Seen(moment, self.camera, yaw_deg=DIRECTIONS[direction])
                self._write_view(root, world, direction, seen, videos, is_last=is_last)
            for video in videos.values():
                video.write()
        return num_scenes * frames_per_scene

    def _write_view(
        self, root: Path, world: str, direction: str, seen: Seen, videos: dict[str, _Video], *, is_last: bool
    ) -> None:
        files = {"depthgt": depth_png(seen.hits)}
        if not is_last:
            files["flowgt"] = flow_png(seen.flow())
        sightings = list(seen.sightings())
        for variation, colour in colours_of(seen, direction):
            video = videos[variation]
            files["rgb"] = png(colour)
            files["scenegt"] = png(video.colours_of(seen))
            for kind, content in files.items():
                name = f"{world}/{variation}/{seen.moment.frame:05d}.png"
                write_file(root / f"vkitti_1.3.1_{kind}" / name, content)
            video.add(seen, sightings)


class _Video:
    """The tables of a video: its colours, its poses and its boxes."""

    def __init__(self, root: Path, name: str, street: Street, seed: int) -> None:
        self.root = root
        self.name = name
        self.street = street
        self.extrinsics: list[str] = []
        self.boxes: list[str] = []
        rng = frame_generator(seed, f"vkitti1/{name}", "colours")
        # Every class, then every vehicle, in a colour of its own.
        count = len(class_names("vkitti")) + MOST_VEHICLES
        codes = rng.permutation(1 << 12)[:count].astype(np.uint32)
        self.palette = np.stack([codes >> 8, codes >> 4 & 15, codes & 15], axis=1).astype(np.uint8) * 16 + 8

    def colours_of(self, seen: Seen) -> npt.NDArray[np.uint8]:
        tracks = seen.tracks.astype(np.int64)
        return self.palette[np.where(tracks > 0, len(class_names("vkitti")) - 1 + tracks, seen.semantic)]

    def add(self, seen: Seen, sightings: list[Sighting]) -> None:
        frame = seen.moment.frame
        self.extrinsics.append(f"{frame} {numbers(invert_pose(T_GAME_STREET @ seen.T_street_cam))}")
        self.boxes.extend(_mot_row(frame, sighting) for sighting in sightings)

    def write(self) -> None:
        names = class_names("vkitti")
        rows = [f"{name} {numbers(self.palette[number])}" for number, name in enumerate(names) if number]
        for vehicle in self.street.vehicles:
            colour = numbers(self.palette[len(names) + vehicle.track])
            rows.append(f"{names[vehicle.model.semantic]}:{vehicle.track} {colour}")
        top = self.root
        encoding = f"vkitti_1.3.1_scenegt/{self.name}_scenegt_rgb_encoding.txt"
        write_file(top / encoding, table("Category(:id) r g b", rows))
        write_file(top / f"vkitti_1.3.1_extrinsicsgt/{self.name}.txt", table(_EXTRINSICS, self.extrinsics))
        write_file(top / f"vkitti_1.3.1_motgt/{self.name}.txt", table(_MOT, self.boxes))


def _mot_row(frame: int, at: Sighting) -> str:
    model = at.vehicle.model
    name = class_names("vkitti")[model.semantic]
    label = name if at.num_pixels >= _FEWEST_PIXELS else "DontCare"
    length, width, height = model.size
    place, turn = at.T_cam_vehicle[:3, 3], rotation_y(at.T_cam_vehicle)
    alpha = turn - np.arctan2(place[0], place[2])
    occluded = int(at.occupied < 0.6) + int(at.occupied < 0.3)
    edges = f"{at.left} {at.top} {at.right} {at.bottom}"
    box = numbers(width, height, length, place, turn, 0, 0, at.truncated, at.occupied)
    truncated = int(at.truncated > 0.1)
    return (
        f"{frame} {at.vehicle.track} {label} {truncated} {occluded} {numbers(alpha)} {edges} {box} {name} "
        f"{at.vehicle.moves} {model.name} {model.colour}"
    )
