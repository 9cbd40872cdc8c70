"""GraspNet against a tree written by hand from its format pages: exact values, and what is wrong with a file."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from depthforge.errors import DecodeError, ManifestError, MissingDataError
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
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
    raw_depth,
    read,
    save,
    source,
    write_models,
    write_scene,
)

needs_open3d = pytest.mark.skipif(find_spec("open3d") is None, reason="Open3D is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_models(tmp_path)
    return write_scene(tmp_path)


class TestRaw(SourceTests):
    @pytest.fixture
    def source(self, folder: Path, tmp_path: Path) -> GraspNet:
        return source(tmp_path, depth="raw")


# --- what a file means ---------------------------------------------------------------------------------------------


def test_raw_depth_is_millimetres_and_planar(folder: Path, tmp_path: Path) -> None:
    frame = read(tmp_path, depth="raw")
    assert frame.depth_m[0, 5] == np.float32(0.5)
    assert frame.depth_m[17, 23] == np.float32(0.4)
    assert not frame.valid[:, 0].any()
    np.testing.assert_array_equal(frame.valid, raw_depth(0) > 0)


def test_factor_depth_of_the_meta_file_counts(folder: Path, tmp_path: Path) -> None:
    path = folder / "meta/0000.mat"
    meta = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    savemat(path, {**meta, "factor_depth": 500.0})
    assert read(tmp_path, depth="raw").depth_m[0, 5] == np.float32(1.0)


def test_colour_is_red_and_masks_are_ids_plus_one(folder: Path, tmp_path: Path) -> None:
    frame = read(tmp_path, depth="raw")
    assert frame.rgb is not None
    assert frame.rgb[0, 0].tolist() == [200, 0, 0]
    assert frame.labels["instance"][15, 25] == 6
    assert frame.labels["instance"][4, 31] == 42
    assert frame.labels["instance"][0, 0] == 0
    assert frame.labels["object_id"].tolist() == [5, 41]


def test_the_pose_is_camera_to_table(folder: Path, tmp_path: Path) -> None:
    first, second = read(tmp_path, 0, depth="raw"), read(tmp_path, 1, depth="raw")
    np.testing.assert_array_equal(first.T_world_cam, T_TABLE_CAM0)
    np.testing.assert_allclose(second.T_world_cam, T_TABLE_CAM0 @ T_CAM0_CAM1)
    assert second.T_world_cam is not None
    np.testing.assert_allclose(second.T_world_cam[:3, 3], [0.1, 0, 0.5])
    (folder / "cam0_wrt_table.npy").unlink()
    assert read(tmp_path, depth="raw").T_world_cam is None


@pytest.mark.parametrize("which", ["meta", "annotations", "auto"])
def test_object_poses_are_object_to_camera_in_both_files(folder: Path, tmp_path: Path, which: str) -> None:
    for number in (0, 1):
        frame = read(tmp_path, number, depth="raw", poses=which)
        np.testing.assert_allclose(frame.labels["object_pose"], T_cam_object(number), atol=1e-6)
        assert frame.labels["object_id"].tolist() == [5, 41]


def test_poses_come_from_what_is_there(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "meta")
    np.testing.assert_allclose(read(tmp_path, depth="raw").labels["object_pose"], T_cam_object(0), atol=1e-6)
    assert "object_pose" not in read(tmp_path, depth="raw", poses="meta").labels
    shutil.rmtree(folder / "annotations")
    assert "object_id" not in read(tmp_path, depth="raw").labels


def test_a_single_object_and_ids_in_a_row(folder: Path, tmp_path: Path) -> None:
    # MATLAB drops the last axis when it is 1; the released files have cls_indexes as (1, N).
    values = {"cls_indexes": np.array([[42]]), "poses": T_cam_object(0)[1, :3], "factor_depth": 1000}
    savemat(folder / "meta/0000.mat", values)
    frame = read(tmp_path, depth="raw")
    assert frame.labels["object_id"].tolist() == [41]
    np.testing.assert_allclose(frame.labels["object_pose"], T_cam_object(0)[1:], atol=1e-12)


def test_intrinsics_of_camk_then_of_the_meta_file_then_nominal(folder: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, depth="raw").camera.K, K)
    (folder / "camK.npy").unlink()
    np.testing.assert_array_equal(read(tmp_path, depth="raw").camera.K, K + np.diag([1, 1, 0]))
    shutil.rmtree(folder / "meta")
    with pytest.raises(DecodeError, match="intrinsics do not fit") as error:
        read(tmp_path, depth="raw")
    assert error.value.found == "fx 927.17, fy 927.37, cx 651.32, cy 349.62"
    assert error.value.remedy is not None


def test_rectangles_are_carried_as_they_are(folder: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        read(tmp_path, depth="raw").labels["rect_grasps"], np.array([[20, 15, 26, 15, 4, 0.9, 5]], np.float32)
    )


# --- what is listed ------------------------------------------------------------------------------------------------


def test_keys_and_splits(tmp_path: Path) -> None:
    for number in (0, 99, 100, 159, 160, 189):
        write_scene(tmp_path, number, num_frames=1)
    keys, findings = listed(tmp_path, depth="raw")
    assert keys == [f"graspnet/scene_{n:04d}/realsense-0000" for n in (0, 99, 100, 159, 160, 189)]
    assert findings == []
    of = {
        split: [key[-19:-15] for key in listed(tmp_path, depth="raw", split=split)[0]]
        for split in ("train", "test_seen", "test_similar", "test_novel")
    }
    assert of == {
        "train": ["0000", "0099"],
        "test_seen": ["0100"],
        "test_similar": ["0159"],
        "test_novel": ["0160", "0189"],
    }
    chosen, findings = listed(tmp_path, depth="raw", include=("scene_01*", "scene_02*"), exclude=("*9",))
    assert [key[-19:-15] for key in chosen] == ["0100", "0160"]
    assert "'scene_02*' matches no scene" in messages(findings)


def test_the_cameras_are_kept_apart(tmp_path: Path) -> None:
    write_scene(tmp_path)
    write_scene(tmp_path, camera="kinect", num_frames=1)
    assert listed(tmp_path, depth="raw", camera="kinect")[0] == ["graspnet/scene_0000/kinect-0000"]
    assert len(listed(tmp_path, depth="raw")[0]) == 2


def test_a_half_extracted_scene_is_reported(folder: Path, tmp_path: Path) -> None:
    save(folder / "camera_poses.npy", np.tile(np.eye(4), (256, 1, 1)))
    (folder / "rgb/0001.png").unlink()
    shutil.rmtree(folder / "label")
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    text = messages(findings)
    assert "error scenes/scene_0000/realsense: 254 of 256 images have no pose file" in text
    assert "1 of 2 images have no file in rgb" in text
    assert "2 of 2 images have no file in label" in text


def test_a_wrong_root_says_where_it_looked(tmp_path: Path) -> None:
    for root, found in ((tmp_path / "none", "no such folder"), (tmp_path, "it is empty")):
        with pytest.raises(MissingDataError, match="no GraspNet scene") as error:
            listed(root)
        assert error.value.where == str(root)
        assert found in str(error.value.found)
        assert "depthforge sample --layout graspnet" in str(error.value.remedy)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


# --- bad files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("depth/0000.png", "the PNG is truncated"),
        ("rgb/0000.png", "the PNG is truncated"),
        ("label/0000.png", "the PNG is truncated"),
        ("meta/0000.mat", "the meta file cannot be read"),
        ("rect/0000.npy", "the .npy file cannot be read"),
        ("camera_poses.npy", "the .npy file cannot be read"),
        ("camK.npy", "the .npy file cannot be read"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, tmp_path: Path, name: str, message: str) -> None:
    damage(folder / name)
    with pytest.raises(DecodeError, match=message) as error:
        read(tmp_path, depth="raw")
    assert error.value.where == str(folder / name)
    if name.endswith("0.png"):
        assert read(tmp_path, 1, depth="raw").valid.any(), "an error of that image only"


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("<obj_id>5</obj_id>", "", "an object without obj_id"),
        ("0 1 0 0", "0 0 0 0", "quaternion"),
        ("0 1 0 0", "0 1 0", "ori_in_world has 3 numbers"),
        ("</scene>", "", "no element found"),
        ("<obj_id>5</obj_id>", "<obj_id>88</obj_id>", "[88, 41]"),
    ],
)
def test_a_bad_annotation(folder: Path, tmp_path: Path, old: str, new: str, found: str) -> None:
    path = folder / "annotations/0000.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DecodeError) as error:
        read(tmp_path, depth="raw", poses="annotations")
    assert error.value.where == str(path)
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda poses: poses * np.array([1, 1, 1, 1000.0])[None, :, None], "the poses are not in metres"),
        (lambda poses: poses * 2, "the poses are not rigid motions"),
        (lambda poses: poses * np.array([-1.0, 1, 1])[:, None, None], "the poses are not rigid motions"),
        (lambda poses: poses * np.nan, "the poses are not rigid motions"),
        (lambda poses: poses[..., :1], "the meta file cannot be read"),
    ],
    ids=["millimetres", "scaled", "mirrored", "nan", "too few"],
)
def test_poses_that_cannot_be(folder: Path, tmp_path: Path, change: object, message: str) -> None:
    path = folder / "meta/0000.mat"
    poses = np.moveaxis(T_cam_object(0)[:, :3], 0, 2)
    savemat(path, {"cls_indexes": [6, 42], "poses": change(poses), "intrinsic_matrix": K})  # type: ignore[operator]
    with pytest.raises(DecodeError, match=message) as error:
        read(tmp_path, depth="raw")
    assert error.value.where == str(path)


@needs_open3d
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (raw_depth(0)[:-1], "wrong size"),
        ((raw_depth(0) / 4).astype(np.uint8), "not stored with the precision"),
        (raw_depth(0) * np.uint16(20), "not in the unit of this data set"),
        (raw_depth(0) // np.uint16(10), "not in the unit of this data set"),
    ],
    ids=["size", "8 bits", "too far", "centimetres"],
)
def test_depth_that_cannot_be(folder: Path, tmp_path: Path, image: np.ndarray, message: str) -> None:
    cv2.imwrite(str(folder / "depth/0000.png"), image)
    for fields in ({"depth": "raw"}, {}):
        with pytest.raises(DecodeError, match=message) as error:
            read(tmp_path, **fields)
        assert error.value.where == str(folder / "depth/0000.png")


def test_an_empty_real_frame_is_a_frame_without_measurements(folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(folder / "depth/0000.png"), np.zeros((HEIGHT, WIDTH), np.uint16))
    assert not read(tmp_path, depth="raw").valid.any()


def test_a_label_image_of_another_kind(folder: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(folder / "label/0000.png"), np.full((HEIGHT, WIDTH), 200, np.uint8))
    with pytest.raises(DecodeError, match="no object ids"):
        read(tmp_path, depth="raw")


@pytest.mark.parametrize("array", [np.zeros((3, 6)), np.full((3, 7), np.nan)])
def test_rectangles_of_another_shape_or_not_finite(folder: Path, tmp_path: Path, array: np.ndarray) -> None:
    save(folder / "rect/0000.npy", array)
    with pytest.raises(DecodeError, match="not what the format says"):
        read(tmp_path, depth="raw")


def test_a_bad_list_of_objects_is_reported(folder: Path, tmp_path: Path) -> None:
    write_scene(tmp_path, 1)
    (tmp_path / "scenes/scene_0001/object_id_list.txt").write_text("5\nmug\n")
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert "skipped: not a list of objects in object_id_list.txt" in messages(findings)


# --- the manifest --------------------------------------------------------------------------------------------------


def test_grasps_need_a_place() -> None:
    with pytest.raises(ManifestError, match="prepared"):
        PluginBlock.parse(sources, {"name": "graspnet", "root": "x", "grasps": {}})


def test_what_is_local_is_not_portable() -> None:
    block = PluginBlock.parse(sources, {"name": "graspnet", "root": "x", "prepared": "y", "grasps": {"max_grasps": 7}})
    portable = block.portable()
    assert not {"root", "prepared"} & portable.keys()
    assert portable["grasps"]["max_grasps"] == 7


def test_labels_are_those_of_the_mode(tmp_path: Path) -> None:
    assert {"normals", "depth_raw"} <= source(tmp_path).labels.keys()
    raw = source(tmp_path, depth="raw")
    assert not {"normals", "depth_raw", "grasps"} & raw.labels.keys()
    assert raw.licence.non_commercial
    assert "grasps" in source(tmp_path, grasps={}, prepared="x").labels
