"""Chunks that are JPEG files: the one codec of a corpus that zarr does not know by itself.

In metadata it is ``depthforge.jpeg``, an array-to-bytes codec, followed by ``crc32c``. Where this package is installed,
zarr finds it by its entry point (``zarr_jpeg``); elsewhere the name says what to install.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.chunks import with_crc32c, without_crc32c
from depthforge.errors import IntegrityError
from depthforge.jpeg import decode_jpeg

__all__ = ["JPEG_CODEC", "JpegChunks"]

JPEG_CODEC: Final = "depthforge.jpeg"


@dataclass(frozen=True)
class JpegChunks:
    """The codec chain of colour that is held as JPEG: what is written is a file (N,) uint8, what is read pixels."""

    @staticmethod
    def parse(chain: Sequence[Mapping[str, Any]]) -> JpegChunks | None:
        """Return the chain of an array's metadata, None when it is another."""
        return JpegChunks() if [step["name"] for step in chain] == [JPEG_CODEC, "crc32c"] else None

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain as zarr v3 metadata."""
        return [{"name": JPEG_CODEC, "configuration": {}}, {"name": "crc32c"}]

    def encode(self, file: npt.NDArray[np.uint8]) -> bytes:
        """Return the stored bytes of a file."""
        return with_crc32c(file.tobytes())

    def file(self, content: bytes, *, where: object) -> bytes:
        """Return the file of stored bytes; IntegrityError when they are not what was written."""
        return without_crc32c(content, where=where)

    def decode_into(self, content: bytes, out: npt.NDArray[Any], *, where: object) -> None:
        """Fill ``out`` (1, H, W, 3) uint8 with the pixels; IntegrityError when that cannot be, or is another size."""
        try:
            pixels = decode_jpeg(self.file(content, where=where))
            if pixels.shape != out.shape[1:]:
                raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels")
        except ValueError as error:
            raise IntegrityError("a chunk cannot be decoded", where=where, found=error) from error
        out[0] = pixels
