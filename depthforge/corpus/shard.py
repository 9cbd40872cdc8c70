"""Read one shard, frame by frame: ``pread`` of a chunk and one call of its decompressor.

No thread, no event loop, no shared file position: readers may be used before and after a fork, from any thread, and
pickle as a path. A random 640x480 depth frame costs the decompression, 0.4 to 0.8 ms with zstd; zarr adds 0.9 ms of
scheduling and its zarrs pipeline hangs in a forked worker. Arrays in another layout or with codecs that are not known
here are read through zarr itself (the ``zarr`` extra), which nothing that depthforge writes needs.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from depthforge.corpus.arrays import INDEX_CODECS
from depthforge.corpus.chunks import CRC_BYTES, ChunkCodec, without_crc32c
from depthforge.corpus.schema import offsets_name
from depthforge.errors import CorpusError, IntegrityError, MissingDataError, MissingDependencyError

__all__ = ["ShardArray", "ShardReader", "content_hash"]

_ABSENT = 2**64 - 1


def content_hash(array: npt.NDArray[Any]) -> str:
    """Return 32 hex digits of XXH3-128 over the C-order bytes of ``array``: the ``hash_*`` columns of the index."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


class _OpenFile:
    """A file that closes itself when nobody uses it any more, so that no thread reads from a closed number."""

    def __init__(self, path: Path) -> None:
        self.handle = -1
        try:
            self.handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MissingDataError("a file of the shard is missing", where=path) from None

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)


class _Sharding(NamedTuple):
    chunk_rows: int
    num_chunks: int
    codec: ChunkCodec


