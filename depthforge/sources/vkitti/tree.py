"""Where Virtual KITTI keeps what: version 1.3.1 and 2.0.3, unpacked side by side or into one tree, or still in .tar.

Version 1.3.1::

    vkitti_1.3.1_{rgb,depthgt,scenegt,flowgt}/<world>/<variation>/%05d.png
    vkitti_1.3.1_scenegt/<world>_<variation>_scenegt_rgb_encoding.txt
    vkitti_1.3.1_{motgt,extrinsicsgt}/<world>_<variation>.txt

Version 2.0.3, each kind in a folder ``vkitti_2.0.3_<kind>`` or all in one tree::

    Scene01/<variation>/frames/<kind>/Camera_{0,1}/{rgb,depth,classgt,instancegt,flow}_%05d.{jpg,png}
    Scene01/<variation>/{bbox,colors,extrinsic,info,intrinsic,pose}.txt

Folder names are matched whatever their case. Folders are scanned, images are not opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from depthforge.errors import DecodeError
from depthforge.frame import Finding
from depthforge.sources.base import Report
from depthforge.sources.file_tree import ARCHIVE_SUFFIXES, Tree, open_tree
from depthforge.sources.tree_file import File

__all__ = ["V1", "V2", "Locator", "VkittiTree"]

V1, V2 = "1.3.1", "2.0.3"

_KIND_FOLDER = re.compile(r"vkitti_([12])[\d.]*_([a-z]+)", re.IGNORECASE)
_WORLD = {V1: re.compile(r"\d{4}"), V2: re.compile(r"scene\d{2,}", re.IGNORECASE)}
_IMAGE = re.compile(r"(?:[a-z]+_)?(\d+)\.(?:png|jpg)", re.IGNORECASE)
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_FOLDERS_KEPT = 256

# What a label is called in each version: the kind of folder it is in, and how its files start.
_IMAGE_KINDS = {
    V1: {"rgb": "rgb", "depth": "depthgt", "semantic": "scenegt", "instance": "scenegt", "flow": "flowgt"},
    V2: {
        "rgb": "rgb",
        "depth": "depth",
        "semantic": "classsegmentation",
        "instance": "instancesegmentation",
        "flow": "forwardflow",
    },
}
_STEMS = {"rgb": "rgb", "depth": "depth", "semantic": "classgt", "instance": "instancegt", "flow": "flow"}
_SUFFIXES = {"rgb": (".jpg", ".png")}


@dataclass(frozen=True, slots=True)
class Locator:
    """A frame: its world as the folders name it, its variation, and its number in the video."""

    version: str
    world: str
    variation: str
    frame: int

    def __str__(self) -> str:
        return f"{self.version}/{self.world}/{self.variation}/{self.frame}"

    @classmethod
    def parse(cls, text: str) -> Locator:
        version, world, variation, frame = text.split("/")
        return cls(version, world, variation, int(frame))


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder that holds the worlds of one kind, in a tree."""

    tree: Tree
    folder: str


