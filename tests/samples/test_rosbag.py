"""The recordings of a Kinect: readable by their manifest, posed, of both ROS, the same from the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.fitting.scans import read_scans
from depthforge.frame import RGB_FILE, Camera, Finding
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.rosbag import RosbagLayout
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.sources.rosbag import Rosbag, RosbagConfig

SMALL = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bags") / "bags"
    assert RosbagLayout(SMALL).write(root, num_scenes=2, frames_per_scene=3, seed=0) == 6
    return root


def test_its_manifest_reads_it(root: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSBAG_ROOT", str(root))
    config = load_manifest(repository / "manifests" / "rosbag.yaml").source.config
    assert isinstance(config, RosbagConfig)
    source = Rosbag(config)
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    assert findings == []
    assert [ref.key for ref in refs] == [
        f"rosbag/room{room:04d}/{1_700_000_000_000_000_000 + 33_333_333 * number}"
        for room in range(2)
        for number in range(3)
    ]
    rooms = Procedural(ProceduralConfig(num_scenes=2, frames_per_scene=3, seed=1000))
    for room in range(2):
        frame = source.read(refs[3 * room + 1], frozenset({"rgb", "T_world_cam", RGB_FILE})).require_sound()
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, rooms.room(room)[1][1], atol=1e-8)
        assert frame.camera == SMALL
        assert 0 < frame.valid.mean() < 1, "a sensor has holes"
        assert frame.rgb is not None
        assert frame.rgb_file is not None


def test_they_are_scans_that_a_sensor_can_be_fitted_to(tmp_path: Path) -> None:
    camera = Camera(150.0, 150.0, 79.5, 59.5, 160, 120)
    RosbagLayout(camera).write(tmp_path / "one", num_scenes=1, frames_per_scene=4, seed=0)
    scans = read_scans(Rosbag(RosbagConfig(root=tmp_path / "one")), 2, wanted=frozenset({"rgb"}))
    assert [len(frames) for frames in (scans.fitted, scans.held_out)] == [2, 2]
    assert all(frame.camera == camera and frame.rgb is not None for frame in scans.fitted)


def test_the_files_are_of_both_ros(root: Path) -> None:
    assert layouts.get("rosbag") is RosbagLayout
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "room0000.bag",
        "room0001/metadata.yaml",
        "room0001/room0001.mcap",
    ]
    assert (root / "room0000.bag").read_bytes().startswith(b"#ROSBAG V2.0\n")
    assert (root / "room0001/room0001.mcap").read_bytes().startswith(b"\x89MCAP0\r\n")


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    RosbagLayout(SMALL).write(tmp_path / "again", num_scenes=2, frames_per_scene=3, seed=0)
    for path in root.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes(), path.name


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        RosbagLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
