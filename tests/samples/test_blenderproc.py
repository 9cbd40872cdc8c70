"""The HDF5 frames: as BlenderProc's, and there and back through the reader by their manifest; small images."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.blenderproc import BlenderProcLayout
from depthforge.samples.room_views import RoomViews
from depthforge.sources.blenderproc import BlenderProc, BlenderProcConfig

SMALL = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blenderproc") / "out"
    assert BlenderProcLayout(SMALL).write(root, num_scenes=2, frames_per_scene=2, seed=3) == 4
    return root


def test_its_manifest_gives_the_rooms_back(root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLENDERPROC_ROOT", str(root))
    config = load_manifest(repository / "manifests" / "blenderproc.yaml").source.config
    assert isinstance(config, BlenderProcConfig)
    source = BlenderProc(config)
    refs = list(source.frames())
    assert [ref.key for ref in refs] == [f"blenderproc/room{room:04d}/{k:06d}" for room in range(2) for k in range(2)]
    rooms = RoomViews(num_scenes=2, frames_per_scene=2, seed=3)
    for room in range(2):
        frame = source.read(refs[2 * room + 1], frozenset(source.labels)).require_sound()
        truth = rooms.see(room, 1, SMALL)
        assert frame.camera == SMALL
        np.testing.assert_array_equal(frame.valid, truth.valid)
        np.testing.assert_allclose(frame.depth_m, truth.depth_m, rtol=1e-6)
        np.testing.assert_array_equal(frame.rgb, truth.rgb)
        assert truth.T_world_cam is not None
        np.testing.assert_array_equal(frame.T_world_cam, truth.T_world_cam)
        for label in ("semantic", "instance"):
            np.testing.assert_array_equal(frame.labels[label], truth.labels[label])


def test_the_files_are_blenderprocs(root: Path) -> None:
    assert layouts.get("blenderproc") is BlenderProcLayout
    with h5py.File(root / "room0000" / "1.hdf5") as file:
        assert {"colors", "depth", "normals", "instance_segmaps", "class_segmaps"} < set(file.keys())
        assert file["depth"].compression == "gzip"
        assert json.loads(bytes(file["instance_attribute_maps"][()]))[0].keys() == {"idx", "name", "category_id"}
    with h5py.File(root / "room0001" / "0.hdf5") as file:
        assert "depth" not in file
        assert file["distance"].dtype == np.float32


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    BlenderProcLayout(SMALL).write(tmp_path / "again", num_scenes=2, frames_per_scene=2, seed=3)
    for path in root.rglob("*.hdf5"):
        assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        BlenderProcLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
