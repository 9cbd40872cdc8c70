"""The folder of scans: readable by its manifest, noisy, posed, and of other rooms than the clean layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.rgbd_folder import RgbdFolderLayout
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.sources.rgbd_folder import RgbdFolder, RgbdFolderConfig

SMALL = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


def read(root: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> RgbdFolder:
    monkeypatch.setenv("SCANS_ROOT", str(root))
    config = load_manifest(manifest).source.config
    assert isinstance(config, RgbdFolderConfig)
    block = config.camera.model_copy(update={"width": 64, "height": 48, "fx": 60.0, "fy": 60.0, "cx": 31.5, "cy": 23.5})
    return RgbdFolder(config.model_copy(update={"camera": block}))


def test_its_manifest_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "scans"
    assert RgbdFolderLayout(SMALL).write(root, num_scenes=2, frames_per_scene=3, seed=0) == 6
    source = read(root, repository / "manifests" / "scans.yaml", monkeypatch)
    refs = list(source.frames())
    assert [ref.key for ref in refs][:4] == [
        "scans/scene0000/000000", "scans/scene0000/000001", "scans/scene0000/000002", "scans/scene0001/000000",
    ]  # fmt: skip
    frame = source.read(refs[1], frozenset(source.labels)).require_sound()
    rooms = Procedural(ProceduralConfig(num_scenes=2, frames_per_scene=3, seed=1000))
    walk = rooms.room(0)[1]
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, walk[1], atol=1e-8)
    assert 0 < frame.valid.mean() < 1, "a sensor has holes"
    assert np.unique(np.diff(np.unique(np.rint(frame.depth_m[frame.valid] * 1000)))).size > 1
    assert frame.rgb is not None
    assert not np.array_equal(walk, Procedural(ProceduralConfig(num_scenes=2, frames_per_scene=3)).room(0)[1])


def test_it_is_a_layout_by_name_and_takes_an_empty_folder_only(tmp_path: Path) -> None:
    assert layouts.get("rgbd_folder") is RgbdFolderLayout
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="empty folder"):
        RgbdFolderLayout(SMALL).write(tmp_path, num_scenes=1, frames_per_scene=1, seed=0)
