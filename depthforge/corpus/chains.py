"""Which codec chain a field of a corpus gets.

The default is zstd, with the bytes of clean depth shuffled before it: 13 % smaller in steps of a millimetre and 42 % in
float32, at the same time to encode and less to decode. Normals and colour take longer to decode so, for a few percent,
and noisy depth grows at this level.

``small`` stores an image whose neighbours resemble each other as differences. KiB a frame of 640x480 in procedural
rooms, of photographs for colour; first with zstd 1, then so:

- Clean depth in steps (89 and 41) and normals (146 and 94): down the columns of each component, where rooms change
  least (``transpose``, delta). Along the rows it is 50 and 110. Differences both ways help one scene and harm another.
- Colour (561 and 311; PNG 392): each channel less the one before it, then each channel along its rows (delta,
  ``transpose``, delta). Two running sums make it as slow to decode as PNG.
- Noisy depth gets none: sensors give few distinct values, whose repeats differences destroy (30 % larger). For the
  same reason float32 noisy depth gets zstd without a shuffle (126 KiB, with it 246).
- Ids get none, which repeat too, nor do floats, of which no difference is exact.

``fast`` shuffles bytes and no more: a running sum takes longer than lz4, for 1 to 15 % of clean depth.

zarr-python undoes a delta in the order of memory where an array lies in Fortran order. Hence what comes before a
``transpose`` must not be a delta if that can leave it so: the channels of colour move to the front and rows stay rows,
and an image of a single row or column gets no differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.zstd import Zstd

from depthforge.corpus.chunks import ChunkChain, ChunkCodec, shuffled_zstd
from depthforge.corpus.filters import Delta, Filter, Transpose
from depthforge.corpus.jpeg_chunks import JpegChunks
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema
from depthforge.encoding import Codec
from depthforge.labels.spec import LabelSpec

__all__ = ["chain_of", "chunk_codec"]

# Level 0 of zstd means 3; blosc's level n is zstd's 2 n - 1.
_ZSTD_DEFAULT = 3


def chain_of(schema: CorpusSchema, spec: LabelSpec) -> ChunkChain:
    """Return the chain of the field ``spec`` in a corpus of ``schema``."""
    return JpegChunks() if schema.is_jpeg(spec.name) else chunk_codec(schema.codec, spec, schema.height, schema.width)


def chunk_codec(codec: Codec, spec: LabelSpec, height: int, width: int) -> ChunkCodec:
    """Return the chain for one frame of the field ``spec`` in a corpus of ``height`` x ``width`` pixels."""
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    if codec.name == "zstd" and spec.name == DEPTH_CLEAN:
        return ChunkCodec(shuffled_zstd(min((codec.level or _ZSTD_DEFAULT) // 2 + 1, 9)), True, dtype.itemsize)
    if codec.name != "small" or spec.layout != "image":
        return ChunkCodec.of(codec, dtype.itemsize)
    if spec.name == DEPTH_NOISY and dtype.kind == "f":
        return ChunkCodec(Zstd(level=codec.level), True, dtype.itemsize)
    has_neighbours = dtype.kind in "iu" and min(height, width) > 1
    return ChunkCodec.of(codec, dtype.itemsize, _differences(spec, dtype) if has_neighbours else ())


def _differences(spec: LabelSpec, dtype: np.dtype[Any]) -> tuple[Filter, ...]:
    axes = range(3 + len(spec.trailing))  # frame, y, x, and those of a pixel
    if spec.resize == "area" and spec.trailing:
        channels_first = Transpose((0, *axes[3:], 1, 2))
        return (Delta(dtype), channels_first, Delta(dtype))
    if spec.name == DEPTH_CLEAN or spec.resize in ("area", "normals"):
        return (Transpose((0, *reversed(axes[1:]))), Delta(dtype))
    return ()
