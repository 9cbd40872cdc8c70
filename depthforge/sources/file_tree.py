"""A dataset's files by relative path, whether they lie in a directory or in a .zip or .tar archive.

An archive is indexed once when it is opened (about 8 microseconds a member of a zip, 30 of a tar) and then read at
random by ``pread``: no shared file position, so any number of threads, and processes forked from this one, may
read the same archive. Unpacking into a temporary folder was the alternative: it doubles the disk a dataset takes.
"""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from depthforge.addresses import Address
from depthforge.errors import DecodeError, InputError, StorageError
from depthforge.storage import DiskCache, LocalFolder, ObjectReader, open_storage

__all__ = ["ARCHIVE_SUFFIXES", "Archive", "Directory", "Listing", "Tree", "is_there", "open_tree"]

ARCHIVE_SUFFIXES = (".zip", ".tar")
_FETCH_AGAIN = "fetch the archive again, or unpack what can be saved beside it"
_LOCAL_HEADER_BYTES = 30
_TAR_BLOCK = 512
_ENCRYPTED = 0x1
# Besides its own error, zipfile lets these through for some damaged directories.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, IndexError, NotImplementedError, struct.error)


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in one folder, in no particular order."""

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


class Tree(ABC):
    """Files under one top. Paths are relative to it and use ``/``; ``""`` is the top itself."""

    @abstractmethod
    def scan(self, folder: str) -> Listing:
        """Return what is in ``folder``, opening no file.

        Raises FileNotFoundError when there is no such folder, InputError when this user may not read it.
        Names that begin with a dot are left out: they are an operating system's (``._0001.png``, ``.DS_Store``).
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return a file's bytes; raise FileNotFoundError when there is none, DecodeError when it is damaged."""

    def scan_if_there(self, folder: str) -> Listing:
        """Return what is in ``folder``; nothing where there is no such folder."""
        try:
            return self.scan(folder)
        except FileNotFoundError:
            return Listing()

    def read_if_there(self, path: str) -> bytes | None:
        """Return a file's bytes, None where there is none; raise DecodeError when it is damaged."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None

    @abstractmethod
    def describe(self, path: str) -> str:
        """Return how an error should name ``path``."""


def is_there(root: Address) -> bool:
    """Say whether there is a folder or a file at ``root``; raises as the storage does."""
    if isinstance(root, Path):
        return root.exists()
    if _is_archive(root):
        folder, _, name = root.rpartition("/")
        return open_storage(folder).exists(name)
    return any(open_storage(root).level())


def open_tree(path: Address) -> Tree:
    """Return the tree of a directory or archive, or of the objects below a URL.

    Raises DecodeError for an archive that cannot be indexed or no archive. That there is nothing at ``path`` is said by
    whoever lists it.
    """
    if isinstance(path, str):
        from depthforge.sources.object_tree import ObjectTree

        return Archive(path) if _is_archive(path) else ObjectTree(path)
    if path.suffix.lower() not in ARCHIVE_SUFFIXES and path.is_file():
        raise DecodeError(
            "a file where a folder or an archive belongs",
            where=path,
            expected=f"a folder, or an archive that ends in {', '.join(sorted(ARCHIVE_SUFFIXES))}",
            found="a file",
            remedy="name the folder that it lies in",
        )
    return Archive(path) if path.suffix.lower() in ARCHIVE_SUFFIXES else Directory(path)


class Directory(Tree):
    """A plain directory."""

    def __init__(self, top: Path) -> None:
        self._top = str(top)

    def scan(self, folder: str) -> Listing:
        listing = Listing()
        try:
            with os.scandir(f"{self._top}/{folder}") as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    (listing.folders if entry.is_dir() else listing.files).append(entry.name)
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from None
        except PermissionError as error:
            raise InputError(
                "the folder may not be read",
                where=self.describe(folder),
                found=error.strerror,
                remedy="have its owner let this user read it: chmod -R a+rX",
            ) from None
        return listing

    def read(self, path: str) -> bytes:
        if "\0" in path:  # as damaged lists have it
            raise FileNotFoundError(self.describe(path))
        with open(f"{self._top}/{path}", "rb", buffering=0) as file:
            return file.read()

    def describe(self, path: str) -> str:
        return f"{self._top}/{path}"


class _Member(NamedTuple):
    offset: int
    stored_bytes: int
    method: int
    crc: int | None


class Archive(Tree):
    """A .zip (stored or deflated) or an uncompressed .tar; its file is closed when the last reference goes.

    One at a URL is read in blocks, which are kept on this machine as far as there is room (``DiskCache``).
    """

    def __init__(self, path: Address) -> None:
        self._path = path
        self._is_zip = str(path).lower().endswith(".zip")
        try:
            self._file = _opened(path)
            with io.BufferedReader(self._file.file(), _TAR_BLOCK if isinstance(path, Path) else 2**20) as file:
                self._members = dict(_zip_members(file) if self._is_zip else _tar_members(file))
        except StorageError:
            raise
        except OSError as error:
            raise DecodeError("the archive cannot be opened", where=path, found=error.strerror) from None
        except _BROKEN as error:
            raise DecodeError(
                "the archive is broken", where=path, found=f"{type(error).__name__}: {error}", remedy=_FETCH_AGAIN
            ) from None
        self._folders = _folders(self._members)

    def scan(self, folder: str) -> Listing:
        try:
            return self._folders[folder]
        except KeyError:
            raise FileNotFoundError(self.describe(folder)) from None

    def read(self, path: str) -> bytes:
        member = self._members.get(path)
        if member is None:
            raise FileNotFoundError(self.describe(path))
        return self._unzipped(path, member) if self._is_zip else self._bytes(path, member.offset, member.stored_bytes)

    def describe(self, path: str) -> str:
        return f"{self._path}!{path}"

    def _bytes(self, path: str, offset: int, count: int) -> bytes:
        data = self._file.read_at(offset, count)
        if len(data) != count:
            raise DecodeError("the archive ends within a file", where=self.describe(path), remedy=_FETCH_AGAIN)
        return data

    def _unzipped(self, path: str, member: _Member) -> bytes:
        # The local header repeats the name and has extra fields of its own: only it says where the data starts.
        header = self._bytes(path, member.offset, _LOCAL_HEADER_BYTES)
        start = member.offset + _LOCAL_HEADER_BYTES + int.from_bytes(header[26:28], "little")
        start += int.from_bytes(header[28:30], "little")
        data = self._bytes(path, start, member.stored_bytes)
        try:
            if member.method == zipfile.ZIP_DEFLATED:
                data = zlib.decompress(data, -zlib.MAX_WBITS)
            elif member.method != zipfile.ZIP_STORED:
                raise DecodeError(
                    "a file in the archive is encrypted or compressed in an unusual way",
                    where=self.describe(path),
                    expected="stored or deflated",
                    remedy="unpack the archive into a folder of the same name",
                )
        except zlib.error as error:
            raise DecodeError(
                "a member is corrupt", where=self.describe(path), found=error, remedy=_FETCH_AGAIN
            ) from None
        if zlib.crc32(data) != member.crc:
            raise self._corrupt(path, "a wrong checksum")
        return data

    def _corrupt(self, path: str, found: object) -> DecodeError:
        return DecodeError(
            "a file in the archive is corrupt", where=self.describe(path), found=found, remedy=_FETCH_AGAIN
        )


def _is_archive(url: str) -> bool:
    return url.lower().endswith(ARCHIVE_SUFFIXES)


def _opened(path: Address) -> ObjectReader:
    if isinstance(path, Path):
        return LocalFolder(path.parent).open(path.name)
    folder, _, name = path.rpartition("/")
    return open_storage(folder).cached(name, DiskCache()).open(name)


def _zip_members(file: BinaryIO | io.BufferedReader) -> dict[str, _Member]:
    members = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            method = -1 if info.flag_bits & _ENCRYPTED else info.compress_type
            if not info.is_dir():
                members[_clean(info.filename)] = _Member(info.header_offset, info.compress_size, method, info.CRC)
    return members


def _tar_members(file: BinaryIO | io.BufferedReader) -> dict[str, _Member]:
    members = {}
    end = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            end = info.offset_data + -(-info.size // _TAR_BLOCK) * _TAR_BLOCK if info.isreg() else info.offset_data
            if info.isreg():
                members[_clean(info.name)] = _Member(info.offset_data, info.size, 0, None)
    # tarfile takes a header cut short for the end of the archive; only a block of zeros is one.
    file.seek(end)
    if file.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
        raise tarfile.ReadError("no end-of-archive block: truncated")
    return members


def _clean(name: str) -> str:
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _folders(paths: dict[str, _Member]) -> dict[str, Listing]:
    """Return every folder that the paths imply; archives need not list theirs."""
    folders = {"": Listing()}
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in folders:
            _add_folder(parent, folders)
        if not name.startswith("."):
            folders[parent].files.append(name)
    return folders


def _add_folder(folder: str, folders: dict[str, Listing]) -> None:
    parent, _, name = folder.rpartition("/")
    if parent not in folders:
        _add_folder(parent, folders)
    if not name.startswith("."):
        folders[parent].folders.append(name)
    folders[folder] = Listing()
