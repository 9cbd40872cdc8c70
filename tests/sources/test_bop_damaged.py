"""What is wrong with a BOP data set is an error that names the file, of the image that has it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.errors import DecodeError, DepthforgeError, FrameError, MissingDataError
from depthforge.sources.check import check_source
from tests.sources.bop_trees import listed, read, source
from tests.sources.posed_trees import (
    CAM_K,
    HEIGHT,
    INFO,
    ROWS,
    WIDTH,
    edit_json,
    rgb_png,
    write_bop_scene,
    write_json,
    write_models,
)
from tests.sources.tree_files import png, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_bop_scene(tmp_path)
    write_models(tmp_path)
    return tmp_path


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


# depth: rendered


def test_errors_survive_a_trip_between_processes(root: Path) -> None:
    import pickle

    edit_json(root / "test/000001/scene_gt.json", 3, {"obj_id": 0}, row=0)
    with pytest.raises(DepthforgeError) as raised:
        read(root)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    assert json.dumps(str(raised.value))
