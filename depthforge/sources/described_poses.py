"""Poses as a manifest describes them, to T_world_cam: a file per frame, or one list for a scene.

A list is parsed once and kept for the last 16 scenes. Lists with stamps are associated one to one with all frames of
the scene, whose names (or a list of stamps) say when they were taken; a frame without a partner has no pose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, InputError
from depthforge.sources.colmap_files import parse_colmap_images
from depthforge.sources.companions import Listings
from depthforge.sources.conventions import Axes, Direction, to_house_pose
from depthforge.sources.image_names import ByName
from depthforge.sources.numbers_file import read_numbers, read_rows, text_of
from depthforge.sources.pose_files import parse_trajectory_log, pose_matrix
from depthforge.sources.rgbd_blocks import PoseBlock
from depthforge.sources.templates import PathTemplate
from depthforge.sources.trajectories import Stamped, associate, parse_stamped_poses
from depthforge.sources.transforms_json import named_images

__all__ = ["DescribedPoses", "FrameFiles"]

Matrix = npt.NDArray[np.float64]
FrameFiles = Sequence[str]
"""The paths of a frame's images, depth first: what a list may call it."""
SceneFrames = Callable[[Mapping[str, str]], Sequence[tuple[str, str]]]
"""From the fields of a frame to (path of depth, frame) of every frame of its scene."""

_NANOSECONDS = 1_000_000_000
_OWN_CONVENTIONS: Final[Mapping[str, tuple[Direction, Axes]]] = MappingProxyType(
    {"colmap": ("world_to_camera", "opencv"), "nerfstudio": ("camera_to_world", "opengl")}
)


