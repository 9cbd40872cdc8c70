"""InteriorNet; ``source`` is the reader."""

from depthforge.sources.interiornet.source import InteriorNet, InteriorNetConfig

__all__ = ["InteriorNet", "InteriorNetConfig"]
