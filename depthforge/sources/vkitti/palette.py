"""Instance ids of Virtual KITTI 2: the *indices* of an 8-bit image with a palette, whose colours say nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.images import decode_ids
from depthforge.sources.png_header import GREY, PALETTE, read_png_header

__all__ = ["decode_palette_indices"]


def decode_palette_indices(data: bytes, *, where: str) -> npt.NDArray[np.uint16]:
    """Return the index of each pixel (H, W) uint16 of a palette PNG, or the values of a grey one; raise DecodeError."""
    header = read_png_header(data)
    if header is not None and header.kind not in (GREY, PALETTE):
        raise DecodeError(
            "instance ids are the indices of a palette image",
            where=where,
            expected="an indexed or grey PNG",
            found="a colour PNG",
            remedy="a program that opened and saved this image has replaced its ids by colours: unpack it again",
        )
    return decode_ids(data, where=where)
