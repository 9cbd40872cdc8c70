"""The four trees that KITTI is published in: where each keeps the scan, the images, the calibration and the poses.

::

    raw               <date>/{calib_cam_to_cam,calib_velo_to_cam,calib_imu_to_velo}.txt
                      <date>/<drive>_sync/{image_00..03,velodyne_points,oxts}/data/%010d.{png,bin,txt}
    depth_completion  {train,val}/<drive>_sync/proj_depth/{groundtruth,velodyne_raw}/image_{02,03}/%010d.png
                      val_selection_cropped/{groundtruth_depth,velodyne_raw,image,intrinsics}/...
    object            {training,testing}/{image_2,image_3,velodyne,calib,label_2}/%06d.*, or one of the two
    odometry          sequences/%02d/{image_0..3/%06d.png, velodyne/%06d.bin, calib.txt}, poses/%02d.txt

A folder that holds some of them side by side, by these names, is read as well. Each layout lists its frames without
opening an image or a scan, and says for one frame what it is made of.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Set
from pathlib import Path
from typing import get_args

from depthforge.errors import InputError, MissingDataError, told
from depthforge.sources.file_tree import open_tree
from depthforge.sources.kitti.benchmarks import Objects, Odometry
from depthforge.sources.kitti.drives import DepthCompletion, Raw, Selection
from depthforge.sources.kitti.published_tree import DepthKind, KittiLayout, LayoutName, Split

__all__ = ["detect_layout", "layout_of", "misfit"]

_SPLITS: dict[LayoutName, tuple[Split, ...]] = {
    "object": ("training", "testing"),
    "depth_completion": ("train", "val", "val_selection_cropped"),
}
_DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
_EXPECTED = "days (raw), train and val (depth_completion), training and testing (object), or sequences (odometry)"


def misfit(name: LayoutName, split: Split | None, camera: int) -> str | None:
    """Return what contradicts the layout ``name``, None when nothing does."""
    splits = _SPLITS.get(name, ())
    if split is not None and split not in splits:
        return f"split is one of {', '.join(splits)}" if splits else f"{name} has no splits"
    if name in _SPLITS and camera not in (2, 3):
        return f"{name} is of the colour cameras: camera is 2 or 3"
    return None


def detect_layout(root: Path, *, remedy: str) -> tuple[LayoutName, Path]:
    """Return which layout is meant by ``root`` and its own root, by the names of folders.

    That is ``root`` itself, or of the trees side by side in it (``raw/``, ``depth_completion/``, ...) the first in the
    order of LayoutName. Raises MissingDataError when there is none.
    """
    try:
        listing = open_tree(root).scan("")
    except FileNotFoundError:
        raise MissingDataError(
            "no KITTI data", where=root, expected=_EXPECTED, found="no such folder", remedy=remedy
        ) from None
    names = set(listing.folders)
    name = _layout_by(names, listing.files)
    if name is not None:
        return name, root
    for beside in get_args(LayoutName):
        if beside in names and _names_layout(root / beside) == beside:
            return beside, root / beside
    found = sorted([*listing.files, *names])
    if any(name.endswith(".zip") for name in found):
        remedy = f"unpack the .zip archives here; {remedy}"
    raise MissingDataError(
        "no KITTI data",
        where=root,
        expected=f"a folder of {_EXPECTED}",
        found=told(found, none="an empty folder"),
        remedy=remedy,
    )


def _names_layout(root: Path) -> LayoutName | None:
    listing = open_tree(root).scan("")
    return _layout_by(set(listing.folders), listing.files)


def _layout_by(folders: Set[str], files: Collection[str]) -> LayoutName | None:
    if "sequences" in folders:
        return "odometry"
    for name, splits in _SPLITS.items():
        if not folders.isdisjoint(splits):
            return name
    if {"velodyne", "calib"} <= folders:
        return "object"
    is_raw = any(_DATE.fullmatch(name) for name in folders) or "calib_cam_to_cam.txt" in files
    return "raw" if is_raw else None


def layout_of(
    name: LayoutName, root: Path, camera: int, *, split: Split | None, depth: DepthKind, raw_root: Path | None
) -> KittiLayout:
    """Return the layout of a configuration, its first split by default; raise InputError when it contradicts it."""
    problem = misfit(name, split, camera)
    if problem is not None:
        raise InputError(f"the source block does not fit the layout {name}: {problem}", where=root)
    if name == "raw":
        return Raw(root, camera)
    if name == "odometry":
        return Odometry(root, camera)
    own = next((each for each in _SPLITS[name] if each == root.name), None)
    chosen = split or (own if own is not None and not (root / own).exists() else _SPLITS[name][0])
    if name == "object":
        return Objects(root, camera, chosen)
    if chosen == "val_selection_cropped":
        return Selection(root, camera, depth)
    return DepthCompletion(root, camera, chosen, depth, raw_root)
