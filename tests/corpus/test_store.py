from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from depthforge.corpus.layout import Layout
from depthforge.corpus.store import CorpusTotals, open_for_writing
from depthforge.corpus.writer import ShardWriter
from depthforge.errors import (
    CorpusBusyError,
    CorpusError,
    CorpusMismatchError,
    IncompleteError,
    MissingDataError,
    StorageError,
)
from depthforge.frame import Finding
from tests.corpus.corpora import SCHEMA, build, files_of, fill, items, make_info, write_shard


def test_a_fresh_corpus_has_everything_pending(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    with open_for_writing(tmp_path / "deep/corpus", info, plan_file) as corpus:
        assert list(corpus.pending()) == items(22)
        assert corpus.committed() == set()
        assert corpus.totals() == CorpusTotals(0, 0, 0, 0)
        assert not corpus.is_finished
        with pytest.raises(IncompleteError, match="not complete"):
            corpus.finish()


def test_a_second_run_does_only_the_rest(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    root = tmp_path / "corpus"
    with open_for_writing(root, info, plan_file) as corpus:
        todo = list(corpus.pending())
        for item in todo[:2]:
            write_shard(root, item, fingerprint=info.fingerprint)
        assert corpus.totals().num_shards == 2
    with open_for_writing(root, info, plan_file) as corpus:
        assert list(corpus.pending()) == todo[2:]
        fill(corpus)
        assert corpus.totals().num_frames == 22
        corpus.finish()
        assert corpus.is_finished
    before = files_of(root)
    with open_for_writing(root, info, plan_file) as corpus:
        assert corpus.is_finished
        assert list(corpus.pending()) == []
    assert files_of(root) == before


def test_the_corpus_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    assert files_of(build(tmp_path / "one")) == files_of(build(tmp_path / "two"))


def test_sha256sum_agrees(corpus: Path) -> None:
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=corpus, check=True)
    listed = {line.split("  ")[1] for line in (corpus / "SHA256SUMS").read_text().splitlines()}
    assert listed == files_of(corpus).keys() - {"SHA256SUMS"}


def test_two_runs_cannot_hold_one_corpus(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 4)
    root = tmp_path / "corpus"
    with (
        open_for_writing(root, info, plan_file),
        pytest.raises(CorpusBusyError, match="another run") as caught,
        open_for_writing(root, info, plan_file),
    ):
        pass
    assert f"process {os.getpid()} on " in str(caught.value)
    assert "started 20" in str(caught.value)
    with open_for_writing(root, info, plan_file):
        pass
    assert not (root / ".lock").exists()


def hold_and_die(root: Path, plan_file: Path, ready: multiprocessing.synchronize.Event) -> None:
    info, _ = make_info(plan_file.parent, 4)
    with open_for_writing(root, info, plan_file):
        ready.set()
        os.kill(os.getpid(), 9)


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 4)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold_and_die, args=(tmp_path / "corpus", plan_file, ready))
    process.start()
    assert ready.wait(10)
    process.join()
    assert (tmp_path / "corpus/.lock").exists()
    with open_for_writing(tmp_path / "corpus", info, plan_file) as corpus:
        assert len(list(corpus.pending())) == 1


def test_another_manifest_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    root = build(tmp_path)
    before = files_of(root)
    info, plan_file = make_info(tmp_path, 22, seed=2, translator={"name": "simulation", "sigma": 0.5})
    with pytest.raises(CorpusMismatchError) as caught, open_for_writing(root, info, plan_file):
        pass
    text = str(caught.value)
    assert "seed: 1 -> 2" in text
    assert "translator.sigma: default -> 0.5" in text
    assert "--overwrite" in text
    assert caught.value.exit_code == 3
    assert files_of(root) == before


def test_a_data_set_that_grew_is_another_corpus(tmp_path: Path) -> None:
    root = build(tmp_path)
    info, plan_file = make_info(tmp_path, 23)
    with pytest.raises(CorpusMismatchError, match="something else") as caught, open_for_writing(root, info, plan_file):
        pass
    assert "plan.num_frames: 22 -> 23" in str(caught.value)
    assert "the source lists other frames" in str(caught.value)
    assert f"depthforge verify {root} --source MANIFEST" in str(caught.value.remedy)


def test_what_follows_from_what_differs_is_not_told(tmp_path: Path) -> None:
    root = build(tmp_path)
    info, plan_file = make_info(tmp_path, 23, seed=2)
    with pytest.raises(CorpusMismatchError) as caught, open_for_writing(root, info, plan_file):
        pass
    assert caught.value.found == "seed: 1 -> 2"


def test_files_of_others_are_all_named(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path / "made", 22)
    root = tmp_path / "corpus"
    root.mkdir()
    for name in ("a", "b", "c", "d", "e", "f", "g"):
        (root / name).touch()
    with (
        pytest.raises(CorpusError, match="other files and no corpus") as caught,
        open_for_writing(root, info, plan_file),
    ):
        pass
    assert caught.value.found == "a, b, c, d, e, f, g"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "corpus.json", "shards"])
