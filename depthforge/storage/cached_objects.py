"""An object store through a cache on disk: for readers of objects that do not change.

Objects are cut into blocks of 4 MiB, and a block is asked for in one request and kept: it holds a dozen neighbouring
frames, so reading in runs, block-shuffled, or again costs no request. The first request for an object asks for its
end, which is its last block, its size and (of an array) where its chunks lie, all in one. Where a corpus is larger than
the bound of the cache, a read far from the last one is a request of just its bytes: its block would be gone before it
is used again.
"""

from __future__ import annotations

from typing import Any, Final

from depthforge.storage.base import ObjectReader, require_name
from depthforge.storage.disk_cache import DiskCache
from depthforge.storage.object_client import library, tried_again
from depthforge.storage.object_store import ObjectStorage

__all__ = ["BLOCK_BYTES", "CachedObjects"]

BLOCK_BYTES: Final = 4 * 2**20


class CachedObjects(ObjectStorage):
    """The objects of an :class:`ObjectStorage` at one ``version``, read through ``cache``.

    ``version`` changes when any of them does. ``fits`` says that all that will be read has room in the cache.
    """

    def __init__(self, url: str, version: str, cache: DiskCache, *, fits: bool = True) -> None:
        super().__init__(url)
        self._version, self.cache, self.fits = version, cache, fits

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (self._url, self._version, self.cache, self.fits))

    def read(self, name: str) -> bytes:
        reader = self.open(name)
        return reader.read_at(0, reader.size)

    def open(self, name: str) -> ObjectReader:
        return _BlockReader(self, require_name(name))

    def key(self, name: str, part: str) -> str:
        """Return what decides the content of a part of an object."""
        return "\n".join((self._url, self._version, name, part))

    def size(self, name: str) -> int:
        return self.open(name).size

    def fetch(self, name: str, start: int, stop: int) -> bytes:
        """Ask the store for some bytes of an object."""
        with self._reading(name) as store:
            return tried_again(lambda: bytes(library().get_range(store, name, start=start, end=stop)))

    def fetch_end(self, name: str) -> tuple[int, bytes]:
        """Ask the store for the size of an object and its last bytes: a block, or all of it."""
        if self._url.startswith("az:"):  # which answers no question for an end
            size = super().size(name)
            return size, self.fetch(name, max(0, size - BLOCK_BYTES), size) if size else b""

        def end() -> tuple[int, bytes]:
            try:
                found = library().get(store, name, options={"range": {"suffix": BLOCK_BYTES}})
            except library().exceptions.BaseError as error:
                if "416" not in str(error):
                    raise
                return 0, b""  # an empty object has no end
            return int(found.meta["size"]), bytes(found.bytes())

        with self._reading(name) as store:
            return tried_again(end)


def _again(url: str, version: str, cache: DiskCache, fits: bool) -> CachedObjects:
    return CachedObjects(url, version, cache, fits=fits)


class _BlockReader(ObjectReader):
    """An object by blocks from the cache. Raises FileNotFoundError when it is made of an object that is not there."""

    def __init__(self, storage: CachedObjects, name: str) -> None:
        self._storage, self._name = storage, name
        self._last = 0
        key, cache = storage.key(name, "size"), storage.cache
        self._size = int.from_bytes(cache.read(key, self._begin), "little")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_BlockReader, (self._storage, self._name))

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        stop = min(offset + length, self._size)
        if stop <= offset:
            return b""
        if self._is_far(offset):
            return self._storage.fetch(self._name, offset, stop)
        first, last = offset // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        if first == last:
            return self._part(first, offset, stop)
        edges = [offset, *range((first + 1) * BLOCK_BYTES, stop, BLOCK_BYTES), stop]
        return b"".join(self._part(first + i, edges[i], edges[i + 1]) for i in range(len(edges) - 1))

    def prepare(self, offset: int, length: int) -> None:
        stop = min(offset + length, self._size)
        if stop > offset and not self._is_far(offset):
            for block in range(offset // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES + 1):
                if not self._storage.cache.holds(self._key(block)):
                    self._part(block, block * BLOCK_BYTES, block * BLOCK_BYTES)

    def _is_far(self, offset: int) -> bool:
        far = not self._storage.fits and abs(offset - self._last) > BLOCK_BYTES
        self._last = offset
        return far and not self._storage.cache.holds(self._key(offset // BLOCK_BYTES))

    def _part(self, block: int, start: int, stop: int) -> bytes:
        begin = block * BLOCK_BYTES
        end = min(begin + BLOCK_BYTES, self._size)
        return self._storage.cache.read(
            self._key(block), lambda: self._storage.fetch(self._name, begin, end), start - begin, stop - start
        )

    def _key(self, block: int) -> str:
        return self._storage.key(self._name, f"{BLOCK_BYTES}:{block}")

    def _begin(self) -> bytes:
        """Return the size in eight bytes, and keep the last block, which came with it."""
        self._size, content = self._storage.fetch_end(self._name)
        if self._size:
            block = (self._size - 1) // BLOCK_BYTES
            length = self._size - block * BLOCK_BYTES
            self._storage.cache.read(self._key(block), lambda: content[-length:], 0, 0)
        return self._size.to_bytes(8, "little")
