"""The sample layout against its own format page, and there and back through the reader."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError
from depthforge.frame import Finding, Frame
from depthforge.geometry import (
    back_project,
    decode_normals,
    opengl_to_opencv,
    ray_length_to_z,
    rotation_from_quaternion,
)
from depthforge.registry import layouts, sources
from depthforge.sources.procedural import Procedural, ProceduralConfig

SEED = 4
LABELS = frozenset({"rgb", "T_world_cam", "normals", "semantic", "instance"})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("interiornet")
    assert layouts.get("interiornet")().write(root, num_scenes=3, frames_per_scene=3, seed=SEED) == 9
    return root


@pytest.fixture(scope="module")
def truth() -> list[list[Frame]]:
    """The frames that the sample was made from, by room."""
    source = Procedural(ProceduralConfig(num_scenes=3, frames_per_scene=3, seed=SEED))
    frames = [source.read(ref, LABELS) for ref in source.frames()]
    return [frames[:3], frames[3:6], frames[6:]]


def image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_the_trees_are_interiornets(root: Path) -> None:
    (views,) = (root / "HD7").iterdir()
    assert len(views.name.split("_")[0]) == 12
    names = {str(path.relative_to(views)) for path in views.rglob("*") if path.is_file()}
    assert names == {"cam0.render"} | {
        name.format(k)
        for k in range(3)
        for name in (
            "cam0/data/{}.png",
            "random_lighting_cam0/data/{}.png",
            "depth0/data/{}.png",
            "label0/data/{}_nyu.png",
            "label0/data/{}_instance.png",
            "label0/data/{}_nyu_mask.png",
        )
    }
    folder, packed = sorted((root / "HD1").iterdir(), key=lambda path: path.suffix)
    assert folder.is_dir()
    assert packed.suffix == ".zip"
    assert sorted(path.name for path in folder.iterdir()) == [
        "original_1_1",
        "original_3_3",
        "random_1_1",
        "random_3_3",
    ]
    sequence = folder / "original_1_1"
    stamps = sorted(int(path.stem) for path in (sequence / "depth0/data").iterdir())
    assert stamps == [40_000_000, 80_000_000]
    assert (sequence / "cam0/data.csv").read_text().splitlines()[1] == "40000000,40000000.png"
    for ground in (root / "GroundTruth_HD1-HD6" / folder.name, root / "GroundTruth_HD1-HD6" / packed.name):
        assert ground.exists()
    with zipfile.ZipFile(packed) as archive:
        assert all(name.startswith(f"{packed.stem}/") for name in archive.namelist())


def test_depth_is_ray_length_in_millimetres(root: Path, truth: list[list[Frame]]) -> None:
    (views,) = (root / "HD7").iterdir()
    for k, frame in enumerate(truth[0]):
        stored = image(views / f"depth0/data/{k}.png")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored == 0, ~frame.valid)
        length = np.linalg.norm(back_project(frame.depth_m, frame.camera).astype(np.float64), axis=2)
        assert np.abs(stored / 1000.0 - length).max() <= 0.000501


def test_labels_and_normals_are_stored_as_they_say(root: Path, truth: list[list[Frame]]) -> None:
    (folder,) = (path for path in (root / "HD1").iterdir() if path.is_dir())
    frame, stem = truth[1][0], "40000000"
    data = folder / "original_1_1/label0/data"
    semantic, instance = image(data / f"{stem}_nyu.png"), image(data / f"{stem}_instance.png")
    assert (semantic.dtype, instance.dtype) == (np.uint8, np.uint16)
    np.testing.assert_array_equal(semantic, frame.labels["semantic"])
    np.testing.assert_array_equal(instance, frame.labels["instance"])
    normals = 2.0 * image(folder / f"original_1_1/normal0/data/{stem}.png")[..., ::-1] / 65535 - 1
    expected = decode_normals(frame.labels["normals"].astype(np.int16)) * [1, -1, -1]
    np.testing.assert_allclose(normals[frame.valid], expected[frame.valid], atol=3e-5)
    rgb = image(folder / f"original_1_1/cam0/data/{stem}.png")[..., ::-1]
    np.testing.assert_array_equal(rgb, frame.rgb)
    relit = image(folder / f"random_1_1/cam0/data/{stem}.png")[..., ::-1]
    assert np.abs(relit.astype(int) - rgb).mean() > 2


def test_pose_files_agree(root: Path, truth: list[list[Frame]]) -> None:
    (folder,) = (path for path in (root / "HD1").iterdir() if path.is_dir())
    ground = root / "GroundTruth_HD1-HD6" / folder.name / "velocity_angular_1_1"
    ccam = (ground / "cam0.ccam").read_text().splitlines()
    assert [line.startswith("#") for line in ccam] == [True] * 6 + [False] * 2
    render = [line for line in (ground / "cam0.render").read_text().splitlines() if not line.startswith("#")]
    visim = (ground / "cam0_gt.visim").read_text().splitlines()[1:]
    assert render[0::2] == render[1::2]
    for frame, camera, shutter, inertial in zip(truth[1][:2], ccam[6:], render[1::2], visim, strict=True):
        assert frame.T_world_cam is not None
        columns = [float(value) for value in camera.split()]
        assert len(columns) == 15
        assert columns[:6] == [600, 320, 240, 0, 0, 0]
        assert columns[13:] == [640, 480]
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = rotation_from_quaternion(columns[6:10]), columns[10:13]
        np.testing.assert_allclose(opengl_to_opencv(T), frame.T_world_cam, atol=1e-8)
        eye, at, up = np.array([float(value) for value in shutter.split()[1:]]).reshape(3, 3)
        np.testing.assert_allclose(at - eye, frame.T_world_cam[:3, 2], atol=1e-8)
        np.testing.assert_allclose(up - eye, -frame.T_world_cam[:3, 1], atol=1e-8)
        np.testing.assert_allclose([float(v) for v in inertial.split(",")[1:]], [*columns[10:13], *columns[6:10]])


def test_the_same_seed_writes_the_same_bytes(root: Path, tmp_path: Path) -> None:
    layouts.get("interiornet")().write(tmp_path / "again", num_scenes=3, frames_per_scene=3, seed=SEED)

    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(tmp_path / "again") == digests(root)


@pytest.mark.parametrize("num_scenes", [1, 2])
def test_few_rooms(tmp_path: Path, num_scenes: int) -> None:
    assert layouts.get("interiornet")().write(tmp_path, num_scenes=num_scenes, frames_per_scene=1, seed=0) == num_scenes
    kinds = {path.name for path in tmp_path.iterdir()}
    assert kinds == ({"HD7"} if num_scenes == 1 else {"HD7", "HD1", "GroundTruth_HD1-HD6"})


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="empty folder"):
        layouts.get("interiornet")().write(tmp_path, num_scenes=1, frames_per_scene=1, seed=0)
    with pytest.raises(InputError, match="empty folder"):
        layouts.get("interiornet")().write(tmp_path / "mine.txt", num_scenes=1, frames_per_scene=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_reader_gives_back_what_was_written(root: Path, truth: list[list[Frame]]) -> None:
    reader_type = sources.get("interiornet")
    reader = reader_type(reader_type.Config(root=root))
    findings: list[Finding] = []
    refs = list(reader.frames(findings.append))
    assert [finding for finding in findings if finding.severity == "error"] == []
    frames = [reader.read(ref, LABELS) for ref in refs]
    expected = [frame for room in truth for frame in room]
    for original in expected:
        match = [frame for frame in frames if _same_view(frame, original)]
        assert match, f"nothing came back for {original.key}"
        for frame in match:
            _assert_carried(frame, original)
        assert any(np.array_equal(frame.rgb, original.rgb) for frame in match), "under its own light"
        is_hd7 = original.key.startswith("procedural/room-000000/")
        assert any("normals" in frame.labels for frame in match) != is_hd7, "HD7 ships no normals"
    assert all(any(_same_view(frame, original) for original in expected) for frame in frames)


def _same_view(frame: Frame, original: Frame) -> bool:
    assert frame.T_world_cam is not None
    assert original.T_world_cam is not None
    return bool(np.allclose(frame.T_world_cam, original.T_world_cam, atol=1e-5))


def _assert_carried(frame: Frame, original: Frame) -> None:
    assert frame.camera == original.camera
    np.testing.assert_array_equal(frame.valid, original.valid)
    # Half a millimetre of ray length, and the float32 of both sides.
    allowed = ray_length_to_z(np.full(frame.camera.size, 0.0005), frame.camera) + 3e-6
    assert (np.abs(frame.depth_m - original.depth_m) <= allowed).all()
    np.testing.assert_array_equal(frame.labels["semantic"], original.labels["semantic"])
    np.testing.assert_array_equal(frame.labels["instance"], original.labels["instance"])
    if "normals" in frame.labels:
        error = frame.labels["normals"].astype(int) - original.labels["normals"]
        assert np.abs(error).max() <= 2