class DescribedPoses:
    """How the poses of one manifest are read."""

    def __init__(self, block: PoseBlock, listings: Listings, frames_of: SceneFrames) -> None:
        self._block = block
        self._listings = listings
        self._frames_of = frames_of
        self._template = PathTemplate(block.file)
        self._list = lru_cache(16)(self._read_list)
        self._associated = lru_cache(16)(self._associate)
        self._hands = lru_cache(16)(self._read_hand)

    def has(self, fields: Mapping[str, str], files: FrameFiles) -> bool:
        """Return whether there is a pose of a frame; a file per frame is not opened."""
        if not self._block.is_list:
            return self._listings.has(self._template.fill(fields, self._block.offset))
        return self._of_list(fields, files) is not None

    def read(self, fields: Mapping[str, str], files: FrameFiles) -> Matrix | None:
        """Return T_world_cam (4, 4) float64 of a frame, None where it has none or tracking was lost.

        Raises DecodeError, naming the file, for what is no pose.
        """
        block = self._block
        path = self._template.fill(fields, 0 if block.is_list else block.offset)
        where = self._listings.tree.describe(path)
        if block.is_list:
            stored = self._of_list(fields, files)
        else:
            data = self._listings.tree.read_if_there(path)
            numbers = None if data is None else read_numbers(data, block.key, where=where, what="a pose")
            stored = None if numbers is None else pose_matrix(numbers, where=where)
        if stored is None:
            return None
        if block.translation_scale != 1.0:
            stored = stored.copy()
            stored[:3, 3] *= block.translation_scale
        direction, axes = _OWN_CONVENTIONS.get(block.format, (block.direction, block.axes))
        pose = to_house_pose(stored, direction, axes, where=where)
        if pose is None or block.T_hand_cam is None:
            return pose
        return pose @ self._hand(fields)

    def _of_list(self, fields: Mapping[str, str], files: FrameFiles) -> Matrix | None:
        path = self._template.fill({**fields, "frame": "0"})
        known = self._list(path)
        if known is None:
            return None
        if isinstance(known, ByName):
            return known.find(files, fields["frame"])
        if self._block.format in ("tum", "euroc") and self._block.match == "stamp":
            scene = tuple(sorted((name, value) for name, value in fields.items() if name != "frame"))
            index = self._associated(path, scene).get(files[0])
        else:
            frame = fields["frame"]
            if not (frame.isascii() and frame.isdecimal()):
                raise InputError(
                    "poses that are counted need frames that are whole numbers",
                    where=self._listings.tree.describe(path),
                    found=frame,
                    remedy="pose.match: stamp, or a format that names images",
                )
            index = int(frame) + self._block.offset
        return None if index is None else known.get(index)

    def _read_list(self, path: str) -> dict[int, Matrix] | ByName[Matrix] | None:
        block, tree = self._block, self._listings.tree
        data, where = tree.read_if_there(path), tree.describe(path)
        if data is None:
            return None
        match block.format:
            case "colmap":
                images = parse_colmap_images(data, binary=path.endswith(".bin"), where=where)
                return ByName({name: image.matrix for name, image in images.items()})
            case "nerfstudio" | "transforms_json":
                frames = named_images(data, where=where)
                return ByName({name: image.matrix for name, image in frames.items()})
            case "trajectory_log":
                return parse_trajectory_log(text_of(data, where=where, what="a trajectory log"), where=where)
            case "tum" | "euroc":
                return dict(enumerate(pose.matrix for pose in self._stamped(path)))
        rows = read_rows(data, block.key, where=where, what="a list of poses")
        if rows and len(rows) % 4 == 0 and all(row.size == 4 for row in rows):
            rows = list(np.array(rows).reshape(-1, 4, 4))  # four lines of text a pose
        return {index: pose_matrix(row, where=f"{where}, pose {index}") for index, row in enumerate(rows)}

    def _stamped(self, path: str) -> list[Stamped]:
        block, tree = self._block, self._listings.tree
        text = text_of(tree.read(path), where=tree.describe(path), what="a list of poses")
        order = block.quaternion or ("wxyz" if block.format == "euroc" else "xyzw")
        return parse_stamped_poses(text, order, where=tree.describe(path))

    def _associate(self, path: str, scene: tuple[tuple[str, str], ...]) -> dict[str, int]:
        """Return the line of each frame, by the path of its depth image."""
        block = self._block
        fields = dict(scene)
        frames = self._frames_of(fields)
        stamps = self._stamps_of_list(fields) if block.stamps is not None else {}
        times: list[Decimal] = []
        timed: list[str] = []
        for depth, frame in frames:
            stamp = self._stamp(depth, frame, stamps)
            if stamp is not None:
                times.append(stamp)
                timed.append(depth)
        poses = [pose.stamp for pose in self._stamped(path)]
        tolerance = Decimal(str(block.tolerance_s)) * (_NANOSECONDS if block.format == "euroc" else 1)
        return {timed[index]: line for index, line in associate(times, poses, tolerance).items()}

    def _stamp(self, depth: str, frame: str, stamps: Mapping[str, Decimal]) -> Decimal | None:
        if self._block.stamps is not None:
            name = depth.rpartition("/")[2]
            for key in (depth, name, str(int(frame)) if frame.isascii() and frame.isdecimal() else frame):
                if key in stamps:
                    return stamps[key]
            return None
        try:
            stamp = Decimal(frame)
            if not stamp.is_finite():
                raise InvalidOperation
        except InvalidOperation:
            raise InputError(
                "a frame's name is no time",
                where=depth,
                expected="a number, which pose.stamp_scale turns into the unit of the list",
                found=frame,
                remedy="give pose.stamps, a list of the frames' stamps, or pose.match: line",
            ) from None
        return stamp * Decimal(str(self._block.stamp_scale))

    def _stamps_of_list(self, fields: Mapping[str, str]) -> dict[str, Decimal]:
        """Return stamps by what names a frame: the path of a line, its last part, or the line's number."""
        assert self._block.stamps is not None
        path = PathTemplate(self._block.stamps).fill({**fields, "frame": "0"})
        tree = self._listings.tree
        data, where = tree.read_if_there(path), tree.describe(path)
        if data is None:
            raise InputError("no list of stamps", where=where, expected="lines `stamp path`, or a stamp each")
        found: dict[str, Decimal] = {}
        lines = (line.split() for line in text_of(data, where=where, what="a list of stamps").splitlines())
        for number, words in enumerate(words for words in lines if words and not words[0].startswith("#")):
            try:
                stamp = Decimal(words[0].rstrip(","))
            except InvalidOperation:
                raise DecodeError(
                    "not a list of stamps",
                    where=where,
                    expected="a number first in each line",
                    found=" ".join(words)[:80],
                ) from None
            stamp *= Decimal(str(self._block.stamp_scale))
            if len(words) > 1:
                found[words[1]] = stamp
                found.setdefault(words[1].rpartition("/")[2], stamp)
            else:
                found[str(number)] = stamp
        return found

    def _hand(self, fields: Mapping[str, str]) -> Matrix:
        given = self._block.T_hand_cam
        return self._hands(PathTemplate(given).fill(fields) if isinstance(given, str) else None)

    def _read_hand(self, path: str | None) -> Matrix:
        given, where = self._block.T_hand_cam, "pose.T_hand_cam"
        if path is None:
            numbers = np.array(given, dtype=np.float64)
        else:
            where = self._listings.tree.describe(path)
            data = self._listings.tree.read_if_there(path)
            if data is None:
                raise InputError("no file of the hand-eye transform", where=where, expected="4 x 4 numbers")
            numbers = read_numbers(data, None, where=where, what="a hand-eye transform")
        matrix = to_house_pose(pose_matrix(numbers, where=where), "camera_to_world", "opencv", where=where)
        if matrix is None:
            raise DecodeError("not a hand-eye transform", where=where, found="numbers that are not finite, or zeros")
        return matrix
