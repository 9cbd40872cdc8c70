"""Path templates: any placeholders, folders of any depth, numbers with digits; and the files that go with a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, InputError, ManifestError, MissingDataError
from depthforge.frame import Finding
from depthforge.sources.companions import Companions, Listings
from depthforge.sources.file_tree import Directory
from depthforge.sources.templates import PathTemplate, checked_template
from tests.sources.folder_trees import HEIGHT, WIDTH, depth, keys, make, read_all, write

RGB = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)


def test_every_other_placeholder_joins_the_scene(tmp_path: Path) -> None:
    for path in ("b1/r2/left/depth/7.png", "b1/r2/right/depth/7.png", "b2/r1/left/depth/7.png"):
        write(tmp_path / path, depth())
        write(tmp_path / path.replace("depth", "color").replace("png", "jpg"), RGB)
    frames = read_all(
        tmp_path, depth="{building}/{room}/{eye}/depth/{frame}.png", rgb="{building}/{room}/{eye}/color/{frame}.jpg"
    )
    assert list(frames) == ["rgbd/b1_r2_left/000007", "rgbd/b1_r2_right/000007", "rgbd/b2_r1_left/000007"]
    assert all(frame.rgb is not None for frame in frames.values())


def test_a_placeholder_in_the_name_of_the_file(tmp_path: Path) -> None:
    for name in ("a/0_l.png", "a/0_r.png", "a0/0_l.png"):
        write(tmp_path / name, depth())
    found = keys(tmp_path, depth="{scene}/{frame}_{eye}.png")
    assert found == ["rgbd/a0_l/000000", "rgbd/a_l/000000", "rgbd/a_r/000000"]


def test_folders_of_any_depth_are_the_scene(tmp_path: Path) -> None:
    for folder in ("", "one/", "two/deep/"):
        write(tmp_path / f"{folder}depth/3.png", depth())
        write(tmp_path / f"{folder}rgb/3.jpg", RGB)
    frames = read_all(tmp_path, depth="**/depth/{frame}.png", rgb="**/rgb/{frame}.jpg", scene="top")
    assert list(frames) == ["rgbd/one/000003", "rgbd/top/000003", "rgbd/two_deep/000003"]
    assert all(frame.rgb is not None for frame in frames.values())


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    write(tmp_path / "a/0.png", depth())
    (tmp_path / "a/again").symlink_to(tmp_path)
    found = keys(tmp_path, depth="**/{frame}.png")
    assert found[0] == "rgbd/a/000000"


@pytest.mark.parametrize(
    ("template", "fields", "path"),
    [
        ("a/**/b/{frame}.png", {"frame": "1", "**": "x/y"}, "a/x/y/b/1.png"),
        ("**/{frame}.png", {"frame": "1", "**": ""}, "1.png"),
        ("**/{scene}/{frame}.png", {"frame": "1", "**": "x", "scene": "s"}, "x/s/1.png"),
        ("{scene}/{frame}-{frame}.png", {"frame": "1", "scene": "s"}, "s/1-1.png"),
    ],
)
def test_fill_and_fields_are_inverse(template: str, fields: dict[str, str], path: str) -> None:
    assert PathTemplate(template).fill(fields) == path
    assert PathTemplate(template).fields(path) == fields


@pytest.mark.parametrize(
    ("template", "frame", "offset", "path"),
    [
        ("{frame}.txt", "0010", -1, "0009.txt"),
        ("{frame}.txt", "10", -1, "9.txt"),
        ("{frame:04d}.txt", "1000", -1, "0999.txt"),
        ("{frame:d}.txt", "0007", 0, "7.txt"),
        ("{frame:06d}.txt", "7", 0, "000007.txt"),
        ("{frame}.txt", "a7", 0, "a7.txt"),
    ],
)
def test_numbers_of_frames(template: str, frame: str, offset: int, path: str) -> None:
    assert PathTemplate(template).fill({"frame": frame}, offset) == path


def test_a_frame_that_is_no_number_has_no_offset() -> None:
    for frame, offset in (("a7", 1), ("0", -1)):
        with pytest.raises(InputError, match="not the number"):
            PathTemplate("{frame}.txt").fill({"frame": frame}, offset)


@pytest.mark.parametrize("text", ["/a", "a/../b", "{frame", "{}", "{frame:x}", "a**/b", "**/**/a", "a/**", "{a b}.png"])
def test_what_is_no_template(text: str) -> None:
    with pytest.raises(ValueError, match=r"template|placeholders|\*\*"):
        checked_template(text)


def test_a_companion_names_what_depth_names(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as raised:
        make(tmp_path, rgb="{scne}/{frame}.jpg")
    assert "{scne}" in str(raised.value)
    assert "did you mean {scene}?" in str(raised.value)


def test_colour_in_mixed_formats(tmp_path: Path) -> None:
    for frame in range(3):
        write(tmp_path / f"depth/{frame}.png", depth())
    write(tmp_path / "rgb/0.jpg", RGB)
    write(tmp_path / "rgb/1.png", RGB)
    write(tmp_path / "rgb/10.png", RGB)
    for rgb in ("rgb/{frame}.*", ["rgb/{frame}.jpg", "rgb/{frame}.png"]):
        findings: list[Finding] = []
        list(make(tmp_path, depth="depth/{frame}.png", rgb=rgb).frames(findings.append))
        assert [finding.message for finding in findings] == ["1 of 3 frames have no rgb file"]
        frames = read_all(tmp_path, depth="depth/{frame}.png", rgb=rgb)
        assert [frame.rgb is not None for frame in frames.values()] == [True, True, False]


def test_two_files_of_one_frame_are_named(tmp_path: Path) -> None:
    write(tmp_path / "7.jpg", RGB)
    write(tmp_path / "7.png", RGB)
    write(tmp_path / "._7.png", b"x")
    with pytest.raises(DecodeError, match="several files") as raised:
        Companions("{frame}.*").path({"frame": "7"}, Listings(Directory(tmp_path)))
    assert raised.value.found == "7.jpg, 7.png"
    assert Companions(["{frame}.jpg", "{frame}.png"]).path({"frame": "7"}, Listings(Directory(tmp_path))) == "7.jpg"


def test_what_lies_in_the_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "depth/0.png", depth())
    write(tmp_path / "rgb/0.jpg", RGB)
    with pytest.raises(MissingDataError) as raised:
        keys(tmp_path, depth="depth/{frame}.png", rgb="rbg/{frame}.jpg")
    assert raised.value.found == "depth/, rgb/"
    assert str(raised.value.expected).startswith("rbg/0.jpg for depth/0.png")