def test_files_of_strangers_are_never_touched(tmp_path: Path, name: str, overwrite: bool) -> None:
    root = tmp_path / "home"
    root.mkdir()
    if name == "shards":
        (root / name).mkdir()
    else:
        (root / name).write_text("{}")
    info, plan_file = make_info(tmp_path, 4)
    with (
        pytest.raises(CorpusError, match="other files and no corpus"),
        open_for_writing(root, info, plan_file, overwrite=overwrite),
    ):
        pass
    assert [path.name for path in root.iterdir()] == [name]


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "other fingerprint", "shard gone", "file cut"])
def test_a_shard_whose_commit_does_not_hold_is_made_again(tmp_path: Path, damage: str) -> None:
    root = build(tmp_path)
    whole = files_of(root)
    info, plan_file = make_info(tmp_path, 22)
    part = root / Layout.index_part("train-000000")
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-10])
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "garbage":
        part.write_bytes(b"PAR1" * 100)
    elif damage == "other fingerprint":
        part.write_bytes(part.read_bytes().replace(info.fingerprint.encode(), b"0" * 32))
    elif damage == "shard gone":
        shutil.rmtree(root / "shards/train-000000.zarr")
    else:
        os.truncate(root / "shards/train-000000.zarr/rgb/c.0.0.0.0", 100)
    with open_for_writing(root, info, plan_file) as corpus:
        assert not corpus.is_finished
        assert [item.shard for item in corpus.pending()] == ["train-000000"]
        fill(corpus, rejected=[7])
        corpus.finish()
    assert files_of(root) == whole


def test_a_plan_that_was_damaged_is_written_again(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    root = tmp_path / "corpus"
    with open_for_writing(root, info, plan_file):
        pass
    os.truncate(root / "plan/frames.parquet", 100)
    with open_for_writing(root, info, plan_file) as corpus:
        assert list(corpus.pending()) == items(22)


def test_what_dead_runs_left_is_removed(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    root = tmp_path / "corpus"
    with open_for_writing(root, info, plan_file) as corpus:
        item = next(corpus.pending())
        orphan = ShardWriter(root, item, SCHEMA, fingerprint=info.fingerprint)
        orphan._open()
        (root / "index").mkdir()
        (root / "index/.val-000000.parquet.0123.tmp").write_bytes(b"half")
    with open_for_writing(root, info, plan_file):
        assert list((root / "shards").iterdir()) == []
        assert list((root / "index").iterdir()) == []


def test_rejects_can_be_forgotten_and_made_again(tmp_path: Path) -> None:
    root = build(tmp_path, rejected=[7])
    info, plan_file = make_info(tmp_path, 22)
    with open_for_writing(root, info, plan_file) as corpus:
        assert corpus.rejects_by_error() == {"DecodeError": 1}
        assert corpus.forget_rejects() == 1
        assert not corpus.is_finished
        fill(corpus)
        corpus.finish()
        assert corpus.totals().num_rejects == 0
        assert corpus.totals().num_frames == 22
    assert files_of(root) == files_of(build(tmp_path / "other", rejected=[]))


def test_a_path_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 4)
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StorageError, match="not a directory"), open_for_writing(root, info, plan_file):
            pass


def test_an_error_of_the_run_itself_passes_unchanged(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 4)

    def run() -> None:
        with open_for_writing(tmp_path / "corpus", info, plan_file):
            raise FileNotFoundError("of somebody else")

    with pytest.raises(FileNotFoundError, match="somebody else"):
        run()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format_version", 1, r"version of the corpus format is not read here[\s\S]*with --overwrite"),
        ("format_version", 3, r"version of the corpus format is not read here[\s\S]*pip install --upgrade"),
        ("format_version", "2", "version of the corpus format is not read here"),
        ("units", None, "does not say its units"),
        ("units", {"depth": "mm"}, "does not say its units"),
        ("quantity", None, "does not say its quantity"),
        ("plan", None, "not sound"),
        ("surprise", 1, "not sound"),
    ],
)
def test_a_description_that_is_not_ours_is_refused(own_corpus: Path, field: str, value: object, message: str) -> None:
    path = own_corpus / "corpus.json"
    content = json.loads(path.read_text())
    if value is None:
        del content[field]
    else:
        content[field] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CorpusError, match=message):
        type(make_info(own_corpus.parent, 4)[0]).load(own_corpus)


def test_a_directory_without_a_corpus_says_what_is_missing(tmp_path: Path) -> None:
    info, _ = make_info(tmp_path, 4)
    with pytest.raises(MissingDataError, match="not a corpus"):
        type(info).load(tmp_path)


def test_the_papers_say_licence_rejects_findings_and_manifest(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    root = tmp_path / "corpus"
    with open_for_writing(root, info, plan_file) as corpus:
        fill(corpus, rejected=[7])
        findings = [Finding("warning", f"scene-01/{number}.png", "an odd file") for number in range(30)]
        corpus.finish([*findings, Finding("error", "scene-02", "skipped: no poses")])
    card = (root / "README.md").read_text()
    for text in (
        "CC BY-NC 4.0",
        "non-commercial",
        "1 planned frames",
        "- error: `scene-02`: skipped: no poses\n- warning: `scene-01/0.png`: an odd file",
        "and 11 more findings",
        "planar z",
        "seed: 1",
    ):
        assert text in card
    metadata = json.loads((root / "croissant.json").read_text())
    assert str(tmp_path) not in card + json.dumps(metadata) + (root / "corpus.json").read_text()
