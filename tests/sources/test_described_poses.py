"""Poses in every form: per frame, in rows, timed, named; offsets, hands, units; and what is none of these."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, InputError, ManifestError, MissingDataError
from depthforge.frame import Finding
from depthforge.sources.numbers_file import read_numbers, read_rows
from depthforge.sources.pose_files import parse_trajectory_log, pose_matrix
from tests.sources.folder_trees import CAMERA, POSE, depth, keys, make, read_all, read_first, text, write


def at(x: float) -> np.ndarray:
    matrix = POSE.copy()
    matrix[0, 3] = x
    return matrix


def translations(root: Path, **fields: object) -> list[float | None]:
    frames = read_all(root, **fields).values()
    return [None if frame.T_world_cam is None else float(frame.T_world_cam[0, 3]) for frame in frames]


def scan(root: Path, names: list[str]) -> None:
    for name in names:
        write(root / f"{name}.png", depth())


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "key"),
    [
        ("0.txt", text(POSE).encode(), None),
        ("0.txt", text(POSE[:3]).encode(), None),
        ("0.csv", text(POSE).replace(" ", ", ").encode(), None),
        ("0.npy", npy(POSE), None),
        ("0.npy", npy(POSE[None, :3]), None),
        ("0.npz", npz(arr_0=POSE), None),
        ("0.npz", npz(T=POSE, other=POSE * 2), "T"),
        ("0.json", json.dumps({"pose": {"T": POSE.tolist()}}).encode(), "pose.T"),
        ("0.json", json.dumps(POSE.ravel().tolist()).encode(), None),
    ],
)
def test_a_file_per_frame(tmp_path: Path, name: str, data: bytes, key: str | None) -> None:
    scan(tmp_path, ["0"])
    write(tmp_path / name, data)
    pose = {"file": name.replace("0", "{frame}"), "key": key}
    np.testing.assert_array_equal(read_first(tmp_path, pose=pose).T_world_cam, POSE)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("all.txt", "\n".join(" ".join(map(str, at(k).ravel())) for k in range(5)).encode()),
        ("all.txt", "\n".join(" ".join(map(str, at(k)[:3].ravel())) for k in range(5)).encode()),
        ("all.txt", "\n\n".join(text(at(k)) for k in range(5)).encode()),
        ("all.npy", npy(np.stack([at(k) for k in range(5)]))),
        ("all.npy", npy(np.stack([at(k)[:3] for k in range(5)]))),
        ("all.npy", npy(np.stack([at(k).ravel() for k in range(5)]))),
        ("all.npz", npz(poses=np.stack([at(k) for k in range(5)]))),
        ("all.json", json.dumps([at(k).tolist() for k in range(5)]).encode()),
    ],
)
def test_rows_are_counted_by_the_frames_numbers(tmp_path: Path, name: str, data: bytes) -> None:
    scan(tmp_path, ["1", "3", "9"])
    write(tmp_path / name, data)
    pose = {"file": name, "format": "rows"}
    assert translations(tmp_path, pose=pose) == [1, 3, None]
    assert translations(tmp_path, pose={**pose, "offset": -1}) == [0, 2, None]
    findings: list[Finding] = []
    list(make(tmp_path, pose=pose).frames(findings.append))
    assert [finding.message for finding in findings] == ["1 of 3 frames have no T_world_cam file"]


def tum(stamps: list[str], order: str = "xyzw") -> str:
    turn = "0 0 0.70710678118 0.70710678118" if order == "xyzw" else "0.70710678118 0 0 0.70710678118"
    return "# stamp\n" + "\n".join(f"{stamp} {k} 6 7 {turn}" for k, stamp in enumerate(stamps))


def test_lists_with_stamps(tmp_path: Path) -> None:
    scan(tmp_path, ["1305031102.175304", "1305031102.275326", "1305031109.0"])
    write(tmp_path / "gt.txt", tum(["1305031102.1758", "1305031102.2652", "1305031103.9"]))
    pose = {"file": "gt.txt", "format": "tum"}
    assert translations(tmp_path, pose=pose) == [0, 1, None]
    assert translations(tmp_path, pose={**pose, "tolerance_s": 0.001}) == [0, None, None]
    np.testing.assert_allclose(read_first(tmp_path, pose=pose).T_world_cam, at(0), atol=1e-9)


def test_nanoseconds_of_euroc_are_not_rounded(tmp_path: Path) -> None:
    scan(tmp_path, ["1403636579763555584", "1403636579763555585"])
    write(tmp_path / "data.csv", tum(["1403636579763555585", "1403636579763555584"], "wxyz").replace(" ", ","))
    pose = {"file": "data.csv", "format": "euroc", "tolerance_s": 0}
    assert translations(tmp_path, pose=pose) == [1, 0]


def test_stamps_of_frames_from_a_list(tmp_path: Path) -> None:
    scan(tmp_path, ["0", "1"])
    write(tmp_path / "gt.txt", tum(["10.0", "10.5"]))
    write(tmp_path / "depth.txt", "# stamp file\n10.51 1.png\n9.99 0.png\n")
    write(tmp_path / "times.txt", "10.51\n9.99\n")
    pose = {"file": "gt.txt", "format": "tum"}
    assert translations(tmp_path, pose={**pose, "stamps": "depth.txt"}) == [0, 1]
    assert translations(tmp_path, pose={**pose, "stamps": "times.txt"}) == [1, 0]
    assert translations(tmp_path, pose={**pose, "match": "line", "offset": 1}) == [1, None]
    with pytest.raises(InputError, match="no list of stamps"):
        keys(tmp_path, pose={**pose, "stamps": "absent.txt"})
    write(tmp_path / "times.txt", "soon 1.png")
    with pytest.raises(DecodeError, match="not a list of stamps"):
        keys(tmp_path, pose={**pose, "stamps": "times.txt"})


def test_each_scene_has_its_own_list(tmp_path: Path) -> None:
    for index, scene in enumerate(("a", "b")):
        scan(tmp_path / scene, ["0", "1"])
        write(tmp_path / scene / "gt.txt", tum([str(index), str(index + 1)]))
    fields = {"depth": "{scene}/{frame}.png", "pose": {"file": "{scene}/gt.txt", "format": "tum"}}
    assert translations(tmp_path, **fields) == [0, 1, None, 0]


def test_colmap_and_nerfstudio_name_their_images(tmp_path: Path) -> None:
    write(tmp_path / "depth/0.png", depth())
    write(tmp_path / "images/0.bmp", np.zeros((48, 64, 3), np.uint8))
    T_cam_world = "0.70710678118 0 0 -0.70710678118 -6 5 -7"
    write(tmp_path / "sparse/images.txt", f"1 {T_cam_world} 1 0.bmp\n\n")
    write(tmp_path / "sparse/cameras.txt", "1 PINHOLE 64 48 60 61 32.5 24.5\n")
    gl = POSE @ np.diag([1.0, -1, -1, 1])
    frames = [{"file_path": "images/0.bmp", "transform_matrix": gl.tolist()}]
    intrinsics = {"fl_x": 60, "fl_y": 61, "cx": 32.5, "cy": 24.5, "w": 64, "h": 48}
    write(tmp_path / "transforms.json", json.dumps({**intrinsics, "frames": frames}))
    for pose, camera in (
        ("sparse/images.txt", {"matrix_file": "sparse/cameras.txt", "format": "colmap"}),
        ("transforms.json", {"matrix_file": "transforms.json", "format": "nerfstudio"}),
    ):
        block = {"file": pose, "format": camera["format"]}
        frame = read_first(tmp_path, depth="depth/{frame}.png", rgb="images/{frame}.bmp", pose=block, camera=camera)
        np.testing.assert_allclose(frame.T_world_cam, POSE, atol=1e-9)
        assert (frame.camera.fy, frame.camera.cx, frame.camera.cy, frame.camera.width) == (61, 32, 24, 64)
    write(tmp_path / "sparse/images.txt", f"1 {T_cam_world} 1 other.bmp\n\n")
    with pytest.raises(MissingDataError, match="no frame has a pose in the list"):
        keys(tmp_path, depth="depth/{frame}.png", pose={"file": "sparse/images.txt", "format": "colmap"})


def test_the_pose_of_a_hand_and_the_camera_in_it(tmp_path: Path) -> None:
    scan(tmp_path, ["1", "2"])
    write(tmp_path / "T/T_00.npz", npz(arr_0=at(1)))
    write(tmp_path / "T/T_01.npz", npz(arr_0=at(2)))
    T_hand_cam = np.array([[1.0, 0, 0, 0.1], [0, 0, -1, 0.2], [0, 1, 0, 0.3], [0, 0, 0, 1]])
    write(tmp_path / "hand.txt", text(T_hand_cam))
    pose = {"file": "T/T_0{frame}.npz", "offset": -1}
    for hand in ("hand.txt", T_hand_cam.tolist()):
        frames = list(read_all(tmp_path, pose={**pose, "T_hand_cam": hand}).values())
        np.testing.assert_allclose(frames[1].T_world_cam, at(2) @ T_hand_cam, atol=1e-12)
    mirrored = np.diag([1.0, 1, -1, 1]).tolist()
    with pytest.raises(DecodeError, match="not a rigid transform") as raised:
        read_first(tmp_path, pose={**pose, "T_hand_cam": mirrored})
    assert raised.value.where == "pose.T_hand_cam"
    with pytest.raises(InputError, match="no file of the hand-eye"):
        read_first(tmp_path, pose={**pose, "T_hand_cam": "absent.txt"})


def test_translations_in_another_unit(tmp_path: Path) -> None:
    scan(tmp_path, ["0"])
    millimetres = POSE.copy()
    millimetres[:3, 3] *= 1000
    write(tmp_path / "0.txt", text(np.linalg.inv(millimetres)))
    pose = {"file": "{frame}.txt", "translation_scale": 0.001, "direction": "world_to_camera"}
    np.testing.assert_allclose(read_first(tmp_path, pose=pose).T_world_cam, POSE, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("0.txt", tum(["1"]).encode(), "not a matrix"),
        ("0.txt", b"a b c", "not a pose"),
        ("0.npy", npy(np.zeros((5, 4, 4))), "not a matrix"),
        ("0.npz", npz(a=POSE, b=POSE), "several arrays"),
        ("0.json", b'{"a": 1}', "not a pose"),
        ("0.txt", b"\x93NUMPY", "NPY"),
        ("0.txt", b"\xff\xfe", "not a pose"),
    ],
)
def test_what_is_no_pose_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    scan(tmp_path, ["0"])
    write(tmp_path / name, data)
    with pytest.raises(DecodeError, match=message) as raised:
        read_first(tmp_path, pose={"file": name.replace("0", "{frame}")})
    assert name in str(raised.value.where)


def test_frames_that_have_no_number_are_not_counted(tmp_path: Path) -> None:
    scan(tmp_path, ["left"])
    write(tmp_path / "gt.txt", tum(["1"]))
    with pytest.raises(InputError, match="whole numbers"):
        keys(tmp_path, pose={"file": "gt.txt", "format": "tum", "match": "line"})
    with pytest.raises(InputError, match="no time"):
        keys(tmp_path, pose={"file": "gt.txt", "format": "tum"})


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        ({"file": "gt.txt"}, "list holds all frames"),
        ({"file": "{frame}.txt", "format": "tum"}, "list holds all frames"),
        ({"file": "images.txt", "format": "colmap", "offset": 1}, "names its images"),
        ({"file": "{frame}.txt", "T_hand_cam": [[1, 0, 0, 0]]}, "four rows"),
        ({"file": "{frame}.txt", "T_hand_cam": [[1, 0, 0]]}, "T_hand_cam"),
    ],
)
def test_what_is_not_said_clearly_is_refused(pose: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        make(Path("nowhere"), pose=pose, camera=CAMERA)
    assert message in str(raised.value)


@settings(max_examples=150, deadline=2000)
@given(
    st.one_of(
        st.binary(max_size=150),
        st.text(max_size=150).map(str.encode),
        st.text("0123456789.- \n[],#e", max_size=150).map(str.encode),
    )
)
def test_arbitrary_bytes_are_poses_or_decode_errors(data: bytes) -> None:
    for parse in (
        lambda: pose_matrix(read_numbers(data, None, where="x", what="a pose"), where="x"),
        lambda: read_rows(data, "a.0", where="x", what="a pose"),
        lambda: parse_trajectory_log(data.decode(errors="replace"), where="x"),
    ):
        try:
            parse()
        except DecodeError:
            continue
