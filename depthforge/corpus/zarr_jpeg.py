"""The codec ``depthforge.jpeg`` for zarr-python, which finds it by the entry point ``zarr.codecs`` of this package.

Format: docs/corpus-format.md, "Bytes of an array". Decoding gives the pixels of the file that is a chunk; encoding
makes a new file of pixels, which is lossy, and exists for those who write such an array themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer

from depthforge.corpus.jpeg_chunks import JPEG_CODEC
from depthforge.jpeg import decode_jpeg, encode_jpeg

__all__ = ["ZarrJpeg"]

_QUALITY = 95


@dataclass(frozen=True)
class ZarrJpeg(ArrayBytesCodec):
    """A chunk (1, H, W, 3) uint8 as one JPEG file."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the codec of an array's metadata."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Return the codec for an array's metadata."""
        return {"name": JPEG_CODEC, "configuration": {}}

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = decode_jpeg(chunk_bytes.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        pixels = np.ascontiguousarray(chunk_array.as_numpy_array(), np.uint8).reshape(chunk_spec.shape[1:])
        return chunk_spec.prototype.buffer.from_bytes(encode_jpeg(pixels, _QUALITY))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Refuse: a file has the size that it has."""
        raise NotImplementedError
