"""One chunk of a zarr array to bytes and back: the codec chain that goes inside the sharding codec.

``bytes`` (little endian), then the compressor of the manifest, then ``crc32c``, so that any zarr reader notices a
flipped bit instead of decoding a plausible wrong depth (0.02 ms a frame). Only the C libraries of numcodecs are
called: no thread, no event loop, hence safe in a forked process, which zarr's zarrs pipeline and tensorstore are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc
from numcodecs.zstd import Zstd

from depthforge.encoding import Codec
from depthforge.errors import IntegrityError

__all__ = ["CRC_BYTES", "ChunkCodec", "with_crc32c", "without_crc32c"]

CRC_BYTES: Final = 4
_SHUFFLES: Final = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


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


@dataclass(frozen=True)
class ChunkCodec:
    """A codec chain: the ``compressor`` (a numcodecs codec or None) and whether a CRC-32C follows it."""

    compressor: Zstd | Blosc | None
    has_crc: bool
    itemsize: int

    @classmethod
    def of(cls, codec: Codec, itemsize: int) -> ChunkCodec:
        """Return the chain for a manifest's codec and an array of ``itemsize`` bytes a value."""
        compressor: Zstd | Blosc | None = None
        if codec.name == "zstd":
            compressor = Zstd(level=codec.level)
        elif codec.name != "none":
            cname = codec.name.removeprefix("blosc-")
            compressor = Blosc(cname, codec.level, Blosc.BITSHUFFLE)
        return cls(compressor, True, itemsize)

    @classmethod
    def parse(cls, chain: Sequence[Mapping[str, Any]], itemsize: int) -> ChunkCodec | None:
        """Return the chain of an array's metadata, or None when it holds a codec that is not known here."""
        names = [step["name"] for step in chain]
        if names[:1] != ["bytes"] or chain[0].get("configuration", {}).get("endian", "little") != "little":
            return None
        has_crc = names[-1] == "crc32c"
        middle = chain[1:-1] if has_crc else chain[1:]
        if not middle:
            return cls(None, has_crc, itemsize)
        compressor: Zstd | Blosc
        options = middle[0].get("configuration", {})
        if len(middle) == 1 and middle[0]["name"] == "zstd":
            compressor = Zstd(level=options["level"], checksum=options.get("checksum", False))
            return cls(compressor, has_crc, itemsize)
        if len(middle) == 1 and middle[0]["name"] == "blosc":
            shuffle = _SHUFFLES[options["shuffle"]]
            return cls(Blosc(options["cname"], options["clevel"], shuffle), has_crc, itemsize)
        return None

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chain as zarr v3 metadata."""
        chain: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if isinstance(self.compressor, Zstd):
            chain.append({"name": "zstd", "configuration": {"level": self.compressor.level, "checksum": False}})
        elif isinstance(self.compressor, Blosc):
            options = {
                "typesize": self.itemsize,
                "cname": self.compressor.cname,
                "clevel": self.compressor.clevel,
                "shuffle": "bitshuffle",
                "blocksize": 0,
            }
            chain.append({"name": "blosc", "configuration": options})
        return [*chain, {"name": "crc32c"}] if self.has_crc else chain

    def encode(self, chunk: npt.NDArray[Any]) -> bytes:
        """Return the stored bytes of a C-contiguous little-endian chunk."""
        content = chunk.tobytes() if self.compressor is None else bytes(self.compressor.encode(chunk))
        return with_crc32c(content) if self.has_crc else content

    def decode_into(self, content: bytes, out: npt.NDArray[Any], *, where: object) -> None:
        """Fill ``out`` (C-contiguous) from stored bytes; IntegrityError when they are not what was written."""
        if self.has_crc:
            content = without_crc32c(content, where=where)
        try:
            if self.compressor is not None:
                self.compressor.decode(content, out)
            elif len(content) == out.nbytes:
                out.reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
            else:
                raise ValueError(f"{len(content)} bytes for {out.nbytes}")
        except (RuntimeError, ValueError) as error:
            raise IntegrityError("a chunk cannot be decoded", where=where, found=error) from error
