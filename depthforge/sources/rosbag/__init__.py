"""Recordings of ROS 1 and ROS 2 as a source."""

from depthforge.sources.rosbag.source import Rosbag, RosbagConfig

__all__ = ["Rosbag", "RosbagConfig"]
