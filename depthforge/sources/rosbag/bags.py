"""Recordings of ROS as files: where they are, what topics they have, messages by time; read by ``rosbags``.

A listing walks the messages of a topic once, in the order of the log (1 to 2 GB/s of what is in memory); a message is
found again by the time at which it was logged, through the index of the recording. rosbags decompresses a whole chunk
(0.8 to 4 MB) for that. The types of the messages are those of ROS 1 Noetic and ROS 2 Humble, not those that a
recording brings along: the few that are read here are the same in every release, and a definition of a message that
nobody reads cannot stop a recording from being opened. The alternative, the readers of ROS itself, needs ROS.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from depthforge.errors import DecodeError, DepthforgeError, MissingDependencyError
from depthforge.frame import Finding
from depthforge.sources.base import Report

__all__ = ["BAG_SUFFIXES", "Bag", "BagFile", "Stored", "Topic", "find_bags", "message_types", "stamp_of"]

BAG_SUFFIXES: Final = (".bag", ".db3", ".mcap")
_REPAIR: Final = "record it again, or repair it: `rosbag reindex`, `ros2 bag reindex`, `mcap recover`"
_TF: Final = "tf2_msgs/msg/TFMessage"
_ACTIVE: Final = ".bag.active"


class BagFile(NamedTuple):
    """A recording: the name of its scene, and its path relative to the root, ``.`` when it is the root."""

    scene: str
    path: str


class Topic(NamedTuple):
    """A topic of a recording: its message type, as ROS 2 writes it, and how many messages it has."""

    name: str
    type: str
    num_messages: int


class Stored(NamedTuple):
    """A message as it lies in a recording, decoded, with the time of the log in nanoseconds."""

    topic: str
    log_ns: int
    message: Any


def find_bags(root: Path, report: Report) -> list[BagFile]:
    """Return the recordings at and below ``root`` in the order of their scenes; what is skipped is reported.

    Names that begin with a dot are none. Raises FileNotFoundError when there is no ``root``.
    """
    if root.is_file() or _is_recording(root):
        return [BagFile(_scene(root.name if root.name else root.resolve().name), ".")]
    if not root.exists():
        raise FileNotFoundError(root)
    found: dict[str, str] = {}
    for path in sorted(_below(root, "", report)):
        scene = _scene(path)
        if scene in found:
            report(Finding("error", path, f"the same scene as {found[scene]}; ignored", "give one another name"))
        else:
            found[scene] = path
    return [BagFile(scene, found[scene]) for scene in sorted(found, key=lambda name: f"{name}/")]


def message_types(*, is_ros2: bool) -> Any:
    """Return the Typestore of rosbags with every message that is read, of ROS 1 Noetic or ROS 2 Humble.

    Raises MissingDependencyError without rosbags.
    """
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise MissingDependencyError(
            "recordings of ROS need rosbags, which is not installed",
            found=error,
            remedy="pip install 'depthforge[ros]'",
        ) from None
    types = get_typestore(Stores.ROS2_HUMBLE if is_ros2 else Stores.ROS1_NOETIC)
    if _TF not in types.types:
        types.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", _TF))
    return types


class Bag:
    """An open recording. Single messages may be asked for by any thread; ``messages`` is for one alone."""

    def __init__(self, path: Path) -> None:
        """Open it; raise DecodeError when it is damaged, MissingDependencyError without rosbags."""
        self.where = str(path)
        self._lock = threading.Lock()
        is_ros2 = path.suffix != ".bag" or path.is_dir()
        types = message_types(is_ros2=is_ros2)
        from rosbags.rosbag1 import Reader as Reader1
        from rosbags.rosbag2 import Reader as Reader2

        with self._reading():
            self._reader: Any = (Reader2 if is_ros2 else Reader1)(path)
            self._deserialize = types.deserialize_cdr if is_ros2 else types.deserialize_ros1
            self._reader.open()
            self.topics: Mapping[str, Topic] = MappingProxyType(
                {
                    name: Topic(name, info.msgtype or "several", info.msgcount)
                    for name, info in sorted(self._reader.topics.items())
                }
            )

    def close(self) -> None:
        """Close its files."""
        self._reader.close()

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[Stored]:
        """Yield the messages of ``topics`` in the order of the log, from ``start_ns`` to before ``stop_ns``.

        Raises DecodeError where the recording is damaged, or a message is not of the type that its topic says.
        """
        connections = [connection for connection in self._reader.connections if connection.topic in topics]
        if not connections:
            return
        with self._reading():
            for connection, log_ns, data in self._reader.messages(connections, start_ns, stop_ns):
                # tf/tfMessage of the first tf is tf2_msgs/TFMessage under another name.
                kind = _TF if connection.msgtype == "tf/msg/tfMessage" else connection.msgtype
                yield Stored(connection.topic, log_ns, self._deserialize(data, kind))

    def between(self, topic: str, start_ns: int | None = None, stop_ns: int | None = None) -> list[Any]:
        """Return the messages of a topic in a stretch of the log; see ``messages``."""
        with self._lock:
            return [stored.message for stored in self.messages((topic,), start_ns, stop_ns)]

    def first(self, topic: str) -> Any:
        """Return the first message of a topic, None when it has none."""
        with self._lock:
            stored = next(self.messages((topic,)), None)
        return None if stored is None else stored.message

    def at(self, topic: str, log_ns: int, stamp_ns: int) -> Any:
        """Return the message that was logged at ``log_ns`` and has the stamp; raise DecodeError when it has gone.

        Where the log has a coarse clock several messages have one time. A message without a stamp has that of the log.
        """
        for message in self.between(topic, log_ns, log_ns + 1):
            if (stamp_of(message) or log_ns) == stamp_ns:
                return message
        raise DecodeError(
            "the message has gone since it was listed", where=f"{self.where}, {topic}", expected=f"one at {log_ns} ns"
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except DepthforgeError:
            raise
        except OSError as error:
            raise DecodeError("the recording cannot be opened", where=self.where, found=error) from None
        except Exception as error:
            # Of damaged files rosbags lets through its own errors, assertions and those of four decompressors.
            found = f"{type(error).__name__}: {error}"
            raise DecodeError("the recording is damaged", where=self.where, found=found, remedy=_REPAIR) from None


def stamp_of(message: Any) -> int:
    """Return the stamp of a message's header in nanoseconds, of either ROS; 0 where nobody set it."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _is_recording(folder: Path) -> bool:
    return (folder / "metadata.yaml").is_file()


def _scene(path: str) -> str:
    stem = path.rsplit(".", 1)[0] if path.endswith(BAG_SUFFIXES) else path
    return stem.replace("/", ".")


def _below(root: Path, folder: str, report: Report) -> Iterator[str]:
    with os.scandir(root / folder) as scanned:
        entries = [entry for entry in scanned if not entry.name.startswith(".")]
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir():
            if _is_recording(root / path):
                yield path
            elif entry.is_symlink():
                report(Finding("warning", path, "a link to a folder is not followed", "name that folder as root"))
            else:
                yield from _below(root, path, report)
        elif entry.name.endswith(BAG_SUFFIXES):
            yield path
        elif entry.name.endswith(_ACTIVE):
            report(Finding("error", path, "a recording that was not ended; ignored", "rosbag reindex"))
