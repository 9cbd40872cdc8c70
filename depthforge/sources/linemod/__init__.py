"""LineMOD; ``source`` is the reader."""

from depthforge.sources.linemod.source import NUM_OBJECTS, Linemod, LinemodConfig

__all__ = ["NUM_OBJECTS", "Linemod", "LinemodConfig"]
