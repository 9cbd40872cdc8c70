"""Both layouts of Virtual KITTI against the street that they were made from, and there and back through the reader."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Finding, Frame
from depthforge.geometry import invert_pose
from depthforge.labels.vocabularies import class_names
from depthforge.registry import layouts
from depthforge.samples.vkitti_streets import BASELINE_M, DIRECTIONS, T_GAME_STREET, WEATHERS, frames_of, street_of
from depthforge.scenes.raycast import cast
from depthforge.sources.vkitti import Vkitti, VkittiConfig

SEED = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2.0.3: two frames of clone, one of every other direction."""
    root = tmp_path_factory.mktemp("vkitti")
    assert layouts.get("vkitti")().write(root, num_scenes=1, frames_per_scene=6, seed=SEED) == 6
    return root


@pytest.fixture(scope="module")
def root1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1.3.1: one frame of clone, and of every weather."""
    root = tmp_path_factory.mktemp("vkitti1")
    assert layouts.get("vkitti1")().write(root, num_scenes=1, frames_per_scene=1, seed=SEED) == 1
    return root


def frames(root: Path, **fields: object) -> dict[str, Frame]:
    source = Vkitti(VkittiConfig(root=root, **fields))
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    assert [finding for finding in findings if finding.severity == "error"] == []
    return {ref.key.split("/")[2]: source.read(ref, frozenset(source.labels)).require_sound() for ref in refs}


def image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_tree_is_that_of_version_2(root: Path) -> None:
    kinds = {path.name.removeprefix("vkitti_2.0.3_") for path in root.iterdir()}
    assert kinds == {"rgb", "depth", "classSegmentation", "instanceSegmentation", "forwardFlow", "textgt"}
    videos = {path.name for path in (root / "vkitti_2.0.3_rgb/Scene01").iterdir()}
    assert videos == {*DIRECTIONS, *WEATHERS}
    clone = root / "vkitti_2.0.3_textgt/Scene01/clone"
    assert {path.name for path in clone.iterdir()} == {
        f"{name}.txt" for name in ("bbox", "colors", "extrinsic", "info", "intrinsic", "pose")
    }
    assert "Car 255 127 80" in (clone / "colors.txt").read_text()
    assert (clone / "intrinsic.txt").read_text().splitlines()[1] == "0 0 725.0087 725.0087 620.5 187"
    flows = sorted(path.name for path in root.glob("vkitti_2.0.3_forwardFlow/Scene01/clone/frames/*/Camera_0/*"))
    assert flows == ["flow_00000.png"], "the last frame has none"
    stored = (root / "vkitti_2.0.3_instanceSegmentation/Scene01/clone/frames/instanceSegmentation").rglob("*.png")
    assert all(path.read_bytes()[25] == 3 for path in stored), "indexed"


def test_weathers_repeat_the_geometry_of_clone(root: Path) -> None:
    def files(kind: str, variation: str) -> list[bytes]:
        folder = root / f"vkitti_2.0.3_{kind}/Scene01/{variation}"
        return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]

    for weather in WEATHERS:
        for kind in ("depth", "classSegmentation", "instanceSegmentation", "forwardFlow", "textgt"):
            assert files(kind, weather) == files(kind, "clone")
        assert files("rgb", weather) != files("rgb", "clone")


def test_the_reader_gives_back_the_street(root: Path) -> None:
    found = frames(root)
    assert list(found) == [
        *(f"{name}-camera0-00000" for name in sorted(DIRECTIONS)),
        "clone-camera0-00001",
    ]
    street = street_of(SEED, 0, 3)
    for key, frame in found.items():
        name, number = key.rsplit("-camera0-", 1)
        T_street_cam = street.camera_pose(int(number), yaw_deg=DIRECTIONS[name])
        assert frame.T_world_cam is not None
        np.testing.assert_allclose(frame.T_world_cam, T_GAME_STREET @ T_street_cam, atol=1e-6)
        world = street.world(int(number))
        hits = cast(world.scene, T_street_cam, frame.camera)
        near = hits.valid & (hits.depth_m < 655)
        assert np.abs(frame.depth_m - hits.depth_m)[near].max() <= 0.00501
        assert not frame.valid[~hits.valid].any()
        np.testing.assert_array_equal(frame.labels["semantic"], world.semantic[hits.shape])
        np.testing.assert_array_equal(frame.labels["instance"], street.tracks(world, hits))
        assert float(frame.labels["baseline_m"]) == pytest.approx(BASELINE_M, abs=1e-6)
        _assert_boxes_hold_their_vehicles(frame)
    flow = found["clone-camera0-00000"].labels["flow"]
    world = street.world(0)
    hits = cast(world.scene, street.camera_pose(0), frame.camera)
    expected = street.flow(0, world, hits, frame.camera)
    fits = np.isfinite(flow).all(axis=-1)
    assert fits.mean() > 0.8
    assert np.abs(flow - expected)[fits].max() < 2 * 1241 / 65535


def _assert_boxes_hold_their_vehicles(frame: Frame) -> None:
    """The points of each instance lie in its 3-D box, and its pixels span its 2-D box."""
    labels = frame.labels
    assert len(labels["box_class"]) == len(set(labels["instance"][labels["instance"] > 0].tolist()))
    for number, kind, edges, pose, size in zip(
        labels["box_instance"],
        labels["box_class"],
        labels["box_2d"],
        labels["box_pose"],
        labels["box_size"],
        strict=True,
    ):
        v, u = np.nonzero(labels["instance"] == number)
        assert edges.tolist() == [u.min(), v.min(), u.max(), v.max()]
        assert (labels["semantic"][v, u] == kind).all()
        z = frame.depth_m[v, u].astype(np.float64)
        x, y = (u - frame.camera.cx) / frame.camera.fx * z, (v - frame.camera.cy) / frame.camera.fy * z
        inside = invert_pose(pose) @ np.stack([x, y, z, np.ones(len(z))])
        assert (np.abs(inside[:3]) <= size[:, None] / 2 + 0.03).all()


def test_the_right_camera_sees_the_same_world(root: Path) -> None:
    left, right = (frames(root, camera=camera)[f"clone-camera{camera}-00000"] for camera in (0, 1))
    assert left.T_world_cam is not None
    assert right.T_world_cam is not None
    moved = invert_pose(left.T_world_cam) @ right.T_world_cam
    np.testing.assert_allclose(moved[:3, 3], [BASELINE_M, 0, 0], atol=1e-6)
    assert right.rgb is not None
    np.testing.assert_array_equal(left.labels["rgb_right"], right.rgb)


def test_version_1_holds_the_same_street(root1: Path) -> None:
    found = frames(root1, variations=("clone", "fog"))
    assert list(found) == ["clone-00000", "fog-00000"]
    frame, fog = found.values()
    street = street_of(SEED, 0, 2)
    T_street_cam = street.camera_pose(0)
    world = street.world(0)
    hits = cast(world.scene, T_street_cam, frame.camera)
    assert (frame.camera.fx, frame.camera.cx, frame.camera.cy) == (725.0, 620.5, 187.0)
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, T_GAME_STREET @ T_street_cam, atol=1e-6)
    np.testing.assert_array_equal(frame.labels["semantic"], world.semantic[hits.shape])
    np.testing.assert_array_equal(frame.labels["instance"], street.tracks(world, hits))
    np.testing.assert_array_equal(frame.rgb, street.colour(world, hits, T_street_cam, frame.camera))
    np.testing.assert_array_equal(fog.depth_m, frame.depth_m)
    np.testing.assert_array_equal(fog.labels["semantic"], frame.labels["semantic"])
    assert fog.rgb is not None
    assert fog.rgb.std() < frame.rgb.std()
    _assert_boxes_hold_their_vehicles(frame)
    tables = [
        (root1 / f"vkitti_1.3.1_scenegt/0001_{name}_scenegt_rgb_encoding.txt").read_text() for name in ("clone", "fog")
    ]
    assert tables[0] != tables[1], "each video has colours of its own"
    assert {line.split()[0].split(":")[0] for line in tables[0].splitlines()[1:]} == set(class_names("vkitti")[1:])


@pytest.mark.parametrize("total", [0, 1, 4, 5, 20, 23])
def test_frames_are_shared_out_to_the_directions(total: int) -> None:
    shares = frames_of(total)
    assert sum(shares.values()) == total
    assert total == 0 or next(iter(shares)) == "clone"
    assert not shares or max(shares.values()) - min(shares.values()) <= 1


def test_the_same_seed_writes_the_same_bytes(root1: Path, tmp_path: Path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    layouts.get("vkitti1")().write(tmp_path / "again", num_scenes=1, frames_per_scene=1, seed=SEED)
    assert digests(tmp_path / "again") == digests(root1)


@pytest.mark.parametrize("name", ["vkitti", "vkitti1"])
def test_a_folder_with_files_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="empty folder"):
        layouts.get(name)().write(tmp_path, num_scenes=1, frames_per_scene=1, seed=0)
