"""KITTI's depth and colour: scans projected into crops, depth completion, units, damaged images and scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, FrameError
from depthforge.frame import Camera
from depthforge.sources.base import ImageSize
from depthforge.sources.kitti.files import project_scan
from tests.sources.kitti_trees import (
    CX,
    CY,
    DRIVE,
    FOCAL,
    HEIGHT,
    LEFT,
    RED,
    SCAN,
    STORED,
    TOP,
    WIDTH,
    WRITERS,
    read,
    source,
    write_completion,
    write_raw,
)
from tests.sources.tree_files import png, write

# --- values ----------------------------------------------------------------------------------------------------------


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


# --- bad input -------------------------------------------------------------------------------------------------------


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
    ],
)
def test_scans_that_are_damaged(tmp_path: Path, data: bytes, message: str) -> None:
    path = write_raw(tmp_path) / "velodyne_points/data/0000000000.bin"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match=message) as caught:
        read(tmp_path, "raw")
    assert str(path) in str(caught.value)
    assert read(tmp_path, "raw", 1).valid.any()


def test_a_point_that_is_none_costs_that_point(tmp_path: Path) -> None:
    """NaN where a beam has no return, as other lasers write it, and one return beyond the reach of this one."""
    path = write_raw(tmp_path) / "velodyne_points/data/0000000000.bin"
    whole = read(tmp_path, "raw")
    strays = np.array([[np.nan, np.nan, np.nan, 0.0], [400.0, 30.0, 1.0, 0.1], [5.0, np.inf, 0.0, 0.0]], np.float32)
    path.write_bytes(path.read_bytes() + strays.tobytes())
    found = read(tmp_path, "raw")
    np.testing.assert_array_equal(found.depth_m, whole.depth_m)
    assert found.dropped == {
        "points of the laser that are not finite": 2,
        "points of the laser beyond 250 m": 1,
    }
    assert whole.dropped == {}


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
