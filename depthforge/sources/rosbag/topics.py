"""Which topic of a recording holds what: as the manifest says, or the only one that fits.

Whether a topic of images holds depth or colour, its first message says by its encoding. 16UC1 and 32FC1 are depth;
mono16 is depth or infrared, and counts as depth where its topic is called that. More than one that fits is an error
that lists the topics, never a choice. The topic of intrinsics is the one that stands beside the images, as
image_transport finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from depthforge.errors import InputError
from depthforge.sources.rosbag.bags import Bag
from depthforge.sources.rosbag.config import NO_TOPIC, RosbagConfig
from depthforge.sources.rosbag.images import COLOUR_ENCODINGS, DEPTH_ENCODINGS

__all__ = ["Topics", "choose_topics", "depth_units_topic"]

_IMAGE: Final = "sensor_msgs/msg/Image"
_COMPRESSED: Final = "sensor_msgs/msg/CompressedImage"
_CAMERA_INFO: Final = "sensor_msgs/msg/CameraInfo"
_UNITS: Final = "std_msgs/msg/Float32"


class Topics(NamedTuple):
    """The topics of a recording that are read."""

    depth: str
    rgb: str | None
    camera_info: str | None


def choose_topics(bag: Bag, config: RosbagConfig) -> Topics:
    """Return the topics to read; raise InputError, listing those there are, where that is not clear."""
    kinds = {name: _kind(name, bag.first(name)) for name in _images(bag)}
    depth = config.depth_topic
    if depth is None:
        depth = _only(bag, "depth_topic", "depth images", [name for name in kinds if kinds[name] == "depth"])
    _require(bag, "depth_topic", depth, (_IMAGE, _COMPRESSED))
    rgb: str | None = None
    if config.rgb_topic is None:
        fitting = [name for name in kinds if kinds[name] == "colour"]
        rgb = _only(bag, "rgb_topic", "colour images", fitting) if fitting else None
    elif config.rgb_topic != NO_TOPIC:
        rgb = config.rgb_topic
        _require(bag, "rgb_topic", rgb, (_IMAGE, _COMPRESSED))
    return Topics(depth, rgb, None if config.camera is not None else _camera_info(bag, config, depth))


def depth_units_topic(bag: Bag, depth: str) -> str | None:
    """Return the topic on which a RealSense recording says how many metres a unit is, None when there is none."""
    sensor = depth.rsplit("/", 3)[0]
    name = f"{sensor}/option/Depth_Units/value"
    return name if name in bag.topics and bag.topics[name].type == _UNITS else None


def _images(bag: Bag) -> list[str]:
    return [topic.name for topic in bag.topics.values() if topic.type in (_IMAGE, _COMPRESSED) and topic.num_messages]


def _kind(name: str, message: Any) -> str | None:
    if hasattr(message, "encoding"):
        if message.encoding == "mono16":
            return "depth" if "depth" in name.lower() else None
        if message.encoding == "mono8":
            return None
        return "depth" if message.encoding in DEPTH_ENCODINGS else _colour(message.encoding)
    text = message.format.lower()
    if "compresseddepth" in text or text.startswith(("16uc1", "mono16", "32fc1")):
        return "depth"
    return None if text.startswith(("mono", "8uc1")) or "depth" in name.lower().split("/") else "colour"


def _colour(encoding: str) -> str | None:
    return "colour" if encoding in COLOUR_ENCODINGS else None


def _camera_info(bag: Bag, config: RosbagConfig, depth: str) -> str:
    if config.camera_info_topic is not None:
        _require(bag, "camera_info_topic", config.camera_info_topic, (_CAMERA_INFO,))
        return config.camera_info_topic
    known = [topic.name for topic in bag.topics.values() if topic.type == _CAMERA_INFO and topic.num_messages]
    for name in _beside(depth):
        if name in known:
            return name
    return _only(bag, "camera_info_topic", "intrinsics", known)


def _beside(depth: str) -> list[str]:
    """Return where intrinsics stand beside images, those of a compressed topic one level higher."""
    parent = depth.rsplit("/", 1)[0]
    higher = parent.rsplit("/", 1)[0]
    # RealSense recordings: .../Depth_0/image/data and .../Depth_0/info/camera_info.
    return [f"{parent}/camera_info", f"{higher}/camera_info", f"{higher}/info/camera_info"]


def _only(bag: Bag, field: str, what: str, fitting: list[str]) -> str:
    if len(fitting) == 1:
        return fitting[0]
    also = (
        " or `camera:`" if field == "camera_info_topic" else " (none: read no colour)" if field == "rgb_topic" else ""
    )
    raise InputError(
        f"{'several topics' if fitting else 'no topic'} of {what}",
        where=bag.where,
        expected=f"one, or `{field}`{also} in the source block",
        found=_listed(bag, fitting or bag.topics),
    )


def _require(bag: Bag, field: str, name: str, types: tuple[str, ...]) -> None:
    topic = bag.topics.get(name)
    if topic is None or topic.type not in types or not topic.num_messages:
        raise InputError(
            f"`{field}` names no topic of that kind in the recording",
            where=bag.where,
            expected=f"{name} with messages of {' or '.join(types)}",
            found=_listed(bag, bag.topics),
        )


def _listed(bag: Bag, names: Iterable[str]) -> str:
    chosen = [bag.topics[name] for name in sorted(names)]
    return (
        "; ".join(f"{topic.name} ({topic.type}, {topic.num_messages})" for topic in chosen)
        or "a recording without topics"
    )
