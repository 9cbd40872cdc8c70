"""Recordings of ROS that tests write message by message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2

from depthforge.sources.rosbag.bags import message_types

DEPTH, INFO, COLOUR = "/camera/depth/image_raw", "/camera/depth/camera_info", "/camera/color/image_raw"
OPTICAL = "camera_optical"
FIRST_NS = 1_700_000_000_000_000_000
LATER_NS = 7_000_000


class Recorder:
    """Writes ``name.bag`` (kind ros1) or the folder ``name`` (mcap, sqlite3); times are ms after the first.

    A coder may follow the kind: ros1-lz4, ros1-bz2, mcap-storage, sqlite3-message, sqlite3-file.
    """

    def __init__(self, root: Path, name: str, kind: str = "ros1") -> None:
        root.mkdir(parents=True, exist_ok=True)
        kind, _, coder = kind.partition("-")
        self.is_ros2 = kind != "ros1"
        self.types = message_types(is_ros2=self.is_ros2)
        if self.is_ros2:
            plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
            self._writer: Any = Writer2(root / name, version=9, storage_plugin=plugin)
        else:
            self._writer = Writer1(root / f"{name}.bag")
        if coder and self.is_ros2:
            self._writer.set_compression(CompressionMode[coder.upper()], CompressionFormat.ZSTD)
        elif coder:
            self._writer.set_compression(Writer1.CompressionFormat[coder.upper()])
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def type(self, name: str) -> Any:
        return self.types.types[name]

    def header(self, at_ms: float, frame_id: str) -> Any:
        stamp_ns = FIRST_NS + round(at_ms * 1e6)
        stamp = self.type("builtin_interfaces/msg/Time")(*divmod(stamp_ns, 1_000_000_000))
        return self.type("std_msgs/msg/Header")(
            **{"stamp": stamp, "frame_id": frame_id} | ({} if self.is_ros2 else {"seq": 0})
        )

    def log(self, topic: str, kind: str, message: Any, at_ms: float) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self.types)
        serialize = self.types.serialize_cdr if self.is_ros2 else self.types.serialize_ros1
        data = serialize(message, kind)
        self._writer.write(self._connections[topic], FIRST_NS + round(at_ms * 1e6) + LATER_NS, data)

    def image(
        self,
        topic: str,
        at_ms: float,
        array: np.ndarray,
        encoding: str,
        *,
        frame_id: str = OPTICAL,
        padding: int = 0,
        big_endian: bool = False,
    ) -> None:
        stored = array.astype(array.dtype.newbyteorder(">" if big_endian else "<"))
        rows = np.frombuffer(stored.tobytes(), np.uint8).reshape(array.shape[0], -1)
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
        height, width = array.shape[:2]
        message = self.type("sensor_msgs/msg/Image")(
            self.header(at_ms, frame_id), height, width, encoding, int(big_endian), rows.shape[1], rows.ravel()
        )
        self.log(topic, "sensor_msgs/msg/Image", message, at_ms)

    def compressed(self, topic: str, at_ms: float, data: bytes, text: str, *, frame_id: str = OPTICAL) -> None:
        message = self.type("sensor_msgs/msg/CompressedImage")(
            self.header(at_ms, frame_id), text, np.frombuffer(data, np.uint8)
        )
        self.log(topic, "sensor_msgs/msg/CompressedImage", message, at_ms)

    def info(
        self,
        topic: str = INFO,
        *,
        size: tuple[int, int] = (4, 6),
        K: Sequence[float] = (5.0, 0, 2.5, 0, 5.5, 1.5, 0, 0, 1),
        P: Sequence[float] = (6.0, 0, 2.0, 0, 0, 6.5, 1.0, 0, 0, 0, 1, 0),
        D: Sequence[float] = (0.0,) * 5,
        binning: int = 0,
        roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        names = ("d", "k", "r", "p") if self.is_ros2 else ("D", "K", "R", "P")
        values = (np.array(D), np.array(K, float), np.eye(3).ravel(), np.array(P, float))
        message = self.type("sensor_msgs/msg/CameraInfo")(
            header=self.header(0, OPTICAL),
            height=size[0],
            width=size[1],
            distortion_model="plumb_bob",
            binning_x=binning,
            binning_y=binning,
            roi=self.type("sensor_msgs/msg/RegionOfInterest")(*roi, False),
            **dict(zip(names, values, strict=True)),
        )
        self.log(topic, "sensor_msgs/msg/CameraInfo", message, 0)

    def transform(
        self,
        topic: str,
        at_ms: float,
        parent: str,
        child: str,
        translation: Sequence[float],
        xyzw: Sequence[float] = (0.0, 0.0, 0.0, 1.0),
    ) -> None:
        transform = self.type("geometry_msgs/msg/Transform")(
            self.type("geometry_msgs/msg/Vector3")(*translation), self.type("geometry_msgs/msg/Quaternion")(*xyzw)
        )
        stamped = self.type("geometry_msgs/msg/TransformStamped")(self.header(at_ms, parent), child, transform)
        self.log(topic, "tf2_msgs/msg/TFMessage", self.type("tf2_msgs/msg/TFMessage")([stamped]), at_ms)

    def number(self, topic: str, value: float) -> None:
        self.log(topic, "std_msgs/msg/Float32", self.type("std_msgs/msg/Float32")(value), 0)
