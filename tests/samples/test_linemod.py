"""The LineMOD sample: both forms hold the same images, in the units and files that their readers' authors describe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from depthforge.errors import InputError
from depthforge.frame import Camera, Finding, Frame
from depthforge.registry import layouts
from depthforge.samples.linemod import LinemodLayout
from depthforge.sources.linemod import Linemod, LinemodConfig

CAMERA = Camera(114.4, 114.7, 65.05, 48.4, 128, 96)


class SmallLinemod(LinemodLayout):
    """The same with a small camera, through which a Kinect would see little, and exact depth."""

    camera = CAMERA
    sensor = None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("linemod")
    assert SmallLinemod().write(root, num_scenes=2, frames_per_scene=8, seed=1) == 16
    return root


def read_all(root: Path, **fields: Any) -> list[Frame]:
    source = Linemod(LinemodConfig(root=root, **fields))
    findings: list[Finding] = []
    frames = [
        source.read(ref, frozenset(source.labels)).require_sound() for ref in list(source.frames(findings.append))
    ]
    assert not findings
    return frames


def image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_trees(root: Path) -> None:
    data = root / "Linemod_preprocessed/data"
    assert sorted(path.name for path in data.iterdir()) == ["01", "02"]
    names = {path.relative_to(data / "01").as_posix() for path in (data / "01").rglob("*") if path.is_file()}
    images = {f"{kind}/{i:04d}.png" for kind in ("rgb", "depth", "mask") for i in range(8)}
    assert names == images | {"gt.yml", "info.yml", "train.txt", "test.txt"}
    models = sorted(path.name for path in (root / "Linemod_preprocessed/models").iterdir())
    assert models == ["models_info.yml", *(f"obj_{k:02d}.ply" for k in range(1, 16) if k not in (3, 7))]
    assert sorted(path.name for path in (root / "lm/test").iterdir()) == ["000001", "000002"]
    assert (root / "lm/models/obj_000015.ply").is_file()
    assert LinemodLayout.camera == Camera(572.4114, 573.57043, 325.2611, 242.04899, 640, 480)


def test_annotations_are_densefusions(root: Path) -> None:
    data = root / "Linemod_preprocessed/data"
    info = yaml.safe_load((data / "01/info.yml").read_text())
    assert info[0] == {"cam_K": [114.4, 0.0, 65.05, 0.0, 114.7, 48.4, 0.0, 0.0, 1.0], "depth_scale": 1.0}
    for folder, own in (("01", 1), ("02", 2)):
        truth = yaml.safe_load((data / folder / "gt.yml").read_text())
        assert list(truth) == list(range(8))
        for i, rows in truth.items():
            assert (len(rows) > 4) == (own == 2), "folder 02 lists every object"
            (row,) = (row for row in rows if row["obj_id"] == own)
            assert 550 < row["cam_t_m2c"][2] < 1150
            mask, depth = image(data / folder / f"mask/{i:04d}.png"), image(data / folder / f"depth/{i:04d}.png")
            assert mask.shape == (96, 128, 3)
            assert set(np.unique(mask)) == {0, 255}
            measured = depth[(mask[..., 0] > 0) & (depth > 0)]
            # The object is within its radius, 135 mm at most, of its origin.
            assert np.abs(measured.astype(float) - row["cam_t_m2c"][2]).max() < 150
            u = row["cam_t_m2c"][0] / row["cam_t_m2c"][2] * 114.4 + 65.05
            x, _, width, _ = row["obj_bb"]
            assert x - 8 < u < x + width + 8
    assert (data / "01/train.txt").read_text() == "0006"
    assert (data / "01/test.txt").read_text().split() == ["0000", "0001", "0002", "0003", "0004", "0005", "0007"]


def test_both_forms_read_alike(root: Path) -> None:
    ours = read_all(root / "Linemod_preprocessed", split="all")
    bops = read_all(root / "lm", layout="bop")
    assert len(ours) == len(bops) == 16
    assert bops[0].key == "linemod/test-000001/000000"
    for a, b in zip(ours, bops, strict=True):
        np.testing.assert_array_equal(a.depth_m, b.depth_m)
        np.testing.assert_array_equal(a.rgb, b.rgb)
        assert a.camera == b.camera
        np.testing.assert_array_equal(a.labels["object_id"], b.labels["object_id"])
        np.testing.assert_allclose(a.labels["object_pose"], b.labels["object_pose"], atol=1e-7)
        np.testing.assert_array_equal(a.labels["instance"], b.labels["instance"])


def test_the_object_is_hardly_hidden_and_lies_in_the_middle(root: Path) -> None:
    for frame in read_all(root / "lm", layout="bop"):
        visible, whole = (frame.labels[f"object_px_count_{name}"][0] for name in ("visib", "all"))
        assert visible > 0.8 * whole
        assert visible > 50


def test_rendered_frames_show_the_object_where_it_was_measured(root: Path) -> None:
    raw = read_all(root / "Linemod_preprocessed")
    rendered = read_all(root / "Linemod_preprocessed", depth="rendered", background="plane")
    for measured, clean in zip(raw, rendered, strict=True):
        both = (measured.labels["instance"] > 0) & (clean.labels["instance"] > 0) & measured.valid
        assert both.sum() > 0.7 * (clean.labels["instance"] > 0).sum()
        # The measured side is rounded to a millimetre.
        assert np.median(np.abs(measured.depth_m - clean.depth_m)[both]) < 6e-4
        assert clean.valid.mean() > 0.6, "the table is fitted"


def test_depth_is_a_kinects(tmp_path: Path) -> None:
    class Kinect(LinemodLayout):
        camera = Camera(572.4114, 573.57043, 161.0, 120.0, 320, 240)

    Kinect().write(tmp_path, num_scenes=1, frames_per_scene=1, seed=1)
    (measured,) = read_all(tmp_path / "lm", layout="bop")
    (clean,) = read_all(tmp_path / "lm", layout="bop", depth="rendered")
    both = measured.valid & (clean.labels["instance"] > 0)
    assert 0.3 < both.sum() / (clean.labels["instance"] > 0).sum() < 1.0
    assert 2e-4 < np.abs(measured.depth_m - clean.depth_m)[both].mean() < 0.02


def test_more_scenes_than_objects_are_refused(tmp_path: Path) -> None:
    assert layouts.get("linemod") is LinemodLayout
    with pytest.raises(InputError, match="at most 13"):
        LinemodLayout().write(tmp_path, num_scenes=14, frames_per_scene=1, seed=0)
    (tmp_path / "there").write_text("")
    with pytest.raises(InputError, match="empty folder"):
        LinemodLayout().write(tmp_path, num_scenes=1, frames_per_scene=1, seed=0)
