"""What frames a recording has: one walk over the stamps of its depth and colour, and who belongs to whom.

The walk reads every message of these topics and decodes no image. Colour is associated by the nearest stamp of its
headers, one to one; a locator holds where in the log both lie, so that a worker needs no walk.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from depthforge.frame import Finding, FrameRef
from depthforge.sources.rosbag.bags import Bag, BagFile, stamp_of
from depthforge.sources.rosbag.camera_info import is_distorted, is_rectified
from depthforge.sources.rosbag.config import RosbagConfig
from depthforge.sources.rosbag.recordings import Recording, why_no_colour
from depthforge.sources.trajectories import associate

__all__ = ["Listing", "Place", "list_recording"]

_NS_PER_S = 1_000_000_000


class Place(NamedTuple):
    """A locator: the recording, and log time and stamp of the depth and of the colour message (0: no colour)."""

    path: str
    log_ns: int
    stamp_ns: int
    rgb_log_ns: int
    rgb_stamp_ns: int

    def __str__(self) -> str:
        return "|".join(map(str, self))

    @classmethod
    def parse(cls, locator: str) -> Place:
        path, *numbers = locator.rsplit("|", 4)
        return cls(path, *map(int, numbers))


class Listing(NamedTuple):
    """The frames of a recording in the order of their keys, and what is odd about it."""

    refs: tuple[FrameRef, ...]
    findings: tuple[Finding, ...]


def list_recording(dataset: str, file: BagFile, recording: Recording, config: RosbagConfig) -> Listing:
    """Walk a recording, which nobody else may read meanwhile, and pair depth with colour; raise DecodeError."""
    bag, topics = recording.bag, recording.topics
    findings: list[Finding] = []
    if topics.camera_info is not None:
        info = bag.first(topics.camera_info)
        if is_distorted(info, rectified=is_rectified(topics.depth)):
            message = f"{topics.depth} is not rectified: D of {topics.camera_info} is not zero, and is left out"
            findings.append(Finding("warning", file.path, message, "record the rectified depth where it matters"))
    reason = why_no_colour(recording, config)
    if reason is not None:
        remedy = "set `rgb_topic` to colour that is registered to depth, or to none"
        findings.append(Finding("warning", file.path, f"colour is left out: {reason}", remedy))
    rgb = topics.rgb if reason is None else None
    depth, colour, repeated = _walk(bag, topics.depth, rgb)
    if repeated:
        findings.append(Finding("warning", file.path, f"{repeated} depth images of a stamp that another has; ignored"))
    pairs = _paired(list(depth), list(colour), config.tolerance_s) if rgb is not None else {}
    refs = []
    for stamp_ns in sorted(depth)[:: config.every]:
        rgb_ns = pairs.get(stamp_ns, 0)
        place = Place(file.path, depth[stamp_ns], stamp_ns, colour.get(rgb_ns, 0), rgb_ns)
        refs.append(FrameRef(f"{dataset}/{file.scene}/{stamp_ns:019d}", str(place)))
    if rgb is not None and len(pairs) < len(depth):
        alone = len(depth) - len(pairs)
        message = f"{alone} of {len(depth)} frames have no colour image within {config.tolerance_s:g} s"
        findings.append(Finding("warning", file.path, message, "raise `tolerance_s` if the camera stood still"))
    return Listing(tuple(refs), tuple(findings))


def _walk(bag: Bag, depth_topic: str, rgb_topic: str | None) -> tuple[dict[int, int], dict[int, int], int]:
    """Return the log time of each stamp of depth and of colour, and how many stamps of depth came again."""
    depth: dict[int, int] = {}
    colour: dict[int, int] = {}
    repeated = 0
    for stored in bag.messages((depth_topic,) if rgb_topic is None else (depth_topic, rgb_topic)):
        stamp_ns = stamp_of(stored.message) or stored.log_ns
        if stored.topic == rgb_topic:
            colour.setdefault(stamp_ns, stored.log_ns)
        elif stamp_ns in depth:
            repeated += 1
        else:
            depth[stamp_ns] = stored.log_ns
    return depth, colour, repeated


def _paired(depth: list[int], colour: list[int], tolerance_s: float) -> dict[int, int]:
    """Return for stamps of depth the nearest stamp of colour, one to one."""
    found = associate([Decimal(ns) for ns in depth], [Decimal(ns) for ns in colour], Decimal(tolerance_s) * _NS_PER_S)
    return {depth[index]: colour[other] for index, other in found.items()}
