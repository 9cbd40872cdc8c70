"""Which built-in sources carry a label that a task may need: for errors that say where to find it.

A corpus knows the labels that it has and not those that it might have had; a source knows its labels only when it is
built from a manifest. So this is a table; a test holds it against the page of data sets, which is made from the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["SOURCES_WITH", "sources_with"]

SOURCES_WITH: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "T_world_cam": (
            "blenderproc",
            "bop",
            "fused",
            "graspnet",
            "hypersim",
            "interiornet",
            "kitti",
            "linemod",
            "nerfstudio",
            "procedural",
            "replica",
            "replicator",
            "rgbd_folder",
            "rosbag",
            "scannet",
            "tartanair",
            "tum",
            "vkitti",
        ),
        "depth_raw": ("bop", "fused", "graspnet", "linemod", "nyu"),
        "grasps": ("graspnet",),
        "instance": (
            "blenderproc",
            "bop",
            "fused",
            "graspnet",
            "hypersim",
            "interiornet",
            "linemod",
            "nyu",
            "procedural",
            "replica",
            "replicator",
            "rgbd_folder",
            "scannet",
            "tartanair",
            "vkitti",
        ),
        "normals": ("blenderproc", "bop", "fused", "graspnet", "hypersim", "interiornet", "linemod", "procedural"),
        "object_id": ("bop", "graspnet", "linemod", "procedural"),
        "object_pose": ("bop", "graspnet", "linemod", "procedural"),
        "object_px_count_valid": ("bop", "linemod"),
        "object_px_count_visib": ("bop", "linemod"),
        "object_silhouettes": ("bop", "linemod"),
        "rect_grasps": ("graspnet",),
        "rgb": (
            "blenderproc",
            "bop",
            "fused",
            "graspnet",
            "hypersim",
            "interiornet",
            "kitti",
            "linemod",
            "nerfstudio",
            "nyu",
            "procedural",
            "replica",
            "replicator",
            "rgbd_folder",
            "rosbag",
            "scannet",
            "tartanair",
            "tum",
            "vkitti",
        ),
        "semantic": (
            "blenderproc",
            "bop",
            "fused",
            "hypersim",
            "interiornet",
            "linemod",
            "nyu",
            "procedural",
            "replica",
            "replicator",
            "rgbd_folder",
            "scannet",
            "vkitti",
        ),
    }
)
"""For each label the sources that have it, in some of their layouts at least."""


def sources_with(label: str) -> tuple[str, ...]:
    """Return the names of the built-in sources that carry ``label``; none for a label of a plug-in."""
    return SOURCES_WITH.get(label, ())
