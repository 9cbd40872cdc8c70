"""LineMOD in both forms, against trees written by hand from DenseFusion's reader and BOP's format page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from depthforge.errors import DecodeError, FrameError, ManifestError, MissingDataError
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.bop import Bop, BopConfig
from depthforge.sources.linemod import Linemod, LinemodConfig
from depthforge.sources.linemod import files as linemod_files
from depthforge.testing.sources import SourceTests, arrays_of
from tests.sources.posed_trees import plate_mask, rgb_png, wall_mm, write_bop_scene, write_models, write_preprocessed
from tests.sources.tree_files import png, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_preprocessed(tmp_path)
    return tmp_path


def source(root: Path, **fields: Any) -> Linemod:
    return Linemod(LinemodConfig(root=root, **fields))


def listed(root: Path, **fields: Any) -> tuple[list[FrameRef], str]:
    findings: list[Finding] = []
    refs = list(source(root, **fields).frames(findings.append))
    return refs, "\n".join(f"{finding.severity} {finding.path}: {finding.message}" for finding in findings)


def read(root: Path, index: int = 0, **fields: Any) -> Frame:
    reader = source(root, **fields)
    return reader.read(list(reader.frames())[index], frozenset(reader.labels)).require_sound()


class TestPreprocessed(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Linemod:
        write_preprocessed(root, object_id=2)
        return source(root)


class TestPreprocessedRendered(SourceTests):
    @pytest.fixture
    def source(self, root: Path) -> Linemod:
        return source(root, depth="rendered", background="plane")


class TestBopForm(SourceTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Linemod:
        write_bop_scene(tmp_path, depth_scale=1.0)
        return source(tmp_path, layout="bop")


def test_depth_is_millimetres_and_labels_are_of_the_object(root: Path) -> None:
    frame = read(root)
    expected = np.rint(np.where(plate_mask(), 450.0, wall_mm())) / 1000
    np.testing.assert_array_equal(frame.depth_m, expected.astype(np.float32))
    labels = frame.labels
    np.testing.assert_array_equal(labels["object_id"], np.array([8], np.uint32))
    pose = np.eye(4)
    pose[2, 3] = 0.45
    np.testing.assert_array_equal(labels["object_pose"], pose[None])
    np.testing.assert_array_equal(labels["instance"], plate_mask())
    np.testing.assert_array_equal(labels["semantic"], np.where(plate_mask(), 8, 0))
    np.testing.assert_array_equal(labels["object_silhouettes"], plate_mask())
    for name in ("all", "valid", "visib"):
        np.testing.assert_array_equal(labels[f"object_px_count_{name}"], np.array([529], np.uint32))
    np.testing.assert_array_equal(labels["box_2d"], np.array([[21, 13, 43, 35]], np.float32))
    assert frame.T_world_cam is None
    assert frame.rgb is not None
    np.testing.assert_array_equal(frame.rgb[0, 0], [10, 20, 30])


def test_folder_02_names_every_object_and_its_own_is_read(tmp_path: Path) -> None:
    folder = write_preprocessed(tmp_path, object_id=2)
    rows = yaml.safe_load((folder / "gt.yml").read_text())[0]
    assert [row["obj_id"] for row in rows] == [1, 2]
    labels = read(tmp_path).labels
    assert labels["object_id"].tolist() == [2]
    assert labels["object_pose"][0, 0, 3] == 0.0
    np.testing.assert_array_equal(labels["semantic"], np.where(plate_mask(), 2, 0))


def test_splits_are_lists_of_images(root: Path) -> None:
    keys = {split: [ref.key for ref in listed(root, split=split)[0]] for split in ("train", "test", "all")}
    assert keys["train"] == ["linemod/object-08/000001"]
    assert keys["test"] == [f"linemod/object-08/{image:06d}" for image in (0, 2, 10)]
    assert len(keys["all"]) == 4


def test_objects_are_selected_and_go_in_order(root: Path) -> None:
    for object_id in (15, 2):
        write_preprocessed(root, object_id=object_id, images=(0,))
    assert [ref.locator for ref in listed(root, every=3)[0]] == ["02/0000", "08/0000", "15/0000"]
    refs, text = listed(root, objects=(15, 9))
    assert [ref.locator for ref in refs] == ["15/0000"]
    assert "error data: objects: there is no object 9" in text


def test_without_info_the_camera_is_linemods(root: Path) -> None:
    folder = root / "data/08"
    (folder / "info.yml").unlink()
    assert "warning data/08: no info.yml: the camera is taken to be LineMOD's" in listed(root)[1]
    # The camera is that of images of 640x480 and of no others.
    with pytest.raises(FrameError, match=r"camera of these images is not known(.|\n)*640 x 480"):
        read(root)
    for image in (0, 1, 2, 10):
        write(folder / f"depth/{image:04d}.png", png(np.full((480, 640), 901, np.uint16)))
    reader = source(root)
    frame = reader.read(next(iter(reader.frames())), frozenset())
    camera = frame.camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (572.4114, 573.57043, 325.2611, 242.04899)
    assert frame.depth_m[0, 0] == np.float32(0.901)


def test_numbers_that_yaml_takes_for_words(root: Path) -> None:
    """YAML 1.1 reads 1e-05, as DenseFusion's files have it, as text."""
    path = root / "data/08/gt.yml"
    path.write_text(path.read_text().replace("[1.0, 0.0,", "[1.0, 1e-05,"))
    assert read(root).labels["object_pose"][0, 0, 1] == 1e-5