class ShardArray:
    """One array of a shard: ``shape``, ``dtype``, ``dimension_names``, ``attributes``, and its rows.

    Raises MissingDataError when ``directory`` holds no array, CorpusError when its metadata is no zarr v3.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        metadata = _read_metadata(directory, "array")
        try:
            self.shape: tuple[int, ...] = tuple(metadata["shape"])
            self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
            self.dimension_names: tuple[str, ...] = tuple(metadata.get("dimension_names") or ())
            self.attributes: dict[str, Any] = metadata.get("attributes", {})
            self._fill = np.array(_fill_value_from_json(metadata["fill_value"]), self.dtype)
            self._sharding = _parse_sharding(metadata, self.dtype.itemsize)
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError("the metadata of an array cannot be read", where=directory, found=error) from error
        self._file: _OpenFile | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (ShardArray, (self.directory,))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_direct(self) -> bool:
        """False when the array is read through zarr."""
        return self._sharding is not None

    @property
    def path(self) -> Path:
        """The one file that holds every chunk."""
        return self.directory.joinpath("c", *("0" for _ in self.shape))

    def read_row(self, row: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return what is stored at ``row``, in ``out`` (C-contiguous, of that shape and dtype) when given."""
        result = np.empty(self.shape[1:], self.dtype) if out is None else out
        self._fill_rows(row, result[np.newaxis])
        return result

    def read_rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows ``start`` to ``stop`` as stored; IntegrityError when a chunk is damaged."""
        result = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self._fill_rows(start, result)
        return result

    def close(self) -> None:
        """Let go of the file, once no thread reads from it; the next read opens it again."""
        self._file = None

    def _fill_rows(self, start: int, out: npt.NDArray[Any]) -> None:
        stop = start + len(out)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)} in {self.directory}")
        if self._sharding is None:
            out[...] = self._through_zarr[start:stop]
            return
        chunk_rows, _, codec = self._sharding
        row = start
        while row < stop:
            chunk, skipped = divmod(row, chunk_rows)
            taken = min(chunk_rows - skipped, stop - row)
            target = out[row - start : row - start + taken]
            content = self._read_chunk(chunk)
            if content is None:
                target[...] = self._fill
            elif taken == chunk_rows:
                codec.decode_into(content, target, where=f"{self.path}, chunk {chunk}")
            else:
                whole = np.empty((chunk_rows, *self.shape[1:]), self.dtype)
                codec.decode_into(content, whole, where=f"{self.path}, chunk {chunk}")
                target[...] = whole[skipped : skipped + taken]
            row += taken

    def _read_chunk(self, chunk: int) -> bytes | None:
        offset, length = int(self._index[chunk, 0]), int(self._index[chunk, 1])
        return None if offset == _ABSENT else self._pread(length, offset)

    @cached_property
    def _index(self) -> npt.NDArray[np.uint64]:
        """(num_chunks, 2): offset and length of every chunk."""
        assert self._sharding is not None
        index_bytes = 16 * self._sharding.num_chunks + CRC_BYTES
        size = os.fstat(self._open().handle).st_size
        content = self._pread(index_bytes, max(0, size - index_bytes))
        return np.frombuffer(without_crc32c(content, where=f"{self.path}, index"), "<u8").reshape(-1, 2)

    def _pread(self, length: int, offset: int) -> bytes:
        file = self._open()
        content = os.pread(file.handle, length, offset)
        if len(content) != length:
            raise IntegrityError("the file is cut short", where=self.path)
        return content

    def _open(self) -> _OpenFile:
        file = self._file
        if file is None:
            file = self._file = _OpenFile(self.path)
        return file

    @property
    def _through_zarr(self) -> Any:
        # Opened in each process anew: zarr's event loop does not survive a fork.
        opened = self.__dict__.setdefault("_zarr_by_process", {})
        if os.getpid() not in opened:
            try:
                import zarr
            except ImportError as error:
                raise MissingDependencyError(
                    "an array that another program laid out is read through zarr, which cannot be imported",
                    where=self.directory,
                    found=error,
                    remedy="pip install 'depthforge[zarr]'",
                ) from error
            opened[os.getpid()] = zarr.open_array(str(self.directory), mode="r")
        return opened[os.getpid()]


class ShardReader:
    """A shard: its ``attributes``, its arrays by name, and the fields of a frame. Opens files when they are read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.attributes: dict[str, Any] = _read_metadata(directory, "group").get("attributes", {})
        self._arrays: dict[str, ShardArray] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (ShardReader, (self.directory,))

    def array(self, name: str) -> ShardArray:
        """Return one array; MissingDataError when the shard has none of that name."""
        if name not in self._arrays:
            self._arrays[name] = ShardArray(self.directory / name)
        return self._arrays[name]

    def is_ragged(self, field: str) -> bool:
        """Say whether a field has a number of rows of its own in every frame."""
        return (self.directory / offsets_name(field)).is_dir()

    def read(self, field: str, row: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return a field of the frame at ``row`` as stored (``out`` as in :meth:`ShardArray.read_row`)."""
        return self.array(field).read_row(row, out)

    def read_ragged(self, field: str, row: int) -> npt.NDArray[Any]:
        """Return the rows (N, ...) of a ragged field that belong to the frame at ``row``."""
        start, stop = self.array(offsets_name(field)).read_rows(row, row + 2)
        return self.array(field).read_rows(int(start), int(stop))

    def content_hashes(self, field: str) -> list[str]:
        """Return the content hash of a field for every frame, as the index has it; decodes the whole array."""
        if self.is_ragged(field):
            offsets = self.array(offsets_name(field)).read_rows(0, len(self.array(offsets_name(field))))
            rows = self.array(field).read_rows(0, len(self.array(field)))
            return [content_hash(rows[start:stop]) for start, stop in pairwise(offsets)]
        array = self.array(field)
        scratch = np.empty(array.shape[1:], array.dtype)
        return [content_hash(array.read_row(row, scratch)) for row in range(len(array))]

    def close(self) -> None:
        """Let go of every file."""
        for array in self._arrays.values():
            array.close()


def _read_metadata(directory: Path, node_type: str) -> dict[str, Any]:
    path = directory / "zarr.json"
    try:
        metadata = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError(f"there is no zarr {node_type}", where=directory) from None
    except ValueError as error:
        raise CorpusError("zarr.json cannot be read", where=path, found=error) from error
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3 or metadata.get("node_type") != node_type:
        raise CorpusError(f"this is not a zarr v3 {node_type}", where=path)
    return metadata


def _parse_sharding(metadata: dict[str, Any], itemsize: int) -> _Sharding | None:
    """Return how the array is cut when all its chunks lie in one shard, along the first axis; else None."""
    shape, codecs = metadata["shape"], metadata["codecs"]
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    if metadata["chunk_key_encoding"] != {"name": "default", "configuration": {"separator": "/"}}:
        return None
    sharding = codecs[0]["configuration"]
    inner = sharding["chunk_shape"]
    one_shard = outer[0] >= shape[0] and outer[1:] == shape[1:] == inner[1:]
    if not one_shard or sharding["index_codecs"] != INDEX_CODECS or sharding.get("index_location", "end") != "end":
        return None
    codec = ChunkCodec.parse(sharding["codecs"], itemsize)
    return _Sharding(inner[0], outer[0] // inner[0], codec) if codec else None


def _fill_value_from_json(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value  # "NaN", "Infinity"
