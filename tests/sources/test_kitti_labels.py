"""KITTI's poses, boxes and calibrations: axes, values, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Finding
from depthforge.labels.vocabularies import class_names
from depthforge.sources.kitti.boxes import box_pose
from depthforge.sources.kitti.files import imu_pose, parse_labels, parse_oxts, parse_poses, parse_scan
from tests.sources.kitti_trees import (
    DATE,
    LABELS,
    LEFT,
    PROJECTIONS,
    TOP,
    VELO_TO_CAM_R,
    oxts,
    read,
    source,
    write_object,
    write_odometry,
    write_raw,
)
from tests.sources.tree_files import write

# --- values ----------------------------------------------------------------------------------------------------------


def test_raw_poses_come_from_gps_and_imu(tmp_path: Path) -> None:
    write_raw(tmp_path)
    first, second = (read(tmp_path, "raw", index).T_world_cam for index in (0, 1))
    assert first is not None
    assert second is not None
    # Yaw 0 is east: the camera looks along the world's x, and down is -z.
    np.testing.assert_allclose(first[:3, 2], [1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(first[:3, 1], [0, 0, -1], atol=1e-9)
    north_m = np.deg2rad(0.0001) * 6378137
    np.testing.assert_allclose(second[:3, 3] - first[:3, 3], [0, north_m, 1.0], atol=1e-3)
    # imu -> velo -> cam 0 -> cam 2: the laser is 0.8 m behind and below the IMU's axes as written above.
    np.testing.assert_allclose(first[:3, 3], [0.8 + 0.27, -0.3 + 0.06, 0.8 - 0.08], atol=1e-9)


def test_yaw_turns_to_the_left() -> None:
    origin = parse_oxts(oxts(49, 8, 100), where="here")
    pose = imu_pose(parse_oxts(oxts(49, 8, 100, yaw=np.pi / 2), where="here"), origin)
    np.testing.assert_allclose(pose[:3, 0], [0, 1, 0], atol=1e-12)


def test_odometry_poses_are_of_camera_0(tmp_path: Path) -> None:
    write_odometry(tmp_path)
    pose = read(tmp_path, "odometry", 1).T_world_cam
    assert pose is not None
    np.testing.assert_allclose(pose[:3, 3], [0.5 - 0.06, 0, 1.2])
    grey = source(tmp_path, "odometry", camera=0)
    ref = list(grey.frames())[1]
    assert ref.key == "kitti/sequence-00/000001-camera0"
    with pytest.raises(DecodeError, match="size of the image is unknown"):
        grey.read(ref, frozenset())


def test_boxes_of_the_object_benchmark(tmp_path: Path) -> None:
    write_object(tmp_path)
    labels = read(tmp_path, "object").labels
    names = class_names("kitti_object")
    assert [names[number] for number in labels["box_class"]] == ["Car", "unlabelled", "Pedestrian"]
    assert labels["box_2d"][0].tolist() == [6 - LEFT, 10 - TOP, 20 - LEFT, 18 - TOP]
    assert labels["box_2d"][1].tolist() == [5 - LEFT, 9 - TOP, 7 - LEFT, 12 - TOP]
    assert np.isnan(labels["box_2d"][2]).all(), "above the crop"
    np.testing.assert_allclose(labels["box_size"][0], [4.0, 1.5, 1.6])
    # From camera 0 to camera 2, and from the underside to the centre.
    np.testing.assert_allclose(labels["box_pose"][0, :3, 3], [-2.0 + 0.06, 1.7 - 0.75, 10.0])
    assert np.isnan(labels["box_pose"][1]).all()
    assert np.isnan(labels["box_size"][1]).all()


def test_a_box_that_leaves_the_crop_is_cut(tmp_path: Path) -> None:
    write_object(tmp_path)
    line = "Van 0.00 0 0 0.0 0.0 39.0 23.0 1.5 1.6 4.0 -2.0 1.7 10.0 0.0\n"
    write(tmp_path / "training/label_2/000000.txt", line)
    assert read(tmp_path, "object").labels["box_2d"].tolist() == [[0, 0, 31, 15]]


def test_without_a_label_file_there_are_no_boxes(tmp_path: Path) -> None:
    write_object(tmp_path)
    (tmp_path / "training/label_2/000000.txt").unlink()
    assert "box_2d" not in read(tmp_path, "object").labels
    write(tmp_path / "training/label_2/000001.txt", "")
    assert read(tmp_path, "object", 1).labels["box_2d"].shape == (0, 4), "a file without lines says there are none"


@given(
    angle=st.floats(-np.pi, np.pi),
    size=st.tuples(*[st.floats(0.5, 8)] * 3),
    place=st.tuples(st.floats(-20, 20), st.floats(-2, 2), st.floats(2, 60)),
)
@settings(deadline=None)
def test_box_corners_are_the_development_kits(
    angle: float, size: tuple[float, float, float], place: tuple[float, float, float]
) -> None:
    """computeBox3D.m: corners about the middle of the underside, turned about y, then moved."""
    length, height, width = size
    x = length / 2 * np.array([1, 1, -1, -1, 1, 1, -1, -1])
    y = height * np.array([0, 0, 0, 0, -1, -1, -1, -1])
    z = width / 2 * np.array([1, -1, -1, 1, 1, -1, -1, 1])
    c, s = np.cos(angle), np.sin(angle)
    kit = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.stack([x, y, z]) + np.array(place)[:, None]
    T = box_pose(place, height, angle)
    ours = T[:3, :3] @ np.stack([x, y + height / 2, z]) + T[:3, 3:]
    np.testing.assert_allclose(ours, kit, atol=1e-9)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("calib_cam_to_cam.txt", "S_02: 1 2\n", "no R_rect_00"),
        ("calib_cam_to_cam.txt", f"R_rect_00: 2 0 0 0 1 0 0 0 1\nP_rect_02: {PROJECTIONS[2]}\n", "is none"),
        ("calib_cam_to_cam.txt", "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 1 2 3\n", "not whole"),
        ("calib_velo_to_cam.txt", f"R: {VELO_TO_CAM_R}\n", "no T"),
        ("calib_velo_to_cam.txt", f"R: {VELO_TO_CAM_R}\nT: nan 0 0\n", "not finite"),
    ],
)
def test_damaged_calibrations(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_raw(tmp_path)
    reader = source(tmp_path, "raw")
    ref = next(iter(reader.frames()))
    write(tmp_path / DATE / name, text)
    reader.close()
    with pytest.raises(DecodeError, match=message):
        reader.read(ref, frozenset())
    findings: list[Finding] = []
    with pytest.raises(MissingDataError):
        list(reader.frames(findings.append))
    assert message in findings[0].message


def test_classes_are_read_in_any_case_and_unknown_ones_cost_no_frame() -> None:
    known = parse_labels(LABELS, where="label_2/0.txt")
    lower = parse_labels(LABELS.replace("Car ", "car "), where="label_2/0.txt")
    np.testing.assert_array_equal(lower.classes, known.classes)
    assert lower.dropped == known.dropped == {}
    other = parse_labels(LABELS.replace("Car ", "Boat "), where="label_2/0.txt")
    assert other.classes[0] == 0
    np.testing.assert_array_equal(other.pose, known.pose)
    assert list(other.dropped) == ["classes of boxes: 'Boat' is none of the object benchmark, and stored as 0"]


def test_damaged_packets_poses_and_labels() -> None:
    with pytest.raises(DecodeError, match="GPS/IMU") as caught:
        parse_oxts("49.0 8.4 x", where="oxts/0.txt")
    assert caught.value.where == "oxts/0.txt"
    for text in ("1 0 0 0 0 1 0 0 0 0 1\n", "1 0 0 0 0 1 0 0 0 0 a 0\n", "2 0 0 0 0 1 0 0 0 0 1 0\n"):
        with pytest.raises(DecodeError, match="not a file of poses"):
            parse_poses(text, where="poses/00.txt")
    for line in ("Car 0 0", LABELS.replace("1.85", "x")):
        with pytest.raises(DecodeError, match="not a label") as caught:
            parse_labels(line, where="label_2/0.txt")
        assert caught.value.where == "label_2/0.txt:1"
    with pytest.raises(DecodeError):
        parse_scan(b"1", where="x.bin")
