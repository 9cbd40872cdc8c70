"""Files of several scenes in one folder, told apart by the words before their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthforge.sources.file_tree import open_tree
from depthforge.sources.proposing.groups import groups_of


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["eval/Bedroom_06.png", "eval/Hall_16.png", "eval/rgb_Bedroom_06.png", "eval/rgb_Hall_16.png"],
            ["eval/rgb_{scene}_{frame}.png", "eval/{scene}_{frame}.png"],
        ),
        (
            ["kitchen_depth_1.png", "hall_depth_1.png", "kitchen_color_1.jpg", "hall_color_1.jpg"],
            ["{scene}_color_{frame}.jpg", "{scene}_depth_{frame}.png"],
        ),
        (["depth/fork.png", "depth/old cup.png", "rgb/fork.png"], ["depth/{frame}.png", "rgb/fork.png"]),
        (
            ["80-opaque-depth.exr", "81-opaque-depth.exr", "80-clear-depth.exr", "81-clear-depth.exr"],
            ["{frame}-clear-depth.exr", "{frame}-opaque-depth.exr"],
        ),
        (["left_1.png", "left_2.png", "right_1.png", "right_2.png"], ["left_{frame}.png", "right_{frame}.png"]),
    ],
)
def test_words_are_scenes_only_where_the_names_say_so(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [group.template for group in groups_of(open_tree(tmp_path))] == expected
