"""What a layout of objects at known poses answers: scenes, images, annotations, and the bytes of each file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from depthforge.frame import BoolImage
from depthforge.sources.base import Report
from depthforge.sources.bop.annotations import Objects, Pixels, View
from depthforge.sources.images import decode_ids, require_size

__all__ = ["At", "File", "ObjectFiles", "folder_or_inner", "read_mask"]


class At(NamedTuple):
    """Where an image is: the scene's folder and the name of its files without suffix. Text: ``scene/stem``."""

    scene: str
    stem: str

    @property
    def image(self) -> int:
        """The number under which annotations know the image."""
        return int(self.stem)


class File(NamedTuple):
    """A file's bytes, and how an error names it."""

    data: bytes
    where: str


class ObjectFiles(ABC):
    """What a layout must answer; everything else is the same for all (``objects``)."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder of the data set."""

    @abstractmethod
    def scenes(self, report: Report) -> list[str]:
        """Return the scenes in order; raise MissingDataError when there is none."""

    @abstractmethod
    def key(self, at: At) -> str:
        """Return the key of an image, ``dataset/scene/frame``."""

    @abstractmethod
    def images(self, scene: str, report: Report, *, rendered: bool) -> list[At]:
        """Return the images of a scene in key order: those with depth or, when ``rendered``, those with poses."""

    @abstractmethod
    def view(self, at: At) -> View:
        """Return an image's camera."""

    @abstractmethod
    def objects(self, at: At) -> Objects | None:
        """Return what stands where; None where the scene has no poses."""

    @abstractmethod
    def pixels(self, at: At) -> Pixels | None:
        """Return the stored boxes and counts, row for row with ``objects``; None where there are none."""

    @abstractmethod
    def depth(self, at: At) -> File | None:
        """Return the stored depth image, None where there is none."""

    @abstractmethod
    def colour(self, at: At) -> File | None:
        """Return the colour or grey image, None where there is none."""

    @abstractmethod
    def masks(self, at: At, rows: int, size: tuple[int, int], *, visible: bool) -> list[BoolImage] | None:
        """Return each object's silhouette, or its ``visible`` part only; None where the scene has no masks."""

    @abstractmethod
    def model(self, object_id: int) -> Path:
        """Return where the model of an object lies."""

    @abstractmethod
    def close(self) -> None:
        """Forget what is open and parsed."""


def read_mask(file: File, size: tuple[int, int]) -> BoolImage:
    """Return a mask (H, W): True where the stored image is not 0. Raises DecodeError."""
    stored = decode_ids(file.data, where=file.where)
    require_size(stored, size, where=file.where)
    mask: BoolImage = stored != 0
    return mask


def folder_or_inner(root: Path, inner: str) -> Path:
    """Return ``root/inner`` where there is such a folder, or else ``root``: users name either."""
    return root / inner if inner and (root / inner).is_dir() else root
