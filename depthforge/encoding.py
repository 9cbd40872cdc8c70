"""How numbers are stored: depth, normals, and how chunks are compressed; what a manifest and a corpus both say.

Apart from both, so that whoever reads a corpus needs no part of a manifest.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["NORMALS_SCALE", "Codec", "DepthEncoding"]

# snorm16: a unit-vector component is stored as round(n * 32767); the angular step is 0.0017 degrees.
NORMALS_SCALE = 1.0 / 32767.0


class DepthEncoding(BaseModel):
    """How depth is stored: ``uint16`` steps of ``scale_m`` metres with 0 for "no measurement", or plain ``float32``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["uint16", "float32"] = "uint16"
    scale_m: float = Field(default=0.001, gt=0, description="metres per step of uint16; 0.0001 for table-top sensors")
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is stored as no measurement")


class Codec(BaseModel):
    """Compression of a chunk: ``zstd``, ``blosc-zstd`` or ``blosc-lz4`` (both bit-shuffled), or ``none``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["zstd", "blosc-zstd", "blosc-lz4", "none"] = "zstd"
    level: int = Field(default=1, ge=0, le=22)
