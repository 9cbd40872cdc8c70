"""Write one zarr v3 array as one object: chunks appended as they come, the shard's index at the end.

A chunk is compressed when its frame arrives and goes straight to the file: a worker holds one frame, where assigning
a whole shard through zarr needs all of it in memory (118 MiB for 64 frames with colour), and no thread or event loop
starts in it. It takes half of the time of plain zarr and about that of the zarrs pipeline (benchmarks/bench_writing).
The bytes are plain zarr v3 (sharding codec 1.0), which the tests read back through zarr, zarrs, tensorstore and xarray.
Format: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/v1.0.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from depthforge.corpus.chunks import ChunkChain, with_crc32c
from depthforge.storage import ObjectWriter, Staged

__all__ = ["CHUNK_KEYS", "INDEX_CODECS", "ArrayWriter", "chunks_name", "write_group"]

# Flat: an array is a folder of two files, zarr.json and its only object.
CHUNK_KEYS: Final = {"name": "default", "configuration": {"separator": "."}}

INDEX_CODECS: Final = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
# Offset and length of a chunk that is not stored: every value of it is the fill value.
_ABSENT: Final = (2**64 - 1, 2**64 - 1)


class ArrayWriter:
    """Appends chunks along the first axis of a new array, ``name`` in a staged group; StorageError as its writer."""

    def __init__(
        self,
        group: Staged,
        name: str,
        *,
        dtype: np.dtype[Any],
        chunk_shape: tuple[int, ...],
        dimension_names: tuple[str, ...],
        fill_value: float,
        attributes: Mapping[str, Any],
        codec: ChunkChain,
    ) -> None:
        self._group = group
        self._name = name
        self._chunk_shape = chunk_shape
        self._metadata: dict[str, Any] = {
            "zarr_format": 3,
            "node_type": "array",
            "data_type": dtype.name,
            "dimension_names": list(dimension_names),
            "fill_value": _fill_value_to_json(fill_value, dtype),
            "chunk_key_encoding": CHUNK_KEYS,
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": list(chunk_shape),
                        "codecs": codec.to_json(),
                        "index_codecs": INDEX_CODECS,
                        "index_location": "end",
                    },
                }
            ],
            "attributes": dict(attributes),
            "storage_transformers": [],
        }
        self._object: ObjectWriter | None = None
        self._index: list[tuple[int, int]] = []
        self._size = 0

    def append(self, content: bytes | None) -> None:
        """Append an encoded chunk, or one that holds the fill value only (None)."""
        if content is None:
            self._index.append(_ABSENT)
            return
        self._opened().write(content)
        self._index.append((self._size, len(content)))
        self._size += len(content)

    def finish(self, length: int, attributes: Mapping[str, Any] | None = None) -> None:
        """Write index and metadata for an array of ``length`` along its first axis, and make all of it durable.

        ``attributes`` are further ones, which are known at the end only.
        """
        self._metadata["attributes"].update(attributes or {})
        if self._index:  # zarr knows an array without a row by the absence of its object
            chunks = self._opened()
            chunks.write(with_crc32c(np.array(self._index, "<u8").tobytes()))
            chunks.finish()
        shard_rows = self._chunk_shape[0] * max(1, len(self._index))
        self._metadata["shape"] = [length, *self._chunk_shape[1:]]
        self._metadata["chunk_grid"] = {
            "name": "regular",
            "configuration": {"chunk_shape": [shard_rows, *self._chunk_shape[1:]]},
        }
        self._group.write(f"{self._name}/zarr.json", _json(self._metadata))

    def _opened(self) -> ObjectWriter:
        if self._object is None:
            self._object = self._group.create(chunks_name(self._name, len(self._chunk_shape)))
        return self._object


def chunks_name(array: str, num_dimensions: int, separator: str = ".") -> str:
    """Return the name of the one object that holds all chunks of an array."""
    return f"{array}/{separator.join(['c', *('0' * num_dimensions)])}"


def write_group(group: Staged, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a zarr group."""
    group.write("zarr.json", _json({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode()


def _fill_value_to_json(value: float, dtype: np.dtype[Any]) -> float | int | bool | str:
    if dtype.kind == "f":
        return "NaN" if math.isnan(value) else float(value)
    return bool(value) if dtype.kind == "b" else int(value)
