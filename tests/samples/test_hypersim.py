"""The sample layout against its own format page, and there and back through the reader; a small camera."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.geometry import back_project
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.hypersim import CAMERA, HypersimLayout
from depthforge.samples.room_views import RoomViews
from depthforge.sources.hypersim import Hypersim, HypersimConfig
from depthforge.sources.resized import build_source

SMALL = Camera(69.282, 69.282, 39.5, 29.5, 80, 60)
SCENES, FRAMES, SEED = 2, 2, 4


def write(root: Path) -> Path:
    assert HypersimLayout(SMALL).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 4
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("hypersim"))


@pytest.fixture(scope="module")
def source(root: Path) -> Hypersim:
    return Hypersim(HypersimConfig(root=root, width=80, height=60))


def test_the_tree_is_hypersims(root: Path) -> None:
    assert isinstance(layouts.get("hypersim")(), HypersimLayout)
    scene = root / "ai_001_001"
    kinds = ("depth_meters", "position", "normal_cam", "semantic", "semantic_instance")
    assert {path.relative_to(scene).as_posix() for path in scene.rglob("*.*") if path.is_file()} == {
        "_detail/metadata_scene.csv",
        "_detail/metadata_cameras.csv",
        *(f"_detail/cam_00/camera_keyframe_{k}.hdf5" for k in ("orientations", "positions", "frame_indices")),
        *(f"images/scene_cam_00_geometry_hdf5/frame.000{k}.{kind}.hdf5" for k in range(2) for kind in kinds),
        *(f"images/scene_cam_00_final_preview/frame.000{k}.tonemap.jpg" for k in range(2)),
    }
    with h5py.File(scene / "images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5") as file:
        assert list(file) == ["dataset"]
        assert (file["dataset"].dtype, file["dataset"].shape) == (np.float16, (60, 80))
    rows = list(csv.DictReader((root / "metadata_camera_parameters.csv").open()))
    assert [row["scene_name"] for row in rows] == ["ai_000_001", "ai_001_001"]
    assert float(rows[0]["M_cam_from_uv_00"]) == pytest.approx(np.tan(np.pi / 6), rel=1e-4)
    assert float(rows[0]["M_cam_from_uv_22"]) == pytest.approx(-1)
    assert float(rows[1]["M_cam_from_uv_21"]) != 0, "tilted"


def test_the_reader_gives_the_rooms_back(source: Hypersim) -> None:
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    refs = list(source.frames())
    for index, (scene, number) in {1: (0, 1), 2: (1, 0)}.items():
        frame = source.read(refs[index], frozenset(source.labels)).require_sound()
        truth = rooms.see(scene, number, frame.camera)
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, np.asarray(truth.T_world_cam), atol=1e-9)
        same = frame.valid & truth.valid
        assert same.mean() > 0.9
        # Steps of float16 are a thousandth of what it holds.
        np.testing.assert_allclose(frame.depth_m[same], truth.depth_m[same], rtol=1e-3)
        np.testing.assert_array_equal(frame.labels["semantic"], truth.labels["semantic"])
        np.testing.assert_array_equal(frame.labels["instance"], truth.labels["instance"])
    assert frame.camera.cx == pytest.approx(39.5 + 0.06 * 80), "the odd room's is shifted"


def test_points_are_where_the_positions_are(root: Path, source: Hypersim) -> None:
    """The check of a reader that Hypersim allows: depth, camera and pose give ``position``, as far as float16 does."""
    for ref in source.frames():
        frame = source.read(ref, frozenset(source.labels))
        assert frame.T_world_cam is not None
        points = back_project(frame.depth_m, frame.camera) @ frame.T_world_cam[:3, :3].T + frame.T_world_cam[:3, 3]
        with h5py.File(root / ref.locator.replace("depth_meters", "position")) as file:
            position = file["dataset"][()].astype(float) * 0.0254
        np.testing.assert_allclose(points[frame.valid], position[frame.valid], atol=0.01)


def test_its_manifest_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HypersimLayout().write(tmp_path / "hypersim", num_scenes=1, frames_per_scene=1, seed=0)
    monkeypatch.setenv("HYPERSIM_ROOT", str(tmp_path / "hypersim"))
    block = load_manifest(repository / "manifests" / "hypersim.yaml").source
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    (frame,) = [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]
    assert frame.camera.fx == pytest.approx(CAMERA.fx)
    assert frame.labels.keys() == {"semantic", "instance", "normals"}


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    def digests(top: Path) -> dict[str, str]:
        files = sorted(path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(write(tmp_path / "again")) == digests(root)


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        HypersimLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
