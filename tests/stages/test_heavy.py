"""Conversion with a learned translator: batches around a model, in this process and in actors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import verify_corpus
from depthforge.corpus.writer import ShardWriter
from depthforge.errors import FrameError, IntegrityError, MissingDataError, StorageError
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.manifest import Manifest
from depthforge.stages import convert as stage
from depthforge.stages.crew import SHARDS_PER_GPU
from depthforge.stages.estimate import estimate
from depthforge.stages.prepare import make_source, prepare
from depthforge.stages.shards import Converter, job_of
from depthforge.translators.dcl import Dcl
from tests.heads import Head
from tests.stages.learned import write_weights
from tests.stages.runs import contents, run

Tiny = Callable[..., Manifest]

SOURCE = {
    "name": "procedural",
    "num_scenes": 2,
    "frames_per_scene": 6,
    "width": 64,
    "height": 48,
    "focal_px": 60.0,
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other longer than these images take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learned(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Return a maker of tiny manifests with untrained weights; ``translator`` adds options to it."""
    block = write_weights(tmp_path / "weights", noise_channels=1)

    def make(*, translator: dict[str, Any] | None = None, **changes: Any) -> Manifest:
        fields = {"source": SOURCE, "corpus": {"shard_frames": 5}, "splits": {"train": 1.0}, **changes}
        return tiny(translator={**block, **(translator or {})}, **fields)

    return make


def shards(root: Path) -> dict[str, bytes]:
    return {
        name: content for name, content in contents(root).items() if name.startswith(("shards/", "index/", "rejects/"))
    }


def rejects(root: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((root / "rejects").iterdir()) for row in pq.read_table(path).to_pylist()]


def test_a_corpus_keeps_the_weights_that_made_it(learned: Tiny, tmp_path: Path) -> None:
    manifest = learned()
    report = run(manifest)
    assert (report.num_frames, report.num_rejects) == (12, 0)
    made = contents(manifest.corpus.out)
    for name in ("card.json", "weights.safetensors"):
        assert made[f"translator/{name}"] == (tmp_path / "weights" / name).read_bytes()
        assert f"translator/{name}" in made["SHA256SUMS"].decode()
    assert str(tmp_path) not in made["corpus.json"].decode()
    assert "weights" not in json.loads(made["corpus.json"])["manifest"]["translator"]
    assert verify_corpus(manifest.corpus.out, source=make_source(manifest.source)).ok
    (manifest.corpus.out / "translator" / "weights.safetensors").write_bytes(b"other")
    assert not verify_corpus(manifest.corpus.out).ok


def test_the_noise_is_of_the_frame_and_leaves_its_geometry(learned: Tiny) -> None:
    manifest = learned()
    run(manifest)
    reader = CorpusReader(manifest.corpus.out)
    for index in range(len(reader)):
        record = reader.read(index)
        both = record.clean_valid & record.noisy_valid
        assert both.mean() > 0.5
        error = np.abs(record.noisy_depth_m - record.clean_depth_m)[both]
        assert 0 < error.mean() < 1


@pytest.mark.parametrize("batch_size", [3, 4, 7])
def test_the_batch_size_changes_no_byte(learned: Tiny, tmp_path: Path, batch_size: int) -> None:
    run(learned(out=tmp_path / "one", translator={"batch_size": 1}))
    run(learned(out=tmp_path / "many", translator={"batch_size": batch_size}))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.ray
def test_actors_and_this_process_make_the_same_bytes(learned: Tiny, head: Head, tmp_path: Path) -> None:
    run(learned(out=tmp_path / "inline"))
    manifest = learned(out=tmp_path / "ray", translator={"batch_size": 4})
    report = run(manifest, inline=False, num_workers=2, address=head.address)
    assert (report.num_frames, report.made_shards) == (12, 3)
    assert contents(tmp_path / "ray") == contents(tmp_path / "inline")


def test_two_shards_at_once_in_one_worker_are_the_same_bytes(learned: Tiny, tmp_path: Path) -> None:
    run(learned(out=tmp_path / "inline"))
    manifest = learned(out=tmp_path / "both", translator={"batch_size": 2})
    with (
        prepare(manifest) as prepared,
        open_for_writing(manifest.corpus.out, prepared.info, prepared.plan_file) as store,
        ThreadPoolExecutor(SHARDS_PER_GPU) as threads,
    ):
        list(threads.map(Converter(job_of(prepared, store.storage)).convert, store.pending()))
    assert shards(tmp_path / "both") == shards(tmp_path / "inline")


