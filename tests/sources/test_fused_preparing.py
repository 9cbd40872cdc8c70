"""Meshes are fused once, whatever interrupts it, and again when what shapes them changes."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from depthforge.errors import DecodeError, MissingDataError, MissingDependencyError, StorageError
from depthforge.frame import Finding
from depthforge.sources.check import check_source
from depthforge.sources.fused import scenes as fused_scenes
from depthforge.sources.fused import source as module
from depthforge.sources.fused.scenes import SceneRecord
from depthforge.testing.sources import assert_frames_equal
from tests.sources.fused_trees import frame_of, listed, make, write_scan
from tests.sources.tree_files import write

pytest.importorskip("open3d", exc_type=ImportError)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_scan(tmp_path_factory.mktemp("fused"))
    make(root).prepare()
    return root


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


def test_what_is_still_to_be_fused_is_said_and_listed_whole(tmp_path: Path) -> None:
    root = write_scan(tmp_path)
    make(root).prepare()
    kept = listed(make(root))[0]
    for number in range(2):
        for suffix in ("png", "txt"):
            write(root / f"study/{number}.{suffix}", (root / f"room/{number}.{suffix}").read_bytes())
    source = make(root)
    assert source.to_prepare() == (f"fuse 2 frames of 1 scene, kept in {root / 'prepared'}", True)
    findings: list[Finding] = []
    keys = [ref.key for ref in source.candidates(findings.append)]
    assert keys == [*kept, "analytic/study/000000", "analytic/study/000001"], "what is fused is listed as it will be"
    assert [finding.path for finding in findings if finding.path.startswith("analytic")] == ["analytic/room"]


def test_what_shapes_the_mesh_names_its_folder(scan: Path) -> None:
    one, two = make(scan), make(scan, voxel_m=0.031)
    world = "analytic/room"
    assert one.folder_of(world) != two.folder_of(world)
    assert one.folder_of(world) == make(scan, max_residual_m=0.5, max_memory_gb=1.0).folder_of(world)
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


def test_checking_prepares(tmp_path: Path) -> None:
    report = check_source(make(write_scan(tmp_path, num_frames=4, faults=False)))
    assert report.ok
    assert report.labels == {"T_world_cam": 4, "normals": 4, "depth_raw": 4}


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
