"""Procedural rooms as recordings of a ROS driver, seen by a simulated Kinect: what your own recordings may look like.

Rooms go in turn to a ROS 1 bag and to a ROS 2 folder with mcap, of the same topics: depth as 16UC1 millimetres (ROS 2:
32FC1 metres), colour as JPEG, the CameraInfo of depth, `/tf` from `map` to the moving `base_link` and `/tf_static` from
there to the optical frame that depth and colour share. Stamps are 33 ms apart, colour's 4 ms late, and the log is 10 ms
behind. As in ``samples.rgbd_folder`` these rooms are others than those of the clean layouts. 0.15 s a frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from depthforge.frame import Camera, Frame
from depthforge.geometry import Float64, quaternion_from_rotation
from depthforge.registry import layouts
from depthforge.samples.base import Layout
from depthforge.samples.room_views import RoomViews, colour_of
from depthforge.samples.writing import require_empty, rgb_jpeg
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.rosbag.bags import message_types

__all__ = ["RosbagLayout"]

CAMERA = Camera(577.87, 577.87, 319.5, 239.5, 640, 480)
_OTHER_ROOMS = 1000
_OPTICAL = "camera_depth_optical_frame"
_FIRST_NS, _FRAME_NS = 1_700_000_000_000_000_000, 33_333_333
_COLOUR_LATER_NS, _LOG_LATER_NS = 4_000_000, 10_000_000
# Where the optical frame is in that of the base, which looks along x and has z up: half a metre above it.
_T_BASE_OPTICAL = np.array([[0.0, 0, 1, 0.1], [-1, 0, 0, 0], [0, -1, 0, 0.5], [0, 0, 0, 1]])


@layouts.register("rosbag")
class RosbagLayout(Layout):
    """ROS 1 bags and ROS 2 recordings of a Kinect (``manifests/rosbag.yaml``); needs the extra ``ros``."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self._camera = camera

    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write a recording of each room under ``root``; see ``Layout.write``."""
        require_empty(root)
        rooms = RoomViews(num_scenes=num_scenes, frames_per_scene=frames_per_scene, seed=seed + _OTHER_ROOMS)
        sensor = parse_sensor("kinect_v1_published")
        root.mkdir(parents=True, exist_ok=True)
        for scene in range(num_scenes):
            recorder = _Recorder(root, f"room{scene:04d}", self._camera, is_ros2=scene % 2 == 1)
            for number in range(frames_per_scene):
                frame = rooms.see(scene, number, self._camera)
                recorder.write(frame, rooms.measure(frame, sensor).depth_m, number)
            recorder.close()
        return num_scenes * frames_per_scene


class _Recorder:
    """Writes the messages of one recording."""

    def __init__(self, root: Path, name: str, camera: Camera, *, is_ros2: bool) -> None:
        self._types = message_types(is_ros2=is_ros2)
        from rosbags.rosbag1 import Writer as Writer1
        from rosbags.rosbag2 import StoragePlugin
        from rosbags.rosbag2 import Writer as Writer2

        self._is_ros2, self._camera = is_ros2, camera
        self._writer: Any
        if is_ros2:
            self._writer = Writer2(root / name, version=9, storage_plugin=StoragePlugin.MCAP)
        else:
            self._writer = Writer1(root / f"{name}.bag")
        self._writer.open()
        topics = {
            "/camera/depth/image_raw": "sensor_msgs/msg/Image",
            "/camera/depth/camera_info": "sensor_msgs/msg/CameraInfo",
            "/camera/rgb/image_raw/compressed": "sensor_msgs/msg/CompressedImage",
            "/tf": "tf2_msgs/msg/TFMessage",
            "/tf_static": "tf2_msgs/msg/TFMessage",
        }
        self._connections = {
            topic: self._writer.add_connection(topic, kind, typestore=self._types) for topic, kind in topics.items()
        }
        static = self._transform("base_link", _OPTICAL, _T_BASE_OPTICAL, _FIRST_NS)
        self._log("/tf_static", _FIRST_NS, static)

    def write(self, frame: Frame, depth_m: Float64 | Any, number: int) -> None:
        """Write one frame with its pose."""
        at_ns = _FIRST_NS + _FRAME_NS * number
        assert frame.T_world_cam is not None
        T_world_base = frame.T_world_cam @ np.linalg.inv(_T_BASE_OPTICAL)
        self._log("/tf", at_ns, self._transform("map", "base_link", T_world_base, at_ns))
        self._log("/camera/depth/camera_info", at_ns, self._camera_info(at_ns, number))
        self._log("/camera/depth/image_raw", at_ns, self._depth(depth_m, at_ns, number))
        colour_ns = at_ns + _COLOUR_LATER_NS
        jpeg = np.frombuffer(rgb_jpeg(colour_of(frame)), np.uint8)
        header = self._header(colour_ns, _OPTICAL, number)
        colour = self._type("sensor_msgs/msg/CompressedImage")(header, "rgb8; jpeg compressed bgr8", jpeg)
        self._log("/camera/rgb/image_raw/compressed", colour_ns, colour)

    def close(self) -> None:
        """End the recording."""
        self._writer.close()

    def _log(self, topic: str, stamp_ns: int, message: Any) -> None:
        serialize = self._types.serialize_cdr if self._is_ros2 else self._types.serialize_ros1
        connection = self._connections[topic]
        self._writer.write(connection, stamp_ns + _LOG_LATER_NS, serialize(message, connection.msgtype))

    def _type(self, name: str) -> Any:
        return self._types.types[name]

    def _header(self, stamp_ns: int, frame_id: str, number: int) -> Any:
        stamp = self._type("builtin_interfaces/msg/Time")(*divmod(stamp_ns, 1_000_000_000))
        fields = {"stamp": stamp, "frame_id": frame_id} | ({} if self._is_ros2 else {"seq": number})
        return self._type("std_msgs/msg/Header")(**fields)

    def _depth(self, depth_m: Any, stamp_ns: int, number: int) -> Any:
        if self._is_ros2:
            encoding, stored = "32FC1", np.where(depth_m > 0, depth_m, np.nan).astype("<f4")
        else:
            encoding, stored = "16UC1", np.rint(depth_m * 1000.0).astype("<u2")
        height, width = stored.shape
        data = np.frombuffer(stored.tobytes(), np.uint8)
        header = self._header(stamp_ns, _OPTICAL, number)
        step = width * stored.itemsize
        return self._type("sensor_msgs/msg/Image")(header, height, width, encoding, 0, step, data)

    def _camera_info(self, stamp_ns: int, number: int) -> Any:
        camera = self._camera
        names = ("d", "k", "r", "p") if self._is_ros2 else ("D", "K", "R", "P")
        P = np.concatenate([camera.K, np.zeros((3, 1))], axis=1)
        values = (np.zeros(5), camera.K.ravel(), np.eye(3).ravel(), P.ravel())
        return self._type("sensor_msgs/msg/CameraInfo")(
            header=self._header(stamp_ns, _OPTICAL, number),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            binning_x=0,
            binning_y=0,
            roi=self._type("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False),
            **dict(zip(names, values, strict=True)),
        )

    def _transform(self, parent: str, child: str, T: Float64, stamp_ns: int) -> Any:
        w, x, y, z = quaternion_from_rotation(T[:3, :3]).tolist()
        translation = self._type("geometry_msgs/msg/Vector3")(*T[:3, 3].tolist())
        rotation = self._type("geometry_msgs/msg/Quaternion")(x, y, z, w)
        transform = self._type("geometry_msgs/msg/Transform")(translation, rotation)
        header = self._header(stamp_ns, parent, 0)
        stamped = self._type("geometry_msgs/msg/TransformStamped")(header, child, transform)
        return self._type("tf2_msgs/msg/TFMessage")([stamped])
