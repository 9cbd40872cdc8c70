"""The sample layout against its own format page, and there and back through the reader; a small camera."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest_file import load_manifest
from depthforge.registry import layouts
from depthforge.samples.room_views import RoomViews
from depthforge.samples.tum import CAMERA, TumLayout
from depthforge.sources.resized import build_source
from depthforge.sources.tum import Pinhole, Tum, TumConfig

SMALL = Camera(66.9, 67.4, 39.5, 29.5, 80, 60)
SCENES, FRAMES, SEED = 2, 3, 4


def write(root: Path) -> Path:
    assert TumLayout(SMALL).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 6
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tum"))


def test_the_tree_is_tums(root: Path) -> None:
    assert isinstance(layouts.get("tum")(), TumLayout)
    assert (CAMERA.width, CAMERA.fx) == (640, 535.4)
    folder = root / "rgbd_dataset_freiburg3_room_0000"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        "rgb.txt",
        "depth.txt",
        "groundtruth.txt",
        *(f"depth/1305031102.{micros}.png" for micros in (160407, 193407, 226407)),
        *(f"rgb/1305031102.{micros}.png" for micros in (171407, 237407)),
    }
    lines = (folder / "rgb.txt").read_text().splitlines()
    assert lines[0] == "# color images"
    assert lines[3] == "1305031102.171407 rgb/1305031102.171407.png"
    assert len((folder / "groundtruth.txt").read_text().splitlines()[3].split()) == 8
    stored = cv2.imread(str(folder / "depth/1305031102.160407.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert 2000 < np.median(stored[stored > 0]) < 40000, "5000 units a metre"


def test_the_reader_gives_the_room_back(root: Path) -> None:
    camera = Pinhole(fx=SMALL.fx, fy=SMALL.fy, cx=SMALL.cx, cy=SMALL.cy)
    source = Tum(TumConfig(root=root, camera=camera, width=80, height=60))
    refs = list(source.frames())
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    frame = source.read(refs[3], frozenset(source.labels)).require_sound()
    truth = rooms.see(1, 0, frame.camera)
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, np.asarray(truth.T_world_cam), atol=1e-8)
    np.testing.assert_array_equal(frame.rgb, truth.rgb)
    both = frame.valid & truth.valid
    assert both.mean() > 0.4
    assert np.median(np.abs(frame.depth_m - truth.depth_m)[both] / truth.depth_m[both]) < 0.03
    others = [source.read(ref, frozenset(source.labels)) for ref in refs[4:]]
    assert (others[0].rgb, others[1].T_world_cam) == (None, None), "one without colour, one without a pose"


def test_its_manifest_reads_it(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TumLayout().write(tmp_path / "tum", num_scenes=1, frames_per_scene=1, seed=0)
    monkeypatch.setenv("TUM_ROOT", str(tmp_path / "tum"))
    block = load_manifest(repository / "manifests" / "tum.yaml").source
    source = build_source(block.name, block.config)  # type: ignore[arg-type]
    (frame,) = [source.read(ref, frozenset(source.labels)).require_sound() for ref in source.frames()]
    assert frame.camera == CAMERA
    assert frame.rgb is not None


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    def digests(top: Path) -> dict[str, str]:
        files = sorted(path for path in top.rglob("*") if path.is_file())
        return {path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(write(tmp_path / "again")) == digests(root)


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        TumLayout(SMALL).write(root, num_scenes=1, frames_per_scene=1, seed=0)
