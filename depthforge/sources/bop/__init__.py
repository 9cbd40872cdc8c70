"""BOP; ``source`` is the reader."""

from depthforge.sources.bop.source import Bop, BopConfig

__all__ = ["Bop", "BopConfig"]
