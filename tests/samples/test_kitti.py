"""The layouts of KITTI against the street that they were made from, and there and back through the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Finding, Frame
from depthforge.geometry import invert_pose
from depthforge.labels.resize import resize_camera
from depthforge.registry import layouts
from depthforge.samples.kitti import KittiLayout
from depthforge.samples.kitti_rig import DAYS, RIGHT_M
from depthforge.scenes.raycast import cast
from depthforge.scenes.street import Street, build_street
from depthforge.seeding import frame_generator
from depthforge.sources.base import ImageSize
from depthforge.sources.kitti import Kitti, KittiConfig

SEED = 3
NUM_FRAMES = 11
DRIVES = ["2011_09_26_drive_0001_sync", "2011_09_28_drive_0002_sync"]
CROP = ImageSize(width=120, height=36)
SMALL = {
    date: resize_camera(camera, round(camera.width / 10), round(camera.height / 10)) for date, camera in DAYS.items()
}


class SmallLayout(KittiLayout):
    """The same drives in images a tenth as wide."""

    days = SMALL


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    assert SmallLayout().write(root, num_scenes=1, frames_per_scene=NUM_FRAMES, seed=SEED) == NUM_FRAMES
    return root


@pytest.fixture(scope="module")
def street() -> Street:
    return build_street(frame_generator(SEED, "kitti/000000", "street"), NUM_FRAMES)


def frames(root: Path, layout: str, **fields: object) -> list[Frame]:
    source = Kitti(KittiConfig(root=root, layout=layout, crop=CROP, **fields))
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    assert findings == []
    return [source.read(ref, frozenset(source.labels)).require_sound() for ref in refs]


def true_depth_m(street: Street, frame: int, camera: int) -> np.ndarray:
    """What a camera sees of the street, cut as the reader cuts."""
    whole = SMALL["2011_09_26"]
    left, top = (whole.width - CROP.width) // 2, whole.height - CROP.height
    hits = cast(street.world(frame).scene, street.camera_pose(frame, right_m=RIGHT_M[camera]), whole)
    return hits.depth_m[top:, left : left + CROP.width]


def test_days_have_the_documented_sizes_and_intrinsics() -> None:
    assert {(camera.width, camera.height) for camera in DAYS.values()} >= {
        (1242, 375),
        (1224, 370),
        (1226, 370),
        (1241, 376),
    }
    # As the real files have them: object frame 000000, and odometry.
    assert (DAYS["2011_09_28"].fx, DAYS["2011_09_28"].cx, DAYS["2011_09_28"].cy) == (707.0493, 604.0814, 180.5066)
    assert (DAYS["2011_09_30"].fx, DAYS["2011_09_30"].cx) == (707.0912, 601.8873)


def test_raw_scans_fall_where_the_camera_sees(root: Path, street: Street) -> None:
    found = frames(root / "raw", "raw")
    assert [frame.key for frame in found] == [f"kitti/{DRIVES[0]}/{k:010d}-camera2" for k in range(NUM_FRAMES)]
    for number, frame in list(enumerate(found))[::5]:
        seen_m = true_depth_m(street, number, 2)
        # An image a tenth as wide has a hundredth of the pixels for the same scan.
        assert frame.valid.mean() > 0.5
        error = np.abs(frame.depth_m - seen_m)[frame.valid] / frame.depth_m[frame.valid]
        # The laser stands elsewhere: edges, and roads half a pixel away, differ.
        assert np.median(error) < 0.03
        assert float(frame.labels["baseline_m"]) == pytest.approx(0.533, abs=1e-6)
        assert frame.rgb is not None
        assert frame.labels["rgb_right"].shape == frame.rgb.shape


@pytest.mark.parametrize(("layout", "camera"), [("raw", 2), ("odometry", 0)])
def test_poses_are_those_of_the_drive(root: Path, street: Street, layout: str, camera: int) -> None:
    found = [frame.T_world_cam for frame in frames(root / layout, layout, camera=camera)]
    truth = [street.camera_pose(frame, right_m=RIGHT_M[camera]) for frame in range(NUM_FRAMES)]
    for pose, expected in zip(found[1:], truth[1:], strict=True):
        assert found[0] is not None
        assert pose is not None
        np.testing.assert_allclose(invert_pose(found[0]) @ pose, invert_pose(truth[0]) @ expected, atol=1e-4)


def test_grey_images_of_odometry_are_grey(root: Path) -> None:
    frame = frames(root / "odometry", "odometry", camera=0)[0]
    assert frame.rgb is not None
    assert (frame.rgb == frame.rgb[..., :1]).all()
    assert frame.valid.any()
    assert float(frame.labels["baseline_m"]) == pytest.approx(0.537, abs=1e-6)


def test_depth_completion_has_all_but_the_first_and_last_five(root: Path, street: Street) -> None:
    raw = frames(root / "raw", "raw")[5]
    fields = {"raw_root": root / "raw", "split": "train"}
    (one,) = frames(root / "depth_completion", "depth_completion", depth="velodyne_raw", **fields)
    (merged,) = frames(root / "depth_completion", "depth_completion", depth="groundtruth", **fields)
    assert one.key == raw.key == f"kitti/{DRIVES[0]}/0000000005-camera2"
    np.testing.assert_array_equal(one.valid, raw.valid)
    assert np.abs(one.depth_m - raw.depth_m).max() <= 0.5 / 256 + 1e-6
    np.testing.assert_array_equal(one.rgb, raw.rgb)
    np.testing.assert_allclose(one.T_world_cam, raw.T_world_cam)
    seen_m = true_depth_m(street, 5, 2)
    error = np.abs(merged.depth_m - seen_m)[merged.valid] / seen_m[merged.valid]
    assert error.max() <= 0.051, "what disagrees with the camera was taken out"
    assert merged.valid.mean() > 0.5


def test_boxes_hold_the_points_of_their_vehicles(root: Path, street: Street) -> None:
    found = frames(root / "object", "object")
    assert [frame.key for frame in found] == [f"kitti/object-training/{k:06d}-camera2" for k in range(3)]
    boxes = 0
    for number, frame in zip((0, 5, 10), found, strict=True):
        labels = frame.labels
        for kind, pose, size in zip(labels["box_class"], labels["box_pose"], labels["box_size"], strict=True):
            if kind == 0:
                continue
            boxes += 1
            # Labels have two digits.
            centre = street.camera_pose(number, right_m=RIGHT_M[2]) @ pose[:, 3]
            near = [
                np.linalg.norm((street.vehicle_pose(v, number)[:3, 3] + [0, 0, v.model.size[2] / 2]) - centre[:3])
                for v in street.vehicles
            ]
            vehicle = street.vehicles[int(np.argmin(near))]
            assert min(near) < 0.03
            np.testing.assert_allclose(size, np.array(vehicle.model.size)[[0, 2, 1]], atol=0.0051)
            forward = street.camera_pose(number)[:3, :3].T @ street.vehicle_pose(vehicle, number)[:3, 0]
            np.testing.assert_allclose(pose[:3, 0], forward, atol=0.02)
    assert boxes >= 3


def test_drives_are_of_different_days_and_short_ones_have_no_completion(tmp_path: Path) -> None:
    assert SmallLayout().write(tmp_path, num_scenes=2, frames_per_scene=1, seed=SEED) == 2
    assert sorted(path.name for path in (tmp_path / "raw").glob("*/*_sync")) == DRIVES
    assert not (tmp_path / "depth_completion").exists()
    sizes = {frame.camera.cx for frame in frames(tmp_path / "raw", "raw")}
    assert len(sizes) == 2
    assert sorted(path.name for path in (tmp_path / "odometry/sequences").iterdir()) == ["00", "01"]
    with pytest.raises(InputError, match="empty folder"):
        SmallLayout().write(tmp_path, num_scenes=1, frames_per_scene=1, seed=SEED)
    again = tmp_path / "again"
    SmallLayout().write(again, num_scenes=2, frames_per_scene=1, seed=SEED)
    for path in (path for path in again.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(again)).read_bytes()


def test_it_is_found_by_its_name() -> None:
    assert layouts.get("kitti") is KittiLayout
