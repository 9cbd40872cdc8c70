"""What a published tree of KITTI says of its frames, and what the trees share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.frame import Finding
from depthforge.sources.base import Report
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.kitti.calibration import Calibration
from depthforge.sources.tree_file import File, names_in

__all__ = [
    "IMAGES",
    "UNPACK_AGAIN",
    "DepthKind",
    "ImageFile",
    "KittiLayout",
    "LayoutName",
    "Listed",
    "Parts",
    "Split",
    "num_lines",
    "report_gaps",
    "stems",
]

LayoutName = Literal["raw", "depth_completion", "object", "odometry"]
DepthKind = Literal["groundtruth", "velodyne_raw"]
Split = Literal["train", "val", "val_selection_cropped", "training", "testing"]

UNPACK_AGAIN = "unpack the archive again"
IMAGES = (".png", ".jpg", ".jpeg")
# Drive 2011_09_26_drive_0009_sync lacks 4 of its 447 scans as it is published.
_TOLERATED_GAPS = 0.02


class Listed(NamedTuple):
    """A frame of a listing: scene and name for the key, and how the layout finds it again."""

    scene: str
    name: str
    locator: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What a frame is made of. Depth is an image, or a scan to be projected, or neither."""

    calibration: Calibration
    where: str
    """The calibration's file, for errors."""
    image: File | None
    right: File | None = None
    depth: File | None = None
    scan: File | None = None
    labels: File | None = None
    T_world_cam0: npt.NDArray[np.float64] | None = None


class KittiLayout(ABC):
    """One of the published trees under ``root``; ``camera`` is the number of the camera that frames are of."""

    name: LayoutName
    expected: str
    """What lies under root, for errors."""

    def __init__(self, root: Path, camera: int) -> None:
        self.root = root
        self.camera = camera
        self.tree = lru_cache(1)(self._open)

    @abstractmethod
    def frames(self, report: Report) -> Iterator[Listed]:
        """Yield every frame in order of scene and name; raise FileNotFoundError when there is no root."""

    @abstractmethod
    def parts(self, locator: str, *, with_pose: bool) -> Parts:
        """Return what a frame is made of; raise DecodeError when its calibration or pose cannot be read."""

    def close(self) -> None:
        """Forget what is open."""
        self.tree.cache_clear()

    @property
    def partner(self) -> int | None:
        """The camera to the right of this one, None when it is the right one itself."""
        return self.camera + 1 if self.camera in (0, 2) else None

    def _open(self) -> Tree:
        return open_tree(self.root)

    def file(self, path: str) -> File:
        """Return a file below root."""
        return File(self.tree(), path)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in one below root, sorted; none when it is not there."""
        return sorted(self.tree().scan_if_there(folder).folders)

    def report_without_image(self, numbers: set[str], folder: str, report: Report) -> None:
        """Say how many of the frames have no image in a folder."""
        images = stems(self.tree(), folder, *IMAGES)
        if missing := len(numbers - images):
            report(Finding("warning", folder, f"{missing} of {len(numbers)} frames have no image"))


class ImageFile(File):
    """An image by its path without suffix: the PNG as published, or the JPEG that many make of it to save space."""

    __slots__ = ()

    @property
    def where(self) -> str:
        """How an error should name it: as it is published."""
        return self.tree.describe(f"{self.path}{IMAGES[0]}")

    def read_if_there(self) -> bytes | None:
        """Return its bytes, None when there is no such file."""
        found = (self.tree.read_if_there(f"{self.path}{suffix}") for suffix in IMAGES)
        return next((data for data in found if data is not None), None)


def stems(tree: Tree, folder: str, *suffixes: str) -> set[str]:
    """Return the numbers, as text, of the files ``<number><suffix>`` in a folder, of any of the suffixes."""
    names = (name.rpartition(".") for name in names_in(tree, folder) if name.endswith(suffixes))
    return {stem for stem, _, _ in names if stem.isdecimal()}


def num_lines(file: File) -> int:
    """Return how many lines a file has, 0 when it is not there."""
    data = file.read_if_there()
    return 0 if data is None else len(data.split(b"\n")) - data.endswith(b"\n")


def report_gaps(there: int, expected: int, folder: str, what: str, report: Report) -> None:
    """Report files that a list names and that are not there: a few as published, more when half unpacked."""
    missing = expected - there
    if missing > 0:
        many = missing > _TOLERATED_GAPS * expected
        message = f"{missing} of {expected} {what} are missing"
        report(Finding("error" if many else "warning", folder, message, UNPACK_AGAIN if many else None))
