"""ScanNet's ``.sens`` stream of depth, colour and poses, read lazily by offset.

Little endian: version 4, sensor name, four 4x4 matrices, compressions, sizes, depth shift and the number of frames;
then for each frame its pose, two time stamps, the sizes of the two blobs, and the blobs. Nothing says where a frame
starts, so the file is walked once, from frame header to frame header: 96 bytes and one ``pread`` a frame, 2 ms for a
thousand, and 24 bytes a frame kept. Blobs are read when they are asked for, by ``pread`` as well: any number of
threads may read one file. The published reader loads every frame into memory, 1 to 4 GB a scan.
Source: ScanNet/ScanNet, SensReader/python/SensorData.py.
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.images import decode_rgb

__all__ = ["SENS_VERSION", "SensFile", "SensHeader"]

SENS_VERSION = 4
_RAW, _PNG, _JPEG = 0, 1, 2
_COLOUR_FORMATS = {_RAW: "raw", _PNG: "png", _JPEG: "jpeg"}
_DEPTH_FORMATS = {0: "raw", 1: "zlib", 2: "occi"}
_LONGEST_NAME = 4096
_LARGEST_SIDE = 1 << 14
_START = struct.Struct("<IQ")
_MATRICES = struct.Struct("<64f")
_REST = struct.Struct("<iiIIIIfQ")
_FRAME = struct.Struct("<16fQQQQ")
_FETCH_AGAIN = "fetch the file again; ScanNet's download script names it scans/<id>/<id>.sens"

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SensHeader:
    """What holds for a whole stream; sizes are (height, width), matrices (4, 4), extrinsics to the other camera."""

    sensor: str
    intrinsic_color: Matrix
    extrinsic_color: Matrix
    intrinsic_depth: Matrix
    extrinsic_depth: Matrix
    color_format: str
    depth_format: str
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    num_frames: int
    frames_offset: int


class SensFile:
    """One ``.sens`` file, indexed when it is opened and closed with its last reference.

    ``num_whole`` of ``header.num_frames`` frames can be read; fewer when the file was cut short. Raises
    FileNotFoundError, and DecodeError when it is not a stream of version 4.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self.num_bytes = os.fstat(self._file.fileno()).st_size
        self.header = self._read_header()
        self._offsets, self._color_bytes, self._depth_bytes = array("Q"), array("Q"), array("Q")
        self._has_pose = bytearray()
        self._walk()

    @property
    def num_whole(self) -> int:
        """The number of frames that are there to their last byte."""
        return len(self._offsets)

    def has_pose(self, index: int) -> bool:
        """Return whether the pose of a frame is finite; where tracking was lost all of it is -infinity."""
        return bool(self._has_pose[index])

    def has_depth(self, index: int) -> bool:
        """Return whether a frame has depth at all; some have colour only."""
        return self._depth_bytes[index] > 0

    def pose(self, index: int) -> Matrix:
        """Return the (4, 4) float64 camera-to-world matrix of a frame, as stored."""
        self._require(index)
        header = self._pread(self._offsets[index], _FRAME.size)
        return np.array(_FRAME.unpack(header)[:16], np.float64).reshape(4, 4)

    def depth(self, index: int) -> npt.NDArray[np.uint16]:
        """Return stored depth (H, W) uint16, in units of 1 / depth_shift metres; DecodeError when it is damaged."""
        self._require(index)
        start = self._offsets[index] + _FRAME.size + self._color_bytes[index]
        data, where = self._pread(start, self._depth_bytes[index]), self.describe(index, "depth")
        height, width = self.header.depth_size
        expected = 2 * height * width
        if self.header.depth_format == "zlib":
            try:
                data = zlib.decompressobj().decompress(data, expected + 1)
            except zlib.error as error:
                raise DecodeError(
                    "the depth of a frame is corrupt", where=where, found=error, remedy=_FETCH_AGAIN
                ) from None
        if len(data) != expected:
            raise DecodeError(
                "the depth of a frame has the wrong size",
                where=where,
                expected=f"{width} x {height} values of 16 bits",
                found=f"{len(data)} bytes",
                remedy=_FETCH_AGAIN,
            )
        return np.frombuffer(data, "<u2").reshape(height, width).astype(np.uint16, copy=False)

    def color(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Return colour (H, W, 3) uint8 RGB, None for a frame without; DecodeError when it is damaged."""
        self._require(index)
        if self._color_bytes[index] == 0:
            return None
        data = self._pread(self._offsets[index] + _FRAME.size, self._color_bytes[index])
        where = self.describe(index, "colour")
        height, width = self.header.color_size
        if self.header.color_format != "raw":
            return decode_rgb(data, where=where)
        if len(data) != 3 * height * width:
            raise DecodeError(
                "colour has the wrong size", where=where, expected=f"{3 * height * width} bytes", found=len(data)
            )
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def describe(self, index: int, part: str) -> str:
        """Return how an error should name a part of a frame."""
        return f"{self.path}: {part} of frame {index}"

    def _read_header(self) -> SensHeader:
        version, name_bytes = self._unpack(_START, 0)
        if version != SENS_VERSION or name_bytes > _LONGEST_NAME:
            raise DecodeError(
                "not a ScanNet stream that can be read",
                where=self.path,
                expected=f".sens of version {SENS_VERSION}",
                found=f"version {version}" if version < 100 else "another kind of file",
                remedy=_FETCH_AGAIN,
            )
        start = _START.size + name_bytes
        sensor = self._pread(_START.size, name_bytes).decode(errors="replace")
        matrices = np.array(self._unpack(_MATRICES, start), np.float64).reshape(4, 4, 4)
        rest = self._unpack(_REST, start + _MATRICES.size)
        color, depth, color_w, color_h, depth_w, depth_h, depth_shift, num_frames = rest
        if color not in _COLOUR_FORMATS or _DEPTH_FORMATS.get(depth) not in ("raw", "zlib"):
            raise DecodeError(
                "the stream is compressed in a way that cannot be read",
                where=self.path,
                expected="colour raw (0), png (1) or jpeg (2); depth raw (0) or zlib (1)",
                found=f"colour {color}, depth {depth}",
                remedy="export it with ScanNet's SensReader and read the folder",
            )
        sound = (
            0 < max(depth_w, depth_h, color_w, color_h) <= _LARGEST_SIDE
            and min(depth_w, depth_h) > 0
            and np.isfinite(depth_shift)
            and depth_shift > 0
        )
        if not sound:
            raise DecodeError(
                "the header of the stream makes no sense",
                where=self.path,
                expected="images of some pixels and a depth shift above 0",
                found=f"depth {depth_w} x {depth_h}, colour {color_w} x {color_h}, shift {depth_shift}",
                remedy=_FETCH_AGAIN,
            )
        return SensHeader(
            sensor=sensor,
            intrinsic_color=matrices[0],
            extrinsic_color=matrices[1],
            intrinsic_depth=matrices[2],
            extrinsic_depth=matrices[3],
            color_format=_COLOUR_FORMATS[color],
            depth_format=_DEPTH_FORMATS[depth],
            color_size=(color_h, color_w),
            depth_size=(depth_h, depth_w),
            depth_shift=depth_shift,
            num_frames=num_frames,
            frames_offset=start + _MATRICES.size + _REST.size,
        )

    def _walk(self) -> None:
        offset = self.header.frames_offset
        file, size = self._file.fileno(), _FRAME.size
        for _ in range(self.header.num_frames):
            head = os.pread(file, size, offset)
            if len(head) < size:
                break
            values = _FRAME.unpack(head)
            end = offset + size + values[18] + values[19]
            if end > self.num_bytes:
                break
            self._offsets.append(offset)
            self._color_bytes.append(values[18])
            self._depth_bytes.append(values[19])
            # A sum is finite only when all are: floats of 32 bits cannot overflow one of 64.
            self._has_pose.append(abs(sum(values[:16])) < float("inf"))
            offset = end

    def _require(self, index: int) -> None:
        if not 0 <= index < self.num_whole:
            raise DecodeError(
                "the stream ends before this frame",
                where=self.describe(index, "frame"),
                expected=f"{self.header.num_frames} frames",
                found=f"{self.num_whole} in {self.num_bytes} bytes",
                remedy=_FETCH_AGAIN,
            )

    def _unpack(self, layout: struct.Struct, offset: int) -> tuple[int, ...]:
        return layout.unpack(self._pread(offset, layout.size))

    def _pread(self, offset: int, count: int) -> bytes:
        data = os.pread(self._file.fileno(), count, offset)
        if len(data) != count:
            raise DecodeError(
                "the stream is truncated",
                where=self.path,
                expected=f"{count} bytes at {offset}",
                found=f"{self.num_bytes} bytes in all",
                remedy=_FETCH_AGAIN,
            )
        return data
