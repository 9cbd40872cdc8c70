"""One chunk of a zarr array to bytes and back: the codec chain that goes inside the sharding codec.

Filters of the values where the chain has some (``filters``), ``bytes`` (little endian), a compressor, then ``crc32c``,
so that any zarr reader notices a flipped bit instead of decoding a plausible wrong depth (0.02 ms a frame). Which field
of a corpus gets which chain is said in ``chains``. Only numpy and the C libraries of numcodecs are called: no event
loop and no thread, hence safe in a forked process, which zarr's zarrs pipeline and tensorstore are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import google_crc32c
import numcodecs.blosc
import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc, list_compressors
from numcodecs.zstd import Zstd

from depthforge.corpus.filters import Filter, parse_filter
from depthforge.encoding import Codec
from depthforge.errors import IntegrityError

__all__ = ["CRC_BYTES", "ChunkChain", "ChunkCodec", "codec_names", "shuffled_zstd", "with_crc32c", "without_crc32c"]

# Else blosc starts a pool of threads for the main thread, holds Python's lock while it works, and shares one state
# between callers. zarr sets the same when it is imported.
numcodecs.blosc.use_threads = False

CRC_BYTES: Final = 4
# 4 to 9 % smaller than what blosc chooses at level 3 (128 KiB), and than the next power of two.
_ZSTD_BLOCK_BYTES: Final = 1 << 18
_SHUFFLES: Final = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
_SHUFFLE_NAMES: Final = {number: name for name, number in _SHUFFLES.items()}


class ChunkChain(Protocol):
    """What stands between the values of a chunk and its bytes."""

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain as zarr v3 metadata."""

    def encode(self, chunk: npt.NDArray[Any], /) -> bytes:
        """Return the stored bytes."""

    def decode_into(self, content: bytes, out: npt.NDArray[Any], *, where: object) -> None:
        """Fill ``out`` from stored bytes; IntegrityError when they are not what was written."""


def with_crc32c(content: bytes) -> bytes:
    """Append the CRC-32C of ``content``, as zarr's ``crc32c`` codec does."""
    crc: int = google_crc32c.value(content)
    return content + crc.to_bytes(CRC_BYTES, "little")


def without_crc32c(content: bytes, *, where: object) -> bytes:
    """Check and remove the CRC-32C at the end; raise IntegrityError naming ``where``."""
    body, stored = content[:-CRC_BYTES], int.from_bytes(content[-CRC_BYTES:], "little")
    found = google_crc32c.value(body)
    if len(content) < CRC_BYTES or found != stored:
        raise IntegrityError("a checksum does not match", where=where, expected=f"{stored:08x}", found=f"{found:08x}")
    return body


