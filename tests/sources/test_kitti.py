"""KITTI against trees written by hand from the documented layouts: projection, units, axes, crops and errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError, InputError, ManifestError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.base import ImageSize
from depthforge.sources.kitti import Kitti, KittiConfig
from depthforge.sources.kitti.boxes import box_pose
from depthforge.sources.kitti.files import imu_pose, parse_labels, parse_oxts, parse_poses, parse_scan, project_scan
from depthforge.testing.sources import SourceTests
from depthforge.vocabularies import class_names

WIDTH, HEIGHT = 40, 24
CROP = ImageSize(width=32, height=16)
LEFT, TOP = 4, 8
FOCAL, CX, CY = 20.0, 19.5, 11.25
DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
RED = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
RED[..., 0] = 200
RED[TOP, LEFT] = 1, 2, 3

# Points in laser axes (forward, left, up): 10 m ahead of the camera and on its axis, one nearer behind the same pixel,
# one 2 m to the left, one behind, one beside the image.
SCAN = np.array(
    [
        [10.27, 0.0, -0.08, 0.5],
        [20.27, 0.0, -0.08, 0.5],
        [10.27, 2.0, -0.08, 0.1],
        [-10.0, 0.0, 0.0, 0.9],
        [1.0, 30.0, 0.0, 0.9],
        [5.27, 0.0, -1.58, 0.3],
    ],
    np.float32,
)
VELO_TO_CAM_R = "0 -1 0 0 0 -1 1 0 0"
# x_cam = R x_velo + T: the laser is 8 cm above and 27 cm behind camera 0.
VELO_TO_CAM_T = "0 -0.08 -0.27"
IMU_TO_VELO_R, IMU_TO_VELO_T = "1 0 0 0 1 0 0 0 1", "-0.8 0.3 -0.8"


def projection(right_m: float) -> str:
    """P of a camera that stands ``right_m`` to the right of camera 0."""
    return f"{FOCAL} 0 {CX} {-FOCAL * right_m} 0 {FOCAL} {CY} 0 0 0 1 0"


PROJECTIONS = {0: projection(0.0), 1: projection(0.54), 2: projection(-0.06), 3: projection(0.47)}
LABELS = (
    "Car 0.00 0 1.85 6.00 10.00 20.00 18.00 1.5 1.6 4.0 -2.0 1.7 10.0 0.0\n"
    "DontCare -1 -1 -10 5.0 9.0 7.0 12.0 -1 -1 -1 -1000 -1000 -1000 -10\n"
    "Pedestrian 0.00 0 -0.20 0.0 0.0 3.0 7.0 1.9 0.5 1.2 1.8 1.5 8.4 0.01\n"
)


def png(image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def oxts(latitude: float, longitude: float, altitude: float, yaw: float = 0.0) -> str:
    return " ".join(str(value) for value in [latitude, longitude, altitude, 0.0, 0.0, yaw, *[0.0] * 24])


def write_calibration(root: Path) -> None:
    cameras = "".join(
        f"S_0{k}: {WIDTH} {HEIGHT}\nS_rect_0{k}: {WIDTH} {HEIGHT}\nR_rect_0{k}: 1 0 0 0 1 0 0 0 1\nP_rect_0{k}: {P}\n"
        for k, P in PROJECTIONS.items()
    )
    write(root / DATE / "calib_cam_to_cam.txt", f"calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.95e-02\n{cameras}")
    write(root / DATE / "calib_velo_to_cam.txt", f"calib_time: x\nR: {VELO_TO_CAM_R}\nT: {VELO_TO_CAM_T}\n")
    write(root / DATE / "calib_imu_to_velo.txt", f"calib_time: x\nR: {IMU_TO_VELO_R}\nT: {IMU_TO_VELO_T}\n")


def write_raw(root: Path, *, frames: int = 2) -> Path:
    write_calibration(root)
    drive = root / DATE / DRIVE
    for k in range(frames):
        name = f"{k:010d}"
        write(drive / f"velodyne_points/data/{name}.bin", SCAN.tobytes())
        write(drive / f"image_02/data/{name}.png", png(RED))
        write(drive / f"image_03/data/{name}.png", png(np.ascontiguousarray(RED[..., ::-1])))
        # 0.0001 degrees of latitude are 11.13 m north.
        write(drive / f"oxts/data/{name}.txt", oxts(49.0 + 0.0001 * k, 8.0, 112.0 + k))
    write(drive / "velodyne_points/timestamps.txt", "2011-09-26 13:02:25.594360375\n" * frames)
    return drive


STORED = np.zeros((HEIGHT, WIDTH), np.uint16)
STORED[TOP, LEFT] = 2560
STORED[20, 30] = 321
STORED[0, 0] = 9999


def write_completion(root: Path, *, frames: int = 2, split: str = "train") -> Path:
    drive = root / split / DRIVE / "proj_depth"
    for k in range(5, 5 + frames):
        for kind in ("groundtruth", "velodyne_raw"):
            for camera in (2, 3):
                write(drive / f"{kind}/image_0{camera}/{k:010d}.png", png(STORED))
    return drive


def write_object(root: Path, *, frames: int = 2) -> Path:
    top = root / "training"
    lines = [f"P{k}: {P}" for k, P in PROJECTIONS.items()]
    R, T = VELO_TO_CAM_R.split(), VELO_TO_CAM_T.split()
    rows = " ".join(" ".join([*R[3 * i : 3 * i + 3], T[i]]) for i in range(3))
    lines += ["R0_rect: 1 0 0 0 1 0 0 0 1", f"Tr_velo_to_cam: {rows}", f"Tr_imu_to_velo: {rows}", ""]
    for k in range(frames):
        write(top / f"calib/{k:06d}.txt", "\n".join(lines))
        write(top / f"velodyne/{k:06d}.bin", SCAN.tobytes())
        write(top / f"image_2/{k:06d}.png", png(RED))
        write(top / f"label_2/{k:06d}.txt", LABELS)
    return top


def write_odometry(root: Path, *, frames: int = 2, scans: bool = True) -> Path:
    sequence = root / "sequences/00"
    R, T = VELO_TO_CAM_R.split(), VELO_TO_CAM_T.split()
    Tr = " ".join(" ".join([*R[3 * i : 3 * i + 3], T[i]]) for i in range(3))
    write(sequence / "calib.txt", "".join(f"P{k}: {P}\n" for k, P in PROJECTIONS.items()) + f"Tr: {Tr}\n")
    write(sequence / "times.txt", "".join(f"{0.1 * k:e}\n" for k in range(frames)))
    for k in range(frames):
        write(sequence / f"image_2/{k:06d}.png", png(RED))
        if scans:
            write(sequence / f"velodyne/{k:06d}.bin", SCAN.tobytes())
    write(root / "poses/00.txt", "".join(f"1 0 0 {0.5 * k} 0 1 0 0 0 0 1 {1.2 * k}\n" for k in range(frames)))
    return sequence


def source(root: Path, layout: str, **fields: object) -> Kitti:
    return Kitti(KittiConfig(root=root, layout=layout, **{"crop": CROP, **fields}))


def listed(root: Path, layout: str, **fields: object) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source(root, layout, **fields).frames(findings.append)], findings


def read(root: Path, layout: str, index: int = 0, **fields: object) -> Frame:
    reader = source(root, layout, **fields)
    return reader.read(list(reader.frames())[index], frozenset(reader.labels)).require_sound()


class TestRaw(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_raw(tmp_path)
        return source(tmp_path, "raw")


class TestDepthCompletion(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_raw(tmp_path / "raw", frames=7)
        write_completion(tmp_path)
        return source(tmp_path, "depth_completion", raw_root=tmp_path / "raw")


class TestObject(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_object(tmp_path)
        return source(tmp_path, "object")


class TestOdometry(SourceTests):
    num_frames = 2

    @pytest.fixture
    def source(self, tmp_path: Path) -> Kitti:
        write_odometry(tmp_path)
        return source(tmp_path, "odometry")


# --- values ----------------------------------------------------------------------------------------------------------

WRITERS = {"raw": write_raw, "object": write_object, "odometry": write_odometry}


@pytest.mark.parametrize("layout", WRITERS)
def test_the_scan_is_projected_into_the_crop(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    frame = read(tmp_path, layout)
    assert frame.depth_m.shape == (16, 32)
    assert (frame.camera.cx, frame.camera.cy) == (CX - LEFT, CY - TOP)
    # u = 20 (x + 0.06) / z + 19.5: the point on the axis of camera 0 is 6 cm right of camera 2.
    expected = {
        (round(CY) - TOP, round(20 * 0.06 / 10 + CX) - LEFT): 10.0,
        (round(CY) - TOP, round(20 * (-2.0 + 0.06) / 10 + CX) - LEFT): 10.0,
        (round(20 * 1.5 / 5 + CY) - TOP, round(20 * 0.06 / 5 + CX) - LEFT): 5.0,
    }
    found = {(v, u): float(frame.depth_m[v, u]) for v, u in np.argwhere(frame.valid).tolist()}
    assert found.keys() == expected.keys()
    for pixel, depth_m in expected.items():
        assert found[pixel] == pytest.approx(depth_m, abs=1e-5), "the nearer of two points in a pixel"


@pytest.mark.parametrize("layout", WRITERS)
def test_colour_is_rgb_and_cropped_at_the_bottom_centre(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    rgb = read(tmp_path, layout).rgb
    assert rgb is not None
    assert rgb[0, 0].tolist() == [1, 2, 3]
    assert rgb[5, 5].tolist() == [200, 0, 0]


def test_stereo_partner_of_raw(tmp_path: Path) -> None:
    write_raw(tmp_path)
    frame = read(tmp_path, "raw")
    assert float(frame.labels["baseline_m"]) == pytest.approx(0.53)
    assert frame.camera.baseline_m == pytest.approx(0.53)
    assert frame.labels["rgb_right"][5, 5].tolist() == [0, 0, 200]
    right = read(tmp_path, "raw", camera=3)
    assert right.key.endswith("-camera3")
    assert right.camera.baseline_m is None
    assert "rgb_right" not in source(tmp_path, "raw", camera=3).labels
    assert right.T_world_cam is not None
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(
        right.T_world_cam[:3, 3] - frame.T_world_cam[:3, 3], 0.53 * frame.T_world_cam[:3, 0], atol=1e-9
    )


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


@pytest.mark.parametrize(("split", "kind"), [("train", "groundtruth"), ("val", "velodyne_raw")])
def test_depth_completion_divides_by_256(tmp_path: Path, split: str, kind: str) -> None:
    write_raw(tmp_path / "raw", frames=6)
    write_completion(tmp_path, frames=1, split=split)
    frame = read(tmp_path, "depth_completion", raw_root=tmp_path / "raw", split=split, depth=kind)
    assert frame.key == f"kitti/{DRIVE}/0000000005-camera2"
    assert frame.depth_m[0, 0] == 10.0
    assert frame.depth_m[20 - TOP, 30 - LEFT] == np.float32(321 / 256)
    assert np.count_nonzero(frame.valid) == 2
    assert frame.rgb is not None
    assert frame.rgb[0, 0].tolist() == [1, 2, 3]
    assert frame.T_world_cam is not None
    assert (frame.camera.fx, frame.camera.cx) == (FOCAL, CX - LEFT)


def test_the_cropped_selection(tmp_path: Path) -> None:
    top = tmp_path / "val_selection_cropped"
    name = f"{DRIVE}_{{}}_0000000008_image_02"
    cropped = STORED[TOP:, LEFT : LEFT + 32]
    write(top / "groundtruth_depth" / (name.format("groundtruth_depth") + ".png"), png(cropped))
    write(top / "image" / (name.format("image") + ".png"), png(RED[TOP:, LEFT : LEFT + 32]))
    write(top / "intrinsics" / (name.format("image") + ".txt"), "20 0 15.5 0 20 3.5 0 0 1\n")
    fields = {"split": "val_selection_cropped", "depth": "groundtruth"}
    frame = read(tmp_path, "depth_completion", **fields)
    assert frame.key == f"kitti/{DRIVE}/0000000008-camera2"
    assert frame.depth_m[0, 0] == 10.0
    assert (frame.camera.fx, frame.camera.cx, frame.camera.cy) == (20, 15.5, 3.5)
    assert frame.rgb is not None
    (top / "intrinsics" / (name.format("image") + ".txt")).unlink()
    with pytest.raises(DecodeError, match="no intrinsics"):
        read(tmp_path, "depth_completion", **fields)


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


@given(
    points=st.lists(
        st.tuples(st.floats(0.5, 80, width=32), st.floats(-30, 30, width=32), st.floats(-3, 3, width=32)),
        min_size=1,
        max_size=40,
    )
)
@settings(deadline=None)
def test_a_projected_scan_keeps_the_nearest_point_of_each_pixel(points: list[tuple[float, float, float]]) -> None:
    camera = Camera(FOCAL, FOCAL, CX, CY, WIDTH, HEIGHT)
    T = np.eye(4)
    T[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    scan = np.array([(*point, 0.0) for point in points], np.float32)
    expected = np.full((HEIGHT, WIDTH), np.inf)
    for x, y, z, _ in scan.astype(np.float64):
        u, v = np.floor(FOCAL * -y / x + (CX + 0.5)), np.floor(FOCAL * -z / x + (CY + 0.5))
        if 0 <= u < WIDTH and 0 <= v < HEIGHT:
            expected[int(v), int(u)] = min(expected[int(v), int(u)], x)
    expected[np.isinf(expected)] = 0
    np.testing.assert_array_equal(project_scan(scan, T, camera), expected.astype(np.float32))


# --- which frames ----------------------------------------------------------------------------------------------------


def test_findings_of_a_raw_drive(tmp_path: Path) -> None:
    drive = write_raw(tmp_path, frames=4)
    (tmp_path / DATE / "2011_09_26_drive_0002_extract").mkdir()
    assert listed(tmp_path, "raw")[1][0].path == f"{DATE}/2011_09_26_drive_0002_extract"
    shutil.rmtree(tmp_path / DATE / "2011_09_26_drive_0002_extract")
    assert listed(tmp_path, "raw")[1] == []
    (drive / "velodyne_points/data/0000000002.bin").unlink()
    (drive / "image_02/data/0000000001.png").unlink()
    (drive / "oxts/data/0000000003.txt").unlink()
    keys, findings = listed(tmp_path, "raw")
    assert [key[-18:-8] for key in keys] == ["0000000000", "0000000001", "0000000003"]
    assert {(f.severity, f.message) for f in findings} == {
        ("error", "1 of 4 laser scans are missing"),
        ("warning", "1 of 3 frames have no image"),
        ("warning", "1 of 3 frames have no GPS/IMU packet"),
    }
    assert read(tmp_path, "raw", 1).rgb is None
    assert read(tmp_path, "raw", 2).T_world_cam is None


def test_a_gap_as_published_is_a_warning(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    write(drive / "velodyne_points/timestamps.txt", "t\n" * 2)
    for k in range(98):
        write(drive / f"velodyne_points/data/{100 + k:010d}.bin", b"")
    write(drive / "velodyne_points/timestamps.txt", "t\n" * 102)
    assert ("warning", "2 of 102 laser scans are missing") in {
        (f.severity, f.message) for f in listed(tmp_path, "raw")[1]
    }


def test_include_and_exclude(tmp_path: Path) -> None:
    write_raw(tmp_path)
    assert len(listed(tmp_path, "raw", include=("*_0001_*",))[0]) == 2
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, "raw", exclude=("*_0001_*",))
    assert caught.value.found == "2 frames, none let through by include and exclude"


def test_odometry_without_scans_has_no_depth_and_says_so(tmp_path: Path) -> None:
    write_odometry(tmp_path, scans=False)
    keys, findings = listed(tmp_path, "odometry")
    assert len(keys) == 2
    assert [f.message for f in findings] == ["no laser scans: frames have no depth"]
    frame = read(tmp_path, "odometry")
    assert not frame.valid.any()
    assert frame.rgb is not None


def test_half_extracted_benchmarks(tmp_path: Path) -> None:
    write_odometry(tmp_path / "odometry", frames=3)
    (tmp_path / "odometry/sequences/00/velodyne/000001.bin").unlink()
    write(tmp_path / "odometry/poses/00.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n")
    assert {f.message for f in listed(tmp_path / "odometry", "odometry")[1]} == {
        "1 of 3 laser scans are missing",
        "2 of 3 frames have no pose",
    }
    write_object(tmp_path / "object", frames=3)
    (tmp_path / "object/training/calib/000001.txt").unlink()
    (tmp_path / "object/training/velodyne/000002.bin").unlink()
    keys, findings = listed(tmp_path / "object", "object")
    assert keys == ["kitti/object-training/000000-camera2"]
    assert {(f.severity, f.message) for f in findings} == {
        ("error", "1 of 2 frames have no calibration"),
        ("error", "1 of 3 laser scans are missing"),
    }
    write_raw(tmp_path / "raw")
    drive = write_completion(tmp_path / "completion", frames=2)
    (drive / "velodyne_raw/image_02/0000000006.png").unlink()
    _, findings = listed(tmp_path / "completion", "depth_completion", raw_root=tmp_path / "raw")
    assert ("error", "1 of 2 depth images are missing") in {(f.severity, f.message) for f in findings}


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["raw", "depth_completion", "object", "odometry"])
def test_nothing_there(tmp_path: Path, layout: str) -> None:
    with pytest.raises(MissingDataError, match=f"in the layout {layout}") as caught:
        listed(tmp_path / "nowhere", layout)
    assert "depthforge sample --layout kitti" in str(caught.value)
    (tmp_path / "Scene01").mkdir()
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, layout)
    assert caught.value.found == "Scene01"
    (tmp_path / "2011_09_26_drive_0001_sync.zip").write_bytes(b"")
    with pytest.raises(MissingDataError) as caught:
        listed(tmp_path, layout)
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("unpack the .zip archives here")


@pytest.mark.parametrize("layout", WRITERS)
def test_the_layout_is_found_by_its_folders(tmp_path: Path, layout: str) -> None:
    WRITERS[layout](tmp_path)
    found = read(tmp_path, "auto")
    expected = read(tmp_path, layout)
    assert found.key == expected.key
    np.testing.assert_array_equal(found.depth_m, expected.depth_m)
    assert found.labels.keys() == expected.labels.keys()


def test_a_layout_that_cannot_be_found_or_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no KITTI data") as caught:
        listed(tmp_path / "nowhere", "auto")
    assert caught.value.found == "no such folder"
    write_odometry(tmp_path / "odometry")
    with pytest.raises(MissingDataError, match="no KITTI data") as caught:
        listed(tmp_path, "auto")
    assert caught.value.remedy == f"root: {tmp_path / 'odometry'}"
    with pytest.raises(InputError, match="odometry has no splits"):
        listed(tmp_path / "odometry", "auto", split="val")
    write_completion(tmp_path / "completion")
    write_raw(tmp_path / "raw")
    assert len(listed(tmp_path / "completion", "auto", raw_root=tmp_path / "raw")[0]) == 2


def test_one_day_is_not_the_root(tmp_path: Path) -> None:
    write_raw(tmp_path)
    with pytest.raises(MissingDataError, match="one day") as caught:
        listed(tmp_path / DATE, "raw")
    assert caught.value.remedy == f"root: {tmp_path}"


def test_depth_completion_needs_the_calibration_of_raw(tmp_path: Path) -> None:
    write_completion(tmp_path)
    findings: list[Finding] = []
    with pytest.raises(MissingDataError):
        list(source(tmp_path, "depth_completion").frames(findings.append))
    assert findings[0].message == f"{DRIVE} skipped: no calibration for this day of recordings"
    assert findings[0].remedy is not None
    assert "raw_root" in findings[0].remedy


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (STORED // 256, "saved with 8 bits"),
        (np.full((HEIGHT, WIDTH), 40, np.uint8), "precision of a measurement"),
        (np.where(STORED > 0, 60_000, 0).astype(np.uint16), "wrong unit"),
    ],
    ids=["devkit rule", "8-bit", "millimetres"],
)
def test_depth_images_that_are_not_kittis(tmp_path: Path, image: np.ndarray, message: str) -> None:
    write_raw(tmp_path / "raw")
    drive = write_completion(tmp_path)
    path = drive / "velodyne_raw/image_02/0000000005.png"
    path.write_bytes(png(image))
    with pytest.raises(DecodeError, match=message) as caught:
        read(tmp_path, "depth_completion", raw_root=tmp_path / "raw")
    assert str(path) in str(caught.value)
    assert read(tmp_path, "depth_completion", 1, raw_root=tmp_path / "raw").valid.any()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SCAN.tobytes()[:-4], "not whole"),
        (b"", "is empty"),
        ((SCAN * 1000).tobytes(), "wrong unit"),
        (np.where(np.arange(24).reshape(6, 4) == 5, np.nan, SCAN).astype(np.float32).tobytes(), "not finite"),
    ],
)
def test_scans_that_are_damaged(tmp_path: Path, data: bytes, message: str) -> None:
    path = write_raw(tmp_path) / "velodyne_points/data/0000000000.bin"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=message) as caught:
        read(tmp_path, "raw")
    assert str(path) in str(caught.value)
    assert read(tmp_path, "raw", 1).valid.any()


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


def test_damaged_packets_poses_and_labels() -> None:
    with pytest.raises(DecodeError, match="GPS/IMU") as caught:
        parse_oxts("49.0 8.4 x", where="oxts/0.txt")
    assert caught.value.where == "oxts/0.txt"
    for text in ("1 0 0 0 0 1 0 0 0 0 1\n", "1 0 0 0 0 1 0 0 0 0 a 0\n", "2 0 0 0 0 1 0 0 0 0 1 0\n"):
        with pytest.raises(DecodeError, match="not a file of poses"):
            parse_poses(text, where="poses/00.txt")
    for line in ("Car 0 0", LABELS.replace("Car", "Boat"), LABELS.replace("1.85", "x")):
        with pytest.raises(DecodeError, match="not a label") as caught:
            parse_labels(line, where="label_2/0.txt")
        assert caught.value.where == "label_2/0.txt:1"
    with pytest.raises(DecodeError):
        parse_scan(b"1", where="x.bin")


def test_an_image_smaller_than_the_crop(tmp_path: Path) -> None:
    write_raw(tmp_path)
    with pytest.raises(FrameError, match="smaller than the crop") as caught:
        read(tmp_path, "raw", crop=ImageSize(width=1216, height=352))
    assert caught.value.remedy == f"crop: {{width: {WIDTH}, height: {HEIGHT}}} in the source block"


def test_an_image_of_another_size_than_the_calibration_says(tmp_path: Path) -> None:
    drive = write_raw(tmp_path)
    write(drive / "image_02/data/0000000000.png", png(RED[:-1]))
    with pytest.raises(DecodeError, match="wrong size"):
        read(tmp_path, "raw")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": "raw", "split": "val"}, "raw has no splits"),
        ({"layout": "object", "split": "val"}, "split is one of training, testing"),
        ({"layout": "object", "camera": 0}, "camera is 2 or 3"),
    ],
)
def test_a_block_that_contradicts_itself(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        PluginBlock.parse(sources, {"name": "kitti", "root": "x", **fields})


def test_roots_are_of_this_machine_only(tmp_path: Path) -> None:
    block = {"name": "kitti", "layout": "depth_completion", "root": str(tmp_path), "raw_root": str(tmp_path)}
    assert not {"root", "raw_root"} & PluginBlock.parse(sources, block).portable().keys()
