from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.index import FileDigest
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.shard import ShardArray
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import Frame, FrameRef
from depthforge.storage import LocalFolder, name_order
from tests.corpus.corpora import FIELDS, build, files_of, make_info, read_source, write_shard


class ReadAgain:
    """A source as a verification wants it, from the function that reads a frame."""

    labels: ClassVar = {spec.name: spec for spec in FIELDS}

    def __init__(self, read: Callable[[FrameRef, frozenset[str]], Frame] = read_source) -> None:
        self.read = read


class Watcher:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, *, num_frames: int, done_frames: int) -> None:
        self.calls.append(("start", num_frames, done_frames))

    def advance(self, *, frames: int, rejects: int) -> None:
        self.calls.append((frames, rejects))

    def stop(self) -> None:
        self.calls.append("stop")


def forge_sums(root: Path) -> None:
    """Make SHA256SUMS agree with what is there, so that only deeper checks can find a change."""
    names = sorted(files_of(root).keys() - {"SHA256SUMS"}, key=name_order)
    lines = (f"{FileDigest.of(LocalFolder(root), name).sha256}  {name}\n" for name in names)
    (root / "SHA256SUMS").write_text("".join(lines))


def change_index(root: Path, shard: str, change: Any) -> None:
    path = root / f"index/{shard}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist(change(rows), schema=table.schema), path)


def problems_of(root: Path, **options: Any) -> str:
    return "\n".join(str(problem) for problem in verify_corpus(root, **options).problems)


def test_a_whole_corpus_is_whole(corpus: Path) -> None:
    watcher = Watcher()
    report = verify_corpus(corpus, source=ReadAgain(), progress=watcher)
    assert report.ok, report.lines()
    assert (report.num_frames, report.num_rejects) == (21, 1)
    assert report.num_files == len(files_of(corpus)) - 1
    assert watcher.calls[0] == ("start", 22, 0)
    assert watcher.calls[-1] == "stop"
    assert sum(frames for frames, _ in watcher.calls[1:-1]) == 21
    assert report.lines()[0].endswith("whole")
    assert report.to_json()["ok"] is True


def test_one_flipped_bit_in_any_file_is_found(tmp_path: Path) -> None:
    root = build(tmp_path, 5, rejected=[1])
    names = sorted(files_of(root))
    assert {"SHA256SUMS", "corpus.json", "README.md", "croissant.json", "plan/frames.parquet"} < set(names)
    random = np.random.default_rng(0)
    for name in names:
        path = root / name
        content = path.read_bytes()
        for place in {0, len(content) - 1, int(random.integers(len(content)))}:
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(damaged)
            found = verify_corpus(root, deep=False).problems
            assert found, f"{name}, byte {place}"
            assert name == "SHA256SUMS" or any(problem.where == name for problem in found), f"{name}: {found}"
        path.write_bytes(content)
    assert verify_corpus(root).ok


def test_missing_and_extra_files_are_found(own_corpus: Path) -> None:
    shutil.rmtree(own_corpus / "shards/train-000000.zarr/rgb")
    (own_corpus / "shards/extra.txt").write_text("")
    found = problems_of(own_corpus)
    assert "shards/train-000000.zarr/rgb/zarr.json: missing" in found
    assert "shards/extra.txt: not a file of this corpus" in found


def test_an_array_that_is_not_what_was_written_is_found_without_any_checksum_of_files(own_corpus: Path) -> None:
    one, other = (own_corpus / f"shards/train-00000{i}.zarr/semantic/c.0.0.0" for i in (0, 2))
    shutil.copy(other, one)
    forge_sums(own_corpus)
    assert "shards/train-000000.zarr/semantic: tiny/" in problems_of(own_corpus)
    assert "is not what was written" not in problems_of(own_corpus, deep=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "is in neither index nor rejects"),
        (lambda rows: [*rows, rows[-1]], "is there twice"),
        (lambda rows: [*rows[:-1], {**rows[-1], "key": "tiny/scene-99/0000"}], "was not planned"),
        (lambda rows: rows[::-1], "do not number the frames"),
        (lambda rows: [{**row, "shard": "val-000000"} for row in rows], "do not number the frames"),
        (lambda rows: [{**row, "hash_rgb": "0" * 32} for row in rows], "rgb: tiny/"),
    ],
)
def test_an_index_that_does_not_match_the_plan_or_the_arrays_is_found(
    own_corpus: Path, change: Any, message: str
) -> None:
    change_index(own_corpus, "train-000000", change)
    forge_sums(own_corpus)
    assert message in problems_of(own_corpus)


