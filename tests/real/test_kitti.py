"""Real frames of KITTI, in trees of links as they are published; what is expected is computed here from the files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.frame import Frame
from depthforge.labels.vocabularies import class_names
from depthforge.sources.base import ImageSize
from depthforge.sources.check import check_source
from depthforge.sources.kitti import Kitti, KittiConfig

SIZES = [(1224, 370), (1242, 375), (1242, 375)]


@pytest.fixture
def objects(shared_data: Path, tmp_path: Path) -> Path:
    (tmp_path / "training").symlink_to(shared_data / "outdoor/kitti_object", target_is_directory=True)
    return tmp_path


@pytest.fixture
def odometry(shared_data: Path, tmp_path: Path) -> Path:
    """The 51 grey images as sequence 09's tree has them, with the keys that this copy's calibration lacks."""
    data = shared_data / "outdoor/kitti_odometry"
    sequence = tmp_path / "sequences/00"
    sequence.mkdir(parents=True)
    (tmp_path / "poses").mkdir()
    (sequence / "image_0").symlink_to(data / "image_l", target_is_directory=True)
    rows = (data / "calib.txt").read_text().splitlines()
    (sequence / "calib.txt").write_text("".join(f"P{k}: {row}\n" for k, row in enumerate(rows)))
    (tmp_path / "poses/00.txt").symlink_to(data / "poses.txt")
    return tmp_path


def read(root: Path, layout: str, index: int, **fields: object) -> Frame:
    source = Kitti(KittiConfig(root=root, layout=layout, **fields))
    return source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()


def depth_by_hand(folder: Path, index: int) -> np.ndarray:
    """z of the nearest point in each pixel of the whole image: P2 R0 Tr x, point by point."""
    keys = {}
    for line in (folder / f"calib/{index:06d}.txt").read_text().splitlines():
        if line:
            key, numbers = line.split(": ")
            keys[key] = np.array([float(word) for word in numbers.split()])
    R0, Tr = np.eye(4), np.eye(4)
    R0[:3, :3], Tr[:3] = keys["R0_rect"].reshape(3, 3), keys["Tr_velo_to_cam"].reshape(3, 4)
    M = keys["P2"].reshape(3, 4) @ R0 @ Tr
    width, height = SIZES[index]
    depth_m = np.full((height, width), np.inf)
    scan = np.fromfile(folder / f"velodyne/{index:06d}.bin", np.float32).reshape(-1, 4).astype(np.float64)
    for x, y, z, _ in scan[scan[:, 0] > 1]:
        a, b, c = M @ [x, y, z, 1.0]
        u, v = round(a / c), round(b / c)
        if 0 <= u < width and 0 <= v < height:
            # P2 moves points by 3 mm along z, too.
            depth_m[v, u] = min(depth_m[v, u], c)
    depth_m[np.isinf(depth_m)] = 0
    return depth_m


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_projected_scan(shared_data: Path, objects: Path, index: int) -> None:
    width, height = SIZES[index]
    frame = read(objects, "object", index, crop=ImageSize(width=width, height=height))
    expected = depth_by_hand(shared_data / "outdoor/kitti_object", index)
    # Rounding may put a point that falls between two pixels into either.
    differ = np.abs(frame.depth_m - expected) > 1e-3
    assert np.count_nonzero(differ) <= 6
    assert 0.0395 <= frame.valid.mean() <= 0.0455
    cropped = read(objects, "object", index)
    left, top = (width - 1216) // 2, height - 352
    np.testing.assert_array_equal(cropped.depth_m, frame.depth_m[top:, left : left + 1216])
    assert cropped.camera.cx == frame.camera.cx - left
    assert cropped.camera.cy == frame.camera.cy - top
    assert cropped.rgb is not None
    image = cv2.imread(str(shared_data / f"outdoor/kitti_object/image_2/{index:06d}.png"))[..., ::-1]
    np.testing.assert_array_equal(cropped.rgb, image[top:, left : left + 1216])


def test_intrinsics_and_stereo_of_frame_0(objects: Path) -> None:
    frame = read(objects, "object", 0, crop=ImageSize(width=1224, height=370))
    camera = frame.camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (707.0493, 707.0493, 604.0814, 180.5066)
    # P2[0, 3] = 45.75831 and P3[0, 3] = -334.1081; the cameras differ by 2 mm along z, which moves cx by 1 px m.
    assert float(frame.labels["baseline_m"]) == pytest.approx((45.75831 + 334.1081) / 707.0493, abs=2e-3)


def test_3d_boxes_project_onto_2d_boxes(objects: Path) -> None:
    names = class_names("kitti_object")
    seen = []
    for index, (width, height) in enumerate(SIZES):
        frame = read(objects, "object", index, crop=ImageSize(width=width, height=height))
        labels = frame.labels
        for number, edges, pose, size in zip(
            labels["box_class"], labels["box_2d"], labels["box_pose"], labels["box_size"], strict=True
        ):
            if number == 0:
                assert np.isnan(pose).all()
                continue
            seen.append(names[number])
            corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2 * size
            points = corners @ pose[:3, :3].T + pose[:3, 3]
            u = frame.camera.fx * points[:, 0] / points[:, 2] + frame.camera.cx
            v = frame.camera.fy * points[:, 1] / points[:, 2] + frame.camera.cy
            drawn = np.array([u.min(), v.min(), u.max(), v.max()])
            assert _overlap(drawn, edges) > 0.75, names[number]
            # The laser sees the object where its box is.
            left, top, right, bottom = edges.astype(int)
            inside = frame.depth_m[top : bottom + 1, left : right + 1]
            assert np.abs(inside[inside > 0] - pose[2, 3]).min() < size.max() / 2
    assert seen == ["Pedestrian", "Truck", "Car", "Cyclist", "Misc", "Car"]


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_odometry_poses_and_images(odometry: Path) -> None:
    source = Kitti(KittiConfig(root=odometry, layout="odometry", camera=0))
    report = check_source(source, max_frames=3)
    assert report.num_frames == 51
    assert [issue.message for issue in report.issues if issue.severity == "error"] == ["no pixel has depth"], (
        "this copy has images and poses only"
    )
    frame = read(odometry, "odometry", 1, camera=0)
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam[:3, 3], [-0.01401751, -0.02820321, 1.198998])
    assert frame.camera.fx == 707.0912
    assert frame.camera.cx == 601.8873 - (1226 - 1216) // 2
    assert frame.rgb is not None
    assert (frame.rgb == frame.rgb[..., :1]).all(), "a grey camera"
    # 1 m a frame along the optical axis, not against it.
    last = read(odometry, "odometry", 50, camera=0).T_world_cam
    assert last is not None
    assert last[2, 3] > 40
