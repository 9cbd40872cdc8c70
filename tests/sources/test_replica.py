"""Replica's two trees against rooms written by hand from the documented layouts; exact values."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame
from depthforge.sources.replica import Replica, ReplicaConfig
from depthforge.testing.sources import SourceTests
from tests.sources.tree_files import png, write

W, H = 24, 16
DEPTH = np.full((H, W), 10848, np.uint16)
DEPTH[0, :2] = (0, 65535)
RGB = np.full((H, W, 3), (200, 100, 50), np.uint8)
CLASSES = np.full((H, W), 93, np.uint16)
CLASSES[0, :2] = (0, 65535)
CAMERA = {"w": W, "h": H, "fx": 12.0, "fy": 12.0, "cx": 11.5, "cy": 7.5, "scale": 6553.5}
POSE = "0 -1 0 1 1 0 0 2 0 0 1 3 0 0 0 1"
EVERYTHING = frozenset({"rgb", "T_world_cam", "semantic", "instance"})


def jpeg() -> bytes:
    return cv2.imencode(".jpg", RGB[..., ::-1])[1].tobytes()


def write_nice(root: Path, room: str = "room0", numbers: tuple[int, ...] = (0, 1, 2)) -> Path:
    write(root / "cam_params.json", json.dumps({"camera": CAMERA}))
    for number in numbers:
        write(root / room / f"results/depth{number:06d}.png", png(DEPTH))
        write(root / room / f"results/frame{number:06d}.jpg", jpeg())
    write(root / room / "traj.txt", "".join(f"{POSE}\n" for _ in numbers))
    return root


def write_vmap(root: Path, room: str = "room_0") -> Path:
    folder = root / room / "imap/00"
    for number in range(11):
        write(folder / f"depth/depth_{number}.png", png(DEPTH + np.uint16(number)))
        write(folder / f"rgb/rgb_{number}.png", png(RGB))
        write(folder / f"semantic_class/semantic_class_{number}.png", png(CLASSES))
        write(folder / f"semantic_instance/semantic_instance_{number}.png", png(CLASSES + np.uint16(1)))
    write(folder / "traj_w_c.txt", "".join(f"{POSE}\n" for _ in range(11)))
    return root


def make(root: Path, **fields: Any) -> Replica:
    return Replica(ReplicaConfig.model_validate({"root": root, "width": W, "height": H, **fields}))


def read_all(source: Replica) -> list[Frame]:
    return [source.read(ref, EVERYTHING).require_sound() for ref in source.frames()]


class TestNiceSlamContract(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Replica:
        return make(write_nice(tmp_path))


class TestVmapContract(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Replica:
        return make(write_vmap(tmp_path))


def test_nice_slams_units_and_poses(tmp_path: Path) -> None:
    frame = read_all(make(write_nice(tmp_path)))[1]
    assert frame.key == "replica/room0/000001"
    assert frame.depth_m[1, 1] == pytest.approx(1.65530, abs=1e-5), "10848 of 6553.5 a metre"
    assert frame.depth_m[0, :2].tolist() == [0.0, 10.0]
    assert frame.camera == Camera(12, 12, 11.5, 7.5, W, H)
    assert frame.T_world_cam is not None
    np.testing.assert_array_equal(frame.T_world_cam, [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    assert frame.labels == {}


def test_nice_slams_colour_is_carried_as_it_lies(tmp_path: Path) -> None:
    source = make(write_nice(tmp_path))
    frame = source.read(next(iter(source.frames())), frozenset({RGB_FILE}))
    assert frame.rgb_file == jpeg()
    assert frame.rgb is None


def test_vmaps_units_labels_and_order(tmp_path: Path) -> None:
    frames = read_all(make(write_vmap(tmp_path)))
    assert [frame.key[-2:] for frame in frames] == [f"{number:02d}" for number in range(11)], "10 follows 9"
    assert frames[10].key == "replica/room_0/00-000010"
    assert frames[10].depth_m[1, 1] == np.float32(10.858), "millimetres"
    assert frames[0].labels["semantic"][0, :3].tolist() == [0, 0, 93], "-1 is undefined"
    assert frames[0].labels["instance"][0, :3].tolist() == [1, 0, 94]
    np.testing.assert_array_equal(frames[0].rgb, RGB)


def test_vmaps_camera_is_replicas(tmp_path: Path) -> None:
    write(write_vmap(tmp_path) / "room_0/imap/00/depth/depth_0.png", png(np.full((680, 1200), 1000, np.uint16)))
    source = Replica(ReplicaConfig(root=tmp_path))
    frame = source.read(next(iter(source.frames())), frozenset())
    assert frame.camera == Camera(600, 600, 599.5, 339.5, 1200, 680)
    assert frame.depth_m[5, 5] == 1.0


def test_both_trees_may_lie_in_one_folder_or_archive(tmp_path: Path) -> None:
    root = write_vmap(write_nice(tmp_path / "both"), "room_1")
    path = tmp_path / "both.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*.*")):
            archive.write(file, file.relative_to(root).as_posix())
    for frame, same in zip(read_all(make(root)), read_all(make(path)), strict=True):
        assert frame.key == same.key
        np.testing.assert_array_equal(frame.depth_m, same.depth_m)
    assert len(list(make(root, include=("room0",)).frames())) == 3
    assert len(list(make(root, include=("room_1/*",)).frames())) == 11


def test_a_room_or_its_recording_for_a_root(tmp_path: Path) -> None:
    write_vmap(tmp_path)
    for root in (tmp_path / "room_0", tmp_path / "room_0/imap/00"):
        assert next(iter(make(root).frames())).key == "replica/room_0/00-000000"
    write_nice(tmp_path / "nice")
    with pytest.raises(MissingDataError, match="neither the unit") as caught:
        list(make(tmp_path / "nice/room0").frames())
    assert "name the folder that holds it" in str(caught.value)


def test_neither_tree_is_no_default(tmp_path: Path) -> None:
    write(tmp_path / "room_0/depth/depth_0.png", png(DEPTH))
    write(tmp_path / "room_0/rgb/rgb_0.png", png(RGB))
    with pytest.raises(MissingDataError, match="no frames of replica") as caught:
        list(make(tmp_path).frames())
    assert "room_0/" in str(caught.value)


@pytest.mark.parametrize("num_lines", [0, 2, 4])
def test_a_trajectory_of_another_length_is_refused(tmp_path: Path, num_lines: int) -> None:
    write(write_nice(tmp_path) / "room0/traj.txt", f"{POSE}\n" * num_lines)
    with pytest.raises(DecodeError, match="not that of the depth images") as caught:
        list(make(tmp_path).frames())
    assert f"{num_lines} lines" in str(caught.value)
    assert "each of the 3 depth images" in str(caught.value)


def test_frames_that_are_not_numbered_from_0_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="not that of the depth images"):
        list(make(write_nice(tmp_path, numbers=(1, 2, 3))).frames())


def test_a_damaged_room_is_skipped_and_named(tmp_path: Path) -> None:
    write_nice(write_nice(tmp_path), "room1")
    write(tmp_path / "room1/traj.txt", f"{POSE}\n1 2 3\n{POSE}\n")
    findings: list[Finding] = []
    assert len(list(make(tmp_path).frames(findings.append))) == 3
    (finding,) = findings
    assert (finding.path, finding.message) == ("room1/traj.txt, line 2", "skipped: not a matrix")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a file of intrinsics"),
        ("[]", "not a file of intrinsics"),
        ('{"camera": {"w": 24}}', "not a file of intrinsics"),
        (json.dumps({"camera": {**CAMERA, "scale": 0}}), "not a file of intrinsics"),
        (json.dumps({"camera": {**CAMERA, "w": 1200}}), "images of another size"),
    ],
)
def test_damaged_intrinsics_are_named(tmp_path: Path, text: str, words: str) -> None:
    write(write_nice(tmp_path) / "cam_params.json", text)
    with pytest.raises(DecodeError, match=words) as caught:
        list(make(tmp_path).frames())
    assert "cam_params.json" in str(caught.value)


def test_a_pose_that_is_none_is_named(tmp_path: Path) -> None:
    write(write_nice(tmp_path) / "room0/traj.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1\n" * 3)
    source = make(tmp_path)
    with pytest.raises(DecodeError, match="not a rigid transform") as caught:
        source.read(next(iter(source.frames())), EVERYTHING)
    assert "scaled by 2" in str(caught.value)


def test_damaged_images_name_their_file(tmp_path: Path) -> None:
    source = make(write_nice(tmp_path))
    ref = next(iter(source.frames()))
    path = tmp_path / "room0/results/frame000000.jpg"
    write(path, jpeg()[:100])
    with pytest.raises(DecodeError, match="truncated") as caught:
        source.read(ref, EVERYTHING)
    assert str(path) in str(caught.value)
    path.unlink()
    assert source.read(ref, EVERYTHING).rgb is None
    write(tmp_path / "room0/results/depth000000.png", b"")
    with pytest.raises(DecodeError, match="empty"):
        source.read(ref, EVERYTHING)
