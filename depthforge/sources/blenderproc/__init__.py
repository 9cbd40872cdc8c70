"""HDF5 frames of BlenderProc as a source."""

from depthforge.sources.blenderproc.source import BlenderProc, BlenderProcConfig

__all__ = ["BlenderProc", "BlenderProcConfig"]
