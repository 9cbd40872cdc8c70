"""Recordings of ROS 1 and ROS 2 as they were made: depth, colour, intrinsics and poses by tf.

A listing walks the messages of depth and colour once, for their stamps alone, and pairs them; reading a frame then
seeks by the time of the log. One core, 640x480, beside other work, colour carried as JPEG, and poses: 16UC1 of ROS 1
is listed at 570 frames a second and read at 640, 32FC1 in mcap at 240 and 130. Colour is carried only where it is the
view of the depth camera: a size of the same proportion, and the same camera frame in the headers. CameraInfo is taken
from the first message of a recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError, FrameError, InputError, MissingDataError, MissingDependencyError
from depthforge.frame import RGB_FILE, DepthImage, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.conventions import to_house_pose
from depthforge.sources.images import Colour
from depthforge.sources.rosbag.bags import BagFile, find_bags
from depthforge.sources.rosbag.config import NO_TOPIC, RosbagConfig
from depthforge.sources.rosbag.images import colour_of, depth_m_of
from depthforge.sources.rosbag.listing import Listing, Place, list_recording
from depthforge.sources.rosbag.recordings import Recording, open_recording
from depthforge.sources.rosbag.transforms import Transforms, frame_name, links_of

__all__ = ["Rosbag", "RosbagConfig"]

_NS_PER_S = 1_000_000_000
_OPEN = 4
# tf is read in stretches of the log: whole, it is in nearly every chunk of a recording of many gigabytes.
_STRETCH_NS = 5 * _NS_PER_S
# A transform may be logged this much earlier or later than the image of its stamp.
_LOG_SLACK_NS = _NS_PER_S
_POSES_TRIED = 20


@sources.register("rosbag")
class Rosbag(Source):
    """Your own recordings of ROS 1 (`.bag`) and ROS 2 (`.db3`, `.mcap`), RealSense's among them.

    Keys: ``rosbag/<recording>/<stamp>``, the stamp of the depth image in nanoseconds, 19 digits.
    """

    Config = RosbagConfig
    config: RosbagConfig
    ships_colour_files = True
    licence = Licence("stated in the manifest", True)

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, RosbagConfig)
        self.config = config
        self.licence = Licence(**config.licence.model_dump())
        self._root = config.root.expanduser()
        self._recording = lru_cache(_OPEN)(self._open)
        self._listing = lru_cache(_OPEN)(self._list)
        self._static = lru_cache(_OPEN)(self._read_static)
        self._transforms = lru_cache(_OPEN)(self._read_transforms)
        self._first = lru_cache(1)(self._find_first)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the depth camera of the first recording, which is opened for it."""
        return self.config.camera.camera().size if self.config.camera is not None else self._first().camera.size

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour unless it is not to be read; poses where ``world_frame`` says in what frame."""
        given = ((RGB, self.config.rgb_topic != NO_TOPIC), (POSE, self.config.world_frame is not None))
        return MappingProxyType({spec.name: spec for spec, is_there in given if is_there})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        found_any, first_error = False, None
        for file in self._find(report):
            try:
                listing = self._listing(file)
            except MissingDependencyError:
                raise
            except DepthforgeError as error:
                first_error = first_error or error
                found = f": {error.found}" if error.found else ""
                report(Finding("error", file.path, f"{error.message}{found}; ignored", error.remedy))
                continue
            for finding in listing.findings:
                report(finding)
            found_any |= bool(listing.refs)
            yield from listing.refs
        if not found_any:
            raise first_error or self._nothing("recordings without a depth image")

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        place = Place.parse(ref.locator)
        recording = self._recording(place.path)
        bag, topics, camera, units_per_m = recording
        message = bag.at(topics.depth, place.log_ns, place.stamp_ns)
        depth_m = depth_m_of(message, camera.size, units_per_m, where=f"{bag.where}, {topics.depth}")
        valid = self._valid(depth_m)
        colour = self._read_colour(recording, place, wanted)
        pose = None
        if POSE.name in wanted and self.config.world_frame is not None:
            pose = self._pose(place, message.header.frame_id)
        return Frame(ref.key, depth_m, valid, camera, colour.rgb, pose, rgb_file=colour.rgb_file)

    def close(self) -> None:
        for cache in (self._recording, self._listing, self._static, self._transforms, self._first):
            cache.cache_clear()

    def _find(self, report: Report) -> list[BagFile]:
        try:
            found = find_bags(self._root, report)
        except FileNotFoundError:
            raise self._nothing("no such file or folder") from None
        if not found:
            raise self._nothing("a folder without recordings")
        return found

    def _find_first(self) -> Recording:
        error: DepthforgeError | None = None
        for file in self._find(ignore_findings):
            try:
                return self._recording(file.path)
            except MissingDependencyError:
                raise
            except DepthforgeError as caught:
                error = error or caught
        raise error or self._nothing("recordings without a depth image")

    def _nothing(self, found: str) -> MissingDataError:
        return MissingDataError(
            "no recording of depth",
            where=self._root,
            expected="a .bag, .db3 or .mcap file, the folder of a ROS 2 recording, or a folder of these",
            found=found,
            remedy="none at hand: depthforge sample --layout rosbag DIR",
        )

    def _open(self, path: str) -> Recording:
        return open_recording(self._root / path, self.config)

    def _list(self, file: BagFile) -> Listing:
        # A recording of its own: the walk may not share its place in the file with reads.
        recording = self._open(file.path)
        with closing(recording.bag):
            if not self.config.is_resampled:
                _require_size(recording, self.size)
            listing = list_recording(self.name, file, recording, self.config)
        unposed = self._unposed(file, listing.refs)
        return Listing(listing.refs, (*listing.findings, *unposed))

    def _unposed(self, file: BagFile, refs: Sequence[FrameRef]) -> list[Finding]:
        """Try the poses of a few frames: a world frame that is not there must be told before a conversion."""
        world = self.config.world_frame
        if world is None or not refs:
            return []
        tried = refs[:: -(-len(refs) // _POSES_TRIED)]
        bag, topics = self._recording(file.path)[:2]
        missing, known = 0, set[str]()
        for ref in tried:
            place = Place.parse(ref.locator)
            camera = frame_name(bag.at(topics.depth, place.log_ns, place.stamp_ns).header.frame_id)
            if self._pose(place, camera) is None:
                missing += 1
                known |= self._transforms(place.path, place.log_ns // _STRETCH_NS).frames
        if not missing:
            return []
        frames = ", ".join(sorted(known)) or "none was recorded"
        if missing == len(tried) and frame_name(world) not in known:
            where = f"{self._root / file.path}, tf"
            raise InputError("`world_frame` is no frame of tf", where=where, expected=world, found=frames)
        within = f"within {self.config.tolerance_s:g} s"
        message = f"{missing} of {len(tried)} frames tried have no pose of {camera!r} in {world!r} {within}"
        return [Finding("warning", file.path, message, f"frames of tf: {frames}")]

    def _valid(self, depth_m: DepthImage) -> npt.NDArray[np.bool_]:
        if self.config.max_depth_m is not None:
            depth_m[depth_m > self.config.max_depth_m] = 0
        return depth_m > 0

    def _read_colour(self, recording: Recording, place: Place, wanted: frozenset[str]) -> Colour:
        bag, topics, camera, _ = recording
        if topics.rgb is None or not place.rgb_log_ns or not wanted & {RGB.name, RGB_FILE}:
            return Colour()
        message = bag.at(topics.rgb, place.rgb_log_ns, place.rgb_stamp_ns)
        return colour_of(message, camera.size, wanted, where=f"{bag.where}, {topics.rgb}")

    def _pose(self, place: Place, camera: str) -> npt.NDArray[np.float64] | None:
        assert self.config.world_frame is not None
        transforms = self._transforms(place.path, place.log_ns // _STRETCH_NS)
        tolerance_ns = round(self.config.tolerance_s * _NS_PER_S)
        pose = transforms.pose(frame_name(self.config.world_frame), frame_name(camera), place.stamp_ns, tolerance_ns)
        where = f"{self._root / place.path}, tf"
        return None if pose is None else to_house_pose(pose, "camera_to_world", "opencv", where=where)

    def _read_static(self, path: str) -> tuple[Any, ...]:
        return tuple(links_of(self._recording(path).bag.between("/tf_static")))

    def _read_transforms(self, path: str, stretch: int) -> Transforms:
        slack_ns = _LOG_SLACK_NS + round(self.config.tolerance_s * _NS_PER_S)
        start_ns, stop_ns = stretch * _STRETCH_NS - slack_ns, (stretch + 1) * _STRETCH_NS + slack_ns
        moving = self._recording(path).bag.between("/tf", max(start_ns, 0), stop_ns)
        return Transforms(self._static(path), links_of(moving))


def _require_size(recording: Recording, size: tuple[int, int]) -> None:
    if recording.camera.size != size:
        raise FrameError(
            "another size than the first recording's",
            where=recording.bag.where,
            expected=f"{size[1]} x {size[0]}",
            found=f"{recording.camera.width} x {recording.camera.height}",
            remedy="give all one size by `resize`, or one camera by `reframe`",
        )
