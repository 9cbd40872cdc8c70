from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import (
    CorpusBusyError,
    CorpusError,
    CorpusMismatchError,
    IncompleteError,
    InputError,
    MissingDataError,
    StorageError,
    UnknownNameError,
)
from depthforge.frame import Capture, Frame
from depthforge.manifest import Manifest
from depthforge.progress import Silent
from depthforge.stages.prepare import make_source, prepare
from depthforge.translators.identity import Identity
from tests.heads import Head
from tests.stages.runs import contents, run

Tiny = Callable[..., Manifest]


def test_a_run_makes_a_corpus_that_verifies_against_its_source(tiny: Tiny) -> None:
    manifest = tiny()
    report = run(manifest)
    assert (report.num_frames, report.num_rejects, report.nothing_to_do) == (12, 0, False)
    verdict = verify_corpus(manifest.corpus.out, source=make_source(manifest.source))
    assert verdict.ok, verdict.lines()


def test_labels_and_clean_depth_are_carried_and_only_depth_is_noisy(tiny: Tiny) -> None:
    manifest = tiny()
    run(manifest)
    source = make_source(manifest.source)
    reader = CorpusReader(manifest.corpus.out)
    assert len(reader) == 12
    changed = 0
    for ref in source.frames():
        clean = source.read(ref, frozenset(source.labels))
        record = reader.read(ref.key)
        for name, label in clean.labels.items():
            np.testing.assert_array_equal(record.labels[name], label, err_msg=f"{ref.key} {name}")
        assert clean.rgb is not None
        np.testing.assert_array_equal(record.labels["rgb"], clean.rgb)
        np.testing.assert_array_equal(record.labels["T_world_cam"], clean.T_world_cam)
        np.testing.assert_array_equal(record.labels["K"], clean.camera.K)
        np.testing.assert_array_equal(record.clean_valid, clean.valid)
        valid = clean.valid
        np.testing.assert_allclose(record.clean_depth_m[valid], clean.depth_m[valid], atol=0.0005 + 1e-6)
        changed += int(np.any(record.noisy_depth_m != record.clean_depth_m))
    assert changed == 12


def test_identity_changes_nothing(tiny: Tiny) -> None:
    manifest = tiny(translator={"name": "identity"})
    run(manifest)
    reader = CorpusReader(manifest.corpus.out)
    for index in range(len(reader)):
        record = reader.read(index)
        np.testing.assert_array_equal(record.noisy_depth_m, record.clean_depth_m)


def test_a_second_run_does_nothing(tiny: Tiny) -> None:
    manifest = tiny()
    run(manifest)
    before = contents(manifest.corpus.out)
    report = run(manifest)
    assert report.nothing_to_do
    assert (report.made_frames, report.num_frames) == (0, 12)
    assert contents(manifest.corpus.out) == before


@pytest.mark.ray
def test_ray_workers_and_this_process_make_the_same_bytes(tiny: Tiny, head: Head, tmp_path: Path) -> None:
    inline, on_ray = tmp_path / "inline", tmp_path / "ray"
    run(tiny(out=inline))
    report = run(tiny(out=on_ray), inline=False, num_workers=2, address=head.address)
    assert report.num_frames == 12
    assert contents(on_ray) == contents(inline)


def test_noise_does_not_depend_on_sharding(tiny: Tiny, tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    run(tiny(out=few, corpus={"shard_frames": 12}))
    run(tiny(out=many, corpus={"shard_frames": 1}))
    a, b = CorpusReader(few), CorpusReader(many)
    for index in range(12):
        key = a.key(index)
        np.testing.assert_array_equal(a.read(key).noisy_depth_m, b.read(key).noisy_depth_m)


def test_surfaces_that_are_lost_depend_on_neither_sharding_nor_whether_poses_are_carried(
    tiny: Tiny, tmp_path: Path
) -> None:
    sensor = {"name": "structured_light", "patch_share": 0.3, "patch_size_m": 0.2}
    translator = {"name": "simulation", "sensor": sensor, "min_kept": 0}
    one, other = tmp_path / "one", tmp_path / "other"
    run(tiny(out=one, translator=translator, corpus={"shard_frames": 12}))
    run(tiny(out=other, translator=translator, corpus={"shard_frames": 1}, labels={"T_world_cam": "off"}))
    a, b = CorpusReader(one), CorpusReader(other)
    for index in range(12):
        key = a.key(index)
        posed, first, again = a.read(key), a.read(key).noisy_depth_m, b.read(key).noisy_depth_m
        assert np.isfinite(posed.labels["T_world_cam"]).all()
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"translator": {"name": "identity"}},
        {"labels": {"rgb": "off"}},
        {"limit": 5},
        {"corpus": {"shard_frames": 4}},
        {"corpus": {"depth": {"scale_m": 0.0005}}},
    ],
)
def test_a_changed_manifest_refuses_to_mix(tiny: Tiny, changes: dict[str, object]) -> None:
    run(tiny())
    before = contents(tiny().corpus.out)
    with pytest.raises(CorpusMismatchError, match="overwrite"):
        run(tiny(**changes))
    assert contents(tiny().corpus.out) == before


