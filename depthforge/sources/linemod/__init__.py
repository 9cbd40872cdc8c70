"""LineMOD; ``source`` is the reader."""

from depthforge.sources.linemod.source import NUM_OBJECTS, SYMMETRIC_OBJECTS, Linemod, LinemodConfig

__all__ = ["NUM_OBJECTS", "SYMMETRIC_OBJECTS", "Linemod", "LinemodConfig"]
