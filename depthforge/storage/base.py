"""Storage: a place that holds named objects, and what whoever keeps a corpus there may rely on.

A name is a relative POSIX path (``shards/train-000000.zarr/rgb/zarr.json``). An object is whole or absent: nobody sees
a part of one. What has to appear together is *staged*: written as streams, then published as one or dropped. On a
folder, staged objects lie under a temporary name until they are renamed; for an object store, which cannot rename, they
lie on this machine's disk until they are uploaded under their final names, one by one. Either way the object that is
put last is what says that they count (an index part, for a shard), so no reader looks for a staged object before that.

A storage pickles as its address, holds no handle open, and may be used from several threads and after a fork.
The alternative, fsspec, offers no staging, no put-if-absent and no lock, and its event loop does not survive a fork.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from depthforge.errors import InputError

if TYPE_CHECKING:
    from depthforge.storage.disk_cache import DiskCache

__all__ = [
    "Lock",
    "ObjectReader",
    "ObjectWriter",
    "Staged",
    "Storage",
    "StoredObject",
    "is_stray",
    "name_order",
    "require_name",
]


_BLOCK_BYTES: Final = 2**20
_STRAYS: Final = frozenset(
    (
        *(".DS_Store", ".AppleDouble", ".Spotlight-V100", ".Trashes", ".TemporaryItems", ".fseventsd", ".apdisk"),
        *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),
        *(".directory", "lost+found", ".snapshot", ".snapshots", "@eaDir", "#recycle"),
    )
)
# AppleDouble companions; files that were removed while open, on NFS and FUSE; a desktop's waste.
_STRAY_PREFIXES: Final = ("._", ".nfs", ".fuse_hidden", ".Trash-")


class StoredObject(NamedTuple):
    """An object of a listing: its full name, and its size in bytes."""

    name: str
    size: int


class ObjectReader(ABC):
    """One object, open for reading at any place; no position is shared, so threads and forked processes may read on."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Its size in bytes."""

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset``, fewer where the object ends."""

    def prepare(self, offset: int, length: int) -> None:  # noqa: B027
        """Get what :meth:`read_at` would read to where it is read fast, if that is not so already."""

    def file(self) -> io.RawIOBase:
        """Return a seekable file over it, with a position of its own: for libraries that want one."""
        return _ObjectFile(self)


class ObjectWriter(ABC):
    """An object being written from its start to its end. StorageError when there is no room, or no permission."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Append ``content``."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the object: its content is durable when this returns."""

    @abstractmethod
    def abandon(self) -> None:
        """Let go of an object that was not completed, whatever state it is in; harmless after :meth:`finish`."""

    def file(self) -> io.RawIOBase:
        """Return a file that writes to it, for libraries that want one; closing it does not complete the object."""
        return _WritingFile(self)


class Staged(ABC):
    """Objects that are to appear together under ``name``; made by :meth:`Storage.stage`.

    Until they are published they are read, by the run that writes them, from ``storage`` under ``prefix``.
    """

    def __init__(self, storage: Storage, name: str, prefix: str) -> None:
        self.storage = storage
        self.name = name
        self.prefix = prefix

    @abstractmethod
    def create(self, name: str) -> ObjectWriter:
        """Begin the object ``name`` (relative to the group)."""

    def write(self, name: str, content: bytes) -> None:
        """Write one object of the group whole."""
        writer = self.create(name)
        writer.write(content)
        writer.finish()

    def take(self, source: Storage, source_name: str, name: str) -> None:
        """Make an object of ``source``, which is never edited, one of the group; without a copy where that can be."""
        reader, writer, size = source.open(source_name), self.create(name), 0
        while block := reader.read_at(size, _BLOCK_BYTES):
            writer.write(block)
            size += len(block)
        writer.finish()

    @abstractmethod
    def seal(self) -> None:
        """Make every finished object durable under its staged name."""

    @abstractmethod
    def publish(self) -> None:
        """Put the group at its name, in the place of one that was there. StorageError when that cannot be done."""

    @abstractmethod
    def drop(self) -> None:
        """Remove what was staged and not published, whatever state it is in; harmless after :meth:`publish`."""


class Lock(ABC):
    """A lock that this process holds; it goes with the process, at once or after ``Storage.lets_go_after_s``."""

    @property
    def is_held(self) -> bool:
        """False when the lock was lost, which can happen where it is a lease: then nothing more is to be written."""
        return True

    @abstractmethod
    def sign(self, text: str) -> None:
        """Say who holds it, for :meth:`Storage.lock_owner`."""

    @abstractmethod
    def release(self) -> None:
        """Let go of it."""


class Storage(ABC):
    """Named objects at one address.

    Reading raises FileNotFoundError for what is not there and another OSError for what cannot be read; writing raises
    StorageError. Every method raises InputError for a name that leads out of the storage. Objects that are not
    complete, and locks, are in no listing.
    """

    lets_go_after_s: ClassVar[float] = 0.0
    """Seconds after which the lock of a process that died on another machine is free again."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What :func:`depthforge.storage.open_storage` opens it from."""

    def where(self, name: str = "") -> str:
        """Return the full place of an object, for messages."""
        return f"{self.address}/{name}" if name else self.address

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the whole content of an object."""

    @abstractmethod
    def open(self, name: str) -> ObjectReader:
        """Open an object for reads at any place; it is closed when nobody holds the reader any more."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return ``length`` bytes of an object from ``offset``, fewer where it ends."""
        return self.open(name).read_at(offset, length)

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the size of an object in bytes."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Say whether there is an object of this name."""

    @abstractmethod
    def objects(self, prefix: str = "", *, with_strays: bool = False) -> Iterator[StoredObject]:
        """Yield every object below ``prefix``, in the order of :func:`name_order`; none when there is no such prefix.

        ``with_strays`` adds what :func:`is_stray` knows. Listings are read as they are asked for, never held whole.
        """

    @abstractmethod
    def children(self, prefix: str = "") -> list[str]:
        """Return the names directly below ``prefix``, of objects and of further prefixes, sorted and without it.

        A folder that holds nothing counts where the storage knows such a thing; strays do not.
        """

    @abstractmethod
    def level(self, prefix: str = "") -> tuple[list[str], list[str]]:
        """Return the names directly below ``prefix`` without it, of further prefixes and of objects, each sorted."""

    @abstractmethod
    def create(self, name: str) -> ObjectWriter:
        """Begin an object that is to take the place of one of that name when it is finished, and not before."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Put an object, in the place of one that was there; durable when this returns."""

    @abstractmethod
    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Put an object unless there is one of this name; return whether it was put. Of many at once, one does."""

    @abstractmethod
    def delete(self, *names: str) -> None:
        """Remove objects that may be gone; durable when this returns."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> None:
        """Remove everything below ``prefix``, which may be gone."""

    @abstractmethod
    def stage(self, name: str) -> Staged:
        """Begin a group of objects that is to appear under ``name``."""

    @abstractmethod
    def remove_leftovers(self, *prefixes: str) -> None:
        """Remove what dead runs left directly below each of ``prefixes``; call it under the lock of a run."""

    @abstractmethod
    def try_lock(self, name: str) -> Lock | None:
        """Take the lock ``name``; None when another holds it."""

    @abstractmethod
    def lock_owner(self, name: str) -> str | None:
        """Return what the holder of a lock says of itself, None when there is no such lock."""

    @abstractmethod
    def locked(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock ``name`` for a block, waiting for it if need be."""

    @abstractmethod
    def within(self, prefix: str) -> Storage:
        """Return the storage of what lies below ``prefix``, as one of its own."""

    @abstractmethod
    def adopt(self, prefix: str, *, last: str) -> None:
        """Move what lies below ``prefix`` up here, ``last`` at the end; to be done again where it was cut off."""

    def cached(self, says_all: str, cache: DiskCache, *, fits: bool = True) -> Storage:
        """Return the same objects, through a cache where they lie far away; for readers of what does not change.

        ``says_all`` names the object that is another one when any of them is; ``fits`` says that all that will be read
        has room in ``cache``. Raises FileNotFoundError without that object.
        """
        return self

    @abstractmethod
    def local_copy(self, prefix: str) -> Path:
        """Return a folder of this machine with the objects directly below ``prefix``: their own, or one of copies.

        ``prefix`` may be empty. For libraries that read files, of few and small ones. A copy is kept for whoever asks
        again, for a week after its last use. StorageError when it cannot be read, or not be written here.
        """

    def local_path(self, name: str) -> Path | None:
        """Return where an object or a prefix lies in this machine's file system; None where it does not."""
        return None


def name_order(name: str) -> list[str]:
    """Return what names sort by so that everything below a prefix is together: their parts."""
    return name.split("/")


def is_stray(name: str) -> bool:
    """Say whether an operating system or a file server, and not depthforge, puts files of this last part of a name.

    Such files come and go by themselves (a folder that a Mac has shown has .DS_Store), so readers leave them out.
    """
    return name in _STRAYS or name.startswith(_STRAY_PREFIXES)


def require_name(name: str) -> str:
    """Return ``name``; raise InputError when it is absolute, empty or leads out of the storage."""
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise InputError(
            "this is not the name of an object", expected="a relative path without '.' and '..'", found=repr(name)
        )
    return name


class _ObjectFile(io.RawIOBase):
    """A read-only file over an object."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        content = self._reader.read_at(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)


class _WritingFile(io.RawIOBase):
    """A write-only file over an object that is being written."""

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, content: Any) -> int:
        with memoryview(content) as view:
            self._writer.write(bytes(view))
            self._position += view.nbytes
            return view.nbytes
