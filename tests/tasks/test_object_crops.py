"""Crops around objects: which mask is whose, where the square lies, and what it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from depthforge.tasks.base import View
from depthforge.tasks.object_crops import crop_channels, object_boxes

# Of two objects at 1 m: the first around pixel (30, 40), the second around (80, 70), of 120x160 pixels.
PLACES = {"first": (slice(20, 40), slice(35, 46)), "second": (slice(65, 96), slice(60, 81))}
OPTIONS = {"margin_px": 8, "fewest_px": 20, "most_px": 100}


def view_of(numbers: tuple[int, int], ids: tuple[int, int] = (7, 2)) -> View:
    mask = torch.zeros(120, 160, dtype=torch.int32)
    depth_m = torch.full((1, 120, 160), 1.2)
    for number, place, z in zip(numbers, PLACES.values(), (1.0, 1.1), strict=True):
        mask[place], depth_m[0][place] = number, z
    K = torch.tensor([[100.0, 0, 0], [0, 100.0, 0], [0, 0, 1]], dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[0, :3, 3] = torch.tensor([0.40, 0.30, 1.0])
    poses[1, :3, 3] = torch.tensor([0.77, 0.88, 1.1])
    labels = {"instance": mask, "object_id": torch.tensor(ids), "object_pose": poses}
    valid = torch.ones_like(depth_m, dtype=torch.bool)
    return View("a/b/c", depth_m, valid, depth_m, valid, K, labels, frozenset({"instance"}))


@pytest.mark.parametrize(
    ("numbers", "rule"), [((1, 2), "row_plus_1"), ((7, 2), "id"), ((8, 3), "id_plus_1")], ids=["row", "id", "id + 1"]
)
def test_masks_find_their_objects_whatever_their_numbers_say(numbers: tuple[int, int], rule: str) -> None:
    view = view_of(numbers)
    found = object_boxes(view, "auto", **OPTIONS)
    assert [(box.row, box.mask) for box in found] == [(0, numbers[0]), (1, numbers[1])]
    assert found == object_boxes(view, rule, **OPTIONS)  # type: ignore[arg-type]
    # Numbers that would also do, the other way round: the centres say which.
    swapped = view_of((2, 1), ids=(2, 1))
    assert [(box.row, box.mask) for box in object_boxes(swapped, "auto", **OPTIONS)] == [(0, 2), (1, 1)]


def test_the_square_has_a_margin_and_stays_in_the_image() -> None:
    first, second = object_boxes(view_of((1, 2)), "auto", **OPTIONS)
    # 20 rows by 11 columns: 36 a side, centred on the mask's middle.
    assert first == (0, 1, 12, 22, 36)
    # 31 rows from 65 to 95: 47 a side, down to row 103.
    assert second == (1, 2, 57, 47, 47)
    corner = view_of((1, 2))
    corner.labels["instance"].zero_()
    corner.labels["instance"][100:120, 150:160] = 1
    (moved,) = object_boxes(corner, "row_plus_1", **OPTIONS)
    assert (moved.top, moved.left, moved.side) == (84, 124, 36)


def test_boxes_that_are_too_small_or_too_large_are_left_out() -> None:
    view = view_of((1, 2))
    assert [b.row for b in object_boxes(view, "auto", margin_px=8, fewest_px=36, most_px=100)] == [1]
    assert [b.row for b in object_boxes(view, "auto", margin_px=8, fewest_px=20, most_px=47)] == [0]
    assert (
        object_boxes(replace(view, labels={**view.labels, "instance": torch.zeros(120, 160)}), "auto", **OPTIONS) == []
    )


def test_depth_is_relative_to_the_object_and_holes_are_nothing() -> None:
    view = view_of((1, 2))
    view.valid[0, 30, 40] = False
    view.depth_m[0, 30, 40] = 0
    (box, _) = object_boxes(view, "auto", **OPTIONS)
    depth, valid = crop_channels(view, box, 36, reach_m=0.15, background=True)
    assert (depth[18, 18], valid[18, 18]) == (0, 0)
    assert valid.sum() == 36 * 36 - 1
    assert depth[10, 15] == pytest.approx(0, abs=1e-6)
    # 20 cm behind the object: more than the reach.
    assert depth[0, 0] == 1
    depth, valid = crop_channels(view, box, 36, reach_m=0.4, background=False)
    assert valid.sum() == 20 * 11 - 1
    assert np.abs(depth).max() == pytest.approx(0, abs=1e-6)
    depth, _ = crop_channels(view, box, 36, reach_m=0.4, background=True)
    assert depth[0, 0] == pytest.approx(0.5, abs=1e-6)


def test_crops_are_brought_to_their_size_by_nearest_pixels() -> None:
    view = view_of((1, 2))
    (box, _) = object_boxes(view, "auto", **OPTIONS)
    whole = crop_channels(view, box, 36, reach_m=0.15, background=True)
    assert np.array_equal(crop_channels(view, box, 72, reach_m=0.15, background=True)[:, ::2, ::2], whole)
    assert np.array_equal(crop_channels(view, box, 12, reach_m=0.15, background=True), whole[:, 1::3, 1::3])


def test_an_object_that_was_not_measured_is_shown_by_what_is_around() -> None:
    view = view_of((1, 2))
    view.valid[0][PLACES["first"]] = False
    (box, _) = object_boxes(view, "auto", **OPTIONS)
    depth, valid = crop_channels(view, box, 36, reach_m=0.15, background=True)
    assert 0 < valid.sum() < 36 * 36
    assert np.abs(depth).max() == pytest.approx(0, abs=1e-6)
    depth, valid = crop_channels(view, box, 36, reach_m=0.15, background=False)
    assert (np.abs(depth).max(), valid.max()) == (0, 0)
