"""The two sample layouts of Replica against their own format pages, and there and back through the reader."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.replica import CAMERA, ReplicaLayout
from depthforge.samples.room_views import RoomViews
from depthforge.samples.vmap import VmapLayout
from depthforge.sources.replica import Replica, ReplicaConfig
from depthforge.sources.resized import build_source

SMALL = Camera(40.0, 40.0, 39.5, 22.1666667, 80, 45)
SCENES, FRAMES, SEED = 2, 2, 4


@pytest.fixture(scope="module")
def nice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replica")
    assert ReplicaLayout(SMALL).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 4
    return root


@pytest.fixture(scope="module")
def vmap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("vmap")
    assert VmapLayout(SMALL).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 4
    return root


def test_the_trees_are_replicas(nice: Path, vmap: Path) -> None:
    assert isinstance(layouts.get("replica")(), ReplicaLayout)
    assert isinstance(layouts.get("vmap")(), VmapLayout)
    assert (CAMERA.width, CAMERA.height, CAMERA.fx, CAMERA.cx) == (1200, 680, 600, 599.5)
    assert {path.relative_to(nice).as_posix() for path in nice.rglob("*.*")} == {
        "cam_params.json",
        *(f"room{room}/traj.txt" for room in range(2)),
        *(f"room{room}/results/frame{k:06d}.jpg" for k in range(2) for room in range(2)),
        *(f"room{room}/results/depth{k:06d}.png" for k in range(2) for room in range(2)),
    }
    kinds = ("rgb", "depth", "semantic_class", "semantic_instance")
    assert {path.relative_to(vmap / "room_1/imap/00").as_posix() for path in (vmap / "room_1").rglob("*.*")} == {
        "traj_w_c.txt",
        *(f"{kind}/{kind}_{k}.png" for k in range(2) for kind in kinds),
    }
    assert json.loads((nice / "cam_params.json").read_text())["camera"]["scale"] == 6553.5
    assert len((nice / "room0/traj.txt").read_text().splitlines()[1].split()) == 16
    stored = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in (nice / "room0/results/depth000000.png", vmap / "room_0/imap/00/depth/depth_0.png")
    ]
    assert [image.dtype for image in stored] == [np.uint16, np.uint16]
    assert np.median(stored[0]) / np.median(stored[1]) == pytest.approx(6.5535, abs=0.01)


def test_the_reader_gives_the_rooms_back(nice: Path, vmap: Path) -> None:
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    truth = rooms.see(1, 1, SMALL)
    for root, step_m, colour in ((nice, 1 / 6553.5, 8), (vmap, 0.001, 1)):
        source = Replica(ReplicaConfig(root=root, width=80, height=45))
        frame = source.read(list(source.frames())[3], frozenset(source.labels)).require_sound()
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, np.asarray(truth.T_world_cam), atol=1e-9)
        wanted_m = np.where(truth.depth_m > 65535 * step_m, 0, truth.depth_m)
        np.testing.assert_allclose(frame.depth_m, wanted_m, atol=0.51 * step_m)
        assert frame.rgb is not None
        assert np.median(np.abs(frame.rgb.astype(int) - np.asarray(truth.rgb).astype(int))) < colour
    np.testing.assert_array_equal(frame.labels["semantic"], truth.labels["semantic"])
    np.testing.assert_array_equal(frame.labels["instance"], truth.labels["instance"])


@pytest.mark.parametrize("layout", ["replica", "vmap"])
def test_its_manifest_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    layouts.get(layout)().write(tmp_path / "replica", num_scenes=1, frames_per_scene=1, seed=0)
    monkeypatch.setenv("REPLICA_ROOT", str(tmp_path / "replica"))
    block = load_manifest(repository / "manifests" / "replica.yaml").source
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    (frame,) = [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]
    assert frame.camera == CAMERA


def test_only_an_empty_folder_is_written_to(nice: Path) -> None:
    for layout in (ReplicaLayout(SMALL), VmapLayout(SMALL)):
        with pytest.raises(InputError, match="empty"):
            layout.write(nice, num_scenes=1, frames_per_scene=1, seed=0)
