"""Which files BasicWriter wrote for a frame, in its three ways of laying them out.

One render product: all in one folder, ``rgb_0000.png`` beside ``distance_to_image_plane_0000.npy``. Several:
``<product>/<annotator>/<annotator>_0000.npy``, or ``<annotator>/<product>_<annotator>_0000.npy``. The number has four
digits or more and may follow that of a sequence (``3_0000``). A listing scans each folder once and opens nothing.
Source: omni.replicator.core 1.12, BasicWriter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from depthforge.sources.file_tree import Tree

__all__ = ["DEPTH_ANNOTATORS", "FrameFiles", "find_frames"]

DEPTH_ANNOTATORS: Final = ("distance_to_image_plane", "distance_to_camera")
_DEPTH: Final = re.compile(r"(?:(.+)_)?(distance_to_image_plane|distance_to_camera)_((?:\d+_)?\d+)\.npy")


class FrameFiles(NamedTuple):
    """Where the files of a frame are: ``folder`` and ``product`` come before the annotator, ``number`` after it.

    ``is_parted`` says that each annotator has a folder of its own.
    """

    folder: str
    product: str
    is_parted: bool
    number: str
    depth: str

    @property
    def scene(self) -> str:
        """The render product, ``all`` where there is one alone."""
        names = [*self.folder.split("/"), self.product]
        return ".".join(name for name in names if name) or "all"

    @property
    def name(self) -> str:
        """The last part of the key: the number, six digits, behind that of its sequence, four digits."""
        *sequence, number = self.number.split("_")
        return "_".join([*(f"{int(part):04d}" for part in sequence), f"{int(number):06d}"])

    def path(self, annotator: str, suffix: str, folder: str | None = None) -> str:
        """Return the path of a file; ``folder`` is that of another annotator, whose folder it lies in."""
        parts = [self.folder, folder or annotator if self.is_parted else ""]
        product = f"{self.product}_" if self.product else ""
        return "/".join([*filter(None, parts), f"{product}{annotator}_{self.number}.{suffix}"])

    def __str__(self) -> str:
        return self.path(self.depth, "npy")

    @classmethod
    def parse(cls, path: str) -> FrameFiles | None:
        """Return whose depth a file is, None for any other file."""
        folder, _, name = path.rpartition("/")
        match = _DEPTH.fullmatch(name)
        if match is None or name.startswith("."):
            return None
        product, annotator, number = match[1] or "", match[2], match[3]
        above, _, last = folder.rpartition("/")
        is_parted = last == annotator
        return cls(above if is_parted else folder, product, is_parted, number, annotator)


def find_frames(tree: Tree) -> dict[str, list[FrameFiles]]:
    """Return the frames of every scene, sorted by name; of both kinds of depth the planar one."""
    found: dict[str, dict[str, FrameFiles]] = {}
    for path in _files(tree, ""):
        frame = FrameFiles.parse(path)
        if frame is not None:
            frames = found.setdefault(frame.scene, {})
            known = frames.get(frame.name)
            if known is None or DEPTH_ANNOTATORS.index(frame.depth) < DEPTH_ANNOTATORS.index(known.depth):
                frames[frame.name] = frame
    scenes = sorted(found, key=lambda scene: f"{scene}/")
    return {scene: [found[scene][name] for name in sorted(found[scene])] for scene in scenes}


def _files(tree: Tree, folder: str) -> Iterator[str]:
    listing = tree.scan(folder)
    before = f"{folder}/" if folder else ""
    for name in sorted(listing.files):
        yield before + name
    for name in sorted(listing.folders):
        if not name.startswith("."):
            yield from _files(tree, before + name)
