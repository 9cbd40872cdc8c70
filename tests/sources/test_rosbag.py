"""Recordings of ROS written message by message: units, layouts of bytes, intrinsics, tf, pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from depthforge.errors import (
    InputError,
)
from depthforge.frame import RGB_FILE, Camera
from depthforge.samples.writing import rgb_jpeg
from depthforge.sources.rosbag import Rosbag
from depthforge.testing.sources import SourceTests
from tests.sources.bag_trees import COLOUR, DEPTH, FIRST_NS, OPTICAL, Recorder
from tests.sources.recordings import KINDS, MM, RGB, H, W, listing, make, read, write_whole
from tests.sources.test_compressed_depth import HEADER, rvl_message
from tests.sources.tree_files import png

CODED = ["ros1-lz4", "ros1-bz2", "mcap-storage", "sqlite3-message", "sqlite3-file"]


class TestRos1(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Rosbag:
        write_whole(tmp_path, "a", "ros1")
        return make(tmp_path, world_frame="map")


class TestRos2(SourceTests):
    @pytest.fixture(params=["mcap", "sqlite3"])
    def source(self, tmp_path: Path, request: pytest.FixtureRequest) -> Rosbag:
        write_whole(tmp_path, "a", request.param)
        write_whole(tmp_path / "more", "b", request.param, 2)
        return make(tmp_path, world_frame="map")


@pytest.mark.parametrize("kind", [*KINDS, *CODED])
def test_a_frame_is_metres_colour_and_pose(tmp_path: Path, kind: str) -> None:
    write_whole(tmp_path, "run", kind)
    source = make(tmp_path, world_frame="/map")
    keys, findings = listing(source)
    assert keys == [f"rosbag/run/{FIRST_NS + 33_000_000 * number:019d}" for number in range(3)]
    assert findings == []
    frame = read(source, 1)
    assert frame.camera == Camera(5.0, 5.5, 2.5, 1.5, W, H)
    assert source.size == (H, W)
    assert_array_equal(frame.depth_m[0, :3], np.array([0.001, 1.501, 0], np.float32))
    assert_array_equal(frame.depth_m[1:], ((MM[1:] + 1) / 1000).astype(np.float32))
    assert_array_equal(frame.rgb, RGB + 1)
    # The camera looks along the map's x, a metre above the base.
    assert frame.T_world_cam is not None
    assert_allclose(frame.T_world_cam, [[0, 0, 1, 0.1], [-1, 0, 0, 2], [0, -1, 0, 1], [0, 0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("pick", ["run.bag", "run", "run/run.mcap", "run/run.db3"])
def test_a_file_and_a_folder_alone_are_a_root(tmp_path: Path, pick: str) -> None:
    kind = "ros1" if pick.endswith(".bag") else "sqlite3" if pick.endswith(".db3") else "mcap"
    write_whole(tmp_path, "run", kind)
    keys, _ = listing(make(tmp_path / pick))
    assert [key.split("/")[1] for key in keys] == ["run"] * 3


def test_the_three_kinds_of_depth_say_the_same(tmp_path: Path) -> None:
    metres = np.where(MM > 0, MM / 1000, np.nan).astype(np.float32)
    metres[0, 2] = np.inf
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        bag.image("/camera/depth/mm", 0, MM, "16UC1")
        bag.image("/camera/depth/m", 0, metres, "32FC1")
        bag.image("/camera/depth/swapped", 0, MM, "16UC1", padding=6, big_endian=True)
        bag.image("/camera/depth/swapped_m", 0, metres, "32FC1", padding=4, big_endian=True)
        bag.compressed("/camera/depth/mm/compressedDepth", 0, bytes(12) + png(MM), "16UC1; compressedDepth")
        bag.compressed("/camera/depth/rvl/compressedDepth", 0, rvl_message(MM), "16UC1; compressedDepth rvl")
        bag.compressed("/camera/depth/png", 0, png(MM), "16UC1; png compressed ")
        codes = np.where(MM > 0, 4041, 0).astype(np.uint16)
        bag.compressed("/camera/depth/inverse", 0, HEADER + png(codes), "32FC1; compressedDepth png")
    topics = ["mm", "m", "swapped", "swapped_m", "mm/compressedDepth", "rvl/compressedDepth", "png"]
    frames = [read(make(tmp_path, depth_topic=f"/camera/depth/{name}")) for name in topics]
    assert frames[0].depth_m[0, 1] == np.float32(1.5)
    assert frames[0].depth_m[0, 2] == np.float32(65.535)
    expected = frames[0].depth_m.copy()
    for name, frame in zip(topics, frames, strict=True):
        expected[0, 2] = 0 if name.endswith("m") and name != "mm" else np.float32(65.535)
        assert_array_equal(frame.depth_m, expected, err_msg=name)
    inverse = read(make(tmp_path, depth_topic="/camera/depth/inverse")).depth_m
    assert_allclose(inverse[MM > 0], 2.0, rtol=1e-6)
    assert (inverse[MM == 0] == 0).all()
    assert read(make(tmp_path, depth_topic="/camera/depth/mm", depth_scale=5000)).depth_m[0, 1] == np.float32(0.3)
    far = read(make(tmp_path, depth_topic="/camera/depth/mm", max_depth_m=10))
    assert (far.depth_m[0, 2], far.valid[0, 2]) == (0, False)


def test_a_realsense_recording_says_its_unit(tmp_path: Path) -> None:
    sensor = "/device_0/sensor_0"
    topic = f"{sensor}/Depth_0/image/data"

    def write(name: str, units: float | None) -> Path:
        with Recorder(tmp_path, name) as bag:
            bag.info(f"{sensor}/Depth_0/info/camera_info")
            bag.info("/device_0/sensor_1/Color_0/info/camera_info", size=(8, 8))
            bag.image(topic, 0, MM, "mono16", frame_id="0")
            bag.image("/device_0/sensor_0/Infrared_1/image/data", 0, MM, "mono16", frame_id="0")
            bag.image("/device_0/sensor_1/Color_0/image/data", 0, np.zeros((8, 8, 3), np.uint8), "rgb8", frame_id="1")
            if units is not None:
                bag.number(f"{sensor}/option/Depth_Units/value", units)
        return tmp_path / f"{name}.bag"

    source = make(write("d405", 0.0001))
    frame = read(source)
    assert frame.depth_m[0, 1] == np.float32(0.15)
    assert frame.rgb is None
    assert [finding.message for finding in listing(source)[1]] == [
        "colour is left out: /device_0/sensor_1/Color_0/image/data is not registered to depth: it has 8 x 8, and depth "
        "6 x 4"
    ]
    assert read(make(write("d435", 0.001))).depth_m[0, 1] == np.float32(1.5)
    unknown = write("unknown", None)
    with pytest.raises(InputError, match="mono16 does not say its unit"):
        list(make(unknown).frames())
    assert read(make(unknown, depth_scale=1000)).depth_m[0, 1] == np.float32(1.5)


@pytest.mark.parametrize("kind", KINDS)
def test_rectified_topics_have_the_camera_of_p(tmp_path: Path, kind: str) -> None:
    with Recorder(tmp_path, "bag", kind) as bag:
        bag.info(D=(0.1, 0, 0, 0, 0))
        bag.image("/camera/depth/image_rect_raw", 0, MM, "16UC1")
        bag.image("/camera/depth/image_raw", 0, MM, "16UC1")
    rectified = make(tmp_path, depth_topic="/camera/depth/image_rect_raw")
    assert read(rectified).camera == Camera(6.0, 6.5, 2.0, 1.0, W, H)
    assert listing(rectified)[1] == []
    raw = make(tmp_path, depth_topic="/camera/depth/image_raw")
    assert read(raw).camera == Camera(5.0, 5.5, 2.5, 1.5, W, H)
    assert "D of /camera/depth/camera_info is not zero" in listing(raw)[1][0].message


def test_a_region_of_the_whole_image_and_binning_of_one_are_fine(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info(binning=1, roi=(0, 0, H, W))
        bag.image(DEPTH, 0, MM, "16UC1")
    assert read(make(tmp_path)).camera.fx == 5.0


def test_colour_is_that_of_the_nearest_stamp(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        for at_ms in (0, 33, 66, 200):
            bag.image(DEPTH, at_ms, MM, "16UC1")
        for at_ms, grey in ((15, 10), (40, 20), (60, 30)):
            bag.image(COLOUR, at_ms, np.full((H, W), grey, np.uint8), "mono8")
    source = make(tmp_path, rgb_topic=COLOUR)
    _, findings = listing(source)
    assert [finding.message for finding in findings] == ["1 of 4 frames have no colour image within 0.02 s"]
    found = [read(source, index).rgb for index in range(4)]
    assert [None if rgb is None else rgb[0, 0].tolist() for rgb in found] == [[10] * 3, [20] * 3, [30] * 3, None]
    # Each colour image has one frame, the nearest first: with any tolerance one of four stays alone.
    assert read(make(tmp_path, rgb_topic=COLOUR, tolerance_s=0.15), 3).rgb is None


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
def test_channels_are_put_in_order(tmp_path: Path, encoding: str) -> None:
    stored = RGB if encoding.startswith("rgb") else RGB[..., ::-1]
    if encoding.endswith("a8"):
        stored = np.concatenate([stored, np.full((H, W, 1), 255, np.uint8)], axis=2)
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        bag.image(DEPTH, 0, MM, "16UC1")
        bag.image(COLOUR, 0, stored, encoding, padding=2)
    assert_array_equal(read(make(tmp_path)).rgb, RGB, strict=True)


def test_jpeg_is_carried_and_png_is_decoded(tmp_path: Path) -> None:
    jpeg, large = rgb_jpeg(RGB), rgb_jpeg(np.repeat(np.repeat(RGB, 2, axis=0), 2, axis=1))
    for name, data, text in (("jpeg", jpeg, "jpeg"), ("png", png(RGB), "png"), ("large", large, "rgb8; jpeg")):
        with Recorder(tmp_path / name, "bag") as bag:
            bag.info()
            bag.image(DEPTH, 0, MM, "16UC1")
            bag.compressed(f"{COLOUR}/compressed", 0, data, text)
    carried = read(make(tmp_path / "jpeg"), wanted=frozenset({RGB_FILE}))
    assert (carried.rgb, carried.rgb_file) == (None, jpeg)
    decoded = read(make(tmp_path / "png"), wanted=frozenset({RGB_FILE}))
    assert decoded.rgb_file is None
    assert_array_equal(decoded.rgb, RGB)
    averaged = read(make(tmp_path / "large")).rgb
    assert averaged is not None
    assert averaged.shape == (H, W, 3)
    assert np.abs(averaged.astype(int) - RGB).max() < 40


def test_colour_of_another_camera_frame_is_left_out(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        bag.image(DEPTH, 0, MM, "16UC1")
        bag.image(COLOUR, 0, RGB, "rgb8", frame_id="color_optical")
    source = make(tmp_path)
    assert read(source).rgb is None
    assert "is seen from 'color_optical', depth from 'camera_optical'" in listing(source)[1][0].message
    assert_array_equal(read(make(tmp_path, registered=True)).rgb, RGB)


def test_tf_is_the_nearest_and_may_go_over_a_common_frame(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        bag.transform("/tf_static", 0, "/rig", "/camera_optical", (0, 0, 3))
        half = np.sqrt(0.5)
        for at_ms, x in ((0, 1.0), (30, 2.0), (200, 5.0)):
            # +90 degrees about z: x of the rig is y of odom.
            bag.transform("/tf", at_ms, "odom", "rig", (x, 0, 0), (0, 0, half, half))
        bag.transform("/tf_static", 0, "odom", "world", (0, 0, -1))
        for at_ms in (0, 16, 100):
            bag.image(DEPTH, at_ms, MM, "16UC1", frame_id="/camera_optical")
    source = make(tmp_path, world_frame="world")
    poses = [read(source, index).T_world_cam for index in range(3)]
    assert poses[2] is None
    assert poses[0] is not None
    assert poses[1] is not None
    assert_allclose(poses[0], [[0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 4], [0, 0, 0, 1]], atol=1e-12)
    assert poses[1][0, 3] == pytest.approx(2.0)
    findings = listing(source)[1]
    assert [finding.message for finding in findings] == [
        "1 of 3 frames tried have no pose of 'camera_optical' in 'world' within 0.02 s"
    ]
    with pytest.raises(InputError, match="no frame of tf") as caught:
        list(make(tmp_path, world_frame="mapp").frames())
    assert caught.value.found == "camera_optical, odom, rig, world"


def test_messages_without_a_stamp_have_that_of_the_log(tmp_path: Path) -> None:
    with Recorder(tmp_path, "bag") as bag:
        bag.info()
        for number in range(2):
            message = bag.type("sensor_msgs/msg/Image")(
                bag.header(-FIRST_NS / 1e6, OPTICAL), H, W, "16UC1", 0, 2 * W, np.frombuffer(MM.tobytes(), np.uint8)
            )
            bag.log(DEPTH, "sensor_msgs/msg/Image", message, 33 * number)
    assert listing(make(tmp_path))[0] == [f"rosbag/bag/{FIRST_NS + 7_000_000 + 33_000_000 * k}" for k in range(2)]
    assert read(make(tmp_path), 1).depth_m[0, 1] == np.float32(1.5)