def test_overwrite_replaces(tiny: Tiny) -> None:
    run(tiny())
    report = run(tiny(seed=1, limit=5), overwrite=True)
    assert report.num_frames == 5
    assert verify_corpus(tiny().corpus.out).ok


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


def test_a_trial_with_a_limit_does_not_block_the_full_run(tiny: Tiny) -> None:
    said = Notes()
    assert run(tiny(limit=2), progress=said).num_frames == 2
    assert said.notes == []
    assert run(tiny(limit=5), progress=said).num_frames == 5
    assert ["it stays until the new one is whole" in note for note in said.notes] == [True]
    with pytest.raises(CorpusMismatchError):
        run(tiny(limit=4))
    with pytest.raises(CorpusMismatchError):
        run(tiny(seed=1))
    assert run(tiny()).num_frames == 12
    assert verify_corpus(tiny().corpus.out).ok
    with pytest.raises(CorpusMismatchError):
        run(tiny(limit=5))


def test_what_changes_no_byte_is_no_change(tiny: Tiny) -> None:
    run(tiny())
    assert run(tiny(description="other words", max_reject_fraction=0.5)).nothing_to_do


def test_a_strangers_folder_is_left_alone(tiny: Tiny) -> None:
    manifest = tiny()
    manifest.corpus.out.mkdir()
    (manifest.corpus.out / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(CorpusError, match="no corpus"):
            run(manifest, overwrite=overwrite)
    assert contents(manifest.corpus.out) == {"thesis.tex": b"precious"}


def test_unknown_label_is_named(tiny: Tiny) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'semantic'"):
        run(tiny(labels={"semantics": "required"}))


def test_no_data_says_where_it_looked(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="sample --layout interiornet") as caught:
        run(tiny(source={"name": "interiornet", "root": str(tmp_path / "nowhere")}))
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_too_many_workers_for_the_memory_are_refused(tiny: Tiny) -> None:
    with pytest.raises(InputError, match="--workers"):
        run(tiny(), inline=False, num_workers=100_000)


def test_two_runs_at_once_are_refused(tiny: Tiny) -> None:
    from depthforge.corpus.store import open_for_writing

    manifest = tiny()
    with (
        prepare(manifest) as prepared,
        open_for_writing(manifest.corpus.out, prepared.info, prepared.plan_file, overwrite=False),
        pytest.raises(CorpusBusyError, match=str(os.getpid())),
    ):
        run(manifest)
    assert run(manifest).num_frames == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for corpus.json and the plan, but not for a shard."""
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("inline", [True, pytest.param(False, marks=pytest.mark.ray)])
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_elsewhere(
    tiny: Tiny, small_disk: Path, tmp_path: Path, inline: bool, request: pytest.FixtureRequest
) -> None:
    source = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 6, "width": 320, "height": 240}
    manifest = tiny(out=small_disk / "corpus", source=source)
    address = None if inline else request.getfixturevalue("head").address
    with pytest.raises(StorageError, match="space"):
        run(manifest, inline=inline, num_workers=2, address=address)
    names = [path.name for path in manifest.corpus.out.rglob("*")]
    assert not [name for name in names if name.endswith(".zarr")]
    assert not [name for name in names if "tmp" in name]
    moved = tmp_path / "moved"
    shutil.copytree(manifest.corpus.out, moved)
    assert run(tiny(out=moved, source=source)).num_frames == 6
    assert verify_corpus(moved).ok


def test_an_unwritable_output_is_one_clear_error(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        run(tiny(out=tmp_path / "file" / "corpus"))


# --- frames that cannot be converted -------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six good frames of a tilted plane as 16-bit PNG in millimetres, with colour."""
    root = tmp_path / "frames"
    root.mkdir()
    depth = (1500 + np.arange(96)[None, :] * 5 + np.arange(72)[:, None] * 3).astype(np.uint16)
    for index in range(6):
        cv2.imwrite(str(root / f"{index:03d}.depth.png"), depth + index)
        cv2.imwrite(str(root / f"{index:03d}.color.png"), np.full((72, 96, 3), 40 * index, np.uint8))
    return root


def folder_source(root: Path) -> dict[str, object]:
    return {
        "name": "rgbd_folder",
        "root": str(root),
        "dataset": "planes",
        "depth": "{frame}.depth.png",
        "rgb": "{frame}.color.png",
        "camera": {"fx": 90, "fy": 90, "cx": 47.5, "cy": 35.5, "width": 96, "height": 72},
        "depth_scale": 1000,
    }


def damage(root: Path, kind: str) -> None:
    target = root / "002.depth.png"
    whole = target.read_bytes()
    depth = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    if kind == "truncated":
        target.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty file":
        target.write_bytes(b"")
    elif kind == "8-bit":
        cv2.imwrite(str(target), (depth // 256).astype(np.uint8))
    elif kind == "3-channel":
        cv2.imwrite(str(target), np.dstack([depth, depth + 1, depth + 2]))
    elif kind == "wrong size":
        cv2.imwrite(str(target), depth[:-1])
    elif kind == "all zero":
        cv2.imwrite(str(target), np.zeros_like(depth))
    elif kind == "missing label":
        (root / "002.color.png").unlink()
    elif kind == "truncated label":
        color = (root / "002.color.png").read_bytes()
        (root / "002.color.png").write_bytes(color[: len(color) // 2])


KINDS = {
    "truncated": "DecodeError",
    "empty file": "DecodeError",
    "8-bit": "DecodeError",
    "3-channel": "DecodeError",
    "wrong size": "FrameError",
    "all zero": "FrameError",
    "missing label": "MissingLabelError",
    "truncated label": "DecodeError",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_frame_is_a_reject_row_and_the_others_are_kept(tiny: Tiny, folder: Path, kind: str) -> None:
    damage(folder, kind)
    manifest = tiny(source=folder_source(folder), labels={"rgb": "required"}, max_reject_fraction=0.5)
    report = run(manifest)
    assert (report.num_frames, report.num_rejects) == (5, 1)
    rows = [row for path in (manifest.corpus.out / "rejects").iterdir() for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 1
    assert "002" in rows[0]["key"]
    assert rows[0]["stage"] == "read"
    assert rows[0]["error"] in (KINDS[kind], "DecodeError")
    assert rows[0]["message"]
    assert str(folder) not in str(rows[0]), "a corpus names no path of the machine that made it"
    assert verify_corpus(manifest.corpus.out).ok
    assert run(manifest).nothing_to_do


def fails_once_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the identity translator raise ``error`` on its fifth frame."""
    real, calls = Identity.translate, iter(range(100))

    def translate(self: Identity, frame: Frame, words: tuple[int, int]) -> Capture:
        if next(calls) == 4:
            raise error
        return real(self, frame, words)

    monkeypatch.setattr(Identity, "translate", translate)


def test_a_bug_in_a_plugin_is_a_reject_row_that_names_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_once_with(ZeroDivisionError("a bug"), monkeypatch)
    report = run(tiny(translator="identity", max_reject_fraction=0.5))
    assert (report.num_frames, report.rejects_by_error) == (11, {"ZeroDivisionError": 1})


@pytest.mark.parametrize("error", [SystemError("exit in compiled code"), MemoryError(), StorageError("disk full")])
def test_what_befalls_the_worker_is_never_blamed_on_a_frame(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    manifest = tiny(translator="identity")
    fails_once_with(error, monkeypatch)
    with pytest.raises(type(error)):
        run(manifest)
    assert len(list((manifest.corpus.out / "index").iterdir())) == 1, "the shard of the fifth frame is not committed"
    report = run(manifest)
    assert (report.num_frames, report.num_rejects) == (12, 0)


def test_too_many_rejects_fail_the_run_and_mended_data_completes_it(tiny: Tiny, folder: Path) -> None:
    whole = (folder / "002.depth.png").read_bytes()
    damage(folder, "truncated")
    manifest = tiny(source=folder_source(folder))
    for _ in range(2):
        with pytest.raises(IncompleteError, match=r"1 of 6 frames were rejected"):
            run(manifest)
    (folder / "002.depth.png").write_bytes(whole)
    report = run(manifest, retry_rejects=True)
    assert (report.num_frames, report.num_rejects) == (6, 0)
    assert verify_corpus(manifest.corpus.out, source=make_source(manifest.source)).ok


def test_a_frame_more_in_the_source_is_another_corpus(tiny: Tiny, folder: Path) -> None:
    run(tiny(source=folder_source(folder)))
    shutil.copy(folder / "005.depth.png", folder / "006.depth.png")
    with pytest.raises(CorpusMismatchError, match="frames"):
        run(tiny(source=folder_source(folder)))


def test_a_pose_that_is_not_a_number_is_rejected_where_poses_are_required(tiny: Tiny, folder: Path) -> None:
    for index in range(6):
        pose = np.full((4, 4), -np.inf) if index == 2 else np.eye(4)
        np.savetxt(folder / f"{index:03d}.pose.txt", pose)
    source = {**folder_source(folder), "pose": {"file": "{frame}.pose.txt"}}
    manifest = tiny(source=source, labels={"T_world_cam": "required"}, max_reject_fraction=0.5)
    assert run(manifest).num_rejects == 1
    kept = tiny(source=source, out=manifest.corpus.out.parent / "kept")
    assert run(kept).num_rejects == 0
    reader = CorpusReader(kept.corpus.out)
    assert [reader.has("T_world_cam", index) for index in range(6)] == [True, True, False, True, True, True]
    assert np.isnan(reader.stored("T_world_cam", 2)).all()
