"""Writers of procedural scenes in a dataset's own layout on disk, one file per layout; see ``base.Layout``."""

from typing import Final

PLUGINS: Final = (
    "blenderproc",
    "bop",
    "graspnet",
    "hypersim",
    "interiornet",
    "kitti",
    "linemod",
    "nerfstudio",
    "nyu",
    "replica",
    "replicator",
    "rgbd_folder",
    "rosbag",
    "scannet",
    "tartanair",
    "tartanair2",
    "tum",
    "vkitti",
    "vkitti1",
    "vmap",
)
"""Names of the modules that write a layout each; the others serve them."""
