"""The content hashes of a shard: what the ``hash_*`` columns of the index say, and the same of what is read back.

XXH3-128 runs at 10 GB/s a core, so reading back costs the decompression. A ragged array is read a megabyte at a time,
whatever the number of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from depthforge.corpus.shard import ShardArray, ShardReader

__all__ = ["content_hash", "content_hashes"]

_BLOCK_BYTES: Final = 2**20


def content_hash(array: npt.NDArray[Any]) -> str:
    """Return 32 hex digits of XXH3-128 over the C-order bytes of ``array``: the ``hash_*`` columns of the index."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).data)


def content_hashes(shard: ShardReader, field: str) -> Iterator[str]:
    """Yield the content hash of a field for every frame, as the index has it; decodes the whole array.

    Of colour that is held as JPEG it is the hash of the file, which is not decoded.
    """
    array = shard.array(field)
    if shard.is_ragged(field):
        yield from _hashes_of_rows(array, shard.offsets(field))
        return
    if array.is_jpeg:
        for row in range(len(array)):
            yield content_hash(np.frombuffer(array.read_file(row) or b"", np.uint8))
        return
    scratch = np.empty(array.shape[1:], array.dtype)
    for row in range(len(array)):
        yield content_hash(array.read_row(row, scratch))


def _hashes_of_rows(array: ShardArray, offsets: npt.NDArray[np.int64]) -> Iterator[str]:
    """Yield the hash of rows ``offsets[i]`` to ``offsets[i + 1]``; holds a block of frames, or one frame if larger."""
    block_rows = max(1, _BLOCK_BYTES // max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize))
    first, num_frames = 0, len(offsets) - 1
    while first < num_frames:
        fitting = int(np.searchsorted(offsets, offsets[first] + block_rows, side="right")) - 1
        last = min(num_frames, max(first + 1, fitting))
        rows = array.read_rows(int(offsets[first]), int(offsets[last]))
        for start, stop in pairwise(offsets[first : last + 1] - offsets[first]):
            yield content_hash(rows[start:stop])
        first = last
