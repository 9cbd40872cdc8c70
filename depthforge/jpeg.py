"""JPEG files: what their header says, and their pixels.

A corpus carries the colour of a data set that ships JPEG as those very files (50 to 120 KiB a 640x480 photograph, where
lossless pixels take 500 to 900), so a file is looked into without being decoded: a walk over a few markers, 10 us.
Format: ITU-T T.81, B.2.2. Pixels are OpenCV's, of libjpeg-turbo, for sources and readers of a corpus alike, orientation
tags ignored: they would turn colour and not depth.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import MissingDependencyError

__all__ = ["SIGNATURE", "JpegHeader", "decode_jpeg", "encode_jpeg", "is_whole", "read_header", "why_not_carried"]

SIGNATURE: Final = b"\xff\xd8\xff"
_END_OF_IMAGE: Final = 0xD9
# A frame header is any of SOF0 to SOF15 but DHT, JPG and DAC, which share its numbers.
_FRAME_HEADERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CARRIED_PROCESSES: Final = {0xC0: "baseline", 0xC1: "extended sequential", 0xC2: "progressive"}
_WITHOUT_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD9)))


class JpegHeader(NamedTuple):
    """Image size in pixels, bits of a sample, number of colour components, and the code of the frame header."""

    height: int
    width: int
    precision: int
    components: int
    process: int


def read_header(data: bytes) -> JpegHeader:
    """Return what the frame header of a JPEG file says; ValueError when it is none, or cut before it."""
    if not data.startswith(SIGNATURE):
        raise ValueError(f"not a JPEG, but a file that starts with {data[:8]!r}")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError(f"no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _FRAME_HEADERS and at + 10 <= len(data):
            height, width = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (5, 7))
            return JpegHeader(height, width, data[at + 4], data[at + 9], marker)
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise ValueError("cut before its frame header")


def is_whole(data: bytes) -> bool:
    """Say whether a JPEG file goes to its end-of-image marker; that of a thumbnail within it is not taken for it.

    Decoders fill up a file that was cut with grey and say nothing. Within a scan a marker is any 0xFF but one that is
    followed by 0x00 (a byte of the data), by 0xFF (a fill byte) or by a restart marker.
    """
    at = 2 if data.startswith(SIGNATURE) else len(data)
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        marker = data[at + 1]
        if marker == _END_OF_IMAGE:
            return True
        if marker == 0xFF:
            at += 1
        elif marker == 0 or marker in _WITHOUT_LENGTH:
            at += 2
        else:  # a segment; after the header of a scan its data follow
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def why_not_carried(data: bytes) -> str | None:
    """Return why a file cannot be carried as it is, None when it can.

    It can when every decoder agrees on its pixels: 8 bits, one or three components, a Huffman-coded process, whole.
    """
    try:
        header = read_header(data)
    except ValueError as error:
        return str(error)
    if header.process not in _CARRIED_PROCESSES:
        return f"a JPEG of process SOF{header.process - 0xC0}"
    if header.precision != 8:
        return f"a JPEG of {header.precision} bits"
    if header.components not in (1, 3):
        return f"a JPEG of {header.components} components (CMYK?)"
    if not (header.height and header.width):
        return "a JPEG that does not say its size"
    return None if is_whole(data) else "a JPEG that is truncated"


def decode_jpeg(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels (H, W, 3) uint8 RGB of a JPEG file, grey as three equal channels.

    Raises ValueError when it cannot be decoded, MissingDependencyError without OpenCV, which only this needs of all
    that reading a corpus does.
    """
    if not is_whole(data):
        raise ValueError("not a whole JPEG")
    cv2 = _opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ValueError(f"the JPEG cannot be decoded: {error}") from None
    if image is None:
        raise ValueError("the JPEG cannot be decoded")
    return np.asarray(image, np.uint8)


def encode_jpeg(rgb: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Return the JPEG file of (H, W, 3) uint8 RGB, chroma at full resolution; ``quality`` 1 to 100 as libjpeg's."""
    cv2 = _opencv()
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1].tobytes())


def _opencv() -> Any:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "colour that was shipped as JPEG is decoded by OpenCV, which is not installed",
            expected="opencv-python-headless or opencv-python; every other field reads without",
            remedy="pip install opencv-python-headless",
        ) from error
    return cv2
