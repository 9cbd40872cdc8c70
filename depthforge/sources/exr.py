"""OpenEXR images: the channel that holds depth, found by the names that renderers give it.

Blender writes ``ViewLayer.Depth.Z`` (or ``.V``) beside colour, other writers a lone Z, V or Y, some the same values in
R, G and B. More than one that fits is refused and named: a guess would be right most of the time. Lossy codecs that
change depth visibly (B44, DWA) are refused; PXR24 cuts floats to 24 bits, up to 0.12 mm, and is read.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError, MissingDependencyError, told

__all__ = ["read_exr"]

Array = npt.NDArray[Any]

_LOSSY: Final = ("B44", "DWA")
_MAX_PIXELS: Final = 1 << 28


def read_exr(data: bytes, channel: str | None, *, where: str) -> Array:
    """Return one channel (H, W) of an EXR file, float16, float32 or uint32 as stored: ``channel``, or that of depth.

    Raises DecodeError naming ``where`` and the channels, MissingDependencyError when OpenEXR is not installed.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise MissingDependencyError(
            "an EXR image needs the library OpenEXR",
            where=where,
            expected="the extra `formats`, or depth as .npy or 16-bit PNG",
            remedy="pip install 'depthforge[formats]'",
        ) from error
    try:
        header = OpenEXR.File(io.BytesIO(data), separate_channels=True, header_only=True)
        for part in header.parts:
            first, last = part.header["dataWindow"]
            width, height = (int(last[axis]) - int(first[axis]) + 1 for axis in (0, 1))
            if min(width, height) < 1 or width * height > _MAX_PIXELS:
                raise ValueError(f"{width} x {height} pixels")
        file = OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0)
    # A damaged file ends in whatever the library raises.
    except Exception as error:
        raise DecodeError(
            "the EXR cannot be decoded", where=where, found=error, remedy="fetch or render the file again"
        ) from None
    found = {}
    for part in file.parts:
        name = part.header.get("name", "")
        for label, stored in part.channels.items():
            found[f"{name}.{label}" if name and len(file.parts) > 1 else label] = (stored.pixels, part.header)
    pixels, head = found[_depth_channel({name: image for name, (image, _) in found.items()}, channel, where)]
    codec = str(head.get("compression", ""))
    if any(lossy in codec for lossy in _LOSSY):
        raise DecodeError(
            "the EXR is compressed with loss",
            where=where,
            expected="ZIP, ZIPS, PIZ, RLE or none",
            found=codec.rpartition(".")[2].split(":")[0],
            remedy="render it again with codec ZIP",
        )
    if not np.array_equal(np.asarray(head["dataWindow"]), np.asarray(head["displayWindow"])):
        raise DecodeError(
            "the EXR holds a part of its image",
            where=where,
            expected="a data window that is the display window",
            found=f"{head['dataWindow']} of {head['displayWindow']}",
            remedy="render without cropping",
        )
    return np.asarray(pixels)


def _depth_channel(images: dict[str, Array], wanted: str | None, where: str) -> str:
    if wanted is not None:
        fitting = [name for name in images if name == wanted] or [
            name for name in images if name.endswith(f".{wanted}")
        ]
    else:
        fitting = [name for name in images if _ends_as_depth(name)]
        if not fitting:
            fitting = [name for name in images if name.rpartition(".")[2].upper() in ("Z", "V", "Y")]
        if not fitting and {"R", "G", "B"} <= images.keys():
            red = images["R"]
            if all(np.array_equal(red, images[name], equal_nan=True) for name in "GB"):
                fitting = ["R"]
        if not fitting and len(images) == 1:
            fitting = list(images)
    if len(fitting) == 1:
        return fitting[0]
    raise DecodeError(
        "several channels of the EXR could be depth" if fitting else "no channel of the EXR is known as depth",
        where=where,
        expected=f"channel {wanted!r}" if wanted else "one channel Depth.Z, Depth.V, Z, V or Y, or R = G = B",
        found=told(sorted(fitting or images)),
        remedy=f"name it in the manifest, `channel: {sorted(fitting or images)[0]}`" if images else None,
    )


def _ends_as_depth(name: str) -> bool:
    last = name.upper().split(".")[-2:]
    return len(last) == 2 and last[0] == "DEPTH" and last[1] in ("Z", "V")