def test_rendered_depth_is_of_the_model(root: Path) -> None:
    frame = read(root, depth="rendered")
    np.testing.assert_allclose(frame.depth_m, np.where(plate_mask(), 0.45, 0), atol=1e-6)
    np.testing.assert_array_equal(frame.labels["depth_raw"][plate_mask()], np.float32(0.45))
    on_wall = read(root, depth="rendered", background="plane")
    np.testing.assert_allclose(on_wall.depth_m[~plate_mask()], wall_mm()[~plate_mask()] / 1000, atol=1e-3)
    (root / "models/obj_08.ply").unlink()
    with pytest.raises(DecodeError, match=r"no model(.|\n)*models/obj_08.ply"):
        read(root, depth="rendered")


def test_yaml_is_read_without_libyaml_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = arrays_of(read(root))
    monkeypatch.setattr(linemod_files, "YAML_LOADER", yaml.SafeLoader)
    for name, array in arrays_of(read(root)).items():
        np.testing.assert_array_equal(array, expected[name])


def gt_with(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "gt.yml"
        head, tail = path.read_text().split("1:\n", 1)
        path.write_text(f"{head.replace(old, new)}1:\n{tail}")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (gt_with("obj_id: 8", "obj_id: 9"), r"no pose of object 8(.|\n)*gt.yml, image 0"),
        (gt_with("450.0", "0.45"), "not in millimetres"),
        (gt_with("450.0", ".nan"), "cam_t_m2c is not 3 finite numbers"),
        (gt_with("[1.0, 0.0, 0.0, 0.0, 1.0", "[1.0, 0.0, 0.0, 0.0, 2.0"), "cam_R_m2c is not a rotation"),
        (gt_with("[21, 13, 22, 22]", "[21, 13]"), "a box"),
        (lambda folder: write(folder / "mask/0000.png", png(np.ones((5, 5), np.uint8))), "wrong size"),
        (lambda folder: write(folder / "mask/0000.png", rgb_png()), "channels differ"),
        (lambda folder: write(folder / "depth/0000.png", b"\x89PNG\r\n\x1a\n"), "truncated"),
    ],
)
def test_what_is_wrong_with_an_image_costs_that_image_only(
    root: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(root / "data/08")
    reader = source(root, split="all")
    first, second, *_ = reader.frames()
    everything = frozenset(reader.labels)
    assert "object_pose" in reader.read(second, everything).labels
    with pytest.raises(FrameError, match=message):
        reader.read(first, everything)


def test_a_broken_yaml_file_is_named(root: Path) -> None:
    path = root / "data/08/gt.yml"
    path.write_text(path.read_text()[:-25] + "[")
    with pytest.raises(DecodeError, match=r"YAML file cannot be read(.|\n)*data/08/gt.yml(.|\n)*extract"):
        read(root)
    assert source(root).read(listed(root)[0][0], frozenset()).depth_m.any(), "depth needs no poses"
    path.write_text("a list\n")
    with pytest.raises(DecodeError, match="one entry for each image"):
        read(root)


def test_half_a_folder_is_reported(root: Path) -> None:
    write_preprocessed(root, object_id=9)
    (root / "data/09/gt.yml").unlink()
    write_preprocessed(root, object_id=10)
    (root / "data/10/test.txt").unlink()
    write_preprocessed(root, object_id=11)
    shutil.rmtree(root / "data/11/depth")
    (root / "data/08/depth/0010.png").unlink()
    refs, text = listed(root)
    assert [ref.locator for ref in refs] == ["08/0000", "08/0002"]
    assert "warning data/08: 1 of the 3 images of test.txt have no depth image" in text
    assert "error data/09: skipped: no gt.yml" in text
    assert "error data/10: skipped: no test.txt" in text
    assert "error data/11/depth: no depth image" in text
    (root / "data/08/mask/0000.png").unlink()
    assert read(root).labels.keys() == {"object_id", "object_pose"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "train_pbr"}, "train, test and all"),
        ({"objects": [16]}, "1 to 15"),
        ({"layout": "bop", "split": "train_pbr", "objects": [1]}, "leave `objects` out"),
        ({"models": "models_eval"}, "one folder of models"),
        ({"background": "plane"}, "depth: rendered"),
    ],
)
def test_configurations_that_cannot_be(root: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        PluginBlock.parse(sources, {"name": "linemod", "root": str(root), **fields})


def test_the_wrong_form_or_nothing_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"no such folder(.|\n)*LINEMOD_ROOT"):
        listed(tmp_path / "absent")
    write_bop_scene(tmp_path)
    with pytest.raises(MissingDataError, match=r"no object of LineMOD(.|\n)*test/(.|\n)*layout: bop"):
        listed(tmp_path)
    write_preprocessed(tmp_path / "pre")
    with pytest.raises(MissingDataError, match="no scene in split"):
        listed(tmp_path / "pre", layout="bop")


