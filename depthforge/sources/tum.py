"""TUM RGB-D and what is laid out as it: Bonn RGB-D Dynamic, own recordings, and ICL-NUIM's renderings.

``layout: tum`` has ``rgb.txt``, ``depth.txt`` and ``groundtruth.txt`` with clocks of their own. Depth is uint16 planar
z, 5000 units a metre, 0 where nothing was measured, registered to colour. Colour and pose belong to a depth image by
stamp, one to one, the nearest first, at most ``tolerance_s`` apart; none is interpolated. The archives hold no
intrinsics: they follow from the number in ``freiburg1`` and the like, and are stated in the manifest for anything else.
Images of freiburg1 and 2 are distorted (k1 = 0.26 and 0.23) and are carried as they are: about 4 pixels at half the way
to the corner, more beyond it. freiburg3 is undistorted.
``layout: icl_nuim`` has ``associations.txt`` and poses by frame number. Its fy is -480: camera and world are
left-handed, y up, and are mirrored together here, which leaves fy = 480. There is no pose for frame 0.
One core reads 150 frames a second, 85 with colour.
Sources: "File Formats" and "Intrinsic Camera Calibration" of the TUM RGB-D benchmark (Sturm et al., IROS 2012); Handa
et al., "A benchmark for RGB-D visual odometry, 3D reconstruction and SLAM", ICRA 2014.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from depthforge.addresses import Address
from depthforge.errors import DecodeError, InputError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, SourceConfig
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.images import Colour, decode_depth, read_colour, require_size
from depthforge.sources.scene_folders import (
    SceneFolders,
    SceneFoldersConfig,
    folders_with,
    measured,
    path_in,
    read_listed,
)
from depthforge.sources.trajectories import associate, parse_stamped_poses
from depthforge.sources.tree_file import File

__all__ = ["Pinhole", "Tum", "TumConfig"]

_FREIBURG: Final = MappingProxyType(
    {
        "1": (517.3, 516.5, 318.6, 255.3),
        "2": (520.9, 521.0, 325.1, 249.7),
        "3": (535.4, 539.2, 320.1, 247.6),
    }
)
_ICL_NUIM: Final = (481.2, 480.0, 319.5, 239.5)
_OF_SIZE: Final = (480, 640)
_SEQUENCES_KEPT = 8


class Pinhole(BaseModel):
    """Intrinsics in pixels; (0, 0) is the centre of the first pixel."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fx: float = Field(gt=0)
    fy: float = Field(gt=0)
    cx: float
    cy: float


