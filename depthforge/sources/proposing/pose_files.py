"""The files that may be poses, each as the ``pose`` blocks that could read it: by content, never by name alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import DepthforgeError
from depthforge.sources.conventions import why_not_rigid
from depthforge.sources.file_tree import Tree
from depthforge.sources.numbers_file import is_json, parse_json, read_numbers, read_rows
from depthforge.sources.pose_files import parse_trajectory_log, pose_matrix
from depthforge.sources.proposing.contents import arrays_in
from depthforge.sources.proposing.groups import Group
from depthforge.sources.proposing.words import roles_of
from depthforge.sources.trajectories import parse_stamped_poses

__all__ = ["PoseFile", "hands_in", "pose_blocks"]

Matrix = npt.NDArray[np.float64]


class PoseFile(NamedTuple):
    """A ``pose`` block, and how many poses the file of a scene holds (of the first); None for a file per frame."""

    block: dict[str, Any]
    num_poses: int | None

    @property
    def may_be_off(self) -> bool:
        """Whether poses are counted, so that an index may be off by one."""
        form = self.block.get("format", "matrix")
        return form in ("matrix", "rows", "trajectory_log") or self.block.get("match") == "line"


def pose_blocks(tree: Tree, groups: Sequence[Group], names: set[str]) -> list[PoseFile]:
    """Return the pose blocks that read some file, those of a file per frame first, then by how they are named.

    ``names`` are the placeholders that the depth template has.
    """
    found = [
        (
            "pose" not in roles_of(group.template) or "odom" in group.template.lower(),
            not group.has_frame,
            group.template,
            index,
            block,
        )
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


def _of_group(tree: Tree, group: Group) -> Iterator[PoseFile]:
    path = group.sample(1)[0]
    where, name = tree.describe(path), path.rpartition("/")[2]
    try:
        data = tree.read(path)
    except (DepthforgeError, OSError):
        return
    if group.has_frame:
        yield from _of_frame(data, group, where)
    elif name in ("images.txt", "images.bin"):
        yield PoseFile({"file": group.template, "format": "colmap"}, None)
    elif is_json(data):
        whole = parse_json(data, None, where=where)
        if isinstance(whole, dict) and isinstance(whole.get("frames"), list):
            yield PoseFile({"file": group.template, "format": "transforms_json"}, None)
    else:
        yield from _of_list(data, group, where)


def _of_frame(data: bytes, group: Group, where: str) -> Iterator[PoseFile]:
    try:
        arrays = [*arrays_in(data, where)] or [(None, read_numbers(data, None, where=where, what="a pose"))]
    except (DepthforgeError, ValueError):
        return
    for key, array in arrays:
        if array.size in (12, 16) and array.dtype.kind in "iuf" and _is_rigid(array, where):
            yield PoseFile({"file": group.template, **({"key": key} if key else {})}, None)


def _of_list(data: bytes, group: Group, where: str) -> Iterator[PoseFile]:
    text = data.decode(errors="replace")
    try:
        count = len(parse_trajectory_log(text, where=where))
        if count > 1:
            yield PoseFile({"file": group.template, "format": "trajectory_log"}, count)
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
        yield PoseFile({"file": group.template, "format": "rows"}, len(rows) // (4 if in_lines_of_four else 1))
    elif len(rows) > 1 and min(sizes) >= 8:
        try:
            parse_stamped_poses(text, "xyzw", where=where)
        except DepthforgeError:
            return
        block = {"file": group.template, "format": "euroc" if group.suffix == ".csv" else "tum"}
        yield PoseFile(block, None)
        yield PoseFile({**block, "match": "line"}, len(rows))


def _is_rigid(array: npt.NDArray[Any], where: str) -> bool:
    try:
        return why_not_rigid(pose_matrix(array.astype(np.float64), where=where)) is None
    except DepthforgeError:
        return False
