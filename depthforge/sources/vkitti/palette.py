"""Indices of a palette PNG: Virtual KITTI 2 keeps instance ids as the *indices* of an 8-bit image with a palette.

Image libraries return the palette's colours, which say nothing. The stream of an indexed PNG differs from a grey one
only in its header and palette, so the header is rewritten to say grey and the house's own decoder reads the indices.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.images import decode_ids

__all__ = ["decode_palette_indices"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_GREY, _PALETTE = 0, 3
_PALETTE_CHUNKS = (b"PLTE", b"tRNS", b"bKGD", b"hIST", b"sBIT")


def decode_palette_indices(data: bytes, *, where: str) -> npt.NDArray[np.uint16]:
    """Return the index of each pixel (H, W) uint16 of a palette PNG, or the values of a grey one; raise DecodeError."""
    if len(data) < 29 or not data.startswith(_SIGNATURE) or data[12:16] != b"IHDR":
        return decode_ids(data, where=where)
    width, height, bits, kind, *rest = _HEADER.unpack_from(data, 16)
    if kind == _GREY:
        return decode_ids(data, where=where)
    if kind != _PALETTE:
        raise DecodeError(
            "instance ids are the indices of a palette image",
            where=where,
            expected="an indexed or grey PNG",
            found="a colour PNG",
            remedy="a program that opened and saved this image has replaced its ids by colours: unpack it again",
        )
    header = b"IHDR" + _HEADER.pack(width, height, bits, _GREY, *rest)
    # Only what is whole is rewritten: a damaged chunk must stay one for the decoder to see.
    if zlib.crc32(data[12:29]) == int.from_bytes(data[29:33], "big"):
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + _without_palette(data[33:])
    indices = decode_ids(data, where=where)
    # A grey value of fewer bits is spread over 0 to 255.
    return indices // np.uint16(255 // ((1 << bits) - 1))


def _without_palette(chunks: bytes) -> bytes:
    kept, start = [], 0
    while start + 8 <= len(chunks):
        stop = start + 12 + int.from_bytes(chunks[start : start + 4], "big")
        if chunks[start + 4 : start + 8] not in _PALETTE_CHUNKS:
            kept.append(chunks[start:stop])
        start = stop
    return b"".join([*kept, chunks[start:]])
