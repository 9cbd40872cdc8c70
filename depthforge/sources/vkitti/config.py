"""How a manifest describes a copy of Virtual KITTI: the ``source`` block of ``vkitti``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from depthforge.sources.base import ImageSize, SourceConfig

__all__ = ["SHIPPED", "VARIATIONS", "Variation", "VkittiConfig"]

Variation = Literal[
    "15-deg-left",
    "15-deg-right",
    "30-deg-left",
    "30-deg-right",
    "clone",
    "fog",
    "morning",
    "overcast",
    "rain",
    "sunset",
]
VARIATIONS: tuple[Variation, ...] = get_args(Variation)
"""In order of key."""

SHIPPED = (1242, 375)
"""Width and height of the images as they are published."""


class VkittiConfig(SourceConfig):
    """The ``source`` block of a manifest that reads Virtual KITTI."""

    root: Path = Field(
        description="folder that holds vkitti_1.3.1_* or vkitti_2.0.3_* folders or .tar files, or Scene01"
    )
    version: Literal["auto", "1.3.1", "2.0.3"] = Field(
        default="auto", description="auto: the one that is there; name it where both are"
    )
    worlds: tuple[Literal["Scene01", "Scene02", "Scene06", "Scene18", "Scene20"], ...] | None = Field(
        default=None, description="default: every one found; 0001 of version 1.3.1 is Scene01"
    )
    variations: tuple[Variation, ...] | None = Field(
        default=None,
        description="default: clone and the four rotations; the other five have the depth of clone, in other light",
    )
    camera: Literal[0, 1] = Field(default=0, description="of the stereo pair of version 2.0.3: 0 is left, 1 is right")
    max_depth_m: float | None = Field(
        default=None, gt=0, description="farther depth is invalid; default: only what is stored as sky (655.35 m)"
    )
    stored_size: ImageSize = Field(
        default=ImageSize(width=SHIPPED[0], height=SHIPPED[1]),
        description="size of the images on disk; a copy that was scaled down has another than the shipped one",
    )