def codec_names(chain: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of all codecs of an array's metadata, those inside a sharding codec too."""
    names: list[str] = []
    for step in chain:
        names += [step["name"], *codec_names(step.get("configuration", {}).get("codecs", ()))]
    return tuple(names)


@dataclass(frozen=True)
class ChunkCodec:
    """A codec chain: ``filters`` in order, the ``compressor`` (of numcodecs, or None), whether a CRC-32C follows it."""

    compressor: Zstd | Blosc | None
    has_crc: bool
    itemsize: int
    filters: tuple[Filter, ...] = ()

    @classmethod
    def of(cls, codec: Codec, itemsize: int, filters: tuple[Filter, ...] = ()) -> ChunkCodec:
        """Return the chain for a manifest's codec and an array of ``itemsize`` bytes a value."""
        return cls(_compressor(codec), True, itemsize, filters)

    @classmethod
    def parse(cls, chain: Sequence[Mapping[str, Any]], dtype: np.dtype[Any]) -> ChunkCodec | None:
        """Return the chain in the metadata of an array of ``dtype``, None when it holds a codec not known here."""
        names = [step["name"] for step in chain]
        if "bytes" not in names:
            return None
        at = names.index("bytes")
        if chain[at].get("configuration", {}).get("endian", "little") != "little":
            return None
        filters = [parse_filter(step, dtype) for step in chain[:at]]
        has_crc = names[-1] == "crc32c"
        middle = chain[at + 1 : -1] if has_crc else chain[at + 1 :]
        compressor = _parse_compressor(middle[0]) if len(middle) == 1 else None
        if len(middle) > 1 or (middle and compressor is None):
            return None
        known = tuple(each for each in filters if each is not None)
        return cls(compressor, has_crc, dtype.itemsize, known) if len(known) == len(filters) else None

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain as zarr v3 metadata."""
        chain = [each.to_json() for each in self.filters]
        chain.append({"name": "bytes", "configuration": {"endian": "little"}})
        if isinstance(self.compressor, Zstd):
            chain.append({"name": "zstd", "configuration": {"level": self.compressor.level, "checksum": False}})
        elif isinstance(self.compressor, Blosc):
            options = {
                "typesize": self.itemsize,
                "cname": self.compressor.cname,
                "clevel": self.compressor.clevel,
                "shuffle": _SHUFFLE_NAMES[self.compressor.shuffle],
                "blocksize": self.compressor.blocksize,
            }
            chain.append({"name": "blosc", "configuration": options})
        return [*chain, {"name": "crc32c"}] if self.has_crc else chain

    def encode(self, chunk: npt.NDArray[Any]) -> bytes:
        """Return the stored bytes of a C-contiguous little-endian chunk; an axis of one frame may be left out."""
        values = chunk
        for each in self.filters:
            values = each.apply(values)
        content = values.tobytes() if self.compressor is None else bytes(self.compressor.encode(values))
        return with_crc32c(content) if self.has_crc else content

    def decode_into(self, content: bytes, out: npt.NDArray[Any], *, where: object) -> None:
        """Fill ``out`` (C-contiguous) from stored bytes; IntegrityError when they are not what was written."""
        if self.has_crc:
            content = without_crc32c(content, where=where)
        try:
            if not self.filters:
                self._decompress(content, out)
                return
            shape = out.shape
            for each in self.filters:
                shape = each.encoded_shape(shape)
            values = np.empty(shape, out.dtype)
            self._decompress(content, values)
            for each in reversed(self.filters):
                values = each.undo(values)
            out[...] = values
        except (RuntimeError, ValueError) as error:
            raise IntegrityError("a chunk cannot be decoded", where=where, found=error) from error

    def _decompress(self, content: bytes, out: npt.NDArray[Any]) -> None:
        if self.compressor is not None:
            size = _blosc_size(content) if isinstance(self.compressor, Blosc) else _zstd_size(content)
            if size not in (None, out.nbytes):  # the decoder would leave the rest of `out` as it was
                raise ValueError(f"{size} bytes for {out.nbytes}")
            self.compressor.decode(content, out)
        elif len(content) == out.nbytes:
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        else:
            raise ValueError(f"{len(content)} bytes for {out.nbytes}")


def _blosc_size(content: bytes) -> int:
    """Return how many bytes a blosc 1 buffer decodes to: the second word of its header."""
    return int.from_bytes(content[4:8], "little")


def _zstd_size(content: bytes) -> int | None:
    """Return how many bytes a zstd frame decodes to, None where it does not say (RFC 8878, 3.1.1.1)."""
    descriptor = content[4] if len(content) > 4 else 0
    is_single_segment = bool(descriptor >> 5 & 1)
    length = (int(is_single_segment), 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single_segment) + (0, 1, 2, 4)[descriptor & 3]
    if not length:
        return None
    return int.from_bytes(content[start : start + length], "little") + 256 * (length == 2)


def _compressor(codec: Codec) -> Zstd | Blosc | None:
    """Return what compresses the values of any field; see ``chains`` for what some fields get besides."""
    if codec.name == "none":
        return None
    if codec.name == "zstd":
        return Zstd(level=codec.level)
    return Blosc("lz4", codec.level, Blosc.SHUFFLE) if codec.name == "fast" else shuffled_zstd(codec.level)


def shuffled_zstd(level: int) -> Blosc:
    """Return blosc's zstd of ``level`` (0 to 9) with bytes shuffled, which several fields of a corpus get."""
    return Blosc("zstd", level, Blosc.SHUFFLE, _ZSTD_BLOCK_BYTES)


def _parse_compressor(step: Mapping[str, Any]) -> Zstd | Blosc | None:
    options = step.get("configuration", {})
    if step["name"] == "zstd":
        return Zstd(level=options["level"], checksum=options.get("checksum", False))
    if step["name"] == "blosc" and options["cname"] in list_compressors():
        return Blosc(options["cname"], options["clevel"], _SHUFFLES[options["shuffle"]], options.get("blocksize", 0))
    return None
