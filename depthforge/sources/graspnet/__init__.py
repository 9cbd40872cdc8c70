"""GraspNet-1Billion; ``source`` is the reader."""

from depthforge.sources.graspnet.source import GraspNet, GraspNetConfig

__all__ = ["GraspNet", "GraspNetConfig"]
