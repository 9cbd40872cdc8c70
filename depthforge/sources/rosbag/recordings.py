"""One recording opened: its topics, its camera, the unit of its integers, and whether its colour lies on its depth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.sources.rosbag.bags import Bag
from depthforge.sources.rosbag.camera_info import camera_of, is_rectified
from depthforge.sources.rosbag.config import RosbagConfig
from depthforge.sources.rosbag.images import is_same_view, size_of_colour
from depthforge.sources.rosbag.topics import Topics, choose_topics, depth_units_topic
from depthforge.sources.rosbag.transforms import frame_name

__all__ = ["Recording", "open_recording", "why_no_colour"]


class Recording(NamedTuple):
    """An open recording, and what is the same for all its frames; ``units_per_m`` None: as the encoding says."""

    bag: Bag
    topics: Topics
    camera: Camera
    units_per_m: float | None


def open_recording(path: Path, config: RosbagConfig) -> Recording:
    """Open a recording; raise InputError where its topics or unit are not clear, DecodeError where it is damaged."""
    bag = Bag(path)
    topics = choose_topics(bag, config)
    return Recording(bag, topics, _camera(bag, topics, config), _units_per_m(bag, topics, config))


def why_no_colour(recording: Recording, config: RosbagConfig) -> str | None:
    """Return why colour is no label of this depth, None when it is one or there is none."""
    bag, topics, camera, _ = recording
    if topics.rgb is None:
        return None
    colour, depth = bag.first(topics.rgb), bag.first(topics.depth)
    size = size_of_colour(colour)
    if size is not None and not is_same_view(size, camera.size):
        sizes = f"{size[1]} x {size[0]}, and depth {camera.width} x {camera.height}"
        return f"{topics.rgb} is not registered to depth: it has {sizes}"
    frames = frame_name(colour.header.frame_id), frame_name(depth.header.frame_id)
    if frames[0] != frames[1] and not config.registered:
        seen = f"{topics.rgb} is seen from {frames[0]!r}, depth from {frames[1]!r}"
        return f"{seen}; `registered: true` says that it lies on depth all the same"
    return None


def _camera(bag: Bag, topics: Topics, config: RosbagConfig) -> Camera:
    if config.camera is not None:
        return config.camera.camera()
    assert topics.camera_info is not None
    info, rectified = bag.first(topics.camera_info), is_rectified(topics.depth)
    return camera_of(info, rectified=rectified, where=f"{bag.where}, {topics.camera_info}")


def _units_per_m(bag: Bag, topics: Topics, config: RosbagConfig) -> float | None:
    if config.depth_scale is not None:
        return config.depth_scale
    first = bag.first(topics.depth)
    encoding = getattr(first, "encoding", None) or first.format.partition(";")[0].strip()
    if encoding != "mono16":
        return None
    stated = depth_units_topic(bag, topics.depth)
    # A float32: the shortest number that is written like it is the one that was meant.
    metres = 0.0 if stated is None else float(str(np.float32(bag.first(stated).data)))
    if not metres > 0:
        raise InputError(
            "depth as mono16 does not say its unit",
            where=f"{bag.where}, {topics.depth}",
            expected="a topic option/Depth_Units/value beside it, as RealSense records it, or `depth_scale`",
            found="no such topic" if stated is None else f"{metres:g} metres",
            remedy="set `depth_scale`, the units per metre: 1000 for most cameras, 10000 for a D405",
        )
    return 1.0 / metres