def test_a_finished_run_goes_on_from_weights_that_lie_elsewhere(learned: Tiny, tmp_path: Path) -> None:
    run(learned())
    (tmp_path / "weights").rename(tmp_path / "moved")
    assert run(learned(translator={"weights": str(tmp_path / "moved"), "batch_size": 2})).nothing_to_do


def test_overwriting_a_corpus_does_not_lose_the_weights_that_lie_in_it(learned: Tiny) -> None:
    manifest = learned()
    run(manifest)
    before = shards(manifest.corpus.out)
    inside = learned(translator={"weights": str(manifest.corpus.out / "translator")})
    assert run(inside, overwrite=True).made_frames == 12
    assert shards(manifest.corpus.out) == before


# --- what is wrong with the translator is said before any frame is read --------------------------------------------


def test_missing_weights_are_said(learned: Tiny, tmp_path: Path) -> None:
    manifest = learned(translator={"weights": str(tmp_path / "nowhere")})
    with pytest.raises(MissingDataError, match="no trained translator"):
        run(manifest, inline=False)
    assert not manifest.corpus.out.exists()


@pytest.mark.parametrize(("option", "kind"), [({"width": 8}, "architecture"), ({"max_depth_m": 5.0}, "normalisation")])
def test_weights_of_another_kind_are_refused(learned: Tiny, option: dict[str, Any], kind: str) -> None:
    manifest = learned(translator=option)
    with pytest.raises(ValueError, match=f"weights are of another {kind}"):
        run(manifest, inline=False)
    assert not manifest.corpus.out.exists()


