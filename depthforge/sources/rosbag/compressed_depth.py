"""compressedDepth of image_transport: depth as PNG or RVL behind 12 bytes, as it is or as quantised inverse depth.

16UC1 is millimetres, coded as they are; 32FC1 is coded as 16 bits of inverse depth, z = A / (v - B) with A and B in the
12 bytes: steps of 2.5 mm at 5 m and 9.9 mm at 10 m. RVL codes runs of zeros and the differences of what lies between
them in groups of three bits; the kernel takes 1.5 ms for 640x480. The size that is expected bounds what is allocated:
a run of zeros of any length takes a few bytes.
Source: ros-perception/image_transport_plugins, compressed_depth_image_transport/src/codec.cpp and
compression_common.hpp; Wilson, "Fast Lossless Depth Image Compression", ISS 2017.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.kernels import njit
from depthforge.sources.images import decode_depth

__all__ = ["decode_compressed_depth", "decode_rvl", "png_size", "require_stated_size"]

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct("<iff")
_RVL_SIZE: Final = struct.Struct("<II")
_ENCODINGS: Final = ("16UC1", "mono16", "32FC1")


def decode_compressed_depth(
    data: bytes, message_format: str, size: tuple[int, int], *, where: str
) -> npt.NDArray[np.uint16] | npt.NDArray[np.float32]:
    """Return what was compressed: uint16 in the unit of the camera, or float32 metres, 0 where there is none.

    ``message_format`` is the field ``format``: ``16UC1; compressedDepth rvl``; without a second word it is PNG.
    Raises DecodeError for any other size than ``size`` (height, width), and for what is damaged.
    """
    encoding, _, coder = message_format.partition(";")
    if encoding.strip() not in _ENCODINGS:
        raise DecodeError(
            "compressed depth that does not say what it is",
            where=where,
            expected=" or ".join(f"{name}; compressedDepth" for name in _ENCODINGS),
            found=message_format[:80],
        )
    start = 0 if data.startswith(_PNG) else _HEADER.size
    if len(data) < start:
        raise DecodeError(
            "compressed depth without its header", where=where, expected=start, found=f"{len(data)} bytes"
        )
    if coder.lower().split()[1:2] == ["rvl"]:
        codes = _decode_rvl_image(data[_HEADER.size :], size, where)
    else:
        codes = _decode_png(data[start:], size, where)
    if encoding.strip() != "32FC1":
        return codes
    if start == 0:
        raise DecodeError("inverse depth without its two parameters", where=where, expected="12 bytes before the PNG")
    _, a, b = _HEADER.unpack_from(data)
    return _metres_of_inverse(codes, a, b, where)


def png_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a PNG by its header, None for what is none."""
    if not data.startswith(_PNG) or len(data) < 24:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def require_stated_size(found: tuple[int, int], size: tuple[int, int], *, where: str) -> None:
    """Raise DecodeError when the size (height, width) that a header states is not the camera's."""
    if found != size:
        raise DecodeError(
            "a depth image of another size than its camera's",
            where=where,
            expected=f"{size[1]} x {size[0]}",
            found=f"{found[1]} x {found[0]}",
        )


def decode_rvl(stream: bytes, num_pixels: int, *, where: str) -> npt.NDArray[np.uint16]:
    """Return the ``num_pixels`` values uint16 of an RVL stream; raise DecodeError when it ends early or has more."""
    if len(stream) % 4:
        stream = stream[: len(stream) // 4 * 4]
    values = np.zeros(num_pixels, np.uint16)
    if not _decode_rvl(np.frombuffer(stream, "<u4").astype(np.uint32), values):
        raise DecodeError(
            "a stream of RVL that does not fit its image", where=where, expected=f"{num_pixels} pixels", found="damage"
        )
    return values


def _decode_rvl_image(data: bytes, size: tuple[int, int], where: str) -> npt.NDArray[np.uint16]:
    if len(data) < _RVL_SIZE.size:
        raise DecodeError("a stream of RVL without its size", where=where, found=f"{len(data)} bytes")
    width, height = _RVL_SIZE.unpack_from(data)
    require_stated_size((height, width), size, where=where)
    return decode_rvl(data[_RVL_SIZE.size :], height * width, where=where).reshape(size)


def _decode_png(data: bytes, size: tuple[int, int], where: str) -> npt.NDArray[np.uint16]:
    found = png_size(data)
    if found is None:
        raise DecodeError("compressed depth that is no PNG", where=where, found=f"bytes that start with {data[:8]!r}")
    require_stated_size(found, size, where=where)
    codes = decode_depth(data, where=where)
    if codes.dtype != np.uint16:
        raise DecodeError("compressed depth has 16 bits", where=where, found=codes.dtype)
    return codes.astype(np.uint16, copy=False)


def _metres_of_inverse(codes: npt.NDArray[np.uint16], a: float, b: float, where: str) -> npt.NDArray[np.float32]:
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise DecodeError("inverse depth without its parameters", where=where, expected="A > 0 and B", found=(a, b))
    denominator = codes.astype(np.float32) - np.float32(b)
    usable = (codes > 0) & (denominator > 0)
    metres = np.zeros(codes.shape, np.float32)
    np.divide(np.float32(a), denominator, out=metres, where=usable)
    return metres


@njit()
def _decode_rvl(words, values):  # type: ignore[no-untyped-def]
    """Fill ``values`` from 32-bit words of eight groups, the highest first; False where the stream does not fit."""
    num_words, num_pixels = words.shape[0], values.shape[0]
    at_word, groups_left, word = 0, 0, np.uint32(0)
    at, previous = 0, 0
    zeros_left = True
    run = 0
    while at < num_pixels or run > 0:
        value, bits, more = 0, 0, True
        while more:
            if groups_left == 0:
                if at_word >= num_words:
                    return False
                word = words[at_word]
                at_word += 1
                groups_left = 8
            group = int(word >> np.uint32(28))
            word = np.uint32(word << np.uint32(4))
            groups_left -= 1
            if bits > 30:
                return False
            value |= (group & 7) << bits
            bits += 3
            more = group >= 8
        if run > 0:
            previous += (value >> 1) ^ -(value & 1)
            values[at] = np.uint16(previous & 0xFFFF)
            at += 1
            run -= 1
        elif value > num_pixels - at:
            return False
        elif zeros_left:
            at += value
            zeros_left = False
        else:
            run = value
            zeros_left = True
    return True
