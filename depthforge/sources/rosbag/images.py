"""The images of ROS: sensor_msgs/Image and CompressedImage to metres and to colour.

``Image`` is rows of ``step`` bytes, of either byte order; 16UC1 is depth in millimetres, 32FC1 in metres with NaN for
none (REP 118), mono16 is in a unit that the recording says elsewhere. No pixel is copied that need not be: 640x480 of
16UC1 takes 0.3 ms. Sizes are held against the bytes before anything is allocated.
Source: sensor_msgs/Image.msg, sensor_msgs/image_encodings.h, REP 118.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, FrameError
from depthforge.frame import DepthImage
from depthforge.jpeg import SIGNATURE as JPEG
from depthforge.jpeg import read_header
from depthforge.sources.images import Colour, decode_depth, read_colour, require_size
from depthforge.sources.rosbag.compressed_depth import decode_compressed_depth, png_size, require_stated_size

__all__ = [
    "COLOUR_ENCODINGS",
    "DEPTH_ENCODINGS",
    "colour_of",
    "depth_m_of",
    "is_same_view",
    "size_of_colour",
    "unpack_image",
]

DEPTH_ENCODINGS: Final = MappingProxyType({"16UC1": ("u2", 1), "mono16": ("u2", 1), "32FC1": ("f4", 1)})
COLOUR_ENCODINGS: Final = MappingProxyType(
    {"rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "mono8": ("u1", 1)}
)
_ENCODINGS: Final = MappingProxyType({**DEPTH_ENCODINGS, **COLOUR_ENCODINGS})
_MM_PER_M: Final = 1000.0


def unpack_image(
    *,
    height: int,
    width: int,
    encoding: str,
    is_bigendian: bool,
    step: int,
    data: npt.NDArray[np.uint8],
    where: str,
) -> npt.NDArray[Any]:
    """Return the pixels (H, W) or (H, W, C), in the encoding's type, of an Image message; they may be a view of it.

    Raises DecodeError for an encoding that is not known and for sizes that do not fit the bytes.
    """
    if encoding not in _ENCODINGS:
        raise DecodeError(
            "an image of an encoding that is not read", where=where, expected=", ".join(_ENCODINGS), found=encoding[:80]
        )
    kind, channels = _ENCODINGS[encoding]
    dtype = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    row_bytes = width * channels * dtype.itemsize
    if min(height, width) < 1 or step < row_bytes or len(data) < step * height:
        raise DecodeError(
            "the size of an image does not fit its bytes",
            where=where,
            expected=f"{height} rows of at least {row_bytes} bytes ({width} pixels of {encoding})",
            found=f"a step of {step}, {len(data)} bytes",
        )
    rows = data[: step * height].reshape(height, step)[:, :row_bytes]
    image = np.ascontiguousarray(rows).view(dtype).astype(dtype.newbyteorder("="), copy=False)
    return image.reshape((height, width) if channels == 1 else (height, width, channels))


def depth_m_of(message: Any, size: tuple[int, int], units_per_m: float | None, *, where: str) -> DepthImage:
    """Return depth (H, W) float32 in metres of an Image or CompressedImage of ``size`` (height, width); 0 is invalid.

    ``units_per_m`` says what the integers are, None: millimetres. Floats are metres. Raises DecodeError.
    """
    if hasattr(message, "encoding"):
        stored = _unpacked(message, where)
        if message.encoding not in DEPTH_ENCODINGS:
            raise DecodeError(
                "an image that is no depth", where=where, expected=", ".join(DEPTH_ENCODINGS), found=message.encoding
            )
    elif "compresseddepth" in message.format.lower():
        stored = decode_compressed_depth(message.data.tobytes(), message.format, size, where=where)
    else:
        data = message.data.tobytes()
        if data.startswith(JPEG):
            raise DecodeError(
                "depth was recorded as JPEG, which is no measurement any more",
                where=where,
                expected="an Image, compressedDepth, or a PNG of 16 bits",
                found=f"format {message.format!r}",
                remedy="record the topic of Image messages, or its compressedDepth",
            )
        require_stated_size(png_size(data) or size, size, where=where)
        stored = decode_depth(data, where=where)
    require_size(stored, size, where=where)
    if stored.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            return np.where((stored > 0) & np.isfinite(stored), stored, np.float32(0))
    depth_m: DepthImage = np.divide(stored, np.float32(units_per_m or _MM_PER_M), dtype=np.float32)
    return depth_m


def colour_of(message: Any, size: tuple[int, int], wanted: frozenset[str], *, where: str) -> Colour:
    """Return what is ``wanted`` of the colour in an Image or CompressedImage, for depth of ``size`` (height, width).

    Larger images of the same proportion are averaged down. Raises DecodeError, FrameError for any other size.
    """
    if hasattr(message, "encoding"):
        if message.encoding not in COLOUR_ENCODINGS:
            expected = ", ".join(COLOUR_ENCODINGS)
            raise DecodeError("an image that is no colour", where=where, expected=expected, found=message.encoding)
        colour = Colour(_rgb(_unpacked(message, where), message.encoding))
    else:
        colour = read_colour(message.data.tobytes(), wanted, size, where=where, any_size=True)
    if colour.rgb is None or colour.rgb.shape[:2] == size:
        return colour
    if not is_same_view(colour.rgb.shape[:2], size):
        raise FrameError(
            "the colour image is not the view of the depth image",
            where=where,
            expected=f"{size[1]} x {size[0]} pixels, or larger in the same proportion",
            found=f"{colour.rgb.shape[1]} x {colour.rgb.shape[0]}",
            remedy="set `rgb_topic` to colour that is registered to depth, or to none",
        )
    return Colour(np.asarray(cv2.resize(colour.rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8))


def is_same_view(colour: tuple[int, int], depth: tuple[int, int]) -> bool:
    """Say whether colour of a size (height, width) can be averaged down to depth's: same proportion, not smaller."""
    return colour[0] * depth[1] == colour[1] * depth[0] and colour[0] >= depth[0]


def size_of_colour(message: Any) -> tuple[int, int] | None:
    """Return (height, width) of an Image or CompressedImage by its header, None where that does not say it."""
    if hasattr(message, "encoding"):
        return message.height, message.width
    data = message.data.tobytes()
    if not data.startswith(JPEG):
        return png_size(data)
    try:
        return read_header(data)[:2]
    except ValueError:
        return None


def _unpacked(message: Any, where: str) -> npt.NDArray[Any]:
    return unpack_image(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=bool(message.is_bigendian),
        step=message.step,
        data=message.data,
        where=where,
    )


def _rgb(image: npt.NDArray[Any], encoding: str) -> npt.NDArray[np.uint8]:
    if encoding == "mono8":
        return np.repeat(image[..., None], 3, axis=2)
    order = slice(2, None, -1) if encoding.startswith("bgr") else slice(0, 3)
    return np.array(image[..., order])
