"""The BOP sample against the format's page and the table it was made from, and there and back through the reader."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera, Finding, Frame
from depthforge.meshes import load_mesh
from depthforge.registry import layouts
from depthforge.samples.bop import BopLayout
from depthforge.scenes.raycast import Scene, cast
from depthforge.scenes.tabletop import Tabletop, build_tabletop, object_mesh, object_model
from depthforge.seeding import frame_generator
from depthforge.sources.bop import Bop, BopConfig

SEED = 3
CAMERA = Camera(160.0, 161.0, 46.5, 37.25, 96, 72)


class SmallBop(BopLayout):
    """The same with a small camera."""

    camera = CAMERA


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bop")
    assert SmallBop().write(root, num_scenes=2, frames_per_scene=3, seed=SEED) == 6
    return root


@pytest.fixture(scope="module")
def table() -> tuple[Tabletop, np.ndarray]:
    """The table of scene 0 and its camera poses."""
    rng = frame_generator(SEED, "bop/000000", "tabletop")
    table = build_tabletop(rng)
    return table, table.camera_poses(rng, 3, (0.6, 1.0))


def image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def entries(path: Path, number: int) -> Any:
    return json.loads(path.read_text())[str(number)]


def read_all(root: Path, **fields: Any) -> list[Frame]:
    source = Bop(BopConfig(root=root, **fields))
    return [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]


def test_the_tree_is_bops(root: Path) -> None:
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    count = len(entries(root / "train_pbr/000000/scene_gt.json", 0))
    assert 5 <= count <= 12
    scene = {
        f"train_pbr/000000/{name}"
        for i in range(3)
        for name in (
            f"depth/{i:06d}.png",
            f"rgb/{i:06d}.jpg",
            *(f"{kind}/{i:06d}_{row:06d}.png" for kind in ("mask", "mask_visib") for row in range(count)),
        )
    } | {f"train_pbr/000000/{name}.json" for name in ("scene_camera", "scene_gt", "scene_gt_info")}
    assert {name for name in names if name.startswith("train_pbr")} == scene
    assert {name for name in names if name.startswith("models/")} == {
        "models/models_info.json",
        *(f"models/obj_{k:06d}.ply" for k in range(1, 21)),
    }
    assert {"camera.json", "test_targets_bop19.json", "models_eval/obj_000020.ply"} <= names
    assert "test/000001/rgb/000002.png" in names


def test_depth_and_cameras_are_stored_in_millimetres(root: Path, table: tuple[Tabletop, np.ndarray]) -> None:
    built, poses = table
    for i, pose in enumerate(poses):
        camera = entries(root / "train_pbr/000000/scene_camera.json", i)
        assert camera["cam_K"] == [160.0, 0.0, 46.5, 0.0, 161.0, 37.25, 0.0, 0.0, 1.0]
        assert camera["depth_scale"] == 0.1
        R, t = np.array(camera["cam_R_w2c"]).reshape(3, 3), np.array(camera["cam_t_w2c"])
        np.testing.assert_allclose(R @ (pose[:3, 3] * 1000) + t, 0, atol=1e-6)
        np.testing.assert_allclose(R @ pose[:3, 2], [0, 0, 1], atol=1e-9)
        hits = cast(built.scene, pose, CAMERA)
        stored = image(root / f"train_pbr/000000/depth/{i:06d}.png")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored > 0, hits.valid)
        assert np.abs(stored * 0.1 - hits.depth_m.astype(np.float64) * 1000).max() <= 0.0501
        row = entries(root / "train_pbr/000000/scene_gt.json", i)[0]
        T = built.T_world_object[min(built.model_of)]
        assert row["obj_id"] == built.model_of[min(built.model_of)] + 1
        np.testing.assert_allclose(row["cam_t_m2c"], (R @ T[:3, 3]) * 1000 + t, atol=1e-6)
        np.testing.assert_allclose(np.array(row["cam_R_m2c"]).reshape(3, 3), R @ T[:3, :3], atol=1e-9)


def test_masks_boxes_and_counts_are_exact(root: Path, table: tuple[Tabletop, np.ndarray]) -> None:
    built, poses = table
    canvas = Camera(160.0, 161.0, 46.5 + 96, 37.25 + 72, 3 * 96, 3 * 72)
    beyond = 0
    for i, pose in enumerate(poses):
        depth = image(root / f"train_pbr/000000/depth/{i:06d}.png")
        seen = built.instance[cast(built.scene, pose, CAMERA).shape]
        infos = entries(root / "train_pbr/000000/scene_gt_info.json", i)
        for row, (instance, number) in enumerate(built.model_of.items()):
            alone = Scene([shape.placed(built.T_world_object[instance]) for shape, _ in object_model(number)])
            whole = cast(alone, pose, canvas).valid
            mask = image(root / f"train_pbr/000000/mask/{i:06d}_{row:06d}.png")
            visible = image(root / f"train_pbr/000000/mask_visib/{i:06d}_{row:06d}.png")
            np.testing.assert_array_equal(mask, np.where(whole[72:144, 96:192], 255, 0))
            np.testing.assert_array_equal(visible, np.where(seen == instance, 255, 0))
            info = infos[row]
            assert info["px_count_all"] == whole.sum()
            assert info["px_count_visib"] == (visible > 0).sum()
            assert info["px_count_valid"] == ((mask > 0) & (depth > 0)).sum()
            assert info["visib_fract"] == pytest.approx((visible > 0).sum() / max(whole.sum(), 1))
            beyond += info["px_count_all"] > (mask > 0).sum()
            v, u = np.nonzero(whole)
            box = [u.min() - 96, v.min() - 72, np.ptp(u), np.ptp(v)] if whole.any() else [-1] * 4
            assert info["bbox_obj"] == box
            v, u = np.nonzero(visible)
            assert info["bbox_visib"] == ([u.min(), v.min(), np.ptp(u), np.ptp(v)] if len(u) else [-1] * 4)
    assert beyond, "no object of this sample crosses the image's border"


def test_models_are_in_millimetres(root: Path) -> None:
    info = json.loads((root / "models/models_info.json").read_text())
    for number in (0, 4, 19):
        mesh = load_mesh(root / f"models/obj_{number + 1:06d}.ply")
        np.testing.assert_allclose(mesh.vertices, object_mesh(number).vertices * 1000, rtol=1e-6)
        entry = info[str(number + 1)]
        for k, axis in enumerate("xyz"):
            assert entry[f"min_{axis}"] == pytest.approx(mesh.vertices[:, k].min(), rel=1e-6)
            assert entry[f"size_{axis}"] == pytest.approx(np.ptp(mesh.vertices[:, k]), rel=1e-6)
    # A carton of 160 x 60 x 210 mm: its diameter is its diagonal.
    assert info["1"]["diameter"] == pytest.approx(np.sqrt(160**2 + 60**2 + 210**2), rel=1e-6)


def test_test_scenes_are_measured_and_listed_as_targets(root: Path) -> None:
    (clean, *_), (noisy, *_) = read_all(root, split="train_pbr"), read_all(root, split="test")
    assert clean.valid.mean() > 0.95
    assert noisy.valid.mean() < clean.valid.mean()
    assert entries(root / "test/000001/scene_camera.json", 0)["depth_scale"] == 1.0
    targets = json.loads((root / "test_targets_bop19.json").read_text())
    assert {(target["scene_id"], target["im_id"]) for target in targets} == {(1, 0), (1, 2)}
    assert all(target["inst_count"] == 1 for target in targets)
    assert [frame.key for frame in read_all(root, targets=True)] == ["bop/test-000001/000000", "bop/test-000001/000002"]


def test_there_and_back(root: Path, table: tuple[Tabletop, np.ndarray]) -> None:
    findings: list[Finding] = []
    assert len(list(Bop(BopConfig(root=root, split="train_pbr")).frames(findings.append))) == 3
    assert not findings
    built, poses = table
    for frame, pose in zip(read_all(root, split="train_pbr"), poses, strict=True):
        hits = cast(built.scene, pose, CAMERA)
        np.testing.assert_allclose(frame.depth_m, hits.depth_m, atol=5.1e-5)
        np.testing.assert_allclose(frame.T_world_cam, pose, atol=1e-9)
        first = min(built.model_of)
        expected = np.where(built.instance[hits.shape] >= first, built.instance[hits.shape] - first + 1, 0)
        np.testing.assert_array_equal(frame.labels["instance"], expected)


def test_rendered_models_agree_with_the_exact_scene(root: Path) -> None:
    """Two ray-casters, Open3D on meshes and our own on solids, and two ways through the files."""
    exact = read_all(root, split="train_pbr")
    rendered = read_all(root, split="train_pbr", depth="rendered", background="plane")
    for ours, theirs in zip(rendered, exact, strict=True):
        same = ours.labels["instance"] == theirs.labels["instance"]
        assert same.mean() > 0.985  # outlines of round things differ: their meshes have 32 sides
        objects = same & (theirs.labels["instance"] > 0)
        # Facets of 32 sides lie up to radius (pi / 32)^2 / 2 within the solid: 0.4 mm for the widest.
        assert np.quantile(np.abs(ours.depth_m - theirs.depth_m)[objects], 0.95) < 1e-3
        table = same & (theirs.labels["instance"] == 0) & ours.valid
        assert np.median(np.abs(ours.depth_m - theirs.depth_m)[table]) < 2e-4
        np.testing.assert_allclose(
            ours.labels["object_px_count_all"].astype(int), theirs.labels["object_px_count_all"], rtol=0.06, atol=12
        )
        np.testing.assert_array_equal(ours.labels["depth_raw"][theirs.valid], theirs.depth_m[theirs.valid])


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    SmallBop().write(tmp_path, num_scenes=2, frames_per_scene=3, seed=SEED)

    def digest(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digest(tmp_path) == digest(root)


def test_a_folder_with_files_is_refused(root: Path) -> None:
    assert layouts.get("bop") is BopLayout
    with pytest.raises(InputError, match="empty folder"):
        SmallBop().write(root, num_scenes=1, frames_per_scene=1, seed=0)