def test_the_folder_above_will_do(tmp_path: Path) -> None:
    write_preprocessed(tmp_path / "Linemod_preprocessed")
    write_bop_scene(tmp_path / "lm", depth_scale=1.0)
    write_models(tmp_path / "lm", ids=(2,))
    for fields in ({}, {"layout": "bop"}, {"depth": "rendered"}):
        refs, text = listed(tmp_path, **fields)
        assert refs
        assert not text
    text = listed(tmp_path, layout="bop", depth="rendered")[1]
    assert text == "error models/obj_000005.ply: no model of object 5"


def test_the_bop_form_is_read_as_bop(tmp_path: Path) -> None:
    write_bop_scene(tmp_path, scene=6, depth_scale=1.0)
    write_models(tmp_path)
    for fields in ({}, {"depth": "rendered"}):
        ours, theirs = source(tmp_path, layout="bop", **fields), Bop(BopConfig(root=tmp_path, **fields))
        assert [ref.key for ref in ours.frames()] == ["linemod/test-000006/000003", "linemod/test-000006/000012"]
        for mine, other in zip(ours.frames(), theirs.frames(), strict=True):
            everything = frozenset(ours.labels)
            a, b = arrays_of(ours.read(mine, everything)), arrays_of(theirs.read(other, everything))
            assert a.keys() == b.keys()
            for name, array in a.items():
                np.testing.assert_array_equal(array, b[name])
    assert all("test-000006" in ref.key for ref in listed(tmp_path, layout="bop", objects=(6,))[0])
    assert "there is no scene 5" in listed(tmp_path, layout="bop", objects=(6, 5))[1]
