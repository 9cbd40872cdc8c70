"""A described folder: names, units, quantities, invalid codes, poses; every convention by one exact value."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError, InputError, ManifestError, MissingDataError
from depthforge.frame import Finding
from depthforge.sources.described_depth import DescribedDepth
from depthforge.sources.file_tree import Directory
from depthforge.sources.pose_files import parse_trajectory_log
from depthforge.sources.rgbd_folder import RgbdFolder
from depthforge.sources.templates import PathTemplate
from depthforge.testing.sources import SourceTests
from tests.sources.folder_trees import HEIGHT, POSE, WIDTH, depth, keys, make, read_first, text, write


class TestFolder(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> RgbdFolder:
        for scene in ("a", "a-1", "b"):
            for frame in (0, 9, 10):
                write(tmp_path / f"{scene}/depth/{frame}.png", depth(1000 + frame))
                write(tmp_path / f"{scene}/color/{frame}.jpg", np.full((HEIGHT, WIDTH, 3), frame, np.uint8))
                write(tmp_path / f"{scene}/pose/{frame}.txt", text(POSE))
                write(tmp_path / f"{scene}/class/{frame}.png", np.full((HEIGHT, WIDTH), frame, np.uint8))
        return make(
            tmp_path,
            depth="{scene}/depth/{frame}.png",
            rgb="{scene}/color/{frame}.jpg",
            semantic="{scene}/class/{frame}.png",
            pose={"file": "{scene}/pose/{frame}.txt"},
            invalid=[0, 65535],
        )


# --- depth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "metres"), [(1000, 2.5), (5000, 0.5), (10000, 0.25)])
def test_depth_scale_is_units_per_metre(tmp_path: Path, scale: float, metres: float) -> None:
    write(tmp_path / "0.png", depth(2500))
    assert read_first(tmp_path, depth_scale=scale).depth_m[0, 0] == pytest.approx(metres)


def test_ray_length_becomes_z(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth(2500))
    corner = read_first(tmp_path, quantity="ray_length").depth_m[0, 0]
    assert corner == pytest.approx(2.5 / math.sqrt(1 + (32 / 60) ** 2 + (24 / 60) ** 2), rel=1e-6)


def test_invalid_codes_and_range(tmp_path: Path) -> None:
    image = depth()
    image[0, :5] = [0, 65535, 100, 9000, 3000]
    write(tmp_path / "0.png", image)
    frame = read_first(tmp_path, invalid=[65535], min_depth_m=0.2, max_depth_m=5)
    assert frame.valid[0, :5].tolist() == [False, False, False, False, True]
    assert frame.depth_m[0, :5].tolist() == [0, 0, 0, 0, 3]
    assert read_first(tmp_path).valid[0, :5].tolist() == [False, True, True, True, True]


@given(st.integers(1, 65535), st.integers(0, 15))
def test_rotation_is_undone(value: int, bits: int) -> None:
    stored = ((value << bits) | (value >> (16 - bits))) & 0xFFFF
    table = DescribedDepth(make(Path("nowhere"), rotate_right_bits=bits, invalid=[]).config).table
    assert table[stored] == pytest.approx(value / 1000 if stored else 0)


def test_8_bits_are_refused_unless_a_scale_is_assumed(tmp_path: Path) -> None:
    write(tmp_path / "0.png", np.full((HEIGHT, WIDTH), 51, np.uint8))
    with pytest.raises(DecodeError, match="precision"):
        read_first(tmp_path)
    frame = read_first(tmp_path, depth_scale=None, assume_max_depth_m=5)
    assert frame.depth_m[0, 0] == pytest.approx(1.0)


def test_floating_point_metres(tmp_path: Path) -> None:
    metres = np.full((HEIGHT, WIDTH), 1.25, np.float32)
    metres[0, :3] = [np.nan, np.inf, -1]
    np.save(tmp_path / "0.npy", metres)
    frame = read_first(tmp_path, depth="{frame}.npy", depth_scale=1)
    assert frame.valid[0, :4].tolist() == [False, False, False, True]
    assert frame.depth_m[0, 3] == 1.25


def test_wrong_size_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth()[:10])
    with pytest.raises(DecodeError, match="wrong size"):
        read_first(tmp_path)


# --- names ---------------------------------------------------------------------------------------------------------


def test_frames_are_ordered_by_number_and_scenes_by_key(tmp_path: Path) -> None:
    for name in ("a_2", "a_10", "a-1_0", "room_b_3"):
        write(tmp_path / f"{name}.png", depth())
    found = keys(tmp_path, depth="{scene}_{frame}.png", dataset="mine")
    assert found == ["mine/a-1/000000", "mine/a/000002", "mine/a/000010", "mine/room_b/000003"]


def test_scene_folders_stream(tmp_path: Path) -> None:
    for scene in ("A", "A b", "AB"):
        write(tmp_path / f"{scene}/x/0.png", depth())
    found = keys(tmp_path, depth="{scene}/x/{frame}.png")
    assert found == sorted(found)
    assert len(found) == 3


def test_selection(tmp_path: Path) -> None:
    for frame in range(10):
        write(tmp_path / f"{frame}.png", depth())
    assert [key[-1] for key in keys(tmp_path, every=4)] == ["0", "4", "8"]
    assert [key[-1] for key in keys(tmp_path, ranges=[[1, 2], [7, 8]])] == ["1", "2", "7", "8"]
    assert [key[-1] for key in keys(tmp_path, ranges=[[1, 6]], every=3)] == ["1", "4"]
    assert [key[-1] for key in keys(tmp_path, exclude=["[0-7].png"])] == ["8", "9"]
    write(tmp_path / "last.png", depth())
    assert keys(tmp_path)[-1] == "rgbd/all/last"
    with pytest.raises(InputError, match="whole numbers"):
        keys(tmp_path, ranges=[[0, 1]])


def test_two_files_of_one_frame_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "1.png", depth())
    write(tmp_path / "01.png", depth())
    findings: list[Finding] = []
    assert len(list(make(tmp_path).frames(findings.append))) == 1
    assert "the same frame as" in findings[0].message


def test_an_archive_reads_as_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.writestr("x/7.png", cv2.imencode(".png", depth())[1].tobytes())
    assert read_first(tmp_path / "scans.zip", depth="x/{frame}.png").depth_m[0, 0] == 2


names = st.text(st.characters(codec="ascii", exclude_characters="/\0\n"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)


@given(names, names)
def test_a_template_finds_what_it_fills(scene: str, frame: str) -> None:
    template = PathTemplate("{scene}/d-{frame}/{frame}.png")
    path = template.fill({"scene": scene, "frame": frame})
    assert path == f"{scene}/d-{frame}/{frame}.png"
    assert template.fields(path) == {"scene": scene, "frame": frame}


def test_template_needs_equal_repeats(tmp_path: Path) -> None:
    write(tmp_path / "1/1.png", depth())
    write(tmp_path / "1/2.png", depth())
    found = [path for group in PathTemplate("{frame}/{frame}.png").scenes(Directory(tmp_path)) for path, _ in group]
    assert found == ["1/1.png"]


# --- what comes along ----------------------------------------------------------------------------------------------


def test_missing_companions_are_reported_and_left_out(tmp_path: Path) -> None:
    for frame in range(3):
        write(tmp_path / f"{frame}.png", depth())
    write(tmp_path / "0.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    write(tmp_path / "1.txt", text(POSE))
    write(tmp_path / "2.tiff", depth())
    source = make(tmp_path, rgb="{frame}.jpg", pose={"file": "{frame}.txt"}, instance="{frame}.tiff")
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    assert sorted(finding.message for finding in findings) == [
        "2 of 3 frames have no T_world_cam file",
        "2 of 3 frames have no instance file",
        "2 of 3 frames have no rgb file",
    ]
    frame = source.read(refs[1], frozenset(source.labels))
    assert (frame.rgb, dict(frame.labels)) == (None, {})
    assert source.read(refs[0], frozenset(source.labels)).T_world_cam is None


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"rgb": "{scene}/rbg/{frame}.jpg"}, "rgb"),
        ({"instance": "{scene}/rgb/{frame}.png"}, "instance"),
        ({"pose": {"file": "{scene}/pose/{frame}.txt"}}, "T_world_cam"),
        ({"camera": {"matrix_file": "{scene}/K.txt"}}, "intrinsics"),
    ],
)
def test_a_template_that_fits_no_frame_is_an_error(tmp_path: Path, fields: dict[str, object], label: str) -> None:
    write(tmp_path / "kitchen/depth/0.png", depth())
    write(tmp_path / "kitchen/rgb/0.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(MissingDataError, match=f"no frame has a file of {label}") as raised:
        keys(tmp_path, depth="{scene}/depth/{frame}.png", **fields)
    assert raised.value.found in ("depth/, rgb/", "0.jpg")
    assert "for kitchen/depth/0.png" in str(raised.value.expected)


def test_a_folder_of_many_files_names_the_one_unlike_the_others(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"depth_{number:04d}.png", depth())
        (tmp_path / f"a_note_{number:04d}.txt").touch()
    write(tmp_path / "rgb_0000.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(MissingDataError, match="no frame has a file of rgb") as raised:
        keys(tmp_path, depth="depth_{frame}.png", rgb="colour_{frame}.jpg")
    assert "rgb_0000.jpg" in str(raised.value.found)
    assert str(raised.value.found).endswith(" and 61 more")


def test_a_name_that_is_not_utf8_is_an_error_that_names_the_bytes(tmp_path: Path) -> None:
    write(tmp_path / "office/0.png", depth())
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    with open(folder + b"/0.png", "wb") as file:
        file.write(cv2.imencode(".png", depth())[1].tobytes())
    with pytest.raises(InputError, match="not UTF-8") as raised:
        keys(tmp_path, depth="{scene}/{frame}.png")
    assert "0xe9" in str(raised.value.found)
    assert "rename" in str(raised.value.remedy)
    str(raised.value).encode()


def test_names_that_begin_with_a_dot_are_no_frames(tmp_path: Path) -> None:
    for name in ("a/0.png", "a/._0.png", "._a/0.png", ".Trash/1.png"):
        write(tmp_path / name, depth())
    assert keys(tmp_path, depth="{scene}/{frame}.png") == ["rgbd/a/000000"]


def test_larger_colour_of_the_same_proportion_is_averaged(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    colour = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)
    colour[::2] = 100
    write(tmp_path / "0.bmp", colour)
    assert (read_first(tmp_path, rgb="{frame}.bmp").rgb == 50).all()


@pytest.mark.parametrize("shape", [(HEIGHT // 2, WIDTH // 2), (HEIGHT * 2, WIDTH), (HEIGHT, WIDTH + 16)])
def test_colour_of_another_view_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "0.bmp", np.zeros((*shape, 3), np.uint8))
    with pytest.raises(FrameError, match="not the view"):
        read_first(tmp_path, rgb="{frame}.bmp")


def test_pose_conventions(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    opengl = POSE.copy()
    opengl[:, 1:3] *= -1
    stored = {
        ("camera_to_world", "opencv"): POSE,
        ("camera_to_world", "opengl"): opengl,
        ("world_to_camera", "opencv"): np.linalg.inv(POSE),
        ("world_to_camera", "opengl"): np.linalg.inv(opengl),
    }
    for (direction, axes), matrix in stored.items():
        write(tmp_path / "0.txt", text(matrix))
        pose = {"file": "{frame}.txt", "direction": direction, "axes": axes}
        np.testing.assert_allclose(read_first(tmp_path, pose=pose).T_world_cam, POSE, atol=1e-12)


def test_trajectory_log_goes_by_frame_number(tmp_path: Path) -> None:
    write(tmp_path / "0007.png", depth())
    write(tmp_path / "trajectory.log", f"3 3 4\n{text(np.eye(4))}\n7 7 8\n{text(POSE)}\n")
    pose = {"file": "trajectory.log", "format": "trajectory_log"}
    np.testing.assert_array_equal(read_first(tmp_path, pose=pose).T_world_cam, POSE)
    with pytest.raises(DecodeError, match="five lines"):
        parse_trajectory_log("0 0 1\n1 0 0 0\n", where="t.log")
    with pytest.raises(DecodeError, match="three integers"):
        parse_trajectory_log(f"{text(POSE)}\n0 0 1", where="t.log")


@pytest.mark.parametrize("word", ["-inf", "nan"])
def test_a_pose_that_is_not_finite_is_left_out(tmp_path: Path, word: str) -> None:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "0.txt", " ".join([word] * 16))
    assert read_first(tmp_path, pose={"file": "{frame}.txt"}).T_world_cam is None


def test_a_damaged_pose_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "0.txt", "1 0 0")
    with pytest.raises(DecodeError, match="not a matrix") as raised:
        read_first(tmp_path, pose={"file": "{frame}.txt"})
    assert str(raised.value.where).endswith("0.txt")


def test_intrinsics_from_a_file(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "K.txt", "61 0 31\n0 62 23\n0 0 1\n")
    camera = {"width": WIDTH, "height": HEIGHT, "matrix_file": "K.txt"}
    frame = read_first(tmp_path, camera=camera)
    assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == (61, 62, 31, 23)
    with pytest.raises(MissingDataError, match="intrinsics"):
        read_first(tmp_path, camera={**camera, "matrix_file": "other.txt"})


# --- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth_scale": None}, "depth_scale"),
        ({"assume_max_depth_m": 5}, "assume_max_depth_m"),
        ({"depth_scale": None, "assume_max_depth_m": 5, "invalid": [255]}, "relative"),
        ({"depth": "depth.png"}, "{frame}"),
        ({"depth": "{frme}.png"}, "{frme}"),
        ({"depth": "../{frame}.png"}, "below root"),
        ({"camera": {"width": 4, "height": 4, "fx": 1}}, "matrix_file"),
        ({"pose": {"file": "log.txt"}}, "trajectory log"),
        ({"depht": "x"}, "depth"),
    ],
)
def test_what_is_not_said_clearly_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        make(Path("nowhere"), **fields)
    assert message in str(raised.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such folder"):
        keys(tmp_path / "absent")
    write(tmp_path / "depth/0.jpg", depth().astype(np.uint8))
    with pytest.raises(MissingDataError, match="no depth image") as raised:
        keys(tmp_path)
    assert raised.value.found == "depth/"


def test_licence_is_the_one_stated(tmp_path: Path) -> None:
    assert make(tmp_path).licence.non_commercial
    stated = make(tmp_path, licence={"name": "CC BY 4.0", "non_commercial": False})
    assert (stated.licence.name, stated.licence.non_commercial) == ("CC BY 4.0", False)
