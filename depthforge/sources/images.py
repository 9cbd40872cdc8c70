"""Image files of datasets, decoded strictly: a file is read whole and as what it is, or DecodeError names it.

OpenCV returns a truncated PNG as a partly black image without a word, so the checksum of every PNG chunk is
verified first; that costs 0.04 ms for the 86 KB of a Kinect frame, where decoding costs 3 to 4 ms. One core,
640x480: clean 16-bit depth 2.5 ms, real 16-bit depth 3.5 ms, colour PNG 7.5 ms, colour JPEG 1.2 ms. The
alternative, zlib with our own unfiltering in numba, was 1.1 to 1.4 times as fast: not worth a second decoder.
Files that are no ordinary images are read by ``containers``.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import RGB_FILE
from depthforge.jpeg import SIGNATURE as JPEG
from depthforge.jpeg import is_whole, read_header, why_not_carried
from depthforge.sources.containers import WHOLE, Form, is_tiff, one_plane, read_container, read_tiff, what_it_is
from depthforge.sources.png_header import PALETTE, PNG, palette_as_grey, read_png_header

__all__ = [
    "Colour",
    "as_depth_numbers",
    "decode_as_stored",
    "decode_bytes_of_pixels",
    "decode_depth",
    "decode_ids",
    "decode_integers",
    "decode_numbers",
    "decode_relative_depth",
    "decode_rgb",
    "decode_rgb16",
    "read_colour",
    "require_size",
]

_CHUNK = struct.Struct(">I4s")
# TIFF 6.0, sections 8 and 19, and the numbers of newer compressions.
_BITS, _COMPRESSION, _SAMPLE_FORMAT, _FLOAT = 258, 259, 339, 3
_COMPRESSIONS_OF_OPENCV = (1, 5, 7, 8, 32773, 32946)
# A camera's orientation tag would turn the colour image but not the depth image.
_AS_STORED = cv2.IMREAD_UNCHANGED
_AS_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_COPY_AGAIN = "fetch the file again; `depthforge check` lists every such file"

Image = npt.NDArray[np.generic]


def decode_depth(data: bytes, *, where: str, form: Form = WHOLE) -> npt.NDArray[np.uint16] | npt.NDArray[np.float32]:
    """Return stored depth (H, W) in the file's own unit: uint16 where all values fit, float32 for any other number.

    Reads PNG, PGM, TIFF and what ``containers`` reads; ``form`` says where in such a file depth lies. An image of
    several identical channels counts as one channel; a negative integer is no measurement and becomes 0. Raises
    DecodeError when the file is empty, truncated, corrupt or not an image, when its channels differ, and when it has
    8 bits: those are lossy.
    """
    return as_depth_numbers(decode_numbers(data, where=where, form=form))


def decode_numbers(data: bytes, *, where: str, form: Form = WHOLE) -> Image:
    """Return stored depth (H, W) as the integers or floats of the file; raises as :func:`decode_depth` does."""
    stored = read_container(data, form, where=where)
    if stored is not None:
        image = one_plane(stored, form, where=where)
    else:
        image = _one_channel(_decode(data, _AS_STORED, where), where)
    if image.dtype.itemsize == 1:
        raise DecodeError(
            "depth is not stored with the precision of a measurement: 8 bits have lost it, and often its scale as well",
            where=where,
            expected="integers of 16 bits or more, or floating point",
            found=f"{image.dtype}, values {image.min()} to {image.max()}",
            remedy="export depth as 16-bit PNG or float .npy; is this a picture made for viewing?",
        )
    return image


def as_depth_numbers(image: Image) -> npt.NDArray[np.uint16] | npt.NDArray[np.float32]:
    """Return depth numbers (H, W) as uint16 where they are integers that fit, else float32; negative integers as 0."""
    if image.dtype == np.uint16:
        return image.astype(np.uint16, copy=False)
    if np.issubdtype(image.dtype, np.floating):
        # What float32 cannot hold is infinite: no measurement either way.
        with np.errstate(over="ignore"):
            return image.astype(np.float32, copy=False)
    measured = np.maximum(image, 0)
    if measured.max(initial=0) <= 65535:
        return measured.astype(np.uint16)
    return measured.astype(np.float32)


def decode_relative_depth(data: bytes, *, where: str) -> npt.NDArray[np.float32]:
    """Return depth without a scale (H, W) float32 in [0, 1], 1 at the largest storable value; 8 or 16 bits.

    Raises DecodeError as :func:`decode_depth` does, but for the bits.
    """
    image = _one_channel(_decode(data, _AS_STORED, where), where)
    if image.dtype not in (np.uint8, np.uint16):
        raise DecodeError("relative depth is an integer image", where=where, expected="8 or 16 bits", found=image.dtype)
    largest = 255 if image.dtype == np.uint8 else 65535
    return np.multiply(image, np.float32(1.0 / largest), dtype=np.float32)


def decode_ids(data: bytes, *, where: str, form: Form = WHOLE) -> npt.NDArray[np.uint16]:
    """Return an id image (H, W) uint16, exactly as stored; raises as :func:`decode_integers`, and above 65535."""
    ids = decode_integers(data, where=where, form=form)
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) > 65535):
        raise DecodeError(
            "ids do not fit 16 bits",
            where=where,
            expected="0 to 65535",
            found=f"{ids.min()} to {ids.max()}, {ids.dtype}",
            remedy="rgbd_folder: `negative: none` where a negative id means none, `dtype: uint32` for large ids",
        )
    return ids.astype(np.uint16, copy=False)


def decode_integers(data: bytes, *, where: str, form: Form = WHOLE) -> Image:
    """Return an id image (H, W) as the integers of the file: 1 to 64 bits, or floats that are all whole numbers.

    Of a palette PNG the ids are its indices. Raises DecodeError for pictures and for numbers that are no ids.
    """
    header = read_png_header(data)
    stored = read_container(data, form, where=where)
    if stored is not None:
        image = one_plane(stored, form, where=where)
    elif header is None:
        image = _one_channel(_decode(data, _AS_STORED, where), where)
    else:
        plain = palette_as_grey(data) if header.kind == PALETTE else data
        image = _one_channel(_decode(plain, _AS_STORED, where), where)
        image = np.floor_divide(image, np.uint8(header.spread)) if header.spread > 1 else image
    if image.dtype.kind == "b":
        return image.astype(np.uint8)
    if image.dtype.kind == "f":
        whole = np.rint(image, dtype=np.float64) if np.isfinite(image).all() else None
        if whole is None or not (np.abs(whole - image).max() < 1e-3 and np.abs(whole).max() < 1 << 53):
            raise DecodeError("ids are whole numbers", where=where, found=f"{image.dtype} with fractions or gaps")
        return whole.astype(np.int64)
    return image


def decode_bytes_of_pixels(data: bytes, *, where: str) -> npt.NDArray[np.uint8]:
    """Return the channels of a colour image of 8 bits (H, W, 3 or 4) uint8 in the order R, G, B, A, bit for bit.

    For numbers that are spread over the channels of a picture; JPEG and palettes are refused, since they change them.
    """
    image = _decode(data, _AS_STORED, where)
    header = read_png_header(data)
    if data.startswith(JPEG) or (header is not None and header.kind == PALETTE):
        raise DecodeError(
            "numbers in the channels of an image do not survive JPEG or a palette",
            where=where,
            expected="a PNG of 24 or 32 bits",
            found=what_it_is(data),
            remedy="save it again as PNG, from where the values are exact",
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise DecodeError(
            "not a colour image of 8 bits", where=where, expected="(H, W, 3 or 4) uint8", found=_kind(image)
        )
    order = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return np.asarray(cv2.cvtColor(image, order), dtype=np.uint8)


def decode_rgb(data: bytes, *, where: str) -> npt.NDArray[np.uint8]:
    """Return colour (H, W, 3) uint8 in RGB order; grey becomes three equal channels. Raises DecodeError."""
    return _decode(data, _AS_RGB, where).astype(np.uint8, copy=False)


class Colour(NamedTuple):
    """Colour of a frame: its pixels (H, W, 3) uint8, or the JPEG file that holds them, or both."""

    rgb: npt.NDArray[np.uint8] | None = None
    rgb_file: bytes | None = None


def read_colour(
    data: bytes, wanted: frozenset[str], size: tuple[int, int], *, where: str, any_size: bool = False
) -> Colour:
    """Return what is ``wanted`` of the colour file ``data``: ``rgb``, and for RGB_FILE the file itself.

    A file that cannot be carried (no JPEG, CMYK, another size than ``size``: height, width) gives pixels in its place.
    Raises DecodeError, for pixels of another size too unless ``any_size`` is given.
    """
    carried = RGB_FILE in wanted and why_not_carried(data) is None and read_header(data)[:2] == size
    file = data if carried else None
    if file is not None and "rgb" not in wanted:
        return Colour(None, file)
    rgb = decode_rgb(data, where=where)
    if not any_size:
        require_size(rgb, size, where=where)
    return Colour(rgb, file)


def decode_rgb16(data: bytes, *, where: str) -> npt.NDArray[np.uint16]:
    """Return an image of three 16-bit channels (H, W, 3) uint16 in RGB order; raises DecodeError for any other."""
    image = _decode(data, _AS_STORED, where)
    if image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        raise DecodeError(
            "not an image of three 16-bit channels", where=where, expected="(H, W, 3) uint16", found=_kind(image)
        )
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint16)


def decode_as_stored(data: bytes, *, where: str) -> Image:
    """Return an image file as OpenCV decodes it (BGR), of its own type and channels. Raises DecodeError."""
    return _decode(data, _AS_STORED, where)


def require_size(image: Image, size: tuple[int, int], *, where: str, remedy: str | None = None) -> None:
    """Raise DecodeError when an image is not ``size`` (height, width) pixels."""
    if image.shape[:2] != size:
        raise DecodeError(
            "the image has the wrong size",
            where=where,
            expected=f"{size[1]} x {size[0]} pixels",
            found=f"{image.shape[1]} x {image.shape[0]}",
            remedy=remedy,
        )


def _decode(data: bytes, flags: int, where: str) -> Image:
    if not data:
        raise DecodeError("the file is empty", where=where, remedy=_COPY_AGAIN)
    if data.startswith(PNG):
        _require_whole_png(data, where)
    elif data.startswith(JPEG) and not is_whole(data):
        raise DecodeError("the JPEG is truncated", where=where, expected="an end-of-image marker", remedy=_COPY_AGAIN)
    elif is_tiff(data) and not _opencv_reads_tiff(data):
        return read_tiff(data, where=where)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError("the image cannot be decoded", where=where, found=error, remedy=_COPY_AGAIN) from None
    if image is None:
        raise DecodeError(
            "not an image",
            where=where,
            expected="PNG, PGM, TIFF, .npy, .npz, HDF5, EXR or PFM",
            found=what_it_is(data),
            remedy="convert it to 16-bit PNG or .npy",
        )
    return np.asarray(image)


def _opencv_reads_tiff(data: bytes) -> bool:
    """Return whether OpenCV knows the first page of a TIFF: it lacks half floats and newer compressions."""
    order = "<" if data[:2] == b"II" else ">"
    tags = {}
    try:
        if data[2:4] in (b"*\0", b"\0*"):
            (start,) = struct.unpack_from(f"{order}I", data, 4)
            (count,) = struct.unpack_from(f"{order}H", data, start)
            for index in range(count):
                tag, _, _, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * index)
                tags[tag] = value
    except struct.error:
        return True  # damaged: OpenCV says so
    half = tags.get(_BITS) == 16 and tags.get(_SAMPLE_FORMAT) == _FLOAT
    return not half and tags.get(_COMPRESSION, 1) in _COMPRESSIONS_OF_OPENCV


def _require_whole_png(data: bytes, where: str) -> None:
    """Walk the chunks (PNG specification, 5.3: length, type, data, CRC of type and data) to the IEND chunk."""
    view = memoryview(data)
    start = len(PNG)
    while start + 12 <= len(data):
        length, kind = _CHUNK.unpack_from(data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise DecodeError(
                "the PNG is corrupt", where=where, found=f"a wrong checksum at byte {end}", remedy=_COPY_AGAIN
            )
        if kind == b"IEND":
            return
        start = end + 4
    raise DecodeError(
        "the PNG is truncated", where=where, expected="an IEND chunk", found=f"{len(data)} bytes", remedy=_COPY_AGAIN
    )


def _one_channel(image: Image, where: str) -> Image:
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if image.shape[2] > 2 and not all(np.array_equal(first, image[..., channel]) for channel in (1, 2)):
        raise DecodeError(
            "the channels differ, so this is a picture and not measurements",
            where=where,
            expected="one channel, or identical ones",
            found=_kind(image),
            remedy="is this the colour image, or a visualisation? Numbers in its channels: rgbd_folder, `encoding`",
        )
    return np.ascontiguousarray(first)


def _kind(image: Image) -> str:
    return f"{image.shape} {image.dtype}"
