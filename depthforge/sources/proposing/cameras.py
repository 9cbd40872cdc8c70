"""The intrinsics that a folder holds: a file of them that the source reads, or numbers to write down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from depthforge.errors import DepthforgeError
from depthforge.sources.colmap_files import parse_colmap_cameras
from depthforge.sources.file_tree import Tree
from depthforge.sources.intrinsics import Intrinsics, intrinsics_of_names, parse_intrinsics
from depthforge.sources.numbers_file import is_json, parse_json
from depthforge.sources.proposing.groups import Group
from depthforge.sources.proposing.stated import named_numbers
from depthforge.sources.proposing.words import roles_of
from depthforge.sources.transforms_json import named_images

__all__ = ["FoundCamera", "cameras_in"]

_SCALES: Final = (1.0, 2.0, 0.5, 1.5, 2 / 3, 3.0, 1 / 3, 4.0, 0.25)


class FoundCamera(NamedTuple):
    """A ``camera`` block, where it comes from, and how plausible it is: 0 is best."""

    block: dict[str, Any]
    says: str
    rank: float


def cameras_in(tree: Tree, groups: Sequence[Group], size: tuple[int, int], names: set[str]) -> list[FoundCamera]:
    """Return the cameras of files that fit an image of ``size`` (height, width), the most plausible first.

    ``names`` are the placeholders that the depth template has.
    """
    found = [
        camera
        for group in groups
        if set(group.names) <= names
        for block, stored in _read(tree, group)
        if (camera := _fitting(group, block, stored, size)) is not None
    ]
    return sorted(found, key=lambda camera: camera.rank)


def _read(tree: Tree, group: Group) -> Iterator[tuple[dict[str, Any] | None, Intrinsics]]:
    """Yield the blocks that read a group, each with what it reads; None where only the numbers can be written."""
    path = min(group.files)
    where, name = tree.describe(path), path.rpartition("/")[2]
    try:
        data = tree.read(path)
    except (DepthforgeError, OSError):
        return
    block = {"matrix_file": group.template}
    if name.startswith("cameras."):
        try:
            cameras = parse_colmap_cameras(data, binary=name.endswith(".bin"), where=where)
            yield {**block, "format": "colmap"}, next(iter(cameras.values()))
        except (DepthforgeError, StopIteration):
            pass
        return
    try:
        if is_json(data) and "frames" in (parse_json(data, None, where=where) or {}):
            image = next(iter(named_images(data, where=where).values()))
            if image.intrinsics is not None:
                yield {**block, "format": "transforms_json"}, image.intrinsics
            return
        yield block, parse_intrinsics(data, None, where=where)
        return
    except DepthforgeError:
        pass
    for named in named_numbers(tree, path):
        sides = {"width": named["xres"], "height": named["yres"]} if {"xres", "yres"} <= named.keys() else {}
        try:
            yield None, intrinsics_of_names({**named, **sides}, where=where)
        except DepthforgeError:
            continue
        return


def _fitting(
    group: Group, block: dict[str, Any] | None, stored: Intrinsics, size: tuple[int, int]
) -> FoundCamera | None:
    height, width = size
    origin = "/".join(part for part in group.template.split("/"))
    known = stored.size or size
    scale_x, scale_y = known[1] / width, known[0] / height
    if stored.size is None:
        # A matrix of another resolution is told by its principal point, which lies near the middle.
        by_x, by_y = (stored.cx + 0.5) / (width / 2), (stored.cy + 0.5) / (height / 2)
        nearest = min(_SCALES, key=lambda scale: abs(by_x / scale - 1) + abs(by_y / scale - 1))
        scale_x = scale_y = nearest if abs(by_x / nearest - 1) + abs(by_y / nearest - 1) < 0.3 else 1.0
    if abs(scale_x / scale_y - 1) > 0.01:
        return None
    fx, fy = stored.fx / scale_x, stored.fy / scale_y
    cx, cy = (stored.cx + 0.5) / scale_x - 0.5, (stored.cy + 0.5) / scale_y - 0.5
    if not (0.2 * width < cx < 0.8 * width and 0.2 * height < cy < 0.8 * height):
        return None
    if not (0.2 * width < fx < 20 * width and 0.7 < fx / fy < 1.4):
        return None
    numbers = f"fx {stored.fx:.6g}, fy {stored.fy:.6g}, cx {stored.cx:.6g}, cy {stored.cy:.6g}"
    says = f"intrinsics of {origin}: {numbers}"
    is_scaled = scale_x != 1.0 and stored.size is None
    if is_scaled:
        says += f", of an image {scale_x:g} times as large by its principal point: divided by that here"
    if stored.distortion:
        says += "; the file also has distortion, which a pinhole lacks: undistort the images, where depth has it too"
    if block is None or is_scaled:
        block = {"fx": _short(fx), "fy": _short(fy), "cx": _short(cx), "cy": _short(cy)}
    elif stored.distortion:
        block = {**block, "ignore_distortion": True}
    named = "camera" in roles_of(group.template) or "format" in block
    rank = (stored.size is None) + 2 * is_scaled + 4 * (not named) + ("format" in block) * 0.5 + len(origin) * 0.001
    return FoundCamera(block, says, rank + 8 * (stored.size is not None and stored.size != size))


def _short(value: float) -> float:
    return float(f"{value:.9g}")
