"""TUM RGB-D against sequences written by hand from the documented layout; exact values."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import DecodeError, InputError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.sources.check import check_source
from depthforge.sources.tum import Tum, TumConfig
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import png, write

W, H = 16, 12
K = {"fx": 20.0, "fy": 21.0, "cx": 7.5, "cy": 5.5}
EVERYTHING = frozenset({"rgb", "T_world_cam"})
DEPTH = np.full((H, W), 5000, np.uint16)
DEPTH[0, :3] = (0, 65535, 10000)
RGB = np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)
SEQUENCE = "rgbd_dataset_freiburg1_desk"


def write_sequence(root: Path, name: str = SEQUENCE) -> Path:
    """Depth at 9.95, 10.0 and 10.1 s; colour 10 ms before the first and the third, and 25 ms after the second."""
    folder = root / name
    for stamp in ("9.950000", "10.000000", "10.100000"):
        write(folder / f"depth/{stamp}.png", png(DEPTH))
    for stamp in ("9.940000", "10.025000", "10.090000"):
        write(folder / f"rgb/{stamp}.png", png(RGB))
    # Lists need not be in order, and may hold comments anywhere.
    depth = ["10.100000 depth/10.100000.png", "9.950000 depth/9.950000.png", "10.000000 depth/10.000000.png"]
    rgb = [f"{stamp} rgb/{stamp}.png" for stamp in ("9.940000", "10.025000", "10.090000")]
    truth = ["# timestamp tx ty tz qx qy qz qw", "9.951 1 2 3 0 0 0.70710678 0.70710678", "10.02 0 0 0 0 0 0 1"]
    for file, lines in (("depth", depth), ("rgb", rgb), ("groundtruth", truth)):
        write(folder / f"{file}.txt", "\n".join(["# comment", *lines, ""]))
    return root


def make(root: Path, **fields: Any) -> Tum:
    return Tum(TumConfig.model_validate({"root": root, "camera": K, "width": W, "height": H, **fields}))


def read_all(source: Tum) -> list[Frame]:
    return [source.read(ref, EVERYTHING) for ref in source.frames()]


def findings_of(source: Tum) -> list[Finding]:
    findings: list[Finding] = []
    list(source.frames(findings.append))
    return findings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sequence(tmp_path / "tum")


class TestContract(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Tum:
        return make(write_sequence(root, "rgbd_bonn_balloon"))


class TestIclNuimContract(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Tum:
        return make(write_icl_nuim(tmp_path), layout="icl_nuim")


def test_units_invalid_and_order(root: Path) -> None:
    frames = read_all(make(root))
    assert [frame.key for frame in frames] == [
        f"tum/{SEQUENCE}/0000000009.950000",
        f"tum/{SEQUENCE}/0000000010.000000",
        f"tum/{SEQUENCE}/0000000010.100000",
    ], "by stamp as a number"
    depth = frames[0].require_sound().depth_m
    assert depth[1, 1] == np.float32(1.0), "5000 units a metre"
    assert depth[0, :3].tolist() == [0.0, np.float32(13.107), 2.0]
    assert not frames[0].valid[0, 0]
    assert frames[0].camera == Camera(20, 21, 7.5, 5.5, W, H)
    assert read_all(make(root, max_depth_m=10))[0].depth_m[0, 1] == 0
    assert read_all(make(root, depth_scale=1000))[0].depth_m[1, 1] == 5


def test_colour_and_pose_belong_by_stamp(root: Path) -> None:
    first, second, third = read_all(make(root))
    np.testing.assert_array_equal(first.rgb, RGB)
    assert (second.rgb, third.T_world_cam) == (None, None), "25 ms and 80 ms away"
    assert third.rgb is not None
    assert first.T_world_cam is not None
    # x, y, z, w: a quarter turn about z takes x to y; read as w, x, y, z it would be half a turn.
    np.testing.assert_allclose(first.T_world_cam[:3, 0], [0, 1, 0], atol=1e-7)
    np.testing.assert_allclose(first.T_world_cam[:3, 3], [1, 2, 3])
    np.testing.assert_array_equal(second.T_world_cam, np.eye(4))
    assert read_all(make(root, tolerance_s=0.03))[1].rgb is not None
    assert [finding.message for finding in findings_of(make(root))] == [
        "1 of 3 depth images have no colour image within 0.02 s (`tolerance_s`)",
        "1 of 3 depth images have no pose within 0.02 s (`tolerance_s`)",
    ]


def test_a_colour_image_belongs_to_one_depth_image(root: Path) -> None:
    """Both are within the tolerance of it; the nearer has it."""
    write(root / SEQUENCE / "rgb.txt", "9.98 rgb/9.940000.png\n")
    assert [frame.rgb is not None for frame in read_all(make(root, tolerance_s=0.04))] == [False, True, False]


@pytest.mark.parametrize(
    ("number", "numbers"),
    [(1, (517.3, 516.5, 318.6, 255.3)), (2, (520.9, 521.0, 325.1, 249.7)), (3, (535.4, 539.2, 320.1, 247.6))],
)
def test_intrinsics_follow_from_the_name(tmp_path: Path, number: int, numbers: tuple[float, ...]) -> None:
    write_sequence(tmp_path, f"rgbd_dataset_freiburg{number}_desk")
    write(tmp_path / f"rgbd_dataset_freiburg{number}_desk/depth/10.000000.png", png(np.full((480, 640), 5000, "u2")))
    source = Tum(TumConfig(root=tmp_path))
    ref = list(source.frames())[1]
    assert source.read(ref, frozenset()).camera == Camera(*numbers, 640, 480)


def test_unknown_intrinsics_are_asked_for(tmp_path: Path) -> None:
    source = make(write_sequence(tmp_path, "rgbd_bonn_balloon"), camera=None, width=640, height=480)
    with pytest.raises(InputError, match="intrinsics of the sequence are not known") as caught:
        list(source.frames())
    assert "rgbd_bonn_balloon" in str(caught.value)
    assert "camera: {fx:" in str(caught.value)
    with pytest.raises(InputError, match="not known"):
        list(make(write_sequence(tmp_path / "own"), camera=None).frames())


def test_a_sequence_without_ground_truth_has_no_poses(root: Path) -> None:
    (root / SEQUENCE / "groundtruth.txt").unlink()
    assert [frame.T_world_cam for frame in read_all(make(root))] == [None] * 3
    assert "3 of 3 depth images have no pose within 0.02 s (`tolerance_s`)" in [
        finding.message for finding in findings_of(make(root))
    ]


def test_a_zip_of_it_and_a_sequence_for_a_root_read_the_same(root: Path) -> None:
    path = root.parent / "sequences.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root).as_posix())
    for other in (path, root / SEQUENCE):
        for frame, same in zip(read_all(make(root)), read_all(make(other)), strict=True):
            assert frame.key == same.key
            np.testing.assert_array_equal(frame.depth_m, same.depth_m)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("depth.txt", "not a stamp depth/1.png\n", "not a list of images"),
        ("rgb.txt", "10.0\n", "not a list of images"),
        ("rgb.txt", "nan rgb/1.png\n", "not a list of images"),
        ("groundtruth.txt", "10.0 1 2 3\n", "not a list of poses"),
    ],
)
def test_a_damaged_list_names_its_line(root: Path, file: str, text: str, words: str) -> None:
    write(root / SEQUENCE / file, text)
    with pytest.raises(DecodeError, match=words):
        list(make(root).frames())
    finding = findings_of(make(write_sequence(root, "whole")))[0]
    assert (finding.severity, finding.path) == ("error", f"{SEQUENCE}/{file}, line 1")
    assert words in finding.message


def test_what_cannot_be_read_says_which_file(root: Path) -> None:
    source = make(root)
    refs = list(source.frames())
    path = root / SEQUENCE / "depth/10.000000.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DecodeError, match="truncated") as caught:
        source.read(refs[1], EVERYTHING)
    assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(DecodeError, match="gone since it was listed"):
        source.read(refs[1], EVERYTHING)
    write(path, png(np.zeros((8, 8), np.uint16)))
    with pytest.raises(DecodeError, match="wrong size"):
        source.read(refs[1], EVERYTHING)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such folder") as caught:
        list(make(tmp_path / "absent").frames())
    assert "--layout tum" in str(caught.value)
    write(tmp_path / "a/b.png", b"")
    with pytest.raises(MissingDataError, match="no frames of tum") as caught:
        list(make(tmp_path).frames())
    assert "a/" in str(caught.value)


def test_millimetres_are_noticed(root: Path) -> None:
    report = check_source(make(root, depth_scale=1.0))
    assert any("unit of depth" in issue.message for issue in report.issues)


def write_icl_nuim(root: Path) -> Path:
    folder = root / "living_room_traj1_frei_png"
    for number in (0, 1, 2, 10):
        write(folder / f"depth/{number}.png", png(DEPTH))
        write(folder / f"rgb/{number}.png", png(RGB))
    lines = [f"{number} depth/{number}.png {number} rgb/{number}.png" for number in (0, 1, 2, 10)]
    write(folder / "associations.txt", "\n".join([*lines, ""]))
    poses = ["1 0.1 0.2 0.3 0 0 0 1", "2 1 2 3 0 0 0.70710678 0.70710678", "10 0 0 0 0 0 0 1"]
    write(folder / "livingRoom1.gt.freiburg", "\n".join(poses))
    return root


def test_icl_nuim_is_numbered_and_mirrored(tmp_path: Path) -> None:
    source = make(write_icl_nuim(tmp_path), layout="icl_nuim")
    frames = read_all(source)
    assert [frame.key[-6:] for frame in frames] == ["000000", "000001", "000002", "000010"]
    assert frames[0].T_world_cam is None, "there is no pose for frame 0"
    assert frames[1].T_world_cam is not None
    assert frames[2].T_world_cam is not None
    # Its y points up in camera and world: mirrored together.
    np.testing.assert_allclose(frames[1].T_world_cam[:3, 3], [0.1, -0.2, 0.3])
    np.testing.assert_allclose(frames[2].T_world_cam[:3, 0], [0, -1, 0], atol=1e-7)
    assert frames[1].depth_m[1, 1] == 1.0
    assert [finding.message for finding in findings_of(source)] == ["1 of 4 depth images have no pose"]
    assert source.licence.name.startswith("CC BY 3.0")


def test_icl_nuims_intrinsics_are_known(tmp_path: Path) -> None:
    write_icl_nuim(tmp_path)
    write(tmp_path / "living_room_traj1_frei_png/depth/0.png", png(np.full((480, 640), 5000, "u2")))
    source = Tum(TumConfig(root=tmp_path, layout="icl_nuim"))
    camera = source.read(next(iter(source.frames())), frozenset()).camera
    assert camera == Camera(481.2, 480.0, 319.5, 239.5, 640, 480)


@pytest.mark.parametrize("line", ["0 depth/0.png", "x depth/0.png 0 rgb/0.png", "0 a/0.png 0 b/0.png"])
def test_damaged_associations_name_their_line(tmp_path: Path, line: str) -> None:
    write(write_icl_nuim(tmp_path) / "living_room_traj1_frei_png/associations.txt", f"{line}\n")
    with pytest.raises(DecodeError) as caught:
        list(make(tmp_path, layout="icl_nuim").frames())
    assert "associations.txt, line 1" in str(caught.value)
