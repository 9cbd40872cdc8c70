"""Which image of a list is a frame's: by the end of its path, or by its name without folder and suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Generic, TypeVar

__all__ = ["ByName"]

T = TypeVar("T")


class ByName(Generic[T]):
    """What a file says of images that it names as it likes: with their folder, without, with or without suffix."""

    def __init__(self, items: Mapping[str, T]) -> None:
        self.items = {name.removeprefix("./"): item for name, item in items.items()}
        stems: dict[str, list[T]] = {}
        for name, item in self.items.items():
            stems.setdefault(PurePosixPath(name).stem, []).append(item)
        self._stems = {stem: found[0] for stem, found in stems.items() if all(item is found[0] for item in found)}

    def find(self, paths: Iterable[str], frame: str) -> T | None:
        """Return the item of the frame whose files lie at ``paths``, or whose name is ``frame``; None without one.

        The longest end of a path that is a name counts; a name alone only where it names one image.
        """
        for path in paths:
            parts = path.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                for name in (end, end.rpartition(".")[0]):
                    if name in self.items:
                        return self.items[name]
        return self._stems.get(frame)
