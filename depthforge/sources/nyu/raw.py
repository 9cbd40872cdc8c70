"""NYU Depth v2 as the Kinect dumped it: ``d-*.pgm`` disparity and ``r-*.ppm`` colour, neither synchronised nor aligned.

A depth file holds 11 bits of disparity, each 16-bit word with its bytes swapped; metres are 351.3 / (1092.5 - d),
and what comes out below 0 or beyond 10 m is no measurement. Colour is the picture nearest in time, laid over depth by
the two pinholes and their translation; lens distortion and the small rotation between the cameras are left out, a few
pixels that are most at the border.
Source: the data set's toolbox (camera_params.m, depth_rel2depth_abs.m).
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.frame import Camera, DepthImage
from depthforge.geometry import pixel_rays
from depthforge.sources.images import decode_depth

__all__ = [
    "DEPTH_CAMERA",
    "RGB_CAMERA",
    "Dump",
    "colour_over_depth",
    "decode_disparity",
    "find_dumps",
    "metres_of_codes",
    "require_whole",
]

RGB_CAMERA = Camera(518.8579, 519.4696, 325.5824, 253.7362, 640, 480)
DEPTH_CAMERA = Camera(582.6245, 582.6910, 313.0448, 238.4439, 640, 480)
# From the depth camera's axes to the colour camera's, which stands 25 mm to its right. The toolbox writes the other
# sign, beside a rotation close to -1. On a real frame depth edges lie on colour edges with this sign, and 5 to 20
# pixels beside them with the other.
T_RGB_DEPTH_M = (-0.02503, -0.00066, 0.00029)
_LARGEST_CODE = 2047
_FAR_M = 10.0
_TYPICAL_M = 2.5
_NETPBM = re.compile(rb"P([56])\s+(\d+)\s+(\d+)\s+(\d+)\s")
_NAME = re.compile(r"(?P<kind>[dr])-(?P<stamp>\d+\.\d+)-\d+\.(?:pgm|ppm)")


@dataclass(frozen=True, slots=True)
class Dump:
    """One scene: its folder below the root, and the files of depth and colour with their times in microseconds."""

    folder: str
    depth: list[tuple[int, str]]
    colour: list[tuple[int, str]]

    def nearest_colour(self, time_us: int) -> tuple[int, str] | None:
        """Return (microseconds apart, name) of the colour image nearest in time; None when there is none."""
        at = bisect_left(self.colour, (time_us, ""))
        around = self.colour[max(0, at - 1) : at + 1]
        return min(((abs(stamp - time_us), name) for stamp, name in around), default=None)


def find_dumps(root: Path) -> Iterator[Dump]:
    """Yield every folder at or below ``root`` with dumped depth, in order of path; files are listed once each."""
    for path, folders, names in os.walk(root):
        folders.sort()
        found: dict[str, list[tuple[int, str]]] = {"d": [], "r": []}
        for name in names:
            match = _NAME.fullmatch(name)
            if match:
                whole, _, part = match["stamp"].partition(".")
                found[match["kind"]].append((int(whole) * 1_000_000 + int(part[:6].ljust(6, "0")), name))
        if found["d"]:
            folder = Path(path).relative_to(root).as_posix()
            yield Dump("" if folder == "." else folder, sorted(found["d"]), sorted(found["r"]))


def metres_of_codes() -> npt.NDArray[np.float32]:
    """Return (2048,) float32: metres of each disparity, 0 where it is no measurement."""
    with np.errstate(divide="ignore"):
        metres = 351.3 / (1092.5 - np.arange(_LARGEST_CODE + 1))
    metres[(metres < 0) | (metres > _FAR_M)] = 0.0
    return metres.astype(np.float32)


def decode_disparity(data: bytes, *, where: str) -> npt.NDArray[np.uint16]:
    """Return disparity (H, W) uint16, 0 to 2047, of a dumped depth file; DecodeError names ``where``."""
    require_whole(data, where=where)
    stored = decode_depth(data, where=where)
    if stored.dtype != np.uint16:
        raise DecodeError("a dump of disparity has 16 bits", where=where, found=stored.dtype)
    disparity = stored.astype(np.uint16, copy=False).byteswap()
    if disparity.max() > _LARGEST_CODE:
        raise DecodeError(
            "not disparity as the Kinect dumps it",
            where=where,
            expected=f"0 to {_LARGEST_CODE} after its bytes are swapped",
            found=f"up to {disparity.max()}",
            remedy="were the bytes swapped before? Millimetres or metres are read by rgbd_folder",
        )
    return disparity


def require_whole(data: bytes, *, where: str) -> None:
    """Raise DecodeError for a .pgm or .ppm that is cut short, of which OpenCV says only that it is no image."""
    header = _NETPBM.match(data)
    if header is None:
        return
    kind, width, height, largest = (int(part) for part in header.groups())
    expected = header.end() + width * height * (3 if kind == 6 else 1) * (2 if largest > 255 else 1)
    if len(data) < expected:
        raise DecodeError(
            "the image is truncated",
            where=where,
            expected=f"{expected} bytes",
            found=f"{len(data)} bytes",
            remedy="fetch the file again; some archives of the raw set have such frames",
        )


def colour_over_depth(
    rgb: npt.NDArray[np.uint8], depth_m: DepthImage, rgb_camera: Camera, depth_camera: Camera
) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8: what the colour camera sees at each pixel of depth, black where that is outside.

    Pixels without depth (0) are taken to be 2.5 m away.
    """
    x, y = pixel_rays(depth_camera)
    z = np.where(depth_m > 0, depth_m, np.float32(_TYPICAL_M))
    tx, ty, tz = T_RGB_DEPTH_M
    columns = (x[None, :] * z + tx) / (z + tz) * rgb_camera.fx + rgb_camera.cx
    rows = (y[:, None] * z + ty) / (z + tz) * rgb_camera.fy + rgb_camera.cy
    over = cv2.remap(rgb, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    return np.asarray(over, np.uint8)
