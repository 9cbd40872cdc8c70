"""BOP data sets against trees written by hand from the format's page: every unit, row and box has a value."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, DepthforgeError, FrameError, ManifestError, MissingDataError
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.labels import after_noise
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources import check_source
from depthforge.sources.bop import Bop, BopConfig
from depthforge.testing.sources import SourceTests
from tests.sources.posed_trees import (
    BEHIND,
    CAM_K,
    HEIGHT,
    INFO,
    PLATE,
    ROWS,
    WIDTH,
    edit_json,
    plate_mask,
    plate_ply,
    png,
    pose_row,
    rgb_png,
    scene_mm,
    wall_mm,
    write,
    write_bop_scene,
    write_json,
    write_models,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bop_scene(tmp_path)
    write_models(tmp_path)
    return tmp_path


def source(root: Path, **fields: Any) -> Bop:
    return Bop(BopConfig(root=root, **fields))


def listed(root: Path, **fields: Any) -> tuple[list[FrameRef], str]:
    findings: list[Finding] = []
    refs = list(source(root, **fields).frames(findings.append))
    return refs, "\n".join(f"{finding.severity} {finding.path}: {finding.message}" for finding in findings)


def read(root: Path, index: int = 0, wanted: frozenset[str] | None = None, **fields: Any) -> Frame:
    reader = source(root, **fields)
    ref = list(reader.frames())[index]
    return reader.read(ref, frozenset(reader.labels) if wanted is None else wanted).require_sound()


class TestBop(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Bop:
        write_bop_scene(root, scene=20, images=(0,))
        return source(root)


class TestBopRendered(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Bop:
        return source(root, depth="rendered", background="plane")


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
    counts = after_noise(frame, noisy).labels["object_px_count_valid"]
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


def test_half_an_archive_is_reported(root: Path) -> None:
    scene = root / "test/000001"
    (scene / "depth/000012.png").unlink()
    write(scene / "depth/000099.png", png(np.ones((HEIGHT, WIDTH), np.uint16)))
    write(scene / "depth/notes.txt", "")
    (root / "test/000002").mkdir()
    refs, text = listed(root)
    assert [ref.locator for ref in refs] == ["000001/000003"]
    assert "warning test/000001/depth/notes.txt: not an image of BOP; ignored" in text
    assert "error test/000001: 1 images are not in scene_camera.json, such as 000099" in text
    assert "warning test/000001: 1 of 2 images have no depth image" in text
    assert "error test/000002: skipped: the scene has no scene_camera.json (no such file)" in text
    (root / "test/000002").joinpath("scene_camera.json").write_text('{"0": {"cam_K": [1,')
    assert "error test/000002: skipped: the scene file cannot be read" in listed(root)[1]


def camera_with(**change: Any) -> Callable[[Path], None]:
    return lambda scene: edit_json(scene / "scene_camera.json", 3, change)


def object_with(**change: Any) -> Callable[[Path], None]:
    return lambda scene: edit_json(scene / "scene_gt.json", 3, change, row=0)


def depth_of(content: bytes) -> Callable[[Path], None]:
    return lambda scene: write(scene / "depth/000003.png", content)


GOOD = png(np.full((HEIGHT, WIDTH), 9000, np.uint16))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (depth_of(GOOD[: len(GOOD) // 2]), r"truncated(.|\n)*depth/000003.png"),
        (depth_of(b""), "empty"),
        (depth_of(png(np.full((HEIGHT, WIDTH), 90, np.uint8))), "precision"),
        (depth_of(png(np.full((HEIGHT, 5), 9000, np.uint16))), "wrong size"),
        (camera_with(depth_scale=None), "no depth_scale"),
        (camera_with(depth_scale=0), "depth_scale is not above 0"),
        (camera_with(cam_K=CAM_K[:8]), "cam_K is not 9 finite numbers"),
        (camera_with(cam_K=[100, 9, 32, 0, 100, 24, 0, 0, 1]), "without skew"),
        (camera_with(cam_K=None), r"no 'cam_K'"),
        (camera_with(cam_K=None, cam_model={"projection_model_type": "FISHEYE624"}), r"not a pinhole(.|\n)*FISHEYE624"),
        (camera_with(cam_t_w2c=[0, 0, float("nan")]), "cam_t_w2c is not 3 finite numbers"),
        (camera_with(cam_R_w2c=[1, 0, 0, 0, 1, 0, 0, 0, -1]), "cam_R_w2c is not a rotation"),
        (
            object_with(cam_t_m2c=[0, 0, float("inf")]),
            r"cam_t_m2c is not 3 finite numbers(.|\n)*scene_gt.json, image 3",
        ),
        (object_with(cam_R_m2c=[0.9, 0, 0, 0, 0.9, 0, 0, 0, 0.9]), "cam_R_m2c is not a rotation"),
        (object_with(cam_R_m2c="none"), "cam_R_m2c is not 9 finite numbers"),
        (object_with(obj_id=0), "ids start at 1"),
        (object_with(obj_id=None), "no 'obj_id'"),
        (object_with(obj_id=70000), "16 bits"),
        (lambda scene: edit_json(scene / "scene_gt_info.json", 3, {"bbox_visib": [1, 2, 3]}, 0), "a box"),
        (lambda scene: edit_json(scene / "scene_gt_info.json", 3, {"px_count_all": -1}, 0), "below 0"),
        (lambda scene: write_json(scene / "scene_gt_info.json", {3: INFO[:1], 12: INFO}), "does not fit scene_gt.json"),
        (lambda scene: write_json(scene / "scene_gt.json", {12: ROWS}), "no entry in the annotations"),
        (lambda scene: (scene / "mask/000003_000001.png").unlink(), r"has no mask(.|\n)*mask/000003_000001.png"),
        (lambda scene: write(scene / "mask/000003_000001.png", png(np.ones((4, 4), np.uint8))), "wrong size"),
        (lambda scene: write(scene / "rgb/000003.png", rgb_png()[:-20]), "truncated"),
    ],
)
def test_what_is_wrong_with_an_image_costs_that_image_only(
    root: Path, spoil: Callable[[Path], None], message: str
) -> None:
    scene = root / "test/000001"
    spoil(scene)
    write_bop_scene(root, scene=2)
    reader = source(root)
    first, second, *_ = reader.frames()
    everything = frozenset(reader.labels)
    assert reader.read(second, everything).require_sound().labels.keys() >= {"object_id", "box_2d", "instance"}
    with pytest.raises(FrameError, match=message):
        reader.read(first, everything)


def test_poses_in_metres_are_refused(root: Path) -> None:
    in_metres = [{**row, "cam_t_m2c": [value / 1000 for value in row["cam_t_m2c"]]} for row in ROWS]
    write_json(root / "test/000001/scene_gt.json", {3: in_metres, 12: ROWS})
    with pytest.raises(DecodeError, match=r"not in millimetres(.|\n)*0\.45(.|\n)*multiply metres by 1000"):
        read(root)


def test_check_tells_a_wrong_depth_scale(root: Path) -> None:
    for image in (3, 12):
        edit_json(root / "test/000001/scene_camera.json", image, {"depth_scale": 0.001})
    with pytest.raises(DecodeError, match=r"different units(.|\n)*0.01 times(.|\n)*depth_scale"):
        read(root)
    shutil.rmtree(root / "test/000001/mask_visib")
    report = check_source(source(root))
    assert not report.ok
    assert any("the unit of depth looks wrong" in issue.message for issue in report.issues)


def test_more_than_64_objects_have_no_silhouettes(root: Path) -> None:
    scene = root / "test/000001"
    write_json(scene / "scene_gt.json", {3: [pose_row(2)] * 65, 12: ROWS})
    for row in range(65):
        shutil.copy(scene / "mask_visib/000012_000000.png", scene / f"mask_visib/000003_{row:06d}.png")
        shutil.copy(scene / "mask/000012_000000.png", scene / f"mask/000003_{row:06d}.png")
    with pytest.raises(FrameError, match=r"at most 64(.|\n)*object_px_count_valid to off"):
        read(root, wanted=frozenset({"object_silhouettes"}))
    frame = read(root, wanted=frozenset({"instance", "object_id"}))
    assert frame.labels["instance"].max() == 65


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (lambda root: shutil.rmtree(root), {}, r"no such folder(.|\n)*depthforge sample --layout bop"),
        (lambda root: None, {"split": "tests"}, r"no scene in split 'tests'(.|\n)*split: test"),
        (lambda root: (root / "test").rename(root / "test_primesense"), {}, "split: test_primesense"),
        (
            lambda root: (shutil.rmtree(root / "test"), write(root / "lm_test_all.zip", b"")),
            {},
            r"extract lm_test_all.zip here first",
        ),
        (lambda root: shutil.rmtree(root / "test/000001/depth"), {}, "no image of bop to read"),
    ],
)
def test_nothing_to_read_says_why(
    root: Path, make: Callable[[Path], object], fields: dict[str, Any], message: str
) -> None:
    make(root)
    with pytest.raises(MissingDataError, match=message):
        listed(root, **fields)


def test_a_truncated_first_image_does_not_hide_the_size(root: Path) -> None:
    write(root / "test/000001/depth/000003.png", GOOD[:40])
    assert source(root).size == (HEIGHT, WIDTH)
    write(root / "test/000001/depth/000012.png", b"")
    with pytest.raises(DecodeError):
        _ = source(root).size


def test_depth_beyond_a_limit_is_no_measurement(root: Path) -> None:
    frame = read(root, max_depth_m=0.5)
    np.testing.assert_array_equal(frame.valid, (scene_mm() > 0) & (scene_mm() < 500))


def test_background_is_for_rendered_depth(root: Path) -> None:
    with pytest.raises(ManifestError, match="depth: rendered"):
        PluginBlock.parse(sources, {"name": "bop", "root": str(root), "background": "plane"})


# depth: rendered


def test_rendered_depth_normals_and_labels(root: Path) -> None:
    frame = read(root, depth="rendered")
    expected = np.where(plate_mask(8), 0.449, np.where(BEHIND, 0.450, 0.0)).astype(np.float32)
    np.testing.assert_allclose(frame.depth_m, expected, atol=1e-6)
    np.testing.assert_array_equal(frame.labels["normals"][frame.valid], [[0, 0, -32767]] * int(frame.valid.sum()))
    np.testing.assert_array_equal(frame.labels["instance"], np.where(plate_mask(8), 2, np.where(BEHIND, 1, 0)))
    np.testing.assert_array_equal(frame.labels["object_px_count_all"], [529, 529])
    np.testing.assert_array_equal(frame.labels["object_px_count_visib"], [184, 529])
    # Of the silhouette, hidden or not, where something is rendered: all of it.
    np.testing.assert_array_equal(frame.labels["object_px_count_valid"], [529, 529])
    np.testing.assert_array_equal(frame.labels["box_2d"], [[21, 13, 28, 35], [29, 13, 51, 35]])
    bits = frame.labels["object_silhouettes"].astype(np.uint64)
    np.testing.assert_array_equal(bits, plate_mask(0).astype(np.uint64) + 2 * plate_mask(8).astype(np.uint64))
    measured = read(root)
    np.testing.assert_array_equal(
        frame.labels["depth_raw"], np.where(measured.valid, measured.depth_m, np.float32(np.nan))
    )


def test_a_slanted_plate_is_rendered_as_planar_z(root: Path) -> None:
    """z = 0.5 m + 0.25 x: what a ray length, a half pixel or a transposed rotation would change."""
    write(root / "models/obj_000002.ply", plate_ply(slope=0.25))
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, z_mm=500.0)]})
    frame = read(root, depth="rendered")
    u = np.broadcast_to(np.arange(WIDTH), (HEIGHT, WIDTH))
    exact = 0.5 / (1 - 0.25 * (u - 32) / 100)
    assert frame.valid.sum() > 400
    np.testing.assert_allclose(frame.depth_m[frame.valid], exact[frame.valid], rtol=2e-6)


def test_rotation_of_an_object_is_row_by_row(root: Path) -> None:
    """The slope along the model's x turns to the camera's y under [0 -1 0; 1 0 0; 0 0 1]."""
    write(root / "models/obj_000002.ply", plate_ply(slope=0.25))
    turned = pose_row(2, z_mm=500.0, rotation=[0, -1, 0, 1, 0, 0, 0, 0, 1])
    write_json(root / "test/000001/scene_gt.json", {3: [turned]})
    frame = read(root, depth="rendered")
    v = np.broadcast_to(np.arange(HEIGHT)[:, None], (HEIGHT, WIDTH))
    exact = 0.5 / (1 - 0.25 * (v - 24) / 100)
    np.testing.assert_allclose(frame.depth_m[frame.valid], exact[frame.valid], rtol=2e-6)


def test_silhouettes_are_counted_beyond_the_image(root: Path) -> None:
    """A plate 35 columns to the left: columns -14 to 8, of which the image has nine."""
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, shift=-35)], 12: [pose_row(2, shift=500)]})
    labels = read(root, depth="rendered", boxes="obj").labels
    np.testing.assert_array_equal(labels["object_px_count_all"], [529])
    np.testing.assert_array_equal(labels["object_px_count_visib"], [9 * 23])
    np.testing.assert_array_equal(labels["box_2d"], [[-14, 13, 8, 35]])
    gone = read(root, 1, depth="rendered")
    assert not gone.valid.any()
    np.testing.assert_array_equal(gone.labels["object_px_count_all"], [0])
    assert np.isnan(gone.labels["box_2d"]).all()


def test_an_object_behind_or_around_the_camera(root: Path) -> None:
    write_json(root / "test/000001/scene_gt.json", {3: [pose_row(2, z_mm=-450.0)], 12: [pose_row(2, z_mm=21.0)]})
    assert not read(root, depth="rendered").valid.any()
    near = read(root, 1, depth="rendered")
    np.testing.assert_allclose(near.depth_m, 0.021, rtol=1e-6)


def test_rendering_needs_no_depth_image(root: Path) -> None:
    shutil.rmtree(root / "test/000001/depth")
    frame = read(root, depth="rendered")
    assert frame.valid.sum() == 713
    assert "depth_raw" not in frame.labels
    with pytest.raises(FrameError, match="no measured depth to fit a plane to"):
        read(root, depth="rendered", background="plane")


def test_the_plane_behind_objects_is_the_wall(root: Path) -> None:
    measured = read(root)
    frame = read(root, depth="rendered", background="plane")
    behind = measured.valid & ~plate_mask(0) & ~plate_mask(8)
    np.testing.assert_allclose(frame.depth_m[behind], wall_mm()[behind] / 1000, atol=2e-4)
    assert frame.valid[20].all(), "the plane fills what the sensor lost"
    normal = np.array([0.25, 0, -1]) / np.hypot(0.25, 1)
    np.testing.assert_allclose(frame.labels["normals"][0, 0] / 32767, normal, atol=2e-3)
    assert not frame.labels["instance"][behind].any()


def test_no_plane_is_an_error_of_the_frame(root: Path) -> None:
    rng = np.random.default_rng(0)
    write(root / "test/000001/depth/000003.png", png(rng.integers(3000, 9000, (HEIGHT, WIDTH)).astype(np.uint16)))
    with pytest.raises(FrameError, match=r"no plane that the objects stand on(.|\n)*background: none"):
        read(root, depth="rendered", background="plane")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, r"no model(.|\n)*models/obj_000005.ply"),
        (plate_ply(scale=0.001), r"model is not in millimetres(.|\n)*0.1414"),
        (PLATE.split("3 0 1 2")[0].replace("face 2", "face 0"), "no triangle"),
    ],
)
def test_a_model_that_cannot_be_rendered(root: Path, model: str | None, message: str) -> None:
    path = root / "models/obj_000005.ply"
    path.unlink()
    if model is not None:
        write(path, model)
    with pytest.raises(DecodeError, match=message):
        read(root, depth="rendered")
    text = listed(root, depth="rendered")[1]
    assert ("error models/obj_000005.ply: no model of object 5" in text) == (model is None)


def test_rendering_needs_poses(root: Path) -> None:
    (root / "test/000001/scene_gt.json").unlink()
    with pytest.raises(MissingDataError, match="with poses for `depth: rendered`"):
        listed(root, depth="rendered")
    write_bop_scene(root, scene=2)
    assert "error test/000001: no scene_gt.json: nothing to render" in listed(root, depth="rendered")[1]


def test_errors_survive_a_trip_between_processes(root: Path) -> None:
    import pickle

    edit_json(root / "test/000001/scene_gt.json", 3, {"obj_id": 0}, row=0)
    with pytest.raises(DepthforgeError) as raised:
        read(root)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert json.dumps(str(raised.value))
