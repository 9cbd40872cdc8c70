"""A storage in an object store: ``s3://bucket/prefix``, ``gs://bucket/prefix``, ``az://container/prefix``.

What is to appear together is staged on this machine's disk (``object_staging.py``), read back there and uploaded when
it is published, under its final names; objects of an earlier attempt that the group does not have are then removed,
and the object that is put last, an index part, says that they count. So a writer that comes late drops its staged files
and touches nothing that another has committed, and whoever dies leaves objects that nobody counts and the next attempt
replaces. Uploading as the shard grows was the alternative: it needs no disk, but then two writers of one shard, or a
restarted one whose bytes differ, overwrite each other's objects.

``put_if_absent`` is one conditional request (``If-None-Match: *``). Where its answer is lost, or comes after a retry
says "there is one", the object's metadata says whose it is. A store that knows no such condition is asked first and
looked at after: right as long as writers are not within one request of each other. Locks are leases
(``object_lease.py``). Listings follow ``name_order`` by asking two levels of prefixes one by one: a request a shard.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from depthforge.durable import is_temporary
from depthforge.errors import StorageError
from depthforge.storage.base import (
    Lock,
    ObjectReader,
    ObjectWriter,
    Staged,
    Storage,
    StoredObject,
    is_stray,
    name_order,
    require_name,
)
from depthforge.storage.object_client import connected, library, store_errors, tried_again
from depthforge.storage.object_lease import LEASE_S, SETTLE_S, Lease
from depthforge.storage.object_staging import SpooledWriter, StagedObjects, copied_folder, remove_dead_stages

if TYPE_CHECKING:
    from depthforge.storage.disk_cache import DiskCache

__all__ = ["ObjectStorage", "Version"]

Version: TypeAlias = dict[str, str]
"""What tells one content of an object from others, as the library takes it: some stores have a tag, some a number."""

PART_BYTES: Final = 8 * 2**20
_MAX_COPY_BYTES: Final = 5 * 10**9  # of one request; S3's
_WRITER: Final = "depthforge-writer"
_LISTED_AHEAD: Final = 16


class ObjectStorage(Storage):
    """The objects below a prefix of a bucket; ``url`` as :func:`depthforge.addresses.address_of` writes it.

    Nothing is asked of the store before the first use, in each process.
    """

    lets_go_after_s = LEASE_S

    def __init__(self, url: str) -> None:
        self._url = url

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._url,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStorage) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __repr__(self) -> str:
        return f"ObjectStorage({self._url!r})"

    @property
    def address(self) -> str:
        return self._url

    def read(self, name: str) -> bytes:
        def whole() -> tuple[int, bytes | None]:
            found = library().get(store, name)
            size = int(found.meta["size"])
            return size, bytes(found.bytes()) if size <= 2 * PART_BYTES else None

        with self._reading(name) as store:
            size, content = tried_again(whole)
        if content is None:  # in requests that can each be tried again
            return _RangeReader(self, name, size).read_at(0, size)
        return content

    def open(self, name: str) -> ObjectReader:
        return _RangeReader(self, name, self.size(name))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        return self.open(name).read_at(offset, length)

    def size(self, name: str) -> int:
        with self._reading(name) as store:
            return int(library().head(store, name)["size"])

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    def objects(self, prefix: str = "", *, with_strays: bool = False) -> Iterator[StoredObject]:
        if prefix:
            require_name(prefix)
        depth = len(prefix.split("/")) if prefix else 0
        return _visible(self._in_name_order(prefix, levels=2 - depth), with_strays)

    def children(self, prefix: str = "") -> list[str]:
        found = self._level(prefix)
        return _shown({*found.prefixes, *found.sizes})

    def level(self, prefix: str = "") -> tuple[list[str], list[str]]:
        found = self._level(prefix)
        return _shown(found.prefixes), _shown(found.sizes)

    def create(self, name: str) -> ObjectWriter:
        require_name(name)
        return SpooledWriter(partial(self.upload, name), where=self.where(name))

    def write(self, name: str, content: bytes) -> None:
        self.upload(name, content)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        return self.put_version(name, content, mode="create") is not None

    def delete(self, *names: str) -> None:
        for name in names:
            require_name(name)
        for part in _in_parts(names, 1000):
            with store_errors(self.where(part[0]), writing=True):
                try:
                    library().delete(connected(self._url), part)
                except FileNotFoundError:  # of one, by a store that then leaves the others
                    for name in part:
                        with suppress(FileNotFoundError):
                            library().delete(connected(self._url), name)

    def delete_prefix(self, prefix: str) -> None:
        require_name(prefix)
        found = (each.name for each in self._in_name_order(prefix, levels=2 - len(prefix.split("/"))))
        while names := tuple(islice(found, 1000)):
            self.delete(*names)

    def stage(self, name: str) -> Staged:
        return StagedObjects(self, require_name(name))

    def remove_leftovers(self, *prefixes: str) -> None:
        remove_dead_stages()
        for prefix in prefixes:
            for name in self._level(prefix).sizes:
                if name.endswith(".lock") and is_temporary(name.rpartition("/")[2]):
                    lock = self.try_lock(name)
                    if lock is not None:
                        lock.release()
                elif is_temporary(name.rpartition("/")[2]):
                    self.delete(name)

    def try_lock(self, name: str) -> Lock | None:
        return Lease.take(self, require_name(name))

    def lock_owner(self, name: str) -> str | None:
        try:
            return Lease.owner(self.read(name))
        except FileNotFoundError:
            return None

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        pause = 0.02
        while (lock := self.try_lock(name)) is None:
            time.sleep(pause)
            pause = min(1.0, 1.5 * pause)
        try:
            yield
        finally:
            lock.release()

    def cached(self, says_all: str, cache: DiskCache, *, fits: bool = True) -> Storage:
        from depthforge.storage.cached_objects import CachedObjects

        version, put_at = self.version(says_all)
        return CachedObjects(self._url, f"{sorted(version.items())} {put_at}", cache, fits=fits)

    def local_copy(self, prefix: str) -> Path:
        """Return a folder with copies, which is made once for all processes and made anew when an object changes.

        StorageError when they cannot be read, or not be written here.
        """
        if prefix:
            require_name(prefix)
        with self._listing(prefix) as store:
            found = tried_again(lambda: library().list_with_delimiter(store, prefix or None)["objects"])
        about = sorted((each["path"], int(each["size"]), str(each["e_tag"])) for each in found)
        name = hashlib.sha256(repr((self._url, prefix, about)).encode()).hexdigest()[:32]
        return copied_folder(name, {path.rpartition("/")[2]: partial(self.read, path) for path, _, _ in about})

    def within(self, prefix: str) -> ObjectStorage:
        return ObjectStorage(f"{self._url}/{require_name(prefix)}")

    def adopt(self, prefix: str, *, last: str) -> None:
        require_name(prefix)

        def move(each: StoredObject) -> None:
            if each.name != f"{prefix}/{last}":
                self._copy(each.name, each.name.removeprefix(f"{prefix}/"), each.size)

        found = self._in_name_order(prefix, levels=1)
        with ThreadPoolExecutor(_LISTED_AHEAD) as pool:
            while part := list(islice(found, 1000)):
                list(pool.map(move, part))
        if self.exists(f"{prefix}/{last}"):
            self._copy(f"{prefix}/{last}", last, 0)
        # First the one that says what the rest is: without it nobody takes what is left for a whole.
        self.delete(f"{prefix}/{last}")
        self.delete_prefix(prefix)

    def upload(self, name: str, content: Any) -> None:
        """Put an object from bytes or from a file that is open for reading; large ones in parts, side by side.

        StorageError when the store does not then say that it has all of it.
        """
        require_name(name)
        size = len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size
        if size <= PART_BYTES and not isinstance(content, bytes):
            content = content.read()  # the library reads a file piece by piece under Python's lock
        with store_errors(self.where(name), writing=True):
            library().put(
                connected(self._url),
                name,
                content,
                use_multipart=size > PART_BYTES,
                # S3 takes 10 000 parts.
                chunk_size=max(PART_BYTES, -(-size // 9_000)),
                max_concurrency=4,
            )
            found = int(library().head(connected(self._url), name)["size"]) if size > PART_BYTES else size
        if found != size:
            raise StorageError(
                "the object store took an object and does not have all of it",
                where=self.where(name),
                expected=f"{size} bytes",
                found=f"{found} bytes",
                remedy="run the same command again; if it stays so, the store is damaged",
            )

    def put_version(self, name: str, content: bytes, *, mode: Version | Literal["create"]) -> Version | None:
        """Put an object where ``mode`` allows it ("create", or over one version), and return its version; else None."""
        require_name(name)
        token, obstore = os.urandom(12).hex(), library()
        try:
            with store_errors(self.where(name), writing=True):
                put = obstore.put(
                    connected(self._url), name, content, attributes={_WRITER: token}, mode=mode, use_multipart=False
                )
                return _version_in(put)
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            return self._version_of(name, token)
        except StorageError as error:
            if _is_not_known(error):
                return self._put_and_look(name, content, token, mode)
            # The request may have been carried out, and its answer lost.
            version = self._version_of(name, token)
            if version is None:
                raise
            return version

    def version(self, name: str) -> tuple[Version, float]:
        """Return the version of an object, and when it was put by the clock of the store, in seconds."""
        with self._reading(name) as store:
            found = library().head(store, name)
            return _version_in(found), found["last_modified"].timestamp()

    def _version_of(self, name: str, token: str) -> Version | None:
        """Return the version of an object if the writer of ``token`` put it."""
        try:
            with self._reading(name) as store:
                found = library().get(store, name)
                return _version_in(found.meta) if found.attributes.get(_WRITER) == token else None
        except FileNotFoundError:
            return None

    def _put_and_look(self, name: str, content: bytes, token: str, mode: Version | Literal["create"]) -> Version | None:
        """Put an object in a store that knows no condition: look, put, wait, and look whose it is."""
        if mode == "create" and self.exists(name):
            return None
        if mode != "create" and self.version(name)[0] != mode:
            return None
        with store_errors(self.where(name), writing=True):
            library().put(connected(self._url), name, content, attributes={_WRITER: token}, use_multipart=False)
        time.sleep(SETTLE_S)
        return self._version_of(name, token)

    def _copy(self, name: str, to: str, size: int) -> None:
        with store_errors(self.where(name), writing=True):
            store = connected(self._url)
            if size > _MAX_COPY_BYTES:
                library().put(store, to, library().get(store, name).stream())
            else:
                library().copy(store, name, to)

    def _in_name_order(self, prefix: str, levels: int) -> Iterator[StoredObject]:
        """Yield everything below ``prefix``; ``levels`` of prefixes are asked for one by one, the rest at once."""
        if levels <= 0:
            yield from self._everything(prefix)
            return
        found = self._level(prefix)
        order = sorted((*found.prefixes, *found.sizes), key=name_order)
        if levels > 1:
            for name in order:
                if name in found.sizes:
                    yield StoredObject(name, found.sizes[name])
                if name in found.prefixes:
                    yield from self._in_name_order(name, levels - 1)
            return
        with ThreadPoolExecutor(_LISTED_AHEAD) as pool:
            waiting = iter(order)
            running = [pool.submit(self._below, name, found) for name in islice(waiting, _LISTED_AHEAD)]
            while running:
                yield from running.pop(0).result()
                running += [pool.submit(self._below, name, found) for name in islice(waiting, 1)]

    def _below(self, name: str, level: _Level) -> list[StoredObject]:
        here = [StoredObject(name, level.sizes[name])] if name in level.sizes else []
        return here + (self._everything(name) if name in level.prefixes else [])

    def _everything(self, prefix: str) -> list[StoredObject]:
        def pages() -> list[StoredObject]:
            asked = library().list(store, prefix=prefix or None, chunk_size=1000)
            return [StoredObject(each["path"], each["size"]) for page in asked for each in page]

        with self._listing(prefix) as store:
            found = tried_again(pages)
        return sorted(found, key=lambda each: name_order(each.name))

    def _level(self, prefix: str) -> _Level:
        if prefix:
            require_name(prefix)
        with self._listing(prefix) as store:
            found = tried_again(lambda: library().list_with_delimiter(store, prefix or None))
        return _Level(
            frozenset(found["common_prefixes"]), {each["path"]: int(each["size"]) for each in found["objects"]}
        )

    @contextmanager
    def _reading(self, name: str) -> Iterator[Any]:
        require_name(name)
        with store_errors(self.where(name)):
            yield connected(self._url)

    @contextmanager
    def _listing(self, prefix: str) -> Iterator[Any]:
        with store_errors(self.where(prefix)):
            yield connected(self._url)


def _shown(names: Iterable[str]) -> list[str]:
    """Return the last parts of names, sorted, without those that no listing has."""
    last = {name.rpartition("/")[2] for name in names}
    return sorted(name for name in last if not (is_temporary(name) or is_stray(name)))


def _version_in(about: Mapping[str, Any]) -> Version:
    return {name: str(about[name]) for name in ("e_tag", "version") if about[name] is not None}


class _Level:
    """What lies directly below a prefix: the prefixes, and the size of each object, by full name."""

    def __init__(self, prefixes: frozenset[str], sizes: dict[str, int]) -> None:
        self.prefixes, self.sizes = prefixes, sizes


class _RangeReader(ObjectReader):
    """An object by requests of ranges; it holds no connection of its own."""

    def __init__(self, storage: ObjectStorage, name: str, size: int) -> None:
        self._storage, self._name, self._size = storage, name, size

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        stop = min(offset + length, self._size)
        if stop <= offset:
            return b""
        with self._storage._reading(self._name) as store:
            edges = [*range(offset, stop, 2 * PART_BYTES), stop]
            if len(edges) == 2:
                return tried_again(lambda: bytes(library().get_range(store, self._name, start=offset, end=stop)))
            ranges = {"starts": edges[:-1], "ends": edges[1:], "coalesce": 0}
            return tried_again(lambda: b"".join(map(bytes, library().get_ranges(store, self._name, **ranges))))


def _visible(found: Iterator[StoredObject], with_strays: bool) -> Iterator[StoredObject]:
    for each in found:
        parts = each.name.split("/")
        if not any(map(is_temporary, parts)) and (with_strays or not any(map(is_stray, parts))):
            yield each


def _in_parts(names: tuple[str, ...], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield list(names[start : start + size])


def _is_not_known(error: StorageError) -> bool:
    """Say whether a store answered that it has no such operation."""
    return any(code in (error.found or "") for code in ("501", "NotImplemented", "not supported", "not implemented"))
