"""The text tables of each video of Virtual KITTI, found, parsed once and kept."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from depthforge.sources.vkitti.tables import (
    Boxes,
    ColourTable,
    View,
    parse_boxes_v1,
    parse_boxes_v2,
    parse_colours,
    parse_extrinsics,
    parse_intrinsics,
)
from depthforge.sources.vkitti.tree import V1, VkittiTree

__all__ = ["VideoTables"]

_VIDEOS_KEPT = 16


class VideoTables:
    """The tables of a video by (version, world, variation); each raises DecodeError when it is damaged."""

    def __init__(self, tree: VkittiTree) -> None:
        self._tree = tree
        self.poses = lru_cache(_VIDEOS_KEPT)(self._read_poses)
        """T_world_cam of every view; none without the table."""
        self.intrinsics = lru_cache(_VIDEOS_KEPT)(self._read_intrinsics)
        """fx, fy, cx, cy of every view; none without the table."""
        self.colours = lru_cache(_VIDEOS_KEPT)(self._read_colours)
        """What the colours of the class images stand for; None without the table."""
        self.boxes = lru_cache(_VIDEOS_KEPT)(self._read_boxes)
        """Boxes of every view that has any; None without the table."""

    def close(self) -> None:
        """Forget all of them."""
        for cache in (self.poses, self.intrinsics, self.colours, self.boxes):
            cache.cache_clear()

    def _read_poses(self, version: str, world: str, variation: str) -> dict[View, npt.NDArray[np.float64]]:
        file = self._tree.table(version, world, variation, "extrinsic")
        return {} if file is None else parse_extrinsics(file.text(), where=file.where)

    def _read_intrinsics(
        self, version: str, world: str, variation: str
    ) -> dict[View, tuple[float, float, float, float]]:
        file = self._tree.table(version, world, variation, "intrinsic")
        return {} if file is None else parse_intrinsics(file.text(), where=file.where)

    def _read_colours(self, version: str, world: str, variation: str) -> ColourTable | None:
        file = self._tree.table(version, world, variation, "colors")
        return None if file is None else parse_colours(file.text(), where=file.where)

    def _read_boxes(self, version: str, world: str, variation: str) -> dict[View, Boxes] | None:
        tables = {name: self._tree.table(version, world, variation, name) for name in ("bbox", "pose", "info")}
        bbox = tables["bbox"]
        if bbox is None:
            return None
        if version == V1:
            return parse_boxes_v1(bbox.text(), where=bbox.where)
        texts = {name: None if file is None else file.text() for name, file in tables.items()}
        where = {name: name if file is None else file.where for name, file in tables.items()}
        return parse_boxes_v2(bbox.text(), texts["pose"], texts["info"], where=lambda name: where[name])
