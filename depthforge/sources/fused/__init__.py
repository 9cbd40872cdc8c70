"""The clean truth of a real posed sequence; ``source`` is the reader."""

from depthforge.sources.fused.source import Fused, FusedConfig

__all__ = ["Fused", "FusedConfig"]
