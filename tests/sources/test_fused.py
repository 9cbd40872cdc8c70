"""The fused truth of scans of an analytic room: what is rendered lies on the room, and bad poses are left out."""

from __future__ import annotations

import builtins
import errno
import json
import math
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from depthforge.errors import (
    DecodeError,
    InputError,
    ManifestError,
    MissingDataError,
    MissingDependencyError,
    StorageError,
)
from depthforge.frame import Camera, Finding, Frame
from depthforge.geometry import decode_normals, look_at
from depthforge.manifest import PluginBlock, parse_manifest
from depthforge.raycast import Hits, Scene, box, cast, ellipsoid
from depthforge.registry import sources
from depthforge.render import Mesh, encode_ply
from depthforge.sources import check_source
from depthforge.sources.fused import Fused
from depthforge.sources.fused import scenes as fused_scenes
from depthforge.sources.fused import source as module
from depthforge.sources.fused.scenes import SceneRecord, agreement, near_edges
from depthforge.testing.sources import SourceTests, assert_frames_equal
from tests.sources.scannet_trees import TABLE, png, write, write_export

pytest.importorskip("open3d", exc_type=ImportError)

CAMERA = Camera(60.0, 60.0, 31.5, 23.5, 64, 48)
ROOM = Scene(
    [box((4, 4, 0.2), (0, 2.1, 0.0)), box((4, 0.2, 3), (0, 2.2, 1.5)), ellipsoid((0.5, 0.4, 0.5), (0, 1.7, 0.5))]
)
WRONG_POSE, NO_POSE, UNREADABLE, NUM = 3, 5, 7, 9


def pose(number: int) -> np.ndarray:
    return look_at((0.12 * number - 0.5, 0.0, 1.0), (0.0, 2.0, 0.6))


def seen(number: int) -> Hits:
    return cast(ROOM, pose(number), CAMERA)


def write_scan(root: Path, *, num_frames: int = NUM, faults: bool = True) -> Path:
    """Depth in millimetres with a hole at the top left; one pose is 20 cm off, one file of poses and one image bad."""
    for number in range(num_frames):
        millimetres = np.rint(seen(number).depth_m * 1000).astype(np.uint16)
        millimetres[:4, :4] = 0
        content = cv2.imencode(".png", millimetres)[1].tobytes()
        write(root / f"room/{number}.png", content[:-9] if faults and number == UNREADABLE else content)
        stored = pose(number)
        stored[1, 3] -= 0.2 if faults and number == WRONG_POSE else 0
        if not (faults and number == NO_POSE):
            write(root / f"room/{number}.txt", "\n".join(" ".join(map(repr, row)) for row in stored.tolist()))
    return root


