"""What a sample writer promises: procedural scenes on disk, exactly as the real dataset lays them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

__all__ = ["Layout"]


class Layout(ABC):
    """Writes procedural scenes in one dataset's layout, so that its manifest can be tried with nothing downloaded."""

    name: ClassVar[str]

    @abstractmethod
    def write(self, root: Path, *, num_scenes: int, frames_per_scene: int, seed: int) -> int:
        """Write the scenes under ``root`` (created if need be) and return the number of frames written.

        Raises InputError when ``root`` already holds files.
        """
