"""Replica as rendered for iMAP and NICE-SLAM, and as rendered for vMAP: clean indoor depth with poses.

The two trees hold the same rooms in units 6.55 times apart, so that one read as the other gives plausible nonsense.
Which one a folder is follows from its names alone, never from a default: ``<room>/results/depth000000.png`` with
``traj.txt`` is NICE-SLAM's, 6553.5 units a metre as ``cam_params.json`` beside the rooms says, with colour as JPEG;
``<room>/imap/00/depth/depth_0.png`` with ``traj_w_c.txt`` is vMAP's, millimetres, with classes and instances. Both are
uint16 planar z, 0 where a ray met nothing, 1200 x 680 at f = 600. Poses are camera-to-world with OpenCV axes, 16
numbers a line; line i belongs to frame i. One core reads 50 frames a second with JPEG files, 16 of
vMAP with labels.
Sources: cvg/nice-slam, ``src/utils/datasets.py`` and ``configs/Replica``; kxhit/vMAP, ``dataset.py``; Straub et al.,
"The Replica dataset", 2019.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.addresses import Address
from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Frame, FrameRef, Licence
from depthforge.labels.catalogue import INSTANCE, POSE, RGB
from depthforge.labels.resize import resize_camera
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, SourceConfig
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.images import Colour, decode_depth, decode_ids, read_colour, require_size
from depthforge.sources.pose_files import parse_matrix
from depthforge.sources.scene_folders import (
    SceneFolders,
    SceneFoldersConfig,
    folders_with,
    measured,
    numbered_files,
    path_in,
    read_listed,
)
from depthforge.sources.tree_file import File

__all__ = ["Replica", "ReplicaConfig"]

SEMANTIC = LabelSpec("semantic", "uint16", "image", "Replica's own classes as vMAP stores them, 0 is undefined")
_CAMERA: Final = Camera(600.0, 600.0, 599.5, 339.5, 1200, 680)
_VMAP_UNITS_PER_M: Final = 1000.0
_UNDEFINED: Final = 65535  # -1 in 16 bits
_CAMERA_FILE: Final = "cam_params.json"
_ROOMS_KEPT = 8


class ReplicaConfig(SceneFoldersConfig):
    """The ``source`` block of a manifest that reads Replica's renderings."""

    root: Address = Field(
        description=f"the folder that holds the rooms (and {_CAMERA_FILE} of NICE-SLAM's), or a .zip or .tar of it"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    width: int = Field(default=1200, gt=0, le=8192, description="of the images, pixels")
    height: int = Field(default=680, gt=0, le=8192, description="of the images, pixels")


class _Room(NamedTuple):
    """A recording: its camera, units of depth, and poses (N, 4, 4) as stored."""

    camera: Camera
    units_per_m: float
    poses: npt.NDArray[np.float64]


@sources.register("replica")
class Replica(SceneFolders):
    """Replica's rooms as NICE-SLAM (6553.5 units a metre) or vMAP (millimetres) rendered them, told by their folders.

    Keys: ``replica/room0/000123`` of NICE-SLAM's, ``replica/room_0/00-000123`` of vMAP's ``room_0/imap/00``.
    """

    Config = ReplicaConfig
    config: ReplicaConfig
    ships_colour_files = True
    typical_depth_m = (0.3, 10.0)
    recording_is = "<room>/results/ beside traj.txt (NICE-SLAM), or <room>/imap/00/depth/ (vMAP)"
    licence: Licence = Licence(
        "Replica's research terms, non-commercial as remembered; check",
        True,
        "https://github.com/facebookresearch/Replica-Dataset",
    )

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._room = lru_cache(_ROOMS_KEPT)(self._read_room)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour and pose; of vMAP's also classes and instances."""
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE, SEMANTIC, INSTANCE)})

    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield every room of either tree."""

        def is_recording(listing: Listing) -> bool:
            is_nice = "results" in listing.folders and "traj.txt" in listing.files
            return is_nice or {"depth", "rgb"} <= set(listing.folders)

        for folder in folders_with(tree, is_recording):
            if "results" in tree.scan(folder).folders:
                yield f"{self.name_of(folder)}/", folder
            elif self._is_vmap(folder):
                parts = self.parts_of(folder)
                yield f"{parts[-3]}/{parts[-1]}-", folder

    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return the frames of a room; raise DecodeError unless there is a pose for each; see ``SceneFolders``."""
        room = self._room(folder)
        below, before = ("depth", "depth_") if self._is_vmap(folder) else ("results", "depth")
        named = numbered_files(tree, path_in(folder, below), before, ".png")
        if list(named) != list(range(len(room.poses))):
            numbers = f", numbers {min(named)} to {max(named)}" if named else ""
            raise DecodeError(
                "the trajectory is not that of the depth images",
                where=tree.describe(path_in(folder, self._trajectory_name(folder))),
                expected=f"a line for each of the {len(named)} depth images, numbered from 0",
                found=f"{len(room.poses)} lines{numbers}",
                remedy="line i is the pose of frame i: fetch the missing images, or the list that goes with these",
            )
        return [(f"{number:06d}", path_in(folder, f"{below}/{name}")) for number, name in named.items()]

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        tree = self._tree()
        above, _, name = ref.locator.rpartition("/")
        folder = above.rpartition("/")[0]
        room = self._room(folder)
        where = tree.describe(ref.locator)
        stored = decode_depth(read_listed(tree, ref.locator), where=where)
        require_size(stored, self.size, where=where)
        depth_m, valid = measured(np.divide(stored, np.float32(room.units_per_m)), self.config.max_depth_m)
        is_vmap = self._is_vmap(folder)
        digits = name.removeprefix("depth_" if is_vmap else "depth").removesuffix(".png")
        colour = Colour()
        if wanted & {RGB.name, RGB_FILE}:
            names = (
                [f"rgb/rgb_{digits}.png"] if is_vmap else [f"results/frame{digits}.{kind}" for kind in ("jpg", "png")]
            )
            for path in (path_in(folder, name) for name in names):
                data = tree.read_if_there(path)
                if data is not None:
                    colour = read_colour(data, wanted, self.size, where=tree.describe(path))
                    break
        labels: dict[str, npt.NDArray[np.generic]] = {}
        for label, kind in (("semantic", "semantic_class"), ("instance", "semantic_instance")):
            path = path_in(folder, f"{kind}/{kind}_{digits}.png")
            data = tree.read_if_there(path) if is_vmap and label in wanted else None
            if data is not None:
                ids = decode_ids(data, where=tree.describe(path))
                require_size(ids, self.size, where=tree.describe(path))
                labels[label] = np.where(ids == _UNDEFINED, np.uint16(0), ids)
        pose = None
        if POSE.name in wanted:
            number = int(digits)
            if number >= len(room.poses):
                raise DecodeError("the trajectory has no line for the frame", where=where, found=len(room.poses))
            pose = to_house_pose(room.poses[number], "camera_to_world", "opencv", where=ref.key)
        return Frame(ref.key, depth_m, valid, room.camera, colour.rgb, pose, labels, colour.rgb_file)

    def close(self) -> None:
        """Release what is open."""
        super().close()
        self._room.cache_clear()

    def _is_vmap(self, folder: str) -> bool:
        return self.parts_of(folder)[-2:-1] == ("imap",)

    def _trajectory_name(self, folder: str) -> str:
        return "traj_w_c.txt" if self._is_vmap(folder) else "traj.txt"

    def _read_room(self, folder: str) -> _Room:
        tree = self._tree()
        trajectory = File(tree, path_in(folder, self._trajectory_name(folder)))
        try:
            lines = [line for line in trajectory.text().splitlines() if line.strip()]
        except FileNotFoundError:
            raise MissingDataError("no trajectory", where=trajectory.where, expected="16 numbers a line") from None
        poses = [
            parse_matrix(line, (4, 4), where=f"{trajectory.where}, line {number}")
            for number, line in enumerate(lines, 1)
        ]
        if self._is_vmap(folder):
            camera, units_per_m = resize_camera(_CAMERA, self.config.width, self.config.height), _VMAP_UNITS_PER_M
        else:
            camera, units_per_m = self._stated_camera(tree, folder)
        return _Room(camera, units_per_m, np.array(poses).reshape(-1, 4, 4))

    def _stated_camera(self, tree: Tree, folder: str) -> tuple[Camera, float]:
        """Return the camera and units of ``cam_params.json``, in the room's folder or the nearest above it."""
        above = folder
        while True:
            file = File(tree, path_in(above, _CAMERA_FILE))
            if file.read_if_there() is not None:
                return self._parsed_camera(file)
            if not above:
                break
            above = above.rpartition("/")[0]
        raise MissingDataError(
            "neither the unit nor the intrinsics of the room are stated",
            where=tree.describe(folder),
            expected=f"{_CAMERA_FILE} there or in the folder above",
            remedy="name the folder that holds it as root; it comes with NICE-SLAM's Replica: "
            '{"camera": {"w": 1200, "h": 680, "fx": 600.0, "fy": 600.0, "cx": 599.5, "cy": 339.5, "scale": 6553.5}}',
        )

    def _parsed_camera(self, file: File) -> tuple[Camera, float]:
        try:
            stated = json.loads(file.text())["camera"]
            fx, fy, cx, cy, scale = (float(stated[name]) for name in ("fx", "fy", "cx", "cy", "scale"))
            width, height = int(stated["w"]), int(stated["h"])
            if not (min(fx, fy, scale) > 0 and np.isfinite([fx, fy, cx, cy, scale]).all()):
                raise ValueError("a number out of range")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DecodeError(
                "not a file of intrinsics",
                where=file.where,
                expected='{"camera": {w, h, fx, fy, cx, cy, scale}}',
                found=f"{type(error).__name__}: {error}",
            ) from None
        if (height, width) != self.size:
            raise DecodeError(
                "the intrinsics are of images of another size",
                where=file.where,
                expected=f"{self.config.width} x {self.config.height}",
                found=f"{width} x {height}",
                remedy="state `width` and `height` of the images in the source",
            )
        return Camera(fx, fy, cx, cy, width, height), scale
