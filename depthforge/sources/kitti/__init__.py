"""KITTI; ``source`` is the reader."""

from depthforge.sources.kitti.source import Kitti, KittiConfig

__all__ = ["Kitti", "KittiConfig"]
