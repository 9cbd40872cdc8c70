"""One module or package for each data set, all yielding Frames; see ``base.Source`` for the contract."""

from typing import Final

PLUGINS: Final = (
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
)
"""Names of the modules that hold a source each; the others serve them."""
