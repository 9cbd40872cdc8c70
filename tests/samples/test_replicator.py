"""BasicWriter's output: its files, and there and back through the reader by its manifest; small images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.replicator import ReplicatorLayout
from depthforge.samples.room_views import RoomViews
from depthforge.sources.replicator import Replicator, ReplicatorConfig

SMALL = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replicator") / "out"
    assert ReplicatorLayout(SMALL).write(root, num_scenes=2, frames_per_scene=3, seed=5) == 6
    return root


def test_its_manifest_gives_the_rooms_back(root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATOR_ROOT", str(root))
    config = load_manifest(repository / "manifests" / "replicator.yaml").source.config
    assert isinstance(config, ReplicatorConfig)
    source = Replicator(config)
    refs = list(source.frames())
    assert [ref.key for ref in refs][:4] == [
        "replicator/Replicator_00/000000",
        "replicator/Replicator_00/000001",
        "replicator/Replicator_00/000002",
        "replicator/Replicator_01/000000",
    ]
    rooms = RoomViews(num_scenes=2, frames_per_scene=3, seed=5)
    classes: set[tuple[int, int]] = set()
    for room in range(2):
        instances: set[tuple[int, int]] = set()
        for number in range(3):
            frame = source.read(refs[3 * room + number], frozenset(source.labels)).require_sound()
            truth = rooms.see(room, number, SMALL)
            assert (frame.camera.fx, frame.camera.cx, frame.camera.size) == (pytest.approx(60), 31.5, (48, 64))
            np.testing.assert_array_equal(frame.depth_m, truth.depth_m)
            np.testing.assert_array_equal(frame.rgb, truth.rgb)
            assert truth.T_world_cam is not None
            np.testing.assert_allclose(frame.T_world_cam, truth.T_world_cam, atol=1e-12)
            for label, pairs in (("semantic", classes), ("instance", instances)):
                found, wanted = frame.labels[label].ravel().tolist(), truth.labels[label].ravel().tolist()
                pairs |= set(zip(found, wanted, strict=True))
        assert len(instances) == len({ours for ours, _ in instances}) == len({theirs for _, theirs in instances})
    assert len(classes) == len({ours for ours, _ in classes}) == len({theirs for _, theirs in classes}), "one to one"


def test_the_files_are_those_of_two_layouts(root: Path) -> None:
    assert layouts.get("replicator") is ReplicatorLayout
    first = root / "Replicator_00"
    assert (first / "distance_to_image_plane/distance_to_image_plane_0002.npy").read_bytes().startswith(b"\x93NUMPY")
    labels = json.loads((first / "semantic_segmentation/semantic_segmentation_labels_0000.json").read_text())
    assert labels["(0, 0, 0, 0)"] == {"class": "BACKGROUND"}
    second = json.loads(
        (root / "semantic_segmentation/Replicator_01_semantic_segmentation_labels_0000.json").read_text()
    )
    assert "0" in second
    view = json.loads((root / "camera_params/Replicator_01_camera_params_0000.json").read_text())["cameraViewTransform"]
    assert view[3::4] == [0, 0, 0, 1]


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    ReplicatorLayout(SMALL).write(tmp_path / "again", num_scenes=2, frames_per_scene=3, seed=5)
    for path in root.rglob("*_0001.*"):
        assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        ReplicatorLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
