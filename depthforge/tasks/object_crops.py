"""Square crops around the objects of a view, found by their masks, as a pose network sees them.

A crop is the box of an object's mask with a margin, made square and moved into the image, brought to one size by
nearest neighbours: averaging would make depths between object and table that nothing has. Depth is taken relative to
the object's own median, so that a crop shows shape and not distance.

Which mask is whose is said by no label: some data sets number masks by the row of the object, some by its id. The rule
by which most objects' centres project into their masks is taken (``paired``), for each view.

Source: the crops of DCL's LineMOD and GraspNet loaders (box of the mask, 8 px margin).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float64
from depthforge.tasks.base import View

__all__ = ["Instances", "ObjectBox", "crop_channels", "object_boxes"]

Instances = Literal["auto", "row_plus_1", "id", "id_plus_1"]
"""What a mask's number says: the row of the object plus 1, its id, or its id plus 1."""

_RULES: Final = ("row_plus_1", "id", "id_plus_1")

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class ObjectBox(NamedTuple):
    """An object of a view: its ``row``, the number of its ``mask``, and the square around it in pixels."""

    row: int
    mask: int
    top: int
    left: int
    side: int


def object_boxes(view: View, instances: Instances, *, margin_px: int, fewest_px: int, most_px: int) -> list[ObjectBox]:
    """Return the objects of a view that have a mask and a box of more than ``fewest_px`` and fewer than ``most_px``.

    The view has the labels ``instance``, ``object_id`` and ``object_pose``.
    """
    mask = view.labels["instance"].numpy()
    ids, poses = view.labels["object_id"].numpy().astype(np.int64), view.labels["object_pose"].numpy()
    edges = _edges(mask)
    height, width = mask.shape
    found = []
    for row, number in enumerate(_numbers(ids, poses, edges, view.K.numpy(), instances).tolist()):
        if number not in edges:
            continue
        top, left, bottom, right = edges[number]
        side = max(bottom - top, right - left) + 1 + 2 * margin_px
        if not fewest_px < side < most_px:
            continue
        side = min(side, height, width)
        corner = ((top + bottom + 1 - side) // 2, (left + right + 1 - side) // 2)
        top, left = (min(max(at, 0), length - side) for at, length in zip(corner, (height, width), strict=True))
        found.append(ObjectBox(row, number, top, left, side))
    return found


def crop_channels(
    view: View, box: ObjectBox, side_px: int, *, reach_m: float, background: bool
) -> npt.NDArray[np.float32]:
    """Return a crop (2, side_px, side_px) float32: depth relative to the object's, and where there is any.

    Depth is (z - median) / ``reach_m``, cut at -1 and 1, the median that of what is measured on the object (of the crop
    where nothing is); 0 where nothing is measured and, without ``background``, beyond the object.
    """
    at = box.side * (2 * np.arange(side_px) + 1) // (2 * side_px)
    place = (box.top + at[:, None], box.left + at)
    depth_m, valid = view.depth_m[0].numpy()[place], view.valid[0].numpy()[place]
    on_object = view.labels["instance"].numpy()[place] == box.mask
    if not background:
        valid = valid & on_object
    measured = depth_m[valid & on_object] if (valid & on_object).any() else depth_m[valid]
    median_m = np.median(measured) if measured.size else np.float32(0)
    relative = np.clip((depth_m - median_m) / reach_m, -1, 1)
    return np.stack([np.where(valid, relative, 0), valid]).astype(np.float32)


def _edges(mask: npt.NDArray[np.integer]) -> dict[int, tuple[int, int, int, int]]:
    """Return the first and last row and column (top, left, bottom, right) of each number but 0."""
    edges = {}
    for number in np.unique(mask).tolist():
        if number:
            here = mask == number
            rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
            edges[number] = (int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1]))
    return edges


def _numbers(
    ids: Ints, poses: Float64, edges: dict[int, tuple[int, int, int, int]], K: Float64, instances: Instances
) -> Ints:
    """Return the number of each object's mask (N,)."""
    by_rule = {"row_plus_1": np.arange(len(ids)) + 1, "id": ids, "id_plus_1": ids + 1}
    if instances != "auto":
        return by_rule[instances]
    centre = poses[:, :3, 3] @ K.T
    pixels = centre[:, :2] / np.where(centre[:, 2:] > 0, centre[:, 2:], np.nan)
    fits = {rule: sum(map(_within, pixels, by_rule[rule].tolist(), [edges] * len(ids))) for rule in _RULES}
    return by_rule[max(_RULES, key=lambda rule: fits[rule])]


def _within(pixel: Float64, number: int, edges: dict[int, tuple[int, int, int, int]]) -> bool:
    if number not in edges:
        return False
    top, left, bottom, right = edges[number]
    return bool(left <= pixel[0] <= right and top <= pixel[1] <= bottom)
