"""From raw grasp labels to a frame's grasps: what is usable, exact rows, and what is made only once."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from depthforge.durable import is_temporary
from depthforge.errors import DecodeError, MissingDataError, StorageError
from depthforge.frame import Finding, Frame
from depthforge.sources.graspnet import GraspNet, GraspNetConfig
from depthforge.sources.graspnet import labels as graspnet_labels
from depthforge.sources.graspnet.files import SceneFiles
from depthforge.sources.graspnet.labels import GraspSettings, GraspStore
from tests.sources.graspnet_trees import (
    PER_POINT,
    SIZE,
    T_cam_object,
    labels_of,
    set_grasp,
    write_collisions,
    write_grasps,
    write_labels,
    write_scene,
)
from tests.sources.test_grasps import are_near, literal_rotation, literal_view
from tests.sources.tree_files import write


def source(root: Path, **grasps: object) -> GraspNet:
    fields = {"root": root, "depth": "raw", "grasps": grasps, "prepared": root / "prepared", **SIZE}
    return GraspNet(GraspNetConfig.model_validate(fields))


def prepared(root: Path, frame: int = 0, **grasps: object) -> Frame:
    made = source(root, **grasps)
    made.prepare()
    return made.read(list(made.frames())[frame], frozenset(made.labels))


def store(root: Path, **settings: object) -> GraspStore:
    return GraspStore(root, root / "prepared", GraspSettings.model_validate(settings))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_scene(tmp_path)
    write_grasps(tmp_path)
    return tmp_path


def inodes(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (root / "prepared").rglob("*") if path.is_file()}


# --- what is carried -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [0, 1])
def test_rows_in_the_camera_are_those_of_the_format_page(root: Path, frame: int) -> None:
    """Object, point, view, angle, depth, width and friction of the three usable grasps, worked out here."""
    grasps = prepared(root, frame).labels["grasps"]
    expected = [
        (0, (0.0, 0.05, 0.01), 299, 11, 0.04, 0.08, 0.1),
        (0, (0.05, 0.0, 0.0), 10, 3, 0.02, 0.06, 0.2),
        (1, (0.0, 0.0, 0.01), 150, 6, 0.03, 0.03, 0.4),
    ]
    assert grasps.shape == (3, 17)
    assert grasps.dtype == np.float32
    for row, (k, point, view, angle, depth, width, friction) in zip(grasps, expected, strict=True):
        T = T_cam_object(frame)[k]
        np.testing.assert_allclose(row[:4], [1.1 - friction, width, 0.02, depth], atol=1e-6)
        R = T[:3, :3] @ literal_rotation(-np.array(literal_view(view, 300)), np.pi * angle / 12)
        np.testing.assert_allclose(row[4:13].reshape(3, 3), R, atol=1e-6)
        np.testing.assert_allclose(row[13:16], T[:3, :3] @ point + T[:3, 3], atol=1e-6)
        assert row[16] == (5, 41)[k]


@pytest.mark.parametrize(("bound", "count"), [(0.1, 1), (0.2, 2), (0.4, 3), (0.5, 4), (1.1, 4)])
def test_friction_is_bounded(root: Path, bound: float, count: int) -> None:
    assert len(prepared(root, max_friction=bound).labels["grasps"]) == count


def test_collision_masks_follow_the_list_of_objects(root: Path) -> None:
    write(root / "scenes/scene_0000/object_id_list.txt", b"41\n5\n")
    masks = [np.zeros((1, *PER_POINT), np.bool_), np.zeros((2, *PER_POINT), np.bool_)]
    masks[1][1, 299, 11, 3] = True
    write_collisions(root, masks)
    found = prepared(root).labels["grasps"]
    # Free now: (1, 40) of object 5 and (0, 160) of object 41; struck out: (1, 299) of object 5.
    assert sorted(found[:, 16].tolist()) == [5, 5, 41, 41]
    assert not np.isclose(found[:, 1], 0.08).any()


def test_only_the_best_are_kept_and_the_seed_decides_ties(tmp_path: Path) -> None:
    write_scene(tmp_path)
    many = labels_of([(0.0, 0.0, 0.0)])
    for view in range(60):
        set_grasp(many, (0, view, 0, 0), 0.2 if view % 2 else 0.3, 0.05)
    write_labels(tmp_path, 5, many)
    write_labels(tmp_path, 41, many)
    write_collisions(tmp_path, [np.zeros((1, *PER_POINT), np.bool_)] * 2)
    whole = prepared(tmp_path).labels["grasps"]
    assert len(whole) == 120
    assert (np.diff(whole[:, 0]) <= 0).all(), "best first"
    few = prepared(tmp_path, max_grasps=20).labels["grasps"]
    np.testing.assert_array_equal(few, whole[:20])
    assert set(few[:, 16].tolist()) == {5, 41}
    other = prepared(tmp_path, max_grasps=20, seed=1).labels["grasps"]
    assert not np.array_equal(few, other)
    np.testing.assert_allclose(other[:, 0], 0.9, atol=1e-6)


def test_suppressed_grasps_keep_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graspnet_labels, "SUPPRESSED_AT_ONCE", 37)
    write_scene(tmp_path)
    many = labels_of([(0.0, 0.0, 0.0), (0.01, 0.0, 0.0), (0.08, 0.0, 0.0)])
    for view in range(0, 300, 5):
        for point in range(3):
            set_grasp(many, (point, view, view % 12, 0), 0.1 + 0.1 * (view % 3), 0.05)
    write_labels(tmp_path, 5, many)
    write_labels(tmp_path, 41, labels_of([]))
    write_collisions(tmp_path, [np.zeros((3, *PER_POINT), np.bool_), np.zeros((0, *PER_POINT), np.bool_)])
    whole = prepared(tmp_path).labels["grasps"]
    apart = prepared(tmp_path, min_distance_m=0.02, min_angle_deg=40).labels["grasps"]
    expected: list[np.ndarray] = []
    for row in whole:
        if not any(are_near(row, other, 0.02, 40) for other in expected):
            expected.append(row)
    assert 5 < len(apart) < len(whole)
    np.testing.assert_array_equal(apart, np.array(expected))


def test_only_what_the_depth_image_shows(root: Path) -> None:
    # The camera looks down: the three points lie at z = 0.05, 0.06 and 0.02 of the table, 0.45, 0.44 and 0.48 m away.
    # The depth image says 0.4 where the cube is and 0.5 on the table, so object 5's points are behind what is seen.
    seen = prepared(root, visible_only=True).labels["grasps"]
    assert seen[:, 16].tolist() == [41]
    np.testing.assert_allclose(seen[:, 15], 0.48, atol=1e-6)
    assert len(prepared(root, visible_only=True, visible_within_m=0.06).labels["grasps"]) == 3
    assert len(prepared(root, frame=1, visible_only=True, visible_within_m=0.06).labels["grasps"]) == 3


def test_without_prepare_grasps_are_left_out_and_that_is_said(root: Path) -> None:
    made = source(root)
    findings: list[Finding] = []
    ref = next(iter(made.frames(findings.append)))
    assert "not compacted yet" in findings[0].message
    assert "grasps" not in made.read(ref, frozenset({"grasps"})).labels
    made.prepare()
    findings.clear()
    list(made.frames(findings.append))
    assert findings == []
    assert "grasps" in pickle.loads(pickle.dumps(made)).read(ref, frozenset({"grasps"})).labels


def test_a_source_without_grasps_prepares_nothing(root: Path) -> None:
    made = GraspNet(GraspNetConfig.model_validate({"root": root, "depth": "raw", **SIZE}))
    made.prepare()
    assert not (root / "prepared").exists()


def test_an_image_without_a_pose_of_the_grasps_object(root: Path) -> None:
    path = root / "scenes/scene_0000/realsense/annotations/0000.xml"
    (path.parent.parent / "meta/0000.mat").unlink()
    path.write_text(path.read_text().replace("<obj_id>41<", "<obj_id>42<"))
    with pytest.raises(DecodeError, match="grasps of objects that the image has no pose of") as error:
        prepared(root)
    assert error.value.found == "[41]"


# --- once ----------------------------------------------------------------------------------------------------------


def test_a_second_time_nothing_is_made(root: Path) -> None:
    told: list[str] = []
    source(root).prepare(told.append)
    assert any("scene_0000" in line for line in told)
    before = inodes(root)
    assert {"005.grasps", "005.points.npy", "005.json", "scene_0000.npy", "scene_0000.json"} <= before.keys()
    source(root).prepare()
    assert inodes(root) == before
    assert not any(is_temporary(name) for name in before)


def test_what_is_still_to_be_compacted_is_said(root: Path) -> None:
    def left(**grasps: object) -> str | None:
        found = source(root, **grasps).to_prepare()
        return None if found is None else found.task.partition(", kept in ")[0]

    assert left() == "compact the grasps (objects: 2, scenes: 1)"
    assert not (root / "prepared").exists()
    source(root).prepare()
    assert left() is None
    assert left(max_grasps=1) == "compact the grasps (objects: 0, scenes: 1)"
    (root / "grasp_label/005_labels.npz").unlink()
    assert left() is None, "what was made of them is still there"
    next((root / "prepared").rglob("005.json")).unlink()
    with pytest.raises(MissingDataError, match=r"grasp_label\.zip"):
        left()


def test_a_full_disk_is_said_and_the_next_run_begins_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="no room left"):
            source(root).prepare()
    assert len(prepared(root).labels["grasps"]) == 3


def test_other_settings_of_scenes_keep_the_objects(root: Path) -> None:
    source(root).prepare()
    before = inodes(root)
    source(root, max_grasps=1).prepare()
    assert len(list((root / "prepared").glob("objects-*"))) == 1
    assert len(list((root / "prepared").glob("scenes-*"))) == 2
    assert inodes(root)["005.grasps"] == before["005.grasps"]
    assert len(prepared(root, max_grasps=1).labels["grasps"]) == 1
    assert len(prepared(root).labels["grasps"]) == 3, "both are there side by side"
    assert len(list((root / "prepared").glob("scenes-*"))) == 2
    prepared(root, visible_only=True)
    assert len(list((root / "prepared").glob("scenes-*"))) == 2, "what is seen is chosen frame by frame"


def test_a_raw_file_that_changed_is_made_again_and_no_other(root: Path) -> None:
    source(root).prepare()
    before = inodes(root)
    changed = labels_of([(0.0, 0.0, 0.01)])
    set_grasp(changed, (0, 1, 2, 3), 0.3, 0.04)
    write_labels(root, 41, changed)
    grasps = prepared(root).labels["grasps"]
    np.testing.assert_allclose(grasps[grasps[:, 16] == 41][:, 1], [0.04])
    after = inodes(root)
    assert after["005.grasps"] == before["005.grasps"]
    assert after["041.grasps"] != before["041.grasps"]


def test_raw_labels_may_go_once_they_are_compacted(root: Path) -> None:
    before = prepared(root).labels["grasps"]
    for path in (root / "grasp_label").iterdir():
        path.unlink()
    np.testing.assert_array_equal(prepared(root, max_grasps=2).labels["grasps"], before[:2])
    (root / "collision_label/scene_0000/collision_labels.npz").unlink()
    np.testing.assert_array_equal(prepared(root).labels["grasps"], before)
    with pytest.raises(MissingDataError):
        prepared(root, max_grasps=1)


def test_a_run_that_died_goes_on_where_it_was(root: Path) -> None:
    write_scene(root, 1)
    write_collisions(root, [np.zeros((2, *PER_POINT), np.bool_), np.zeros((1, *PER_POINT), np.bool_)], scene=1)
    scenes = [SceneFiles(root, number, "realsense") for number in (0, 1)]

    class Killed(BaseException):
        pass

    done: list[str] = []

    def die(line: str) -> None:
        done.append(line)
        if "scene_0000" in line:
            raise Killed

    with pytest.raises(Killed):
        store(root).compact(scenes, die)
    folder = next((root / "prepared").glob("scenes-*"))
    write(folder / ".scene_0001.npy.0123456789ab.tmp", b"half")
    (folder / "scene_0001.json").unlink(missing_ok=True)
    again: list[str] = []
    store(root).compact(scenes, again.append)
    assert [line.split(": ")[1] == "as they were" for line in again] == [True, True, True, False]
    assert again[-1] == "grasps of scene_0001: the best 5 of its objects' best 5"
    assert not any(is_temporary(name) for name in inodes(root))


def test_workers_and_slabs_change_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepared(root).labels["grasps"]
    monkeypatch.setattr(graspnet_labels, "SLAB_POINTS", 1)
    monkeypatch.setattr(graspnet_labels, "MOST_WORKERS", 1)
    other = GraspStore(root, root / "other", GraspSettings())
    other.compact([SceneFiles(root, 0, "realsense")])
    rows = other.rows("scene_0000")
    assert rows is not None
    np.testing.assert_array_equal(rows[:, :4], before[:, :4])


# --- bad files -----------------------------------------------------------------------------------------------------


def rewritten(root: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    path = root / "grasp_label/005_labels.npz"
    labels = dict(np.load(path))
    change(labels)
    return write_labels(root, 5, labels)


def set_at(name: str, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(labels: dict[str, np.ndarray]) -> None:
        labels[name].flat[-1 if name == "points" else (10 * 12 + 3) * 4 + 1] = value

    return change


def offsets_nan(labels: dict[str, np.ndarray]) -> None:
    labels["offsets"][0, 10, 3, 1, 2] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("scores", np.nan), "not friction coefficients"),
        (set_at("scores", 40.0), "not friction coefficients"),
        (set_at("points", 50.0), "not in metres"),
        (set_at("points", np.nan), "not in metres"),
        (offsets_nan, "no number for angle, depth or width"),
        (lambda labels: labels.pop("offsets"), "no array 'offsets'"),
        (lambda labels: labels.update(scores=labels["scores"][:, :299]), "not what the format says"),
        (lambda labels: labels.update(points=labels["points"][:1]), "points and grasps differ in number"),
    ],
    ids=["nan", "percent", "millimetres", "nan point", "nan width", "no offsets", "299 views", "too few points"],
)
def test_raw_labels_that_cannot_be(root: Path, change: Callable[[dict[str, np.ndarray]], None], message: str) -> None:
    path = rewritten(root, change)
    with pytest.raises(DecodeError, match=message) as error:
        source(root).prepare()
    assert error.value.where == str(path)
    assert not list((root / "prepared").rglob("005.json"))
    assert not any(is_temporary(name) for name in inodes(root))


def test_truncated_raw_labels(root: Path) -> None:
    path = root / "grasp_label/041_labels.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DecodeError, match="broken or cut short") as error:
        source(root).prepare()
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("lost", "remedy"),
    [
        ("grasp_label/005_labels.npz", "grasp_label.zip"),
        ("collision_label/scene_0000/collision_labels.npz", "collision_label.zip"),
        ("scenes/scene_0000/object_id_list.txt", "extract the archive of the scene again"),
    ],
)
def test_what_is_missing_is_named_with_its_archive(root: Path, lost: str, remedy: str) -> None:
    (root / lost).unlink()
    with pytest.raises(MissingDataError) as error:
        source(root).prepare()
    assert error.value.where == str(root / lost)
    assert remedy in str(error.value.remedy)


def test_collision_masks_of_other_labels(root: Path) -> None:
    path = write_collisions(root, [np.zeros((3, *PER_POINT), np.bool_), np.zeros((1, *PER_POINT), np.bool_)])
    with pytest.raises(DecodeError, match="of another object, or of other grasp labels") as error:
        source(root).prepare()
    assert error.value.where == str(path)
    assert (error.value.expected, error.value.found) == ("2 points", "3")
    write_collisions(root, [np.zeros((2, *PER_POINT), np.bool_)])
    with pytest.raises(DecodeError, match="no array 'arr_1'"):
        source(root).prepare()


def test_damaged_compact_files_are_named(root: Path) -> None:
    made = source(root)
    made.prepare()
    path = next((root / "prepared").rglob("scene_0000.npy"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DecodeError, match="compacted grasps cannot be read") as error:
        made.read(next(iter(made.frames())), frozenset({"grasps"}))
    assert error.value.where == str(path)
    made.prepare()
    assert "grasps" in made.read(next(iter(made.frames())), frozenset({"grasps"})).labels, "made again"


def test_the_memory_of_a_worker_counts_the_grasps_of_a_frame(root: Path) -> None:
    assert source(root).working_bytes() == 6 * 4096 * 68
    assert source(root, max_grasps=1_000_000).working_bytes() == 6 * 68_000_000
    without = GraspNetConfig.model_validate({"root": root, "depth": "raw", **SIZE})
    assert GraspNet(without).working_bytes() == 0
