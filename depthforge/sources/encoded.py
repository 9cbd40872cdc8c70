"""Numbers that are spread over the channels of a colour image, which simulators write since every tool reads PNG.

Letters say which channel is which byte, the lowest first: ``RGB`` is R + 256 G + 65536 B (CARLA's depth, Synscapes'
ids), ``GB`` is G + 256 B (CARLA's instances), ``R`` the red channel alone (CARLA's classes). ``carla`` is ``RGB`` in
CARLA's unit, 1000 m for 2^24 - 1; ``tartanair`` is a little-endian float32 whose bytes are B, G, R, A (TartanAir 2).
640x480 takes 3 ms beside decoding. Sources: CARLA, "Sensors reference"; castacks/tartanairpy, `docs/modalities.rst`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator

from depthforge.errors import DecodeError
from depthforge.sources.images import decode_bytes_of_pixels

__all__ = ["CARLA_SCALE", "CARLA_SKY", "Encoding", "decode_encoded_depth", "decode_encoded_integers", "integers_of"]

CARLA_SKY: Final = (1 << 24) - 1
CARLA_SCALE: Final = CARLA_SKY / 1000.0
"""Stored units per metre of CARLA's depth."""


def _checked(text: str) -> str:
    letters = re.fullmatch("[RGBA]{1,4}", text) is not None and len(set(text)) == len(text)
    if not letters and text not in ("plain", "carla", "tartanair"):
        raise ValueError(f"encoding is plain, carla, tartanair or channels from the lowest byte, as RGB; not {text!r}")
    return text


Encoding: TypeAlias = Annotated[str, AfterValidator(_checked)]


def decode_encoded_integers(data: bytes, letters: str, *, where: str) -> npt.NDArray[np.uint32]:
    """Return the numbers (H, W) uint32 in the channels that ``letters`` name, the lowest byte first.

    Raises DecodeError when the file is no picture of 8 bits, or lacks a channel.
    """
    return integers_of(decode_bytes_of_pixels(data, where=where), letters, where=where)


def integers_of(pixels: npt.NDArray[np.uint8], letters: str, *, where: str) -> npt.NDArray[np.uint32]:
    """Return the numbers of pixels (H, W, 3 or 4) in order R, G, B, A; see :func:`decode_encoded_integers`."""
    channels = ["RGBA".index(letter) for letter in letters]
    if max(channels) >= pixels.shape[2]:
        raise DecodeError(
            "the image has no channel A", where=where, expected=f"{letters} of 8 bits", found=pixels.shape
        )
    number = pixels[..., channels[0]].astype(np.uint32)
    for place, channel in enumerate(channels[1:], 1):
        number |= pixels[..., channel].astype(np.uint32) << np.uint32(8 * place)
    return number


def decode_encoded_depth(data: bytes, encoding: str, *, where: str) -> npt.NDArray[np.float32] | npt.NDArray[np.uint32]:
    """Return the stored numbers (H, W) of depth in a colour image: float32 of ``tartanair``, else uint32.

    Raises DecodeError, for a picture of depth in grey too: its three equal channels are no number.
    """
    pixels = decode_bytes_of_pixels(data, where=where)
    if encoding == "tartanair":
        if pixels.shape[2] != 4:
            raise DecodeError("four channels hold one float", where=where, expected="RGBA", found=pixels.shape)
        return np.ascontiguousarray(pixels[..., [2, 1, 0, 3]]).view("<f4")[..., 0].astype(np.float32, copy=False)
    letters = "RGB" if encoding == "carla" else encoding
    if (
        len(letters) > 1
        and not np.ptp(pixels[..., :3], axis=2).any()
        and not (pixels[..., :3] == pixels[0, 0, :3]).all()
    ):
        raise DecodeError(
            "depth in three equal channels is a picture for viewing, of 8 bits",
            where=where,
            expected=f"a number in the channels {letters}",
            found="R = G = B everywhere",
            remedy="save the raw image, without the converter to grey or logarithmic depth",
        )
    return integers_of(pixels, letters, where=where)
