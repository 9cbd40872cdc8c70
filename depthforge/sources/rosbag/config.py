"""The ``source`` block of ``rosbag``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field

from depthforge.pinhole import PinholeBlock
from depthforge.sources.base import SourceConfig
from depthforge.sources.rgbd_config import LicenceBlock

__all__ = ["NO_TOPIC", "RosbagConfig"]

NO_TOPIC: Final = "none"
"""What ``rgb_topic`` is where colour is not to be read; a topic begins with a slash."""


class RosbagConfig(SourceConfig):
    """The ``source`` block of a manifest that reads recordings of ROS."""

    root: Path = Field(
        description="a .bag, .db3 or .mcap file, the folder of a ROS 2 recording, or a folder of any of these, in "
        "folders below it too; each recording is a scene"
    )
    depth_topic: str | None = Field(default=None, description="left out: the only topic of depth images there is")
    rgb_topic: str | None = Field(
        default=None, description="left out: the only topic of colour images, if there is one; `none`: read no colour"
    )
    camera_info_topic: str | None = Field(
        default=None, description="left out: the one beside the depth topic, or the only one there is"
    )
    camera: PinholeBlock | None = Field(default=None, description="instead of a CameraInfo, where none was recorded")
    world_frame: str | None = Field(
        default=None, description="the tf frame that poses are in, such as map or odom; left out: no poses"
    )
    tolerance_s: float = Field(
        default=0.02, ge=0, le=10, description="how far the stamps of colour and of tf may be from that of depth"
    )
    depth_scale: float | None = Field(
        default=None,
        gt=0,
        description="stored integers per metre. Left out: 1000 for 16UC1, and for mono16 what the recording says on "
        "its topic Depth_Units",
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    registered: bool = Field(
        default=False, description="colour lies on depth though its header names another camera frame"
    )
    every: int = Field(default=1, ge=1, description="read every n-th frame of a recording")
    licence: LicenceBlock = LicenceBlock(name="not stated; ask the owner of the data", non_commercial=True)