def test_a_reject_that_vanished_is_found(own_corpus: Path) -> None:
    next((own_corpus / "rejects").iterdir()).unlink()
    forge_sums(own_corpus)
    assert "tiny/scene-00/0007 is in neither index nor rejects" in problems_of(own_corpus)


def test_a_shard_that_was_not_planned_is_found(own_corpus: Path) -> None:
    shutil.copy(own_corpus / "index/train-000000.parquet", own_corpus / "index/train-000077.parquet")
    forge_sums(own_corpus)
    assert "index/train-000077.parquet: no such shard is planned" in problems_of(own_corpus)


def test_an_unfinished_corpus_says_so(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    with open_for_writing(tmp_path / "corpus", info, plan_file) as corpus:
        write_shard(corpus.storage, next(corpus.pending()), fingerprint=info.fingerprint)
    found = problems_of(tmp_path / "corpus")
    assert "SHA256SUMS: missing: the corpus is not finished" in found
    assert "5 of 6 planned shards are not committed" in found


@pytest.mark.parametrize("label", ["depth_clean", "rgb", "semantic", "normals", "object_pose", "T_world_cam"])
def test_a_label_that_differs_from_its_source_is_found(corpus: Path, label: str) -> None:
    def changed(reference: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = read_source(reference, wanted)
        if frame.key != "tiny/scene-01/0011":
            return frame
        if label == "depth_clean":
            return replace(frame, depth_m=frame.depth_m + np.float32(0.002))
        if label == "rgb":
            return replace(frame, rgb=frame.rgb ^ 1)  # type: ignore[operator]
        if label == "T_world_cam":
            return replace(frame, T_world_cam=None)
        value = frame.labels[label].copy()
        value.flat[-1] += 1
        return replace(frame, labels={**frame.labels, label: value})

    report = verify_corpus(corpus, source=ReadAgain(changed))
    assert [str(problem) for problem in report.problems] == [f"tiny/scene-01/0011: {label} differs from the source"]


def test_a_source_that_cannot_be_read_again_is_a_problem_not_a_crash(corpus: Path) -> None:
    def gone(reference: FrameRef, wanted: frozenset[str]) -> Frame:
        raise DecodeError("gone", where=reference.key)

    assert len(verify_corpus(corpus, source=ReadAgain(gone)).problems) == 21


def test_an_error_of_any_kind_in_a_source_is_a_problem_of_its_frame(corpus: Path) -> None:
    def odd(reference: FrameRef, wanted: frozenset[str]) -> Frame:
        if reference.key == "tiny/scene-01/0011":
            raise ValueError("could not convert string to float: 'nan.'")
        return read_source(reference, wanted)

    report = verify_corpus(corpus, source=ReadAgain(odd))
    assert [str(problem) for problem in report.problems] == [
        "tiny/scene-01/0011: cannot be compared with the source: ValueError: could not convert string to float: 'nan.'"
    ]
    assert report.num_frames == 21, "the shards after it were not looked at"


def test_an_error_in_the_check_of_a_shard_is_a_problem_of_that_shard(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ShardArray.read_row

    def failing(self: ShardArray, row: int, out: np.ndarray | None = None) -> np.ndarray:
        if "train-000001" in self.name:
            raise ValueError("cannot reshape array of size 3")
        return honest(self, row, out)

    monkeypatch.setattr(ShardArray, "read_row", failing)
    report = verify_corpus(corpus)
    assert [str(problem) for problem in report.problems] == [
        "shards/train-000001.zarr: its arrays cannot be checked: ValueError: cannot reshape array of size 3"
    ]
    assert report.num_frames == 21


def test_a_plan_that_cannot_be_read_is_named(own_corpus: Path) -> None:
    (own_corpus / "plan/frames.parquet").write_bytes(b"PAR1")
    assert "plan/frames.parquet: the plan cannot be read" in problems_of(own_corpus)


@pytest.mark.parametrize("attribute", ["units", "quantity", "scale_factor", "_FillValue"])
def test_a_depth_array_without_its_meaning_is_found(own_corpus: Path, attribute: str) -> None:
    path = own_corpus / "shards/train-000000.zarr/depth_clean/zarr.json"
    metadata = json.loads(path.read_text())
    del metadata["attributes"][attribute]
    path.write_text(json.dumps(metadata))
    forge_sums(own_corpus)
    assert "a depth array does not say its" in problems_of(own_corpus, deep=False)


def test_an_unknown_format_version_is_a_problem(own_corpus: Path) -> None:
    path = own_corpus / "corpus.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 9'))
    assert "version of the corpus format is not read here" in problems_of(own_corpus)


def test_a_directory_without_a_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="not a corpus"):
        verify_corpus(tmp_path)


def test_a_damaged_report_shows_how_to_mend_it(own_corpus: Path) -> None:
    for path in (own_corpus / "shards").rglob("zarr.json"):
        path.write_bytes(b"")
    lines = verify_corpus(own_corpus).lines()
    assert "NOT whole" in lines[0]
    assert len([line for line in lines if line.startswith("  problem")]) == 20
    assert "run the conversion again" in lines[-1]


# --- files that are not of the corpus ------------------------------------------------------------------------------


def text_of(root: Path) -> str:
    return "\n".join(verify_corpus(root, deep=False).lines())


def test_a_report_and_tables_of_tasks_may_be_added_to_a_finished_corpus(own_corpus: Path) -> None:
    (own_corpus / "report/figures").mkdir(parents=True)
    (own_corpus / "report/index.html").write_text("<html>")
    (own_corpus / "tasks").mkdir()
    (own_corpus / "tasks/mine.parquet").write_bytes(b"PAR1")
    (own_corpus / "report/figures/holes.png").write_bytes(b"png")
    report = verify_corpus(own_corpus)
    assert report.ok
    assert report.notes == []


@pytest.mark.parametrize(
    "name", [".DS_Store", "index/._train-000000.parquet", "shards/Thumbs.db", "shards/train-000000.zarr/rgb/.nfs0001"]
)
def test_what_an_operating_system_leaves_is_noted_and_read_past(own_corpus: Path, name: str) -> None:
    (own_corpus / name).write_bytes(b"\0")
    report = verify_corpus(own_corpus)
    assert report.ok
    assert report.notes == [f"{name}: put there by an operating system or a file server; readers ignore it"]
    assert len(CorpusReader(own_corpus)) == 21
    (own_corpus / "index.parquet").unlink()
    assert len(CorpusReader(own_corpus, allow_unfinished=True)) == 21


def test_files_of_others_are_named_as_such_with_advice_that_destroys_nothing(own_corpus: Path) -> None:
    (own_corpus / "notes.txt").write_text("mine")
    report = verify_corpus(own_corpus)
    assert report.ok
    assert report.notes == ["notes.txt: not a file of this corpus; it does no harm and is left alone"]
    (own_corpus / "shards/train-000000.zarr/mine").mkdir()
    (own_corpus / "shards/train-000000.zarr/mine/zarr.json").write_text("{}")
    (problem,) = verify_corpus(own_corpus).problems
    assert problem.where == "shards/train-000000.zarr/mine/zarr.json"
    text = text_of(own_corpus)
    assert "to mend: move what is not of this corpus somewhere else; nothing of the corpus is wrong with it" in text
    assert "remove" not in text


def test_advice_names_just_the_shards_that_are_to_be_made_anew(own_corpus: Path) -> None:
    path = own_corpus / "shards/train-000001.zarr/rgb/c.0.0.0.0"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    text = text_of(own_corpus)
    assert "to mend: remove SHA256SUMS and index/train-000001.parquet, and run the conversion again" in text
    assert "train-000000" not in text


@pytest.mark.parametrize("name", ["README.md", "croissant.json", "index.parquet"])
def test_advice_for_what_is_derived_touches_no_shard(own_corpus: Path, name: str) -> None:
    (own_corpus / name).unlink()
    text = text_of(own_corpus)
    assert f"problem: {name}: missing" in text
    assert "to mend: remove SHA256SUMS and run the conversion again: it writes the files around the shards anew" in text
    assert "index/train" not in text


def test_an_index_of_other_frames_than_the_parts_is_found_without_any_checksum_of_files(own_corpus: Path) -> None:
    path = own_corpus / "index.parquet"
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"depthforge"])
    dropped = metadata["shards"].pop()
    few = table.slice(0, len(table) - dropped["num_frames"])
    pq.write_table(few.replace_schema_metadata({b"depthforge": json.dumps(metadata).encode()}), path)
    forge_sums(own_corpus)
    assert "index.parquet: its frames are not those of the index parts" in problems_of(own_corpus, deep=False)


def test_a_line_out_of_order_or_twice_in_the_checksums_is_named(own_corpus: Path) -> None:
    path = own_corpus / "SHA256SUMS"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]))
    assert f"SHA256SUMS, line {len(lines) + 1}: not a checksum line" in problems_of(own_corpus, deep=False)
