"""Virtual KITTI 1.3.1 and 2.0.3; ``source`` is the reader."""

from depthforge.sources.vkitti.source import Vkitti, VkittiConfig

__all__ = ["Vkitti", "VkittiConfig"]
