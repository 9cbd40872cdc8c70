"""The sample layout against its own format page, and there and back through the reader; small cameras."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera, Finding
from depthforge.geometry import back_project
from depthforge.meshes import MeshScene, load_mesh
from depthforge.registry import layouts, sources
from depthforge.samples.room_views import RoomViews
from depthforge.samples.scannet import COLOUR_CAMERA, DEPTH_CAMERA, ScanNetLayout
from depthforge.sources.scannet import ScanNet, ScanNetConfig
from depthforge.sources.scannet.sens import SensFile

DEPTH = Camera(71.45, 71.45, 39.5, 29.5, 80, 60)
COLOUR = Camera(146.27, 146.27, 80.4, 60.1, 162, 121)
SCENES, FRAMES, SEED = 3, 3, 4


def write(root: Path) -> Path:
    assert ScanNetLayout(DEPTH, COLOUR).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 9
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scannet"))


@pytest.fixture(scope="module")
def source(root: Path) -> ScanNet:
    return ScanNet(ScanNetConfig(root=root, width=80, height=60))


def test_the_tree_is_scannets(root: Path) -> None:
    assert isinstance(layouts.get("scannet")(), ScanNetLayout)
    assert (DEPTH_CAMERA.width, COLOUR_CAMERA.width, COLOUR_CAMERA.height) == (640, 1296, 968)
    scan = root / "scans/scene0000_00"
    assert {path.relative_to(scan).as_posix() for path in scan.rglob("*.*")} == {
        "scene0000_00.txt",
        "scene0000_00_vh_clean_2.ply",
        "intrinsic/intrinsic_depth.txt",
        "intrinsic/intrinsic_color.txt",
        "intrinsic/extrinsic_depth.txt",
        "intrinsic/extrinsic_color.txt",
        *(f"depth/{k}.png" for k in range(3)),
        *(f"color/{k}.jpg" for k in range(3)),
        *(f"pose/{k}.txt" for k in range(3)),
        *(f"label-filt/{k}.png" for k in range(3)),
        *(f"instance-filt/{k}.png" for k in range(3)),
    }
    stored = cv2.imread(str(scan / "depth/0.png"), cv2.IMREAD_UNCHANGED)
    assert (stored.dtype, stored.shape) == (np.uint16, (60, 80))
    assert 300 < np.median(stored) < 8000, "millimetres"
    assert cv2.imread(str(scan / "color/0.jpg")).shape == (121, 162, 3)
    assert cv2.imread(str(scan / "label-filt/0.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    assert cv2.imread(str(scan / "instance-filt/0.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint8
    assert (scan / "pose/1.txt").read_text().split() == ["-inf"] * 16
    streamed = root / "scans/scene0001_00"
    assert {path.name for path in streamed.iterdir()} == {
        "scene0001_00.sens",
        "scene0001_00.txt",
        "scene0001_00_vh_clean_2.ply",
        "scene0001_00_2d-label-filt.zip",
        "scene0001_00_2d-instance-filt.zip",
    }
    with zipfile.ZipFile(streamed / "scene0001_00_2d-label-filt.zip") as archive:
        assert archive.namelist() == [f"label-filt/{k}.png" for k in range(3)]
    sens = SensFile(streamed / "scene0001_00.sens")
    assert (sens.header.num_frames, sens.num_whole, sens.header.depth_shift) == (3, 3, 1000.0)
    assert sens.header.intrinsic_color[0, 0] == pytest.approx(COLOUR.fx)


def test_the_table_has_the_ids_of_the_page(root: Path) -> None:
    lines = (root / "scannetv2-labels.combined.tsv").read_text().splitlines()
    rows = {int(line.split("\t")[0]): line.split("\t") for line in lines[1:]}
    names = lines[0].split("\t")
    assert {(1, "1", "wall"), (3, "2", "floor"), (2, "5", "chair")} <= {
        (k, row[names.index("nyu40id")], row[names.index("nyu40class")]) for k, row in rows.items()
    }
    assert len(rows) == 40


def test_the_reader_gives_the_room_back(source: ScanNet) -> None:
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    for index, (scene, number) in {0: (0, 0), 3: (1, 0), 8: (2, 2)}.items():
        frame = source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()
        truth = rooms.see(scene, number, frame.camera)
        assert truth.T_world_cam is not None
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, truth.T_world_cam, atol=1e-5)
        both = frame.valid & truth.valid
        error_m = np.abs(frame.depth_m - truth.depth_m)[both]
        assert both.mean() > 0.4
        # Of so short a focal length the steps of disparity are coarse.
        assert np.median(error_m / truth.depth_m[both]) < 0.03
        assert error_m.mean() > 0.001, "it is as measured, not as it is"
        assert (frame.labels["semantic"] == truth.labels["semantic"])[1:-1, 1:-1].mean() > 0.93
        assert (frame.labels["instance"] == truth.labels["instance"])[1:-1, 1:-1].mean() > 0.93
        assert frame.rgb is not None
        assert truth.rgb is not None
        assert np.median(np.abs(frame.rgb.astype(int) - truth.rgb.astype(int))) < 12


def test_floors_are_level_by_the_stored_poses(source: ScanNet) -> None:
    frame = source.read(next(iter(source.frames())), frozenset(source.labels))
    assert frame.T_world_cam is not None
    points = back_project(frame.depth_m, frame.camera) @ frame.T_world_cam[:3, :3].T + frame.T_world_cam[:3, 3]
    floor = points[frame.valid & (frame.labels["semantic"] == 2)]
    assert len(floor) > 20
    assert np.median(np.abs(floor[:, 2])) < 0.05


def test_the_shipped_mesh_is_the_room(root: Path, source: ScanNet) -> None:
    pytest.importorskip("open3d", exc_type=ImportError)
    ref = next(iter(source.frames()))
    path = source.mesh_of(ref)
    assert path is not None
    frame = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED).see(0, 0, DEPTH)
    hits = MeshScene([load_mesh(path)]).cast(np.asarray(frame.T_world_cam), DEPTH, fronts_only=True)
    both = hits.valid & frame.valid
    assert both.sum() > 0.98 * frame.valid.sum()
    assert np.quantile(np.abs(hits.depth_m - frame.depth_m)[both], 0.95) < 0.01


def test_one_pose_of_each_scan_is_lost(source: ScanNet) -> None:
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    lost = [ref.key for ref in refs if source.read(ref, frozenset({"T_world_cam"})).T_world_cam is None]
    assert lost == [f"scannet/scene{k:04d}/00-000001" for k in range(3)]
    assert [finding.message[:6] for finding in findings] == ["1 of 3"] * 3
    assert sources.get("scannet") is ScanNet


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    def digests(top: Path) -> dict[str, str]:
        files = sorted(path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(write(tmp_path / "again")) == digests(root)


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        ScanNetLayout(DEPTH, COLOUR).write(root, num_scenes=1, frames_per_scene=1, seed=0)
