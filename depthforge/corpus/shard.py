"""Read one shard, frame by frame: ``pread`` of a chunk and one call of its decompressor.

No thread, no event loop, no shared file position: readers may be used before and after a fork, from any thread, and
pickle as a name in a storage. A random 640x480 depth frame costs the decompression, 0.4 to 0.8 ms with zstd; zarr adds
0.9 ms of scheduling and its zarrs pipeline hangs in a forked worker. Arrays in another layout or with codecs that are
not known here are read through zarr itself, if it is there.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numcodecs.errors import UnknownCodecError

from depthforge.corpus.arrays import CHUNK_KEYS, INDEX_CODECS, chunks_name
from depthforge.corpus.chunks import CRC_BYTES, ChunkChain, ChunkCodec, codec_names, without_crc32c
from depthforge.corpus.jpeg_chunks import JpegChunks
from depthforge.corpus.schema import OFFSETS
from depthforge.errors import CorpusError, IntegrityError, MissingDataError, MissingDependencyError
from depthforge.storage import ObjectReader, Storage

__all__ = ["ShardArray", "ShardReader"]

_ABSENT = 2**64 - 1


class _Sharding(NamedTuple):
    chunk_rows: int
    num_chunks: int
    codec: ChunkChain


class ShardArray:
    """One array of a shard: ``shape``, ``dtype``, ``dimension_names``, ``attributes``, names of ``codecs``, its rows.

    Raises MissingDataError when there is no array under ``name``, CorpusError when its metadata is no zarr v3.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name
        metadata = _read_metadata(storage, name, "array")
        try:
            self.shape: tuple[int, ...] = tuple(metadata["shape"])
            self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
            self.dimension_names: tuple[str, ...] = tuple(metadata.get("dimension_names") or ())
            self.attributes: dict[str, Any] = metadata.get("attributes", {})
            self._fill = np.array(_fill_value_from_json(metadata["fill_value"]), self.dtype)
            self.codecs: tuple[str, ...] = codec_names(metadata["codecs"])
            self._sharding = _parse_sharding(metadata, self.dtype)
            separator = metadata["chunk_key_encoding"].get("configuration", {}).get("separator", "/")
            self._chunks = chunks_name(name, len(self.shape), separator)
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError("the metadata of an array cannot be read", where=self.where, found=error) from error
        self._object: ObjectReader | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (ShardArray, (self.storage, self.name))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_direct(self) -> bool:
        """False when the array is read through zarr."""
        return self._sharding is not None

    @property
    def where(self) -> str:
        """Where the array lies, for messages."""
        return self.storage.where(self.name)

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

    def prepare_row(self, row: int) -> None:
        """Get what :meth:`read_row` would read to where it is read fast, if that is not so already."""
        if self._sharding is not None:
            chunk = row // self._sharding.chunk_rows
            offset, length = int(self._index[chunk, 0]), int(self._index[chunk, 1])
            if offset != _ABSENT:
                self._opened().prepare(offset, length)

    def read_encoded(self, row: int, chain: list[dict[str, Any]]) -> bytes | None:
        """Return the stored bytes of a row, None unless it is a chunk of its own that ``chain`` encodes."""
        sharding = self._sharding
        if sharding is None or sharding.chunk_rows != 1 or sharding.codec.to_json() != chain:
            return None
        return self._read_chunk(row)

    @property
    def is_jpeg(self) -> bool:
        """True when each chunk is a JPEG file."""
        return self._sharding is not None and isinstance(self._sharding.codec, JpegChunks)

    def read_file(self, row: int) -> bytes | None:
        """Return the JPEG file of a row, None when there is none; IntegrityError when it is damaged."""
        assert self._sharding is not None
        assert isinstance(self._sharding.codec, JpegChunks)
        content = self._read_chunk(row)
        return None if content is None else self._sharding.codec.file(content, where=_Chunk(self, row))

    def close(self) -> None:
        """Let go of the object, once no thread reads from it; the next read opens it again."""
        self._object = None

    def _fill_rows(self, start: int, out: npt.NDArray[Any]) -> None:
        stop = start + len(out)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)} in {self.where}")
        if self._sharding is None:
            self._fill_through_zarr(start, stop, out)
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
                codec.decode_into(content, target, where=_Chunk(self, chunk))
            else:
                whole = np.empty((chunk_rows, *self.shape[1:]), self.dtype)
                codec.decode_into(content, whole, where=_Chunk(self, chunk))
                target[...] = whole[skipped : skipped + taken]
            row += taken

    def _read_chunk(self, chunk: int) -> bytes | None:
        offset, length = int(self._index[chunk, 0]), int(self._index[chunk, 1])
        return None if offset == _ABSENT else self._read_at(offset, length)

    @cached_property
    def _index(self) -> npt.NDArray[np.uint64]:
        """(num_chunks, 2): offset and length of every chunk."""
        assert self._sharding is not None
        index_bytes = 16 * self._sharding.num_chunks + CRC_BYTES
        content = self._read_at(max(0, self._opened().size - index_bytes), index_bytes)
        where = f"{self.storage.where(self._chunks)}, index"
        return np.frombuffer(without_crc32c(content, where=where), "<u8").reshape(-1, 2)

    def _read_at(self, offset: int, length: int) -> bytes:
        content = self._opened().read_at(offset, length)
        if len(content) != length:
            raise IntegrityError("the file is cut short", where=self.storage.where(self._chunks))
        return content

    def _opened(self) -> ObjectReader:
        opened = self._object
        if opened is None:
            try:
                opened = self._object = self.storage.open(self._chunks)
            except FileNotFoundError:
                where = self.storage.where(self._chunks)
                raise MissingDataError("a file of the shard is missing", where=where) from None
        return opened

    def _fill_through_zarr(self, start: int, stop: int, out: npt.NDArray[Any]) -> None:
        # Opened in each process anew: zarr's event loop does not survive a fork.
        opened = self.__dict__.setdefault("_zarr_by_process", {})
        if os.getpid() not in opened:
            opened[os.getpid()] = _open_with_zarr(self)
        try:
            out[...] = opened[os.getpid()][start:stop]
        except (UnknownCodecError, ImportError) as error:  # zarr knows the name, but not who decodes it
            raise _no_codec(self, error) from error
        except Exception as error:  # each codec has its own: zlib.error, BadGzipFile, ValueError
            raise IntegrityError("rows cannot be decoded", where=self.where, found=error) from error