def test_damaged_weights_are_refused(learned: Tiny, tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    manifest = learned()
    with pytest.raises(IntegrityError, match="not those"):
        run(manifest, inline=False)
    assert not manifest.corpus.out.exists()


@pytest.mark.parametrize("inline", [True, False])
def test_a_gpu_that_is_required_and_missing_is_said(learned: Tiny, inline: bool) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    manifest = learned(translator={"device": "cuda"})
    with pytest.raises(ValueError, match="a GPU is asked for and there is none"):
        run(manifest, inline=inline)
    assert not manifest.corpus.out.exists()


# --- frames that cannot be converted -------------------------------------------------------------------------------


@pytest.fixture
def walls(learned: Tiny, tmp_path: Path) -> Tiny:
    """Return a maker of runs over twelve walls, of which the third is truncated."""
    root = tmp_path / "frames"
    root.mkdir()
    for index in range(12):
        cv2.imwrite(str(root / f"{index:02d}.png"), np.full((48, 64), 1000 + 100 * index, np.uint16))
    whole = (root / "02.png").read_bytes()
    (root / "02.png").write_bytes(whole[: len(whole) // 2])
    camera = {"fx": 60, "fy": 60, "cx": 31.5, "cy": 23.5, "width": 64, "height": 48}
    source = {"name": "rgbd_folder", "root": str(root), "depth": "{frame}.png", "depth_scale": 1000, "camera": camera}

    def make(**changes: Any) -> Manifest:
        return learned(source=source, max_reject_fraction=0.5, **changes)

    return make


def spoil(monkeypatch: pytest.MonkeyPatch, key: str, error: Exception | None, *, times: int = 100) -> list[int]:
    """Let the translator fail on one frame, or give it depth that cannot be stored; return the sizes of its batches."""
    real, left, sizes = Dcl.translate_batch, iter(range(times)), []

    def translate_batch(self: Dcl, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        sizes.append(len(frames))
        outcomes = real(self, frames, words)
        for index, frame in enumerate(frames):
            if frame.key.endswith(key) and next(left, None) is not None:
                if error is not None:
                    raise error
                outcomes[index] = Capture(NoisyDepth(np.full_like(frame.depth_m, 1e6), frame.valid))
        return outcomes

    monkeypatch.setattr(Dcl, "translate_batch", translate_batch)
    return sizes


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_only_the_frame_at_fault_is_rejected_whatever_the_batch(
    walls: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    spoil(monkeypatch, "05", FrameError("refused", where="05"))
    manifest = walls(translator={"batch_size": batch_size})
    report = run(manifest)
    assert (report.num_frames, report.num_rejects) == (10, 2)
    rows = [(row["key"][-2:], row["stage"], row["error"]) for row in rejects(manifest.corpus.out)]
    assert rows == [("02", "read", "DecodeError"), ("05", "translate", "FrameError")]
    assert verify_corpus(manifest.corpus.out).ok
    monkeypatch.undo()
    run(walls(out=tmp_path / "sound"))
    spoilt, sound = CorpusReader(manifest.corpus.out), CorpusReader(tmp_path / "sound")
    for index in range(len(spoilt)):
        record = spoilt.read(index)
        np.testing.assert_array_equal(record.noisy_depth_m, sound.read(record.key).noisy_depth_m)


def test_a_batch_is_filled_up_past_a_frame_that_cannot_be_read(walls: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = spoil(monkeypatch, "none", None)
    run(walls(translator={"batch_size": 4}, corpus={"shard_frames": 12}))
    assert sizes == [4, 4, 3]


def test_depth_that_cannot_be_stored_is_a_reject_of_the_writing(walls: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "05", None)
    manifest = walls(translator={"batch_size": 4})
    assert run(manifest).num_frames == 10
    rows = [(row["key"][-2:], row["stage"]) for row in rejects(manifest.corpus.out)]
    assert rows == [("02", "read"), ("05", "write")]


def test_a_batch_that_fails_only_as_a_whole_loses_no_frame(walls: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "05", RuntimeError("too much at once"), times=1)
    assert run(walls(translator={"batch_size": 4})).num_rejects == 1


@pytest.mark.parametrize("error", [SystemError("exit in compiled code"), MemoryError(), StorageError("disk full")])
def test_what_befalls_the_worker_is_never_blamed_on_a_frame(
    walls: Tiny, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    manifest = walls(translator={"batch_size": 3})
    spoil(monkeypatch, "05", error)
    with pytest.raises(type(error)):
        run(manifest)
    assert len(list((manifest.corpus.out / "index").iterdir())) == 1
    monkeypatch.undo()
    assert run(manifest).num_rejects == 1


def test_a_disk_that_fills_up_ends_the_run(walls: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(self: ShardWriter, *arguments: object) -> None:
        raise StorageError("disk full")

    monkeypatch.setattr(ShardWriter, "add", add)
    manifest = walls(translator={"batch_size": 3})
    with pytest.raises(StorageError, match="disk full"):
        run(manifest)
    assert not [path for path in manifest.corpus.out.rglob("*") if ".tmp" in path.name]


def test_memory_grows_with_the_batch_and_not_with_the_shard(learned: Tiny) -> None:
    def bound(batch_size: int, shard_frames: int) -> int:
        manifest = learned(translator={"batch_size": batch_size}, corpus={"shard_frames": shard_frames})
        with prepare(manifest) as prepared:
            return estimate(prepared, num_workers=1, sample_frames=0).worker_bytes

    assert bound(1, 64) == bound(1, 2) < bound(8, 2)


def test_weights_go_to_workers_from_the_corpus(learned: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    real = stage.run_inline
    monkeypatch.setattr(stage, "run_inline", lambda items, job, done: (jobs.append(job), real(items, job, done)))
    manifest = learned()
    run(manifest)
    assert isinstance(manifest.corpus.out, Path)
    kept = manifest.corpus.out.absolute() / "translator"
    with closing(Converter(jobs[0])) as worker:
        assert worker.translator.config.weights == kept


def test_a_batch_of_another_length_is_rejected_as_what_it_is(learned: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    translate_batch = Dcl.translate_batch

    def one_short(self: Dcl, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        return translate_batch(self, frames, words)[1:]

    monkeypatch.setattr(Dcl, "translate_batch", one_short)
    manifest = learned(max_reject_fraction=1.0, limit=3)
    assert run(manifest).rejects_by_error == {"FrameError": 3}
    (row, *_) = [row for path in manifest.corpus.out.glob("rejects/*") for row in pq.read_table(path).to_pylist()]
    assert "did not return one capture for each frame; expected 1; found 0" in row["message"]
