"""The sample layout against its own format page, and there and back through the reader; a small camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.nerfstudio import CAMERA, NerfstudioLayout
from depthforge.samples.room_views import RoomViews
from depthforge.sources.nerfstudio import Nerfstudio, NerfstudioConfig
from depthforge.sources.resized import build_source

SMALL = Camera(65.0, 65.0, 39.5, 29.5, 80, 60)
SCENES, FRAMES, SEED = 2, 2, 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nerfstudio")
    assert NerfstudioLayout(SMALL).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 4
    return root


def test_the_folder_is_nerfstudios(root: Path) -> None:
    assert isinstance(layouts.get("nerfstudio")(), NerfstudioLayout)
    folder = root / "room_0001"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "transforms.json",
        *(f"images/frame_0000{k}.jpg" for k in (1, 2)),
        *(f"depth/frame_0000{k}.png" for k in (1, 2)),
    }
    stated = json.loads((folder / "transforms.json").read_text())
    assert (stated["cx"], stated["w"], stated["camera_model"]) == (40.0, 80, "OPENCV")
    assert np.array(stated["applied_transform"]).shape == (3, 4)
    assert np.array(stated["frames"][0]["transform_matrix"]).shape == (4, 4)


def test_the_reader_gives_the_room_back(root: Path) -> None:
    source = Nerfstudio(NerfstudioConfig(root=root))
    assert source.size == (60, 80)
    frame = source.read(list(source.frames())[3], frozenset(source.labels)).require_sound()
    truth = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED).see(1, 1, SMALL)
    assert frame.camera == SMALL
    np.testing.assert_allclose(frame.depth_m, truth.depth_m, atol=0.00051)
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, np.asarray(truth.T_world_cam), atol=1e-12)
    assert frame.rgb is not None
    assert np.median(np.abs(frame.rgb.astype(int) - np.asarray(truth.rgb).astype(int))) < 8


def test_its_manifest_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NerfstudioLayout().write(tmp_path / "nerf", num_scenes=1, frames_per_scene=1, seed=0)
    monkeypatch.setenv("NERFSTUDIO_ROOT", str(tmp_path / "nerf"))
    block = load_manifest(repository / "manifests" / "nerfstudio.yaml").source
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    (frame,) = [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]
    assert frame.camera == CAMERA


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        NerfstudioLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