class VkittiTree:
    """The files of one root; what is open or listed is kept for this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places = lru_cache(1)(self._find_places)
        self._names = lru_cache(_FOLDERS_KEPT)(self._scan_names)
        self._archive = lru_cache(16)(open_tree)

    def close(self) -> None:
        for cache in (self._places, self._names, self._archive):
            cache.cache_clear()

    def versions(self, report: Report) -> list[str]:
        """Return the versions that have depth under root; say what is packed in a way that cannot be read."""
        for name in self._root_names():
            match = _KIND_FOLDER.match(name)
            if match and name.lower().endswith(_PACKED):
                report(
                    Finding("error", name, "cannot be read at random", "unpack it, or pack it again as .tar or .zip")
                )
        for finding in self._places()[1]:
            report(finding)
        return [version for version in (V1, V2) if self._place(version, _IMAGE_KINDS[version]["depth"]) is not None]

    def worlds(self, version: str) -> list[str]:
        """Return the folders of worlds that have depth, sorted."""
        place = self._place(version, _IMAGE_KINDS[version]["depth"])
        if place is None:
            return []
        return sorted(name for name in self._folders(place) if _WORLD[version].fullmatch(name))

    def variations(self, version: str, world: str) -> list[str]:
        """Return the folders of a world, sorted."""
        place = self._place(version, _IMAGE_KINDS[version]["depth"])
        if place is None:
            return []
        return sorted(self._folders(_Place(place.tree, _join(place.folder, world))))

    def frames(self, version: str, world: str, variation: str, what: str, camera: int) -> set[int]:
        """Return the numbers of the images of ``what`` (rgb, depth, ...) in one video; none when there is no folder."""
        folder = self._image_folder(version, world, variation, what, camera)
        if folder is None:
            return set()
        matches = (_IMAGE.fullmatch(name) for name in folder.tree.scan(folder.folder).files)
        return {int(match[1]) for match in matches if match}

    def image(self, at: Locator, what: str, camera: int) -> File | None:
        """Return an image of a frame, None where the folder of its kind is not there; the file may not exist."""
        folder = self._image_folder(at.version, at.world, at.variation, what, camera)
        if folder is None:
            return None
        stem = f"{at.frame:05d}" if at.version == V1 else f"{_STEMS[what]}_{at.frame:05d}"
        suffixes = (".png",) if at.version == V1 else _SUFFIXES.get(what, (".png",))
        names = {} if len(suffixes) == 1 else self._names(folder.tree, folder.folder)
        suffix = next((suffix for suffix in suffixes if f"{stem}{suffix}" in names), suffixes[0])
        return File(folder.tree, f"{folder.folder}/{stem}{suffix}")

    def table(self, version: str, world: str, variation: str, name: str) -> File | None:
        """Return a text table of a video, None where it is not there.

        ``name`` is that of 2.0.3 without .txt (extrinsic, colors, bbox, pose, info, intrinsic); 1.3.1 has the first
        three, its boxes in one table.
        """
        if version == V2:
            place = self._place(V2, "textgt")
            folder = None if place is None else self._down(place, world, variation)
            wanted = f"{name}.txt"
        else:
            kind = {"extrinsic": "extrinsicsgt", "colors": "scenegt", "bbox": "motgt"}.get(name)
            folder = None if kind is None else self._place(V1, kind)
            wanted = f"{world}_{variation}{'_scenegt_rgb_encoding' if name == 'colors' else ''}.txt"
        if folder is None:
            return None
        actual = self._names(folder.tree, folder.folder).get(wanted.lower())
        return None if actual is None else File(folder.tree, _join(folder.folder, actual))

    # -- folders ------------------------------------------------------------------------------------------------

    def _image_folder(self, version: str, world: str, variation: str, what: str, camera: int) -> _Place | None:
        kind = _IMAGE_KINDS[version][what]
        place = self._place(version, kind)
        if place is None:
            return None
        if version == V1:
            return self._down(place, world, variation)
        return self._down(place, world, variation, "frames", kind, f"Camera_{camera}")

    def _place(self, version: str, kind: str) -> _Place | None:
        places, _ = self._places()
        return places.get((version, kind)) or places.get((version, ""))

    def _find_places(self) -> tuple[dict[tuple[str, str], _Place], list[Finding]]:
        """Return the folder of each (version, kind), kind "" being a tree that holds all, and the broken archives."""
        places: dict[tuple[str, str], _Place] = {}
        broken = []
        top = open_tree(self.root)
        listing = top.scan("")
        for name in sorted(listing.folders):
            if match := _KIND_FOLDER.fullmatch(name):
                self._add(places, match, _Place(top, name))
        for name in sorted(listing.files):
            stem = next((name[: -len(suffix)] for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), None)
            if stem is not None and (match := _KIND_FOLDER.fullmatch(stem)):
                version, kind = _version(match), match[2].lower()
                if (version, kind) in places:
                    broken.append(Finding("warning", name, f"ignored: {stem} is unpacked beside it"))
                    continue
                try:
                    self._add(places, match, _Place(self._archive(self.root / name), ""))
                except DecodeError as error:
                    broken.append(Finding("error", name, f"skipped: {error.message} ({error.found})", error.remedy))
        if any(_WORLD[V2].fullmatch(name) for name in listing.folders):
            places[V2, ""] = _Place(top, "")
        return places, broken

    def _add(self, places: dict[tuple[str, str], _Place], match: re.Match[str], place: _Place) -> None:
        """Note a folder of one kind, going down where it was unpacked into a folder of its own name."""
        inner = [name for name in place.tree.scan(place.folder).folders if _KIND_FOLDER.fullmatch(name)]
        if len(inner) == 1:
            place = _Place(place.tree, _join(place.folder, inner[0]))
        places[_version(match), match[2].lower()] = place

    def _down(self, place: _Place, *names: str) -> _Place | None:
        """Return the folder below by these names in whatever case, None when there is none."""
        folder = place.folder
        for name in names:
            actual = self._names(place.tree, folder).get(name.lower())
            if actual is None:
                return None
            folder = _join(folder, actual)
        return _Place(place.tree, folder)

    def _scan_names(self, tree: Tree, folder: str) -> dict[str, str]:
        """Return every name in a folder by its lower-case form."""
        listing = tree.scan_if_there(folder)
        return {name.lower(): name for name in [*listing.files, *listing.folders]}

    def _folders(self, place: _Place) -> Iterator[str]:
        yield from place.tree.scan_if_there(place.folder).folders

    def _root_names(self) -> list[str]:
        try:
            listing = open_tree(self.root).scan("")
        except FileNotFoundError:
            return []
        return sorted([*listing.folders, *listing.files])


def _version(match: re.Match[str]) -> str:
    return V1 if match[1] == "1" else V2


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
