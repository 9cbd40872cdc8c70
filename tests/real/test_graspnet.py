"""One real frame of GraspNet-1Billion, laid out as its tree: what its poses, intrinsics and ids must agree with.

The README beside the data calls it a RealSense frame; its meta file has the Kinect's intrinsics, and only they put
the objects where the picture shows them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from depthforge.frame import Camera, Frame
from depthforge.sources.check import check_source
from depthforge.sources.graspnet import GraspNet, GraspNetConfig
from depthforge.sources.graspnet.files import NOMINAL_K

FILES = {"depth.png": "depth/0000.png", "color.png": "rgb/0000.png", "meta.mat": "meta/0000.mat"}
# What lies on the table, by id: the colour of the object, as far as it has one.
CRACKER_BOX, BANANA, BLUE_THING = 0, 5, 26


@pytest.fixture
def source(shared_data: Path, tmp_path: Path) -> GraspNet:
    folder = tmp_path / "scenes/scene_0000/kinect"
    for name, place in FILES.items():
        (folder / place).parent.mkdir(parents=True)
        shutil.copy(shared_data / "real/graspnet_realsense" / name, folder / place)
    return GraspNet(GraspNetConfig(root=tmp_path, camera="kinect", depth="raw"))


@pytest.fixture
def frame(source: GraspNet) -> Frame:
    return source.read(next(iter(source.frames())), frozenset(source.labels)).require_sound()


def pixels(frame: Frame, camera: Camera) -> dict[int, tuple[int, int, float]]:
    """Row, column and depth at which each object's origin is seen."""
    found = {}
    for number, T in zip(frame.labels["object_id"].tolist(), frame.labels["object_pose"], strict=True):
        x, y, z = T[:3, 3]
        found[number] = round(camera.fy * y / z + camera.cy), round(camera.fx * x / z + camera.cx), z
    return found


def colour(frame: Frame, at: tuple[int, int, float]) -> list[float]:
    """Median red, green, blue about a pixel."""
    assert frame.rgb is not None
    row, column, _ = at
    median: list[float] = np.median(
        frame.rgb[row - 4 : row + 5, column - 4 : column + 5].reshape(-1, 3), axis=0
    ).tolist()
    return median


def test_unit_holes_and_size(source: GraspNet, frame: Frame) -> None:
    assert frame.camera.size == frame.depth_m.shape == (720, 1280)
    assert 1 - frame.valid.mean() == pytest.approx(0.105, abs=0.001)
    assert frame.depth_m.max() == np.float32(1.59)
    assert np.median(frame.depth_m[frame.valid]) == pytest.approx(0.451, abs=0.0005)
    report = check_source(source)
    # One of 256 images, and no label image: that is all there is of this scene here.
    assert report.num_read == 1
    assert report.num_unreadable == 0
    assert [issue.message for issue in report.issues if issue.severity == "error"] == [
        "255 of 256 depth images are missing"
    ]


def test_intrinsics_are_the_kinects(frame: Frame) -> None:
    camera = frame.camera
    np.testing.assert_allclose((camera.fx, camera.fy, camera.cx, camera.cy), NOMINAL_K["kinect"], atol=0.01)


def test_ids_are_one_less_than_the_classes(frame: Frame) -> None:
    assert frame.labels["object_id"].tolist() == [0, 2, 5, 8, 22, 26, 51, 61, 38]
    rotations = frame.labels["object_pose"][:, :3, :3]
    np.testing.assert_allclose(rotations @ np.swapaxes(rotations, 1, 2), np.tile(np.eye(3), (9, 1, 1)), atol=1e-5)


def test_poses_lie_on_what_the_picture_shows(frame: Frame) -> None:
    at = pixels(frame, frame.camera)

    red, green, blue = colour(frame, at[BANANA])
    assert min(red, green) > 1.2 * blue, "a banana is yellow"
    red, green, blue = colour(frame, at[CRACKER_BOX])
    assert red > 1.3 * max(green, blue), "the box is red"
    red, green, blue = colour(frame, at[BLUE_THING])
    assert blue > 1.2 * green > 1.2 * red


def test_poses_lie_near_the_measured_surface(frame: Frame) -> None:
    """An origin is inside its object: behind what is measured there by half of it at most, or in a hollow."""
    behind_m = {
        number: z - frame.depth_m[row, column]
        for number, (row, column, z) in pixels(frame, frame.camera).items()
        if frame.valid[row, column]
    }
    assert len(behind_m) == 9
    assert all(-0.05 < value < 0.11 for value in behind_m.values())
    assert np.median(list(behind_m.values())) == pytest.approx(0.015, abs=0.01)


def test_the_other_cameras_intrinsics_would_show(frame: Frame) -> None:
    other = Camera(*NOMINAL_K["realsense"], 1280, 720)
    own, wrong = pixels(frame, frame.camera), pixels(frame, other)
    assert np.mean([np.hypot(own[k][0] - wrong[k][0], own[k][1] - wrong[k][1]) for k in own]) > 50
    _, green, blue = colour(frame, wrong[BLUE_THING])
    assert max(green, blue) < 1.1 * min(green, blue), "the table is as green as it is blue"
