"""The sample layouts of TartanAir against their own format pages, and there and back through the reader."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.room_views import RoomViews
from depthforge.samples.tartanair import TartanAirLayout
from depthforge.samples.tartanair2 import TartanAir2Layout
from depthforge.sources.resized import build_source
from depthforge.sources.tartanair import TartanAir, TartanAirConfig

SEED = 4


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tartanair")
    assert TartanAirLayout().write(root, num_scenes=1, frames_per_scene=2, seed=SEED) == 2
    return root


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tartanair2")
    assert TartanAir2Layout().write(root, num_scenes=1, frames_per_scene=2, seed=SEED) == 2
    return root


def test_the_trees_are_tartanairs(v1: Path, v2: Path) -> None:
    assert isinstance(layouts.get("tartanair")(), TartanAirLayout)
    assert isinstance(layouts.get("tartanair2")(), TartanAir2Layout)
    assert {path.relative_to(v1).as_posix() for path in v1.rglob("*.*")} == {
        "room0000/Easy/P000/pose_left.txt",
        *(f"room0000/Easy/P000/image_left/00000{k}_left.png" for k in range(2)),
        *(f"room0000/Easy/P000/depth_left/00000{k}_left_depth.npy" for k in range(2)),
        *(f"room0000/Easy/P000/seg_left/00000{k}_left_seg.npy" for k in range(2)),
    }
    assert {path.relative_to(v2).as_posix() for path in v2.rglob("*.*")} == {
        "Room0000/seg_label_map.json",
        "Room0000/Data_easy/P000/pose_lcam_front.txt",
        *(f"Room0000/Data_easy/P000/image_lcam_front/00000{k}_lcam_front.png" for k in range(2)),
        *(f"Room0000/Data_easy/P000/depth_lcam_front/00000{k}_lcam_front_depth.png" for k in range(2)),
        *(f"Room0000/Data_easy/P000/seg_lcam_front/00000{k}_lcam_front_seg.png" for k in range(2)),
    }
    stored = np.load(v1 / "room0000/Easy/P000/depth_left/000000_left_depth.npy")
    assert (stored.dtype, stored.shape) == (np.float32, (480, 640))
    assert len((v1 / "room0000/Easy/P000/pose_left.txt").read_text().splitlines()[1].split()) == 7
    path = v2 / "Room0000/Data_easy/P000/depth_lcam_front/000000_lcam_front_depth.png"
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (640, 640, 4)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_reader_gives_the_room_back(v1: Path, v2: Path, version: str) -> None:
    root = v1 if version == "v1" else v2
    source = TartanAir(TartanAirConfig.model_validate({"root": root, "version": version}))
    frame = source.read(list(source.frames())[1], frozenset(source.labels)).require_sound()
    camera = frame.camera
    truth = RoomViews(num_scenes=1, frames_per_scene=2, seed=SEED).see(
        0, 1, Camera(320, 320, camera.cx, camera.cy, camera.width, camera.height)
    )
    np.testing.assert_array_equal(frame.depth_m, truth.depth_m)
    np.testing.assert_array_equal(frame.labels["instance"], truth.labels["instance"])
    np.testing.assert_array_equal(frame.rgb, truth.rgb)
    assert frame.T_world_cam is not None
    # Its world has z down.
    z_down = np.diag([1.0, -1.0, -1.0, 1.0])
    np.testing.assert_allclose(z_down @ frame.T_world_cam, np.asarray(truth.T_world_cam), atol=1e-8)


def test_its_manifest_reads_it(repository: Path, v1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARTANAIR_ROOT", str(v1))
    block = load_manifest(repository / "manifests" / "tartanair.yaml").source
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    frames = [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]
    assert len(frames) == 2


def test_only_an_empty_folder_is_written_to(v1: Path) -> None:
    for layout in (TartanAirLayout(), TartanAir2Layout()):
        with pytest.raises(InputError, match="empty"):
            layout.write(v1, num_scenes=1, frames_per_scene=1, seed=0)