class TumConfig(SceneFoldersConfig):
    """The ``source`` block of a manifest that reads TUM RGB-D."""

    root: Address = Field(description="folder or URL that holds the sequences, or one sequence; or a .zip or .tar")
    layout: Literal["tum", "icl_nuim"] = Field(
        default="tum", description="rgb.txt, depth.txt and groundtruth.txt; or ICL-NUIM's associations.txt"
    )
    camera: Pinhole | None = Field(
        default=None, description="of sequences that are not named freiburg1, 2 or 3: Bonn, your own"
    )
    depth_scale: float = Field(default=5000.0, gt=0, description="units of depth per metre")
    tolerance_s: float = Field(
        default=0.02, ge=0, description="colour or a pose farther than this from a depth image is not its own"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    width: int = Field(default=640, gt=0, le=8192, description="of the images, pixels")
    height: int = Field(default=480, gt=0, le=8192, description="of the images, pixels")


class _Taken(NamedTuple):
    """What belongs to a depth image: its stamp, the path of its colour image, and its pose as stored."""

    stamp: Decimal
    colour: str | None
    pose: npt.NDArray[np.float64] | None


@sources.register("tum")
class Tum(SceneFolders):
    """TUM RGB-D sequences, and Bonn, ICL-NUIM and your own recordings in its layout.

    Keys: ``tum/rgbd_dataset_freiburg1_desk/1305031102.160407`` is the depth image of that stamp;
    ``tum/living_room_traj0_frei_png/000012`` is frame 12 of ICL-NUIM.
    """

    Config = TumConfig
    config: TumConfig
    ships_colour_files = True
    typical_depth_m = (0.3, 8.0)
    recording_is = "a folder with depth.txt and rgb.txt (layout: icl_nuim: associations.txt), depth/ and rgb/"
    licence: Licence = Licence("CC BY 4.0", False, "https://cvg.cit.tum.de/data/datasets/rgbd-dataset")

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        assert isinstance(config, TumConfig)
        self._sequence = lru_cache(_SEQUENCES_KEPT)(self._read_sequence)
        if config.layout == "icl_nuim":
            self.licence = Licence("CC BY 3.0 by its site as remembered; check", False)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour and pose."""
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE)})

    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield every sequence by the name of its folder."""
        names = {"depth.txt", "rgb.txt"} if self.config.layout == "tum" else {"associations.txt"}

        def is_sequence(listing: Listing) -> bool:
            return names <= set(listing.files)

        for folder in folders_with(tree, is_sequence):
            yield f"{self.name_of(folder)}/", folder

    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return the depth images of a sequence by stamp; see ``SceneFolders``."""
        self._camera_of(folder)
        taken = self._sequence(folder)
        for what, missing in (
            ("colour image", sum(item.colour is None for item in taken.values())),
            ("pose", sum(item.pose is None for item in taken.values())),
        ):
            if missing:
                message = f"{missing} of {len(taken)} depth images have no {what}"
                if self.config.layout == "tum":
                    message += f" within {self.config.tolerance_s:g} s (`tolerance_s`)"
                report(Finding("warning", folder, message))
        names = {self._frame_name(item.stamp): path for path, item in taken.items()}
        if len(names) < len(taken):
            report(Finding("warning", folder, f"{len(taken) - len(names)} depth images of the same stamp; ignored"))
        return [(name, f"{folder}|{path}") for name, path in sorted(names.items())]

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        tree = self._tree()
        folder, _, path = ref.locator.partition("|")
        camera = self._camera_of(folder)
        taken = self._sequence(folder).get(path)
        if taken is None:
            raise DecodeError("the depth image is not in the list any more", where=tree.describe(path_in(folder, path)))
        path = path_in(folder, path)
        stored = decode_depth(read_listed(tree, path), where=tree.describe(path))
        require_size(stored, self.size, where=tree.describe(path))
        units = np.float32(self.config.depth_scale)
        depth_m, valid = measured(np.divide(stored, units, dtype=np.float32), self.config.max_depth_m)
        colour = Colour()
        if taken.colour is not None and wanted & {RGB.name, RGB_FILE}:
            beside = path_in(folder, taken.colour)
            data = tree.read_if_there(beside)
            if data is not None:
                colour = read_colour(data, wanted, self.size, where=tree.describe(beside))
        pose = None
        if taken.pose is not None and POSE.name in wanted:
            axes: Literal["opencv", "unity"] = "opencv" if self.config.layout == "tum" else "unity"
            pose = to_house_pose(taken.pose, "camera_to_world", axes, where=ref.key)
        return Frame(ref.key, depth_m, valid, camera, rgb=colour.rgb, rgb_file=colour.rgb_file, T_world_cam=pose)

    def close(self) -> None:
        """Release what is open."""
        super().close()
        self._sequence.cache_clear()

    def _camera_of(self, folder: str) -> Camera:
        config = self.config
        if config.camera is not None:
            given = config.camera
            return Camera(given.fx, given.fy, given.cx, given.cy, config.width, config.height)
        name = self.name_of(folder)
        match = re.search(r"freiburg([123])(?!\d)", name)
        numbers = _ICL_NUIM if config.layout == "icl_nuim" else _FREIBURG[match[1]] if match else None
        if numbers is None or self.size != _OF_SIZE:
            raise InputError(
                "the intrinsics of the sequence are not known",
                where=f"{self._root}/{folder}",
                expected="a folder named freiburg1, freiburg2 or freiburg3 with images of 640 x 480",
                found=f"{name}, {config.width} x {config.height}",
                remedy="state them in the source: `camera: {fx: ..., fy: ..., cx: ..., cy: ...}`",
            )
        return Camera(*numbers, config.width, config.height)

    def _read_sequence(self, folder: str) -> dict[str, _Taken]:
        return self._by_number(folder) if self.config.layout == "icl_nuim" else self._by_stamp(folder)

    def _by_stamp(self, folder: str) -> dict[str, _Taken]:
        tree = self._tree()
        depth, colour = (_read_list(File(tree, path_in(folder, name))) for name in ("depth.txt", "rgb.txt"))
        truth = File(tree, path_in(folder, "groundtruth.txt"))
        poses = parse_stamped_poses(truth.text(), "xyzw", where=truth.where) if truth.read_if_there() else []
        tolerance = Decimal(str(self.config.tolerance_s))
        stamps = [stamp for stamp, _ in depth]
        of_colour = associate(stamps, [stamp for stamp, _ in colour], tolerance)
        of_pose = associate(stamps, [pose.stamp for pose in poses], tolerance)
        return {
            path: _Taken(
                stamp,
                colour[of_colour[index]][1] if index in of_colour else None,
                poses[of_pose[index]].matrix if index in of_pose else None,
            )
            for index, (stamp, path) in enumerate(depth)
        }

    def _by_number(self, folder: str) -> dict[str, _Taken]:
        tree = self._tree()
        listed = File(tree, path_in(folder, "associations.txt"))
        names = sorted(tree.scan(folder).files)
        truths = [name for name in names if name.endswith(".gt.freiburg")] or ["groundtruth.txt"]
        if len(truths) > 1:
            raise DecodeError(
                "more than one trajectory", where=tree.describe(folder), expected="one *.gt.freiburg", found=truths
            )
        truth = File(tree, path_in(folder, truths[0]))
        poses = {}
        if truth.read_if_there():
            poses = {item.stamp: item.matrix for item in parse_stamped_poses(truth.text(), "xyzw", where=truth.where)}
        found = {}
        for number, words in _lines(listed):
            if len(words) != 4 or not words[0].isdecimal():
                raise DecodeError(
                    "not a line of associations",
                    where=f"{listed.where}, line {number}",
                    expected="N depth/N.png N rgb/N.png",
                    found=" ".join(words)[:120],
                )
            pairs = dict([path.rpartition("/")[0], path] for path in (words[1], words[3]))
            if set(pairs) != {"depth", "rgb"}:
                raise DecodeError(
                    "a line names no depth and no colour image",
                    where=f"{listed.where}, line {number}",
                    expected="depth/N.png and rgb/N.png",
                    found=" ".join(words)[:120],
                )
            stamp = Decimal(words[0])
            found[pairs["depth"]] = _Taken(stamp, pairs["rgb"], poses.get(stamp))
        return found

    def _frame_name(self, stamp: Decimal) -> str:
        if self.config.layout == "icl_nuim":
            return f"{int(stamp):06d}"
        seconds, _, fraction = f"{stamp:f}".partition(".")
        # As wide as today's seconds since 1970, so that names sort as stamps do.
        return f"{int(seconds):010d}.{fraction.rstrip('0'):0<6}"


def _lines(file: File) -> Iterator[tuple[int, list[str]]]:
    try:
        text = file.text()
    except FileNotFoundError:
        raise MissingDataError("the list has gone since it was found", where=file.where) from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _read_list(file: File) -> list[tuple[Decimal, str]]:
    """Return (stamp, path) of every image that a list names; raise DecodeError naming the line."""
    entries = []
    for number, words in _lines(file):
        try:
            stamp = Decimal(words[0])
        except InvalidOperation:
            stamp = Decimal("nan")
        if len(words) < 2 or not (stamp.is_finite() and stamp >= 0):
            raise DecodeError(
                "not a list of images",
                where=f"{file.where}, line {number}",
                expected="a stamp in seconds and a path",
                found=" ".join(words)[:120],
            )
        entries.append((stamp, " ".join(words[1:])))
    return entries
