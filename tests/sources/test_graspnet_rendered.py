"""GraspNet's clean depth rendered from models at the annotated poses, and what cannot be rendered."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Finding
from depthforge.geometry import decode_normals
from depthforge.sources.graspnet import GraspNet
from depthforge.testing.sources import SourceTests
from tests.sources.graspnet_trees import (
    HEIGHT,
    T_CAM0_CAM1,
    T_TABLE_CAM0,
    WIDTH,
    K,
    T_cam_object,
    listed,
    messages,
    read,
    save,
    source,
    write_grasps,
    write_models,
    write_scene,
)

needs_open3d = pytest.mark.skipif(find_spec("open3d") is None, reason="Open3D is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_models(tmp_path)
    return write_scene(tmp_path)


@needs_open3d
class TestRendered(SourceTests):
    @pytest.fixture
    def source(self, folder: Path, tmp_path: Path) -> GraspNet:
        write_grasps(tmp_path)
        made = source(tmp_path, grasps={}, prepared=tmp_path / "prepared")
        made.prepare()
        return made


# --- clean depth ---------------------------------------------------------------------------------------------------


@needs_open3d
def test_rendered_depth_is_the_table_and_the_tops_of_the_boxes(folder: Path, tmp_path: Path) -> None:
    frame = read(tmp_path)
    # The cube's top is 0.4 m away: 0.1 m are 15 pixels about the centre. Rows of the image run along -y.
    assert frame.depth_m[17, 23] == pytest.approx(0.4, abs=1e-6)
    assert frame.depth_m[3, 3] == pytest.approx(0.5, abs=1e-6)
    top = np.isclose(frame.depth_m, 0.4, atol=1e-5)
    rows, columns = np.flatnonzero(top.any(axis=1)), np.flatnonzero(top.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (10, 25, 16, 31)
    # Object 41's top at z = 0.02 is 0.48 m away; its long side lies along x: 10 pixels wide, 5 high about (38.5, 10).
    flat = np.isclose(frame.depth_m, 0.48, atol=1e-5)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, 12, 34, 43)
    instance = frame.labels["instance"]
    assert instance[17, 23] == 6
    assert instance[10, 38] == 42
    assert instance[3, 3] == 0
    np.testing.assert_allclose(decode_normals(frame.labels["normals"])[17, 23], [0, 0, -1], atol=1e-4)
    raw = frame.labels["depth_raw"]
    assert np.isnan(raw[:, 0]).all()
    assert raw[3, 3] == np.float32(0.5)


@needs_open3d
def test_another_image_sees_the_same_scene_from_its_camera(folder: Path, tmp_path: Path) -> None:
    frame = read(tmp_path, 1)
    top = np.isclose(frame.depth_m, 0.4, atol=1e-5)
    # 0.1 m to the right is 15 pixels at 0.4 m.
    assert np.flatnonzero(top.any(axis=0))[[0, -1]].tolist() == [1, 16]


@needs_open3d
def test_a_tilted_table_is_its_plane(folder: Path, tmp_path: Path) -> None:
    tilt = np.eye(4)
    angle = np.deg2rad(35)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T_table_cam = T_TABLE_CAM0 @ tilt
    save(folder / "camera_poses.npy", np.stack([tilt, tilt]))
    shutil.rmtree(folder / "annotations")
    for frame in (0, 1):
        path = folder / f"meta/{frame:04d}.mat"
        poses = np.linalg.inv(tilt) @ T_cam_object(0)
        savemat(path, {"cls_indexes": [6, 42], "poses": np.moveaxis(poses[:, :3], 0, 2)})
    frame = read(tmp_path)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    # height + z (ray . up) = 0, with up in camera axes
    plane = -T_table_cam[2, 3] / (rays @ T_table_cam[2, :3])
    point = T_table_cam[:3, 3] + plane[..., None] * (rays @ T_table_cam[:3, :3].T)
    # Within half a metre of the table's middle; beyond its edge there is nothing.
    on_table = (np.abs(point[..., :2]).max(axis=-1) < 0.499) & (plane > 0)
    clear = on_table & (frame.labels["instance"] == 0)
    assert clear.mean() > 0.3
    np.testing.assert_allclose(frame.depth_m[clear], plane[clear], rtol=2e-6)
    beyond = (np.abs(point[..., :2]).max(axis=-1) > 0.501) & (frame.labels["instance"] == 0)
    assert beyond.any()
    assert not frame.valid[beyond].any()
    wide = read(tmp_path, table_size_m=10)
    assert wide.valid[beyond & (np.abs(point).max(axis=-1) < 4.9) & (plane > 0)].all()


@needs_open3d
def test_without_a_real_frame_there_is_clean_depth_all_the_same(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "depth")
    frame = read(tmp_path)
    assert "depth_raw" not in frame.labels
    assert frame.valid.all()


# --- what is listed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("scenes/scene_0001/realsense", "skipped: no folder realsense"),
        ("scenes/scene_0001/realsense/camera_poses.npy", "skipped: no realsense/camera_poses.npy"),
        ("models/041", "skipped: no model of objects 41 (models/041/nontextured.ply)"),
    ],
)
def test_a_scene_that_cannot_be_rendered_is_skipped_and_named(
    folder: Path, tmp_path: Path, lost: str, message: str
) -> None:
    write_scene(tmp_path, 1)
    path = tmp_path / lost
    (path.unlink if path.is_file() else lambda: shutil.rmtree(path))()
    findings: list[Finding] = []
    refs = source(tmp_path).frames(findings.append)
    if "models" in lost:
        with pytest.raises(MissingDataError, match="no GraspNet image is left"):
            list(refs)
    else:
        assert [ref.scene for ref in refs] == ["graspnet/scene_0000"] * 2
    assert message in messages(findings)
    assert len(listed(tmp_path, depth="raw")[0]) == (2 if lost.endswith("realsense") else 4)


# --- bad files -----------------------------------------------------------------------------------------------------


@needs_open3d
def test_a_model_in_millimetres(folder: Path, tmp_path: Path) -> None:
    write_models(tmp_path, units_per_metre=1000.0)
    with pytest.raises(DecodeError, match="the model is not in metres") as error:
        read(tmp_path)
    assert error.value.where == str(tmp_path / "models/005/nontextured.ply")


@needs_open3d
def test_a_model_that_has_gone(folder: Path, tmp_path: Path) -> None:
    reader = source(tmp_path)
    ref = next(iter(reader.frames()))
    shutil.rmtree(tmp_path / "models/041")
    with pytest.raises(DecodeError, match="an object of the scene has no model"):
        reader.read(ref, frozenset())


@needs_open3d
def test_poses_that_do_not_fit_the_camera_are_an_error_of_their_image(folder: Path, tmp_path: Path) -> None:
    moved = np.stack([np.eye(4), T_CAM0_CAM1])
    moved[1, 1, 3] += 0.05
    save(folder / "camera_poses.npy", moved)
    assert read(tmp_path, 0).valid.any()
    with pytest.raises(DecodeError, match="do not fit the pose of the camera") as error:
        read(tmp_path, 1)
    assert "50.0 mm" in str(error.value)
    assert "image 0001" in str(error.value)


@needs_open3d
def test_objects_are_where_their_own_image_says(folder: Path, tmp_path: Path) -> None:
    path = folder / "meta/0001.mat"
    poses = T_cam_object(1)
    poses[0, 2, 3] += 0.004
    savemat(path, {"cls_indexes": [6, 42], "poses": np.moveaxis(poses[:, :3], 0, 2)})
    frame = read(tmp_path, 1)
    assert frame.depth_m[17, 8] == pytest.approx(0.404, abs=1e-6)
    assert frame.depth_m[30, 40] == pytest.approx(0.5, abs=1e-6), "the table is where its camera says"


@needs_open3d
def test_an_image_without_a_camera_pose_cannot_be_rendered(folder: Path, tmp_path: Path) -> None:
    save(folder / "camera_poses.npy", np.eye(4)[None])
    with pytest.raises(DecodeError, match="no pose of its camera"):
        read(tmp_path, 1)
