"""What sources share whose data set is a folder (or archive) of recordings, each recognised by what lies in it.

Such a source says which folders are recordings, lists the frames of one, and reads one; walking, choosing, skipping
what cannot be listed and saying what was found in place of data are here. Walking scans each folder above the
recordings once and opens no file.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from depthforge.addresses import Address
from depthforge.errors import DecodeError, MissingDataError, told
from depthforge.frame import BoolImage, DepthImage, Finding, FrameRef
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.file_tree import ARCHIVE_SUFFIXES, Listing, Tree, is_there, open_tree

__all__ = [
    "SceneFolders",
    "SceneFoldersConfig",
    "folders_with",
    "measured",
    "numbered_files",
    "path_in",
    "read_listed",
]

_LEVELS = 5


class SceneFoldersConfig(SourceConfig):
    """The fields that every source of recordings in folders has."""

    places: ClassVar[frozenset[str]] = frozenset({"root"})
    root: Address = Field(description="folder or URL that holds the recordings, or a recording; or a .zip or .tar")
    include: tuple[str, ...] = Field(default=("*",), description="globs of recordings to read, as keys name them")
    exclude: tuple[str, ...] = Field(default=(), description="globs of recordings to leave out")
    every: int = Field(default=1, ge=1, description="read every n-th frame of a recording")

    def asks_for(self, recording: str) -> bool:
        """Return whether a recording is to be read."""
        return any(fnmatchcase(recording, pattern) for pattern in self.include) and not any(
            fnmatchcase(recording, pattern) for pattern in self.exclude
        )


class SceneFolders(Source):
    """A source of recordings in folders; see the module. ``recording_is`` says in words what one looks like."""

    recording_is: ClassVar[str]
    config: SceneFoldersConfig

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, SceneFoldersConfig)
        self.config = config
        self._root = config.root
        self._tree = lru_cache(1)(self._open)

    @abstractmethod
    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield (prefix, folder) of every recording, in any order.

        ``prefix`` is what keys of its frames begin with after the data set's name, delimiter included: ``room0/``, or
        ``house/easy-P000-`` where one scene has several. None may be the beginning of another.
        """

    @abstractmethod
    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return (name, locator) of the frames of a recording in strictly increasing order of name.

        Raises DecodeError or MissingDataError when it cannot be listed: it is then skipped, with a finding.
        """

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield every frame in key order; see ``Source.frames``."""
        tree = self._tree()
        chosen = self._chosen(tree, report)
        skipped: list[DecodeError | MissingDataError] = []
        num_frames = 0
        for prefix, folder in sorted(chosen.items()):
            try:
                named = self.list_frames(tree, folder, report)[:: self.config.every]
            except (DecodeError, MissingDataError) as error:
                skipped.append(error)
                path = self._relative(error.where, folder)
                report(Finding("error", path, f"skipped: {error.message}", error.remedy))
                continue
            for name, locator in named:
                num_frames += 1
                yield FrameRef(f"{self.name}/{prefix}{name}", locator)
        if num_frames == 0:
            # What ails every recording alike is what to mend: a table that none can do without.
            same = len({error.message for error in skipped}) == 1 and len(skipped) == len(chosen)
            raise skipped[0] if same else self._nothing(tree, len(chosen), skipped)

    def close(self) -> None:
        """Release what is open."""
        self._tree.cache_clear()

    def name_of(self, folder: str) -> str:
        """Return the name of a folder below the root; of the root itself, or of its archive, for ``""``."""
        return self.parts_of(folder)[-1]

    def parts_of(self, folder: str) -> tuple[str, ...]:
        """Return the names from the file system's top down to a folder below the root; an archive's without suffix."""
        is_here = isinstance(self._root, Path)
        root = Path(os.path.abspath(self._root)) if is_here else Path(str(self._root).partition("://")[2])
        top = root.with_suffix("") if root.suffix.lower() in ARCHIVE_SUFFIXES else root
        return (*top.parts, *(folder.split("/") if folder else ()))

    def _chosen(self, tree: Tree, report: Report) -> dict[str, str]:
        found: dict[str, str] = {}
        for prefix, folder in sorted(self.recordings(tree), key=lambda item: (item[0], item[1])):
            if not self.config.asks_for(prefix[:-1]):
                continue
            if prefix in found:
                report(Finding("warning", folder, f"the same recording as {found[prefix] or 'the root'}; ignored"))
            else:
                found[prefix] = folder
        return found

    def _open(self) -> Tree:
        if not is_there(self._root):
            raise MissingDataError(
                "no such folder", where=self._root, expected=self.recording_is, remedy=self._try_without_data
            )
        return open_tree(self._root)

    @property
    def _try_without_data(self) -> str:
        return f"depthforge sample --layout {self.name} DIR, then export {self.name.upper()}_ROOT=DIR"

    def _relative(self, where: str | None, folder: str) -> str:
        prefix = self._tree().describe("")
        return where.removeprefix(prefix) if where is not None and where.startswith(prefix) else folder

    def _nothing(
        self, tree: Tree, num_recordings: int, skipped: list[DecodeError | MissingDataError]
    ) -> MissingDataError:
        if skipped:
            why = told((f"{error.message} ({error.where})" for error in skipped), joint="; ")
            found = f"{num_recordings} recordings, none that can be read: {why}"
        elif num_recordings:
            found = f"{num_recordings} recordings without a frame"
        else:
            listing = tree.scan("")
            names = sorted([f"{name}/" for name in listing.folders] + listing.files)
            found = told(names, none="an empty folder")
        return MissingDataError(
            f"no frames of {self.name}",
            where=self._root,
            expected=f"{self.recording_is}, as include and exclude let through",
            found=found,
            remedy=self._try_without_data,
        )


