"""How numbers are stored: depth, normals, and how chunks are compressed; what a manifest and a corpus both say.

Apart from both, so that whoever reads a corpus needs no part of a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["NORMALS_SCALE", "Codec", "ColourEncoding", "DepthEncoding"]

# snorm16: a unit-vector component is stored as round(n * 32767); the angular step is 0.0017 degrees.
NORMALS_SCALE = 1.0 / 32767.0


class DepthEncoding(BaseModel):
    """How depth is stored: ``uint16`` steps of ``scale_m`` metres with 0 for "no measurement", or plain ``float32``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["uint16", "float32"] = "uint16"
    scale_m: float = Field(default=0.001, gt=0, description="metres per step of uint16; 0.0001 for table-top sensors")
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is stored as no measurement")


class ColourEncoding(BaseModel):
    """How a corpus holds ``rgb``: compressed as any other field, or as JPEG files.

    A file is that of the source where it ships one; with ``from_pixels`` one of ``quality`` is made where it does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["lossless", "jpeg"] = "lossless"
    from_pixels: bool = False
    quality: int = Field(default=95, ge=1, le=100)


# zstd looks for longer matches from level 3 on; lz4 is as fast at 9 as at 1 and smaller.
_LEVELS: Final = {"fast": 9, "small": 3}


class Codec(BaseModel):
    """How chunks are compressed, without loss.

    ``zstd``: clean depth with its bytes shuffled, all else as it is. ``fast``: bytes shuffled, lz4; less than half the
    time to decode depth. ``small``: bytes shuffled, zstd, and clean depth, normals and colour as differences of
    neighbours; three times as long to encode. ``none``: not at all. Differences are a codec of zarr-python with
    numcodecs: tensorstore and zarrs cannot read those three fields of ``small``, and read all else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["zstd", "fast", "small", "none"] = "zstd"
    level: int = Field(
        default=1, ge=0, le=22, description="of lz4 or zstd within; left out it is 9 for fast, 3 for small, else 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_its_own_level(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "level" not in value and value.get("name") in _LEVELS:
            return {**value, "level": _LEVELS[value["name"]]}
        return value
