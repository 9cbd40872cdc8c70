"""A folder of depth images that no known layout describes, as a block of ``rgbd_folder`` with the evidence for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from depthforge.errors import MissingDataError, told
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.proposing.cameras import cameras_in
from depthforge.sources.proposing.companions import add_companions
from depthforge.sources.proposing.contents import Content, Looked, look_at
from depthforge.sources.proposing.depth_frames import DepthFrames
from depthforge.sources.proposing.described import FILL_IN, Described, number
from depthforge.sources.proposing.groups import groups_of
from depthforge.sources.proposing.normals import add_normals
from depthforge.sources.proposing.pose_files import hands_in, pose_blocks
from depthforge.sources.proposing.poses import add_counted_poses, add_tried_poses
from depthforge.sources.proposing.read_back import ReadBack
from depthforge.sources.proposing.scales import Scale, scale_of
from depthforge.sources.proposing.stated import DataSet, data_set_of, stated_unit

__all__ = ["describe_folder"]

_FOCAL_GUESS: Final = 0.9


def describe_folder(root: Path, dataset: str) -> Described:
    """Return how ``root`` (a folder or archive) would be read as ``rgbd_folder``.

    Raises MissingDataError where nothing in it is depth.
    """
    tree = open_tree(root)
    looked = look_at(tree, groups_of(tree))
    depths = looked.of("depth") or looked.of("relative_depth")
    if not depths:
        raise _no_depth(root, tree, looked)
    found = Described({"name": "rgbd_folder", "root": str(root), "dataset": dataset})
    depth = depths[0]
    frames = DepthFrames(depth.group, depth.planes[0].shape)
    looked = looked.beside(depth)
    looked = Looked(looked.images, tuple(group.in_names(frames.names) for group in looked.numbers))
    data_set = data_set_of(min(depth.group.files))
    _add_depth(found, depths, frames, looked, tree)
    scale = scale_of(depth.planes)
    _add_scale(found, depth, scale, stated_unit(tree, looked.numbers, scale.units), data_set)
    knows_camera = _add_camera(found, tree, looked, frames, data_set)
    camera = found.block.pop("camera")
    # Frames are read back by a guess where intrinsics are not known: listing and counting want some.
    found.block["camera"] = camera if knows_camera else _guessed(frames.size)
    add_companions(found, looked, frames)
    used = {camera.get("matrix_file")} if "format" not in camera else set()
    files = [each for each in pose_blocks(tree, looked.numbers, frames.names) if each.block["file"] not in used]
    read_back = ReadBack(tree, found.block) if files else None
    if read_back is not None and knows_camera:
        add_tried_poses(found, files, read_back, scale, hands_in(tree, looked.numbers))
    elif read_back is not None:
        add_counted_poses(found, files, read_back, frames)
    for normals in [each for each in looked.of("normals") if frames.named_by(each.group)][:1]:
        add_normals(found, normals, frames.template(normals.group))
    found.block["camera"] = camera
    return found


def _no_depth(root: Path, tree: Tree, looked: Looked) -> MissingDataError:
    lines = [
        f"{each.group.template} ({each.kind}, {len(each.group.files)} files, {each.says})" for each in looked.images
    ]
    lines += [f"{group.template} ({len(group.files)} files)" for group in looked.numbers]
    listing = tree.scan_if_there("")
    others = [each.says for each in looked.images if each.kind == "other"]
    if others:
        lines.sort(key=lambda line: not any(said in line for said in others))
    there = told(sorted([*listing.folders, *listing.files]), none="an empty folder")
    found = told(lines, none=there, joint="; ")
    return MissingDataError(
        "no depth in this folder",
        where=root,
        expected="images or arrays of 16 bits or more, or a layout that `depthforge list` names",
        found=found,
        remedy="point to the folder that holds depth, or describe it by hand: docs/manifest.md, rgbd_folder",
    )


def _add_depth(found: Described, depths: Sequence[Content], frames: DepthFrames, looked: Looked, tree: Tree) -> None:
    chosen = depths[0]
    found.block["depth"] = frames.text
    found.say("depth", f"{frames.count} files, {chosen.says}")
    if frames.is_lone:
        found.say("depth", "a lone image: its name is that of its frame")
    others = frames.others(tree, [each.group for each in looked.images])
    if others:
        found.block["exclude"] = others
        found.say("exclude", "the template of depth fits these, too")
    for name, value in (("key", chosen.form.key), ("channel", chosen.form.channel)):
        if value is not None:
            found.block[name] = value
    for other in depths[1:]:
        found.say("depth", f"also depth, not used: {other.group.template} ({other.says})")


def _add_scale(
    found: Described, depth: Content, scale: Scale, stated: tuple[float, str] | None, data_set: DataSet | None
) -> None:
    block = found.block
    if depth.kind == "relative_depth":
        block["assume_max_depth_m"] = FILL_IN
        found.say("assume_max_depth_m", "8 bits have no unit: how many metres is the largest value?")
        found.fill_in.append("the depth of the largest value: source.assume_max_depth_m, metres; 8 bits do not say it")
        return
    if stated is None and data_set is not None and data_set.unit in scale.units:
        stated = data_set.unit, f"files are named as those of {data_set.name}, whose unit this is"
    found.say("depth_scale", *scale.reasons)
    if stated is not None:
        block["depth_scale"] = number(stated[0])
        found.say("depth_scale", stated[1])
    elif scale.units:
        block["depth_scale"] = number(scale.units[0])
        if len(scale.units) > 1:
            found.unknown.append(f"the unit of depth for certain: {scale.told}")
    else:
        block["depth_scale"] = FILL_IN
        found.say("depth_scale", f"no usual unit makes the median of {scale.median:.4g} a plausible depth")
        found.fill_in.append(
            "the unit of depth: source.depth_scale, stored units per metre; no usual one makes the median of the "
            f"stored values, {scale.median:.4g}, a plausible depth"
        )
    if scale.invalid:
        block["invalid"] = [0, *scale.invalid]
    if scale.is_negative:
        block["sign"] = "negative"


def _add_camera(found: Described, tree: Tree, looked: Looked, frames: DepthFrames, data_set: DataSet | None) -> bool:
    """Add the camera, numbers to fill in where there is none; return whether there is one."""
    height, width = frames.size
    size = {"width": width, "height": height}
    # A frame without intrinsics cannot be read: a file for some scenes only is none.
    of_all = [group for group in looked.numbers if not group.names or len(frames.named_by(group)) == frames.count]
    cameras = cameras_in(tree, of_all, frames.size, frames.names)
    if cameras:
        found.block["camera"] = cameras[0].block | (size if "fx" in cameras[0].block else {})
        found.say("camera", cameras[0].says)
        found.say("camera", *(f"not used: {each.says}" for each in cameras[1:4]))
        return True
    if data_set is not None and data_set.camera is not None and data_set.size == frames.size:
        found.block["camera"] = {**size, **dict(zip(("fx", "fy", "cx", "cy"), data_set.camera, strict=True))}
        found.say("camera", f"files are named as those of {data_set.name}: its published intrinsics")
        return True
    found.block["camera"] = {**size, **dict.fromkeys(("fx", "fy", "cx", "cy"), FILL_IN)}
    found.say("camera", "no file of intrinsics was found: pixels, (0, 0) is the centre of the first pixel")
    found.fill_in.append(
        f"the intrinsics: source.camera fx, fy, cx, cy, in pixels of {width} x {height}; no file has them"
    )
    return False


def _guessed(size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    guess = {"width": width, "height": height, "fx": _FOCAL_GUESS * width, "fy": _FOCAL_GUESS * width}
    return guess | {"cx": (width - 1) / 2, "cy": (height - 1) / 2}
