"""Folders with a nerfstudio ``transforms.json``; ``source`` is the reader, ``transforms`` parses the file."""

from depthforge.sources.nerfstudio.source import Nerfstudio, NerfstudioConfig

__all__ = ["Nerfstudio", "NerfstudioConfig"]
