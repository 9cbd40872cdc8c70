"""NYU Depth v2; ``source`` is the reader."""

from depthforge.sources.nyu.source import Nyu, NyuConfig

__all__ = ["Nyu", "NyuConfig"]
