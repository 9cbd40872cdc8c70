"""BOP data sets against trees written by hand from the format's page: every unit, row and box has a value."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE
from depthforge.labels.recomputing import after_noise
from depthforge.sources.bop import Bop
from depthforge.testing.sources import SourceTests
from tests.sources.bop_trees import listed, read, source
from tests.sources.posed_trees import (
    BEHIND,
    CAM_K,
    HEIGHT,
    WIDTH,
    edit_json,
    plate_mask,
    pose_row,
    scene_mm,
    write_bop_scene,
    write_json,
    write_models,
)
from tests.sources.tree_files import write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bop_scene(tmp_path)
    write_models(tmp_path)
    return tmp_path


class TestBop(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Bop:
        write_bop_scene(root, scene=20, images=(0,))
        return source(root)


def test_a_code_times_depth_scale_is_millimetres(root: Path) -> None:
    frame = read(root)
    stored_m = np.rint(scene_mm() * 10).astype(np.uint16) * 1e-4
    np.testing.assert_array_equal(frame.depth_m, stored_m.astype(np.float32))
    assert frame.depth_m[24, 22] == np.float32(0.450)  # code 4500
    assert not frame.valid[20].any()
    whole = root / "whole"
    write_bop_scene(whole, depth_scale=1.0)
    assert read(whole).depth_m[24, 10] == np.float32(0.758)  # 800 / (1 + 0.25 * 22 / 100) = 758.29, rounded


def test_camera_pose_and_object_poses(root: Path) -> None:
    edit_json(
        root / "test/000001/scene_gt.json",
        3,
        pose_row(5, shift=8, z_mm=449.0, rotation=[0, -1, 0, 1, 0, 0, 0, 0, 1]),
        1,
    )
    frame = read(root)
    camera = frame.camera
    assert [camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1] == CAM_K
    assert camera.size == (HEIGHT, WIDTH)
    # World to camera turns by 90 degrees about z and moves by (1, 2, 3) m: the camera is at -R^T t.
    expected = [[0, 1, 0, -2], [-1, 0, 0, 1], [0, 0, 1, -3], [0, 0, 0, 1]]
    np.testing.assert_allclose(frame.T_world_cam, expected, atol=1e-12)
    np.testing.assert_array_equal(frame.labels["object_id"], np.array([2, 5], np.uint32))
    T = frame.labels["object_pose"][1]
    np.testing.assert_allclose(T, [[0, -1, 0, 0.036], [1, 0, 0, 0], [0, 0, 1, 0.449], [0, 0, 0, 1]], atol=1e-12)


def test_labels_go_row_for_row(root: Path) -> None:
    labels = read(root).labels
    np.testing.assert_array_equal(labels["instance"], np.where(plate_mask(8), 2, np.where(BEHIND, 1, 0)))
    np.testing.assert_array_equal(labels["semantic"], np.where(plate_mask(8), 5, np.where(BEHIND, 2, 0)))
    bits = labels["object_silhouettes"].astype(np.uint64)
    np.testing.assert_array_equal(bits & np.uint64(1), plate_mask(0))
    np.testing.assert_array_equal(bits >> np.uint64(1), plate_mask(8))
    np.testing.assert_array_equal(labels["object_px_count_all"], [529, 600])
    np.testing.assert_array_equal(labels["object_px_count_visib"], [184, 529])
    np.testing.assert_array_equal(labels["object_px_count_valid"], [506, 506])


def test_boxes_are_left_top_right_bottom(root: Path) -> None:
    visib = read(root).labels["box_2d"]
    np.testing.assert_array_equal(visib, np.array([[21, 13, 28, 35], [np.nan] * 4], np.float32))
    whole = read(root, boxes="obj").labels["box_2d"]
    np.testing.assert_array_equal(whole, np.array([[21, 13, 43, 35], [29, 13, 51, 35]], np.float32))


def test_valid_pixels_are_counted_again_after_noise(root: Path) -> None:
    frame = read(root)
    noisy = frame.valid.copy()
    noisy[:, 32:] = False
    counts = after_noise(frame, noisy, source(root).labels).labels["object_px_count_valid"]
    expected = [int((mask & noisy).sum()) for mask in (plate_mask(0), plate_mask(8))]
    assert expected == [11 * 22, 3 * 22]
    np.testing.assert_array_equal(counts, np.array(expected, np.uint32))


def test_keys_name_data_set_split_scene_and_image(root: Path) -> None:
    write_bop_scene(root, split="train_pbr", scene=0, images=(100,))
    refs, text = listed(root, dataset="ycbv")
    assert [ref.key for ref in refs] == ["ycbv/test-000001/000003", "ycbv/test-000001/000012"]
    assert text == ""
    assert [ref.key for ref in listed(root, split="train_pbr")[0]] == ["bop/train_pbr-000000/000100"]


def test_selections(root: Path) -> None:
    write_bop_scene(root, scene=2, images=(0, 1, 2, 3))
    assert len(listed(root, every=2)[0]) == 3
    refs, text = listed(root, scenes=(2, 9))
    assert [ref.locator for ref in refs] == ["000002/000000", "000002/000001", "000002/000002", "000002/000003"]
    assert "there is no scene 9" in text
    with pytest.raises(MissingDataError, match="no list of targets"):
        listed(root, targets=True)
    target = {"inst_count": 1, "obj_id": 5}
    write_json(
        root / "test_targets_bop19.json",
        [{"scene_id": 1, "im_id": 12, **target}, {"scene_id": 7, "im_id": 0, **target}],
    )
    assert [ref.locator for ref in listed(root, targets=True)[0]] == ["000001/000012"]
    write(root / "test_targets_bop19.json", "[{}]")
    with pytest.raises(DecodeError, match="not a list of targets"):
        listed(root, targets=True)


def test_one_of_several_cameras(root: Path) -> None:
    write_bop_scene(root, scene=4, suffix="_cam1", images=(7,))
    refs, _ = listed(root, sensor="cam1", scenes=(4,))
    assert [ref.key for ref in refs] == ["bop/test_cam1-000004/000007"]
    assert set(read(root, sensor="cam1", scenes=(4,)).labels) == set(read(root).labels)
    assert "the scene has no scene_camera.json" in listed(root, sensor="cam1")[1]


@pytest.mark.parametrize(("name", "suffix"), [("gray", ".tif"), ("rgb", ".jpg"), ("gray", ".png")])
def test_colour_may_be_grey_tiff_or_jpeg(root: Path, name: str, suffix: str) -> None:
    scene = root / "test/000001"
    shutil.rmtree(scene / "rgb")
    write(scene / f"{name}/000003{suffix}", cv2.imencode(suffix, np.full((HEIGHT, WIDTH), 77, np.uint8))[1].tobytes())
    rgb = read(root).rgb
    assert rgb is not None
    np.testing.assert_array_equal(rgb, np.full((HEIGHT, WIDTH, 3), 77, np.uint8))
    assert read(root, 1).rgb is None


def test_colour_that_is_jpeg_is_given_as_the_file_where_that_is_wanted(root: Path) -> None:
    scene = root / "test/000001"
    shutil.rmtree(scene / "rgb")
    file = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 77, np.uint8))[1].tobytes()
    write(scene / "rgb/000003.jpg", file)
    frame = read(root, wanted=frozenset([RGB_FILE]))
    assert (frame.rgb, frame.rgb_file) == (None, file)
    both = read(root, wanted=frozenset([RGB_FILE, "rgb"]))
    assert both.rgb is not None
    assert both.rgb_file == file
    write(scene / "rgb/000003.jpg", cv2.imencode(".jpg", np.zeros((HEIGHT, WIDTH + 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(DecodeError, match="wrong size"):
        read(root, wanted=frozenset([RGB_FILE]))


def test_depth_may_be_tiff(root: Path) -> None:
    path = root / "test/000001/depth/000003.png"
    expected = read(root).depth_m
    write(path.with_suffix(".tif"), cv2.imencode(".tif", cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[1].tobytes())
    path.unlink()
    np.testing.assert_array_equal(read(root).depth_m, expected)


def test_a_zip_of_the_data_set_reads_as_well(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    packed = tmp_path_factory.mktemp("packed") / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in root.rglob("*.*"):
            archive.write(path, path.relative_to(root))
    np.testing.assert_array_equal(read(packed).depth_m, read(root).depth_m)
    assert "no model of object 2" in listed(packed, depth="rendered")[1], "models are loaded from files"


def test_a_scene_without_poses_gives_depth_and_colour(root: Path) -> None:
    """The test images of several BOP sets ship no ground truth."""
    scene = root / "test/000001"
    for name in ("scene_gt.json", "scene_gt_info.json"):
        (scene / name).unlink()
    for name in ("mask", "mask_visib"):
        shutil.rmtree(scene / name)
    refs, text = listed(root)
    assert len(refs) == 2
    for what in ("no scene_gt.json", "no scene_gt_info.json", "no folder mask", "no folder mask_visib"):
        assert f"warning test/000001: {what}" in text
    assert not read(root).labels


def test_what_has_no_file_is_left_out(root: Path) -> None:
    scene = root / "test/000001"
    (scene / "scene_gt_info.json").unlink()
    shutil.rmtree(scene / "mask")
    assert read(root).labels.keys() == {"object_id", "object_pose", "instance", "semantic"}
    edit_json(scene / "scene_camera.json", 3, {"cam_R_w2c": None, "cam_t_w2c": None})
    assert read(root).T_world_cam is None


def test_an_image_without_objects(root: Path) -> None:
    for name in ("scene_gt", "scene_gt_info"):
        write_json(root / f"test/000001/{name}.json", {3: [], 12: []})
    labels = read(root).labels
    assert labels["object_pose"].shape == (0, 4, 4)
    assert labels["box_2d"].shape == (0, 4)
    assert not labels["instance"].any()
    assert not labels["object_silhouettes"].any()


def test_depth_beyond_a_limit_is_no_measurement(root: Path) -> None:
    frame = read(root, max_depth_m=0.5)
    np.testing.assert_array_equal(frame.valid, (scene_mm() > 0) & (scene_mm() < 500))
