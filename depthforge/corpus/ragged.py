"""Write a ragged label as its frames come: the rows of all frames one after the other, and where each frame begins.

Rows share chunks of about 64 KiB, since a frame's few rows alone would not compress. Held are one open chunk and eight
bytes a frame, whatever the number of rows (a GraspNet frame may have hundreds of thousands).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.arrays import ArrayWriter
from depthforge.corpus.chunks import ChunkCodec
from depthforge.corpus.schema import OFFSETS, CorpusSchema
from depthforge.labels.spec import LabelSpec
from depthforge.storage import Staged

__all__ = ["RaggedWriter"]

_CHUNK_BYTES: Final = 65536


class RaggedWriter:
    """Appends the rows of frame after frame to the arrays of one ragged label; StorageError as ArrayWriter."""

    def __init__(self, group: Staged, spec: LabelSpec, schema: CorpusSchema, attributes: Mapping[str, Any]) -> None:
        dtype = np.dtype(spec.dtype).newbyteorder("<")
        self._codec = ChunkCodec.of(schema.codec, dtype.itemsize)
        chunk_rows = max(1, _CHUNK_BYTES // max(1, math.prod(spec.trailing) * dtype.itemsize))
        self._chunk = np.zeros((chunk_rows, *spec.trailing), dtype)
        self._filled = 0
        self._offsets = [0]
        self._rows = ArrayWriter(
            group,
            spec.name,
            dtype=dtype,
            chunk_shape=self._chunk.shape,
            dimension_names=schema.dimension_names(spec),
            fill_value=spec.missing,
            attributes=attributes,
            codec=self._codec,
        )

    @property
    def held_bytes(self) -> int:
        """Bytes of rows that wait for their chunk to fill."""
        return self._chunk.nbytes

    def append(self, rows: npt.NDArray[Any] | None) -> None:
        """Append the rows (N, *trailing) of the next frame; None for a frame without the label."""
        taken, count = 0, 0 if rows is None else len(rows)
        while rows is not None and taken < count:
            fitting = min(count - taken, len(self._chunk) - self._filled)
            self._chunk[self._filled : self._filled + fitting] = rows[taken : taken + fitting]
            taken += fitting
            self._filled += fitting
            if self._filled == len(self._chunk):
                self._flush()
        self._offsets.append(self._offsets[-1] + count)

    def finish(self) -> None:
        """Complete the rows; where each frame begins is an attribute of theirs."""
        if self._filled:
            self._chunk[self._filled :] = 0
            self._flush()
        self._rows.finish(self._offsets[-1], {OFFSETS: self._offsets})

    def _flush(self) -> None:
        self._rows.append(self._codec.encode(self._chunk))
        self._filled = 0
