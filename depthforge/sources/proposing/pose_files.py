"""The files that may be poses, each as the ``pose`` blocks that could read it: by content, never by name alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.sources.conventions import why_not_rigid
from depthforge.sources.file_tree import Tree
from depthforge.sources.numbers_file import is_json, parse_json, read_numbers, read_rows
from depthforge.sources.pose_files import parse_trajectory_log, pose_matrix
from depthforge.sources.proposing.contents import arrays_in
from depthforge.sources.proposing.groups import Group, roles_of
from depthforge.sources.trajectories import parse_stamped_poses

__all__ = ["hands_in", "pose_blocks"]

Matrix = npt.NDArray[np.float64]


def pose_blocks(tree: Tree, groups: Sequence[Group], names: set[str]) -> list[dict[str, Any]]:
    """Return the pose blocks that read some file, those of a file per frame first, then by how they are named.

    ``names`` are the placeholders that the depth template has.
    """
    found = [
        ("pose" not in roles_of(group.template), not group.has_frame, group.template, index, block)
        for group in groups
        if set(group.names) <= names
        for index, block in enumerate(_of_group(tree, group))
    ]
    return [block for *_, block in sorted(found, key=lambda each: each[:4])]


def hands_in(tree: Tree, groups: Sequence[Group]) -> dict[str, Matrix]:
    """Return the hand-eye matrices (4, 4) that lie in single files, by path."""
    found = {}
    for group in groups:
        if group.names or not any(word in group.template.lower() for word in ("hand", "eye", "cam2", "ee2", "extrin")):
            continue
        path, where = group.template, tree.describe(group.template)
        try:
            matrix = pose_matrix(read_numbers(tree.read(path), None, where=where, what="a matrix"), where=where)
        except (DepthforgeError, OSError):
            continue
        if why_not_rigid(matrix) is None:
            found[path] = matrix
    return found


def _of_group(tree: Tree, group: Group) -> Iterator[dict[str, Any]]:
    path = group.sample(1)[0]
    where, name = tree.describe(path), path.rpartition("/")[2]
    try:
        data = tree.read(path)
    except (DepthforgeError, OSError):
        return
    if group.has_frame:
        yield from _of_frame(data, group, where)
    elif name in ("images.txt", "images.bin"):
        yield {"file": group.template, "format": "colmap"}
    elif is_json(data):
        whole = parse_json(data, None, where=where)
        if isinstance(whole, dict) and isinstance(whole.get("frames"), list):
            yield {"file": group.template, "format": "transforms_json"}
    else:
        yield from _of_list(data, group, where)


def _of_frame(data: bytes, group: Group, where: str) -> Iterator[dict[str, Any]]:
    try:
        arrays = [*arrays_in(data, where)] or [(None, read_numbers(data, None, where=where, what="a pose"))]
    except (DepthforgeError, ValueError):
        return
    for key, array in arrays:
        if array.size in (12, 16) and array.dtype.kind in "iuf" and _is_rigid(array, where):
            yield {"file": group.template, **({"key": key} if key else {})}


def _of_list(data: bytes, group: Group, where: str) -> Iterator[dict[str, Any]]:
    text = data.decode(errors="replace")
    try:
        if len(parse_trajectory_log(text, where=where)) > 1:
            yield {"file": group.template, "format": "trajectory_log"}
            return
    except DepthforgeError:
        pass
    try:
        rows = read_rows(data, None, where=where, what="poses")
    except DepthforgeError:
        return
    sizes = {row.size for row in rows}
    in_lines_of_four = len(rows) > 4 and len(rows) % 4 == 0 and sizes == {4}
    if (len(rows) > 1 and sizes <= {12, 16}) or in_lines_of_four:
        yield {"file": group.template, "format": "rows"}
    elif len(rows) > 1 and min(sizes) >= 8:
        try:
            parse_stamped_poses(text, "xyzw", where=where)
        except DepthforgeError:
            return
        block = {"file": group.template, "format": "euroc" if group.suffix == ".csv" else "tum"}
        yield block
        yield {**block, "match": "line"}


def _is_rigid(array: npt.NDArray[Any], where: str) -> bool:
    try:
        return why_not_rigid(pose_matrix(array.astype(np.float64), where=where)) is None
    except DepthforgeError:
        return False