class ShardReader:
    """A shard: its ``attributes``, its arrays by name, and the fields of a frame. Opens files when they are read."""

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name
        self.attributes: dict[str, Any] = _read_metadata(storage, name, "group").get("attributes", {})
        self._arrays: dict[str, ShardArray] = {}
        self._offsets: dict[str, npt.NDArray[np.int64]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (ShardReader, (self.storage, self.name))

    def array(self, name: str) -> ShardArray:
        """Return one array; MissingDataError when the shard has none of that name."""
        if name not in self._arrays:
            self._arrays[name] = ShardArray(self.storage, f"{self.name}/{name}")
        return self._arrays[name]

    def is_ragged(self, field: str) -> bool:
        """Say whether a field has a number of rows of its own in every frame."""
        return OFFSETS in self.array(field).attributes

    def read(self, field: str, row: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return a field of the frame at ``row`` as stored (``out`` as in :meth:`ShardArray.read_row`)."""
        return self.array(field).read_row(row, out)

    def read_ragged(self, field: str, row: int) -> npt.NDArray[Any]:
        """Return the rows (N, ...) of a ragged field that belong to the frame at ``row``."""
        start, stop = self.offsets(field)[row : row + 2].tolist()
        return self.array(field).read_rows(start, stop)

    def offsets(self, field: str) -> npt.NDArray[np.int64]:
        """Return at which row of a ragged field each frame begins, and where the last ends: int64 (N + 1,).

        Raises CorpusError when the array does not say so, or something that cannot be.
        """
        if field not in self._offsets:
            array = self.array(field)
            try:
                offsets = np.array(array.attributes[OFFSETS], np.int64)
                if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(array) or (np.diff(offsets) < 0).any():
                    raise ValueError(f"{len(offsets)} numbers that are not the edges of {len(array)} rows")
            except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
                raise CorpusError(
                    "a ragged array does not say where each frame begins",
                    where=f"{array.where}: {OFFSETS}",
                    found=error,
                ) from error
            self._offsets[field] = offsets
        return self._offsets[field]

    def close(self) -> None:
        """Let go of every object."""
        for array in self._arrays.values():
            array.close()


class _Chunk:
    """Names a chunk in a message; the text is made only when there is one."""

    def __init__(self, array: ShardArray, number: int) -> None:
        self._array, self._number = array, number

    def __str__(self) -> str:
        return f"{self._array.storage.where(self._array._chunks)}, chunk {self._number}"


def _open_with_zarr(array: ShardArray) -> Any:
    """Open an array that is not laid out as we write it.

    Raises MissingDependencyError without zarr, CorpusError for a codec that zarr has not either.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "an array in this layout is read through zarr, which is not installed",
            where=array.where,
            expected="one shard, with the codecs that docs/corpus-format.md names",
            found=", ".join(array.codecs),
            remedy="pip install zarr",
        ) from error
    folder = array.storage.local_path(array.name)
    if folder is None:
        raise CorpusError("an array in this layout can be read from a folder only", where=array.where)
    try:
        return zarr.open_array(str(folder), mode="r")
    except ValueError as error:
        raise _no_codec(array, error) from error


def _no_codec(array: ShardArray, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        "an array is stored with a codec that is not installed, or not as zarr knows it",
        where=array.where,
        expected="codecs of depthforge, or of zarr and numcodecs as they are installed",
        found=f"{', '.join(array.codecs)}: {error}",
        remedy="install what brings the codec, or write the corpus again with a corpus.codec of depthforge",
    )


def _read_metadata(storage: Storage, name: str, node_type: str) -> dict[str, Any]:
    path = f"{name}/zarr.json"
    try:
        metadata = json.loads(storage.read(path))
    except FileNotFoundError:
        raise MissingDataError(f"there is no zarr {node_type}", where=storage.where(name)) from None
    except ValueError as error:
        raise CorpusError("zarr.json cannot be read", where=storage.where(path), found=error) from error
    if not isinstance(metadata, dict) or metadata.get("zarr_format") != 3 or metadata.get("node_type") != node_type:
        raise CorpusError(f"this is not a zarr v3 {node_type}", where=storage.where(path))
    return metadata


def _parse_sharding(metadata: dict[str, Any], dtype: np.dtype[Any]) -> _Sharding | None:
    """Return how the array is cut when all its chunks lie in one shard, along the first axis; else None."""
    shape, codecs = metadata["shape"], metadata["codecs"]
    outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    if metadata["chunk_key_encoding"]["name"] != CHUNK_KEYS["name"]:
        return None
    sharding = codecs[0]["configuration"]
    inner = sharding["chunk_shape"]
    one_shard = outer[0] >= shape[0] and outer[1:] == shape[1:] == inner[1:]
    if not one_shard or sharding["index_codecs"] != INDEX_CODECS or sharding.get("index_location", "end") != "end":
        return None
    codec: ChunkChain | None = JpegChunks.parse(sharding["codecs"]) or ChunkCodec.parse(sharding["codecs"], dtype)
    return _Sharding(inner[0], outer[0] // inner[0], codec) if codec else None


def _fill_value_from_json(value: Any) -> Any:
    return float(value) if isinstance(value, str) else value  # "NaN", "Infinity"