def folders_with(tree: Tree, is_one: Callable[[Listing], bool], levels: int = _LEVELS) -> Iterator[str]:
    """Yield the folders, the top ``""`` included, whose listing is one; none within one of them, no hidden one."""
    pending = [("", 0)]
    while pending:
        folder, level = pending.pop()
        listing = tree.scan_if_there(folder)
        if is_one(listing):
            yield folder
        elif level < levels:
            for name in listing.folders:
                if not name.startswith("."):
                    pending.append((path_in(folder, name), level + 1))


def numbered_files(tree: Tree, folder: str, before: str, after: str) -> Mapping[int, str]:
    """Return the names in a folder that are ``before``, a whole number and ``after``, by number, in its order.

    Padded or not: 10 follows 9. Raises DecodeError when two are of one number.
    """
    found: dict[int, str] = {}
    for name in tree.scan_if_there(folder).files:
        number = name[len(before) : len(name) - len(after)]
        if not (name.startswith(before) and name.endswith(after) and number.isascii() and number.isdecimal()):
            continue
        if int(number) in found:
            raise DecodeError(
                "two files of one frame", where=tree.describe(folder), found=f"{found[int(number)]} and {name}"
            )
        found[int(number)] = name
    return dict(sorted(found.items()))


def path_in(folder: str, path: str) -> str:
    """Return the path, from the top of a tree, of what is at ``path`` in a folder; ``""`` is the top itself."""
    return f"{folder}/{path}" if folder else path


def read_listed(tree: Tree, path: str) -> bytes:
    """Return the bytes of a file that a listing named; raise DecodeError when it has gone since."""
    data = tree.read_if_there(path)
    if data is None:
        raise DecodeError("the file has gone since it was listed", where=tree.describe(path))
    return data


def measured(
    stored_m: npt.NDArray[np.floating], max_depth_m: float | None = None, *, open_end: bool = False
) -> tuple[DepthImage, BoolImage]:
    """Return (depth_m, valid) of metres as stored: what is not finite, not above 0 or too far is no measurement.

    Farther than ``max_depth_m`` is too far; with ``open_end``, that far is too.
    """
    depth_m = np.array(stored_m, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(depth_m) & (depth_m > 0)
        if max_depth_m is not None:
            valid &= depth_m < max_depth_m if open_end else depth_m <= max_depth_m
    depth_m[~valid] = 0.0
    return depth_m, valid
