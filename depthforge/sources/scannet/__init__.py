"""ScanNet v2; ``source`` is the reader."""

from depthforge.sources.scannet.source import ScanNet, ScanNetConfig

__all__ = ["ScanNet", "ScanNetConfig"]