def block(root: Path, **fields: Any) -> dict[str, Any]:
    of = {
        "name": "rgbd_folder",
        "root": str(root),
        "dataset": "analytic",
        "depth": "{scene}/{frame}.png",
        "depth_scale": 1000,
        "camera": {"width": 64, "height": 48, "fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5},
        "pose": {"file": "{scene}/{frame}.txt"},
    }
    chosen = {"voxel_m": 0.03, "min_weight": 2, "max_residual_m": 0.01, **fields}
    return {"name": "fused", "of": of, "prepared": str(root / "prepared"), **chosen}


def make(root: Path, **fields: Any) -> Fused:
    parsed = PluginBlock.parse(sources, block(root, **fields))
    source: Fused = sources.get("fused")(parsed.config)
    return source


def listed(source: Fused) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    return [ref.key for ref in source.frames(findings.append)], findings


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_scan(tmp_path_factory.mktemp("fused"))
    make(root).prepare()
    return root


def frame_of(source: Fused, index: int = 0) -> Frame:
    return source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()


class TestContract(SourceTests):
    num_frames = 3

    @pytest.fixture
    def source(self, scan: Path) -> Fused:
        return make(scan)


def test_the_rendering_lies_on_the_room(scan: Path) -> None:
    frame, truth = frame_of(make(scan)), seen(0)
    both = frame.valid & truth.valid & ~near_edges(truth.depth_m)
    assert both.mean() > 0.6
    error_m = np.abs(frame.depth_m - truth.depth_m)[both]
    assert np.median(error_m) < 0.004
    assert np.quantile(error_m, 0.9) < 0.02
    normals = decode_normals(np.asarray(frame.labels["normals"], np.int16))
    assert np.median(np.einsum("nc,nc->n", normals[both], truth.normals[both])) > 0.98
    assert not frame.labels["normals"][~frame.valid].any()
    assert frame.camera == CAMERA
    assert frame.T_world_cam is not None
    np.testing.assert_allclose(frame.T_world_cam, pose(0))


def test_fusing_takes_noise_away_and_adds_no_bias(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = write_scan(tmp_path, num_frames=24, faults=False)
    for number in range(24):
        stored = look_at((0.03 * number - 0.4, 0.0, 1.0), (0.0, 2.0, 0.6))
        noisy_mm = 1000 * cast(ROOM, stored, CAMERA).depth_m + rng.normal(0, 12, (48, 64))
        (root / f"room/{number}.png").write_bytes(
            cv2.imencode(".png", np.rint(noisy_mm).astype(np.uint16))[1].tobytes()
        )
        (root / f"room/{number}.txt").write_text(" ".join(map(repr, stored.ravel().tolist())))
    source = make(root, max_residual_m=0.05, min_weight=4)
    source.prepare()
    frame = frame_of(source, 12)
    truth = cast(ROOM, np.asarray(frame.T_world_cam), CAMERA)
    both = frame.valid & truth.valid & ~near_edges(truth.depth_m)
    measured_m = (frame.labels["depth_raw"] - truth.depth_m)[both]
    fused_m = (frame.depth_m - truth.depth_m)[both]
    assert np.median(np.abs(fused_m)) < 0.5 * np.nanmedian(np.abs(measured_m))
    assert abs(np.median(fused_m)) < 0.002


def test_what_was_measured_rides_along(scan: Path) -> None:
    frame = frame_of(make(scan))
    raw = frame.labels["depth_raw"]
    assert np.isnan(raw[:4, :4]).all()
    np.testing.assert_allclose(raw[10:, 10:], seen(0).depth_m[10:, 10:], atol=6e-4)
    assert frame.valid[:4, :4].any(), "other frames saw what is behind the hole"


def test_frames_that_do_not_fit_are_left_out_and_counted(scan: Path) -> None:
    keys, findings = listed(make(scan))
    assert keys == [f"analytic/room/{k:06d}" for k in range(NUM) if k not in (WRONG_POSE, NO_POSE, UNREADABLE)]
    finding = findings[-1]
    assert (finding.severity, finding.path) == ("warning", "analytic/room")
    assert "fused from 7 frames" in finding.message
    assert "6 of 9 frames kept, left out: 1 over 10 mm, 1 without a pose, 1 unreadable" in finding.message
    quantiles = re.search(r"truth\| ([\d./]+) mm \(5/25/50/75/95 %", finding.message)
    assert quantiles is not None
    values = [float(value) for value in quantiles[1].split("/")]
    assert values == sorted(values)
    assert values[2] < 5 < 10 < values[4]


def test_thresholds_choose_without_fusing_again(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fuse_scene", None)
    for fields, kept, why in (
        ({"max_residual_m": 10.0, "min_covered": 0.0}, 7, "1 without a pose"),
        ({"min_covered": 1.0}, 0, "under 100%"),
        ({"max_residual_m": 1e-6}, 0, "7 over 0.001 mm"),
    ):
        source = make(scan, **fields)
        source.prepare()
        keys, findings = listed(source)
        assert len(keys) == kept
        assert why in findings[-1].message
        assert findings[-1].severity == ("warning" if kept else "error")


def test_a_full_disk_is_said_and_the_next_run_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    root = write_scan(tmp_path, num_frames=3, faults=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="no room left") as error:
            make(root).prepare()
    assert error.value.remedy is not None
    assert not list(root.glob("prepared/**/frames.json")), "nothing half made passes for made"
    make(root).prepare()
    assert len(listed(make(root))[0]) == 3


def test_preparing_is_done_once_and_again_after_a_kill_or_a_change(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=4, faults=False)
    told: list[str] = []
    make(root).prepare(told.append)
    assert told[0] == "fusing analytic/room: 4 frames, once"
    (record,) = root.glob("prepared/fused-*/analytic/room/frames.json")
    mesh, before = record.with_name("mesh.ply").read_bytes(), record.read_bytes()
    stamp = record.stat().st_mtime_ns
    make(root).prepare(told.append)
    assert record.stat().st_mtime_ns == stamp
    assert len(told) == 2, "nothing was made the second time"
    record.unlink()  # as a kill between the two files leaves it
    make(root).prepare()
    assert (record.read_bytes(), record.with_name("mesh.ply").read_bytes()) == (before, mesh)
    (root / "room/3.png").unlink()
    with pytest.raises(MissingDataError, match="has not been fused"):
        list(make(root).frames())
    make(root).prepare()
    assert len(listed(make(root))[0]) == 3
    assert sorted(path.name for path in record.parent.iterdir()) == ["frames.json", "mesh.ply"]


def test_what_shapes_the_mesh_names_its_folder(scan: Path) -> None:
    one, two = make(scan), make(scan, voxel_m=0.031)
    world = "analytic/room"
    assert one._folder(world) != two._folder(world)
    assert one._folder(world) == make(scan, max_residual_m=0.5, max_memory_gb=1.0)._folder(world)
    with pytest.raises(MissingDataError, match="prepare"):
        list(two.frames())


def test_two_runs_fuse_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_scan(tmp_path, num_frames=3, faults=False)
    calls: list[str] = []
    real = fused_scenes.fuse_scene

    def counting(*arguments: Any) -> SceneRecord:
        calls.append("fused")
        return real(*arguments)

    monkeypatch.setattr(module, "fuse_scene", counting)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: make(root).prepare(), range(3)))
    assert calls == ["fused"]


def test_every_and_max_frames_say_what_is_fused(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=8, faults=False)
    for fields, num_fused in (({"every": 3}, 3), ({"max_frames": 5}, 5), ({"every": 2, "max_frames": 2}, 2)):
        source = make(root, min_weight=1, **fields)
        source.prepare()
        keys, findings = listed(source)
        assert f"fused from {num_fused} frames" in findings[-1].message
        assert len(keys) > num_fused, "all are rendered"


def test_recordings_of_one_room_have_worlds_of_their_own(tmp_path: Path) -> None:
    write_export(tmp_path / "scans/scene0000_00", numbers=(0, 1), lost=())
    write_export(tmp_path / "scans/scene0000_01", numbers=(0, 1), lost=())
    for path in tmp_path.rglob("depth/*.png"):
        path.write_bytes(png(np.full((12, 16), 1500, np.uint16)))
    write(tmp_path / "scannetv2-labels.combined.tsv", TABLE)
    of = {"name": "scannet", "root": str(tmp_path), "width": 16, "height": 12}
    fields = {"voxel_m": 0.1, "min_weight": 1, "max_residual_m": 1, "min_covered": 0}
    parsed = PluginBlock.parse(sources, {"name": "fused", "of": of, "prepared": str(tmp_path / "made"), **fields})
    source: Fused = sources.get("fused")(parsed.config)
    source.prepare()
    worlds = sorted(path.parent.relative_to(path.parents[3]).as_posix() for path in tmp_path.rglob("frames.json"))
    assert worlds == ["scannet/scene0000/00", "scannet/scene0000/01"]
    assert {"semantic", "instance", "rgb", "depth_raw", "normals"} <= source.labels.keys()
    frame = source.read(next(iter(source.frames())), frozenset(source.labels))
    assert set(np.unique(frame.labels["semantic"])) <= {0, 5, 40}
    assert source.licence.name.startswith("ScanNet")


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_mesh_that_the_data_set_ships(tmp_path: Path, is_turned: bool) -> None:
    """A wall 1.5 m ahead of POSE, which looks along the world's x from x = 0.5, its fronts on either side."""
    scan = write_export(tmp_path / "scene0000_00", numbers=(0, 1, 2), lost=(2,))
    for path in scan.glob("depth/*.png"):
        path.write_bytes(png(np.full((12, 16), 1510, np.uint16)))
    of = {"name": "scannet", "root": str(tmp_path), "width": 16, "height": 12, "semantic": "raw"}
    parsed = PluginBlock.parse(
        sources, {"name": "fused", "of": of, "prepared": str(tmp_path / "made"), "mesh": "shipped"}
    )
    source: Fused = sources.get("fused")(parsed.config)
    source.prepare()
    with pytest.raises(MissingDataError, match="no scene") as caught:
        list(source.frames())
    assert "ships no mesh" in str(caught.value)

    corners = np.array([[2, -8, -8], [2, 8, -8], [2, 8, 8], [2, -8, 8]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
    content = encode_ply(Mesh(corners, triangles[:, ::-1] if is_turned else triangles))
    path = scan / "scene0000_00_vh_clean_2.ply"
    path.write_bytes(content[:-5])
    source.prepare()
    with pytest.raises(MissingDataError) as damaged:
        list(source.frames())
    assert path.name in str(damaged.value)

    path.write_bytes(content)
    source.prepare()
    keys, findings = listed(source)
    assert len(keys) == 2
    assert "truth from the shipped mesh, median |measured - truth| 10.0/10.0" in findings[-1].message
    frame = frame_of(source)
    np.testing.assert_allclose(frame.depth_m, 1.5, rtol=1e-6)
    np.testing.assert_allclose(frame.labels["depth_raw"], 1.51, rtol=1e-6)
    assert (decode_normals(np.asarray(frame.labels["normals"], np.int16))[..., 2] < -0.999).all()


def test_nothing_of_this_machine_is_portable(scan: Path) -> None:
    parsed = PluginBlock.parse(sources, block(scan))
    portable = parsed.portable()
    assert "prepared" not in portable
    assert "root" not in portable["of"]
    assert str(scan) not in json.dumps(portable)
    assert portable["of"]["name"] == "rgbd_folder"
    again = PluginBlock.parse(sources, parsed.flat())
    assert again == parsed
    manifest = parse_manifest(
        {"name": "a", "source": block(scan), "translator": "identity", "corpus": {"out": "x"}}, where="test"
    )
    assert str(scan) not in json.dumps(manifest.portable())


def test_versions_of_both_adapters_count(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make(scan).adapter_version
    monkeypatch.setattr(sources.get("rgbd_folder"), "adapter_version", 7)
    assert make(scan).adapter_version == before + 6


def test_checking_prepares(tmp_path: Path) -> None:
    report = check_source(make(write_scan(tmp_path, num_frames=4, faults=False)))
    assert report.ok
    assert report.labels == {"T_world_cam": 4, "normals": 4, "depth_raw": 4}


def test_sources_without_poses_and_wrong_blocks(scan: Path) -> None:
    value = block(scan)
    del value["of"]["pose"]
    with pytest.raises(InputError, match="without poses") as caught:
        sources.get("fused")(PluginBlock.parse(sources, value).config)
    assert "rgbd_folder" in str(caught.value)
    with pytest.raises(ManifestError) as wrong:
        PluginBlock.parse(sources, {**block(scan), "of": {**block(scan)["of"], "unit": 3}})
    assert "source.of" in str(wrong.value)
    with pytest.raises((ManifestError, ValidationError)):
        PluginBlock.parse(sources, block(scan, voxel_m=0))


def test_a_scene_that_cannot_be_fused_is_left_out(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=5, faults=False)
    for path in [root / "room/0.png", root / "room/0.txt"]:
        write(root / "attic" / path.name, path.read_bytes())
    source = make(root)
    source.prepare()
    keys, findings = listed(source)
    assert len(keys) == 5
    (attic,) = [finding for finding in findings if finding.path == "analytic/attic"]
    assert attic.severity == "error"
    assert "no surface; found no point within 4 m that 2 frames saw, of 1 fused" in attic.message
    assert "min_weight" in attic.message


def test_nothing_that_can_be_fused_says_why_and_more_memory_helps(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=3, faults=False)
    small = make(root, max_memory_gb=1e-4)
    small.prepare()
    with pytest.raises(MissingDataError, match="no scene could be fused") as caught:
        list(small.frames())
    assert "more memory" in str(caught.value)
    (record,) = root.rglob("frames.json")
    stamp = record.stat().st_mtime_ns
    small.prepare()
    assert record.stat().st_mtime_ns == stamp, "the same would come out"
    large = make(root)
    large.prepare()
    assert len(list(large.frames())) == 3


def test_a_damaged_record_names_itself(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=3, faults=False)
    make(root).prepare()
    (record,) = root.rglob("frames.json")
    record.write_text(record.read_text()[:-40])
    with pytest.raises(DecodeError, match="record") as caught:
        list(make(root).frames())
    assert str(record) in str(caught.value)
    assert "remove" in str(caught.value)


def test_a_mesh_that_has_gone_is_an_error(tmp_path: Path) -> None:
    root = write_scan(tmp_path, num_frames=3, faults=False)
    make(root).prepare()
    (mesh,) = root.rglob("mesh.ply")
    source = make(root)
    ref = next(iter(source.frames()))
    kept = mesh.read_bytes()
    mesh.unlink()
    with pytest.raises(MissingDataError) as caught:
        source.read(ref, frozenset())
    assert str(mesh) in str(caught.value)
    mesh.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(DecodeError, match="mesh") as damaged:
        source.read(ref, frozenset())
    assert str(mesh) in str(damaged.value)
    mesh.write_bytes(kept)
    assert source.read(ref, frozenset()).valid.any()


def test_a_moved_data_set_and_its_meshes_read_the_same(scan: Path, tmp_path: Path) -> None:
    shutil.copytree(scan, tmp_path / "moved")
    there = make(tmp_path / "moved")
    assert_frames_equal(frame_of(there), frame_of(make(scan)))


def test_without_open3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_scan(tmp_path, num_frames=2, faults=False)
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "open3d":
            raise ModuleNotFoundError("No module named 'open3d'", name="open3d")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match="Open3D"):
        make(root).prepare()


def test_agreement_is_the_median_away_from_edges() -> None:
    rendered = np.full((20, 30), 2.0, np.float32)
    rendered[:, 15:] = 3.0
    measured = rendered + np.float32(0.004)
    measured[:, 13:17] += 1.0  # beside the edge: not counted
    measured[:, :3] = 0
    hit = np.ones((20, 30), bool)
    hit[:, 27:] = False
    frame = Frame("a/b/c", measured, measured > 0, Camera(30, 30, 14.5, 9.5, 30, 20))
    found = agreement(frame, rendered, hit)
    assert found.residual_m == pytest.approx(0.004, rel=1e-3)
    assert found.covered == pytest.approx(24 / 27)
    edge = near_edges(rendered)
    assert edge[:, 13:17].all()
    assert not edge[:, :13].any()
    assert not edge[:, 17:].any()
    nothing = agreement(frame, rendered, np.zeros((20, 30), bool))
    assert math.isnan(nothing.residual_m)
    assert nothing.covered == 0
