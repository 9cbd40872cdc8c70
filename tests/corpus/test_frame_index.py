from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from depthforge.corpus import frame_index
from depthforge.corpus.frame_index import FrameIndex
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import IntegrityError
from depthforge.storage import LocalFolder
from tests.corpus.corpora import build

SPLITS = (None, "train", "val")


def index_of(root: Path, split: str | None = None) -> FrameIndex:
    return FrameIndex(LocalFolder(root), CorpusInfo.load(root), split, allow_unfinished=True)


def places(index: FrameIndex) -> list[tuple[str, int]]:
    return [index.place(position) for position in range(len(index))]


@pytest.mark.parametrize("split", SPLITS)
def test_the_whole_says_what_the_parts_say(own_corpus: Path, split: str | None) -> None:
    columns = pq.read_schema(own_corpus / "index/train-000000.parquet").names
    whole = index_of(own_corpus, split)
    shards, rows, table = whole.shards, places(whole), whole.table(columns)
    (own_corpus / "index.parquet").unlink()
    parts = index_of(own_corpus, split)
    assert parts.shards == shards
    assert places(parts) == rows == list(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))
    assert parts.table(columns).equals(table)
    assert split is None or set(table["split"].to_pylist()) == {split}


def test_it_is_all_parts_in_one_with_row_groups_of_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_index, "_GROUP_ROWS", 8)
    root = build(tmp_path)
    with pq.ParquetFile(root / "index.parquet") as file:
        groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
        footer = json.loads(file.metadata.metadata[b"depthforge"])
    assert [len(group) for group in groups] == [8, 3, 8, 2] or len(groups) > 2
    assert all(len(set(group["split"].to_pylist())) == 1 for group in groups)
    parts = sorted((root / "index").glob("*.parquet"))
    expected = pa.concat_tables([pq.read_table(part).replace_schema_metadata(None) for part in parts])
    assert pa.concat_tables(groups).replace_schema_metadata(None).equals(expected)
    assert [shard["shard"] for shard in footer["shards"]] == [part.stem for part in parts]
    assert sum(shard["num_rejects"] for shard in footer["shards"]) == 1
    for split in SPLITS:
        assert index_of(root, split).table(["key"])["key"].to_pylist() == [
            row["key"] for row in expected.to_pylist() if split in (None, row["split"])
        ]


def test_positions_end_where_the_frames_end(corpus: Path) -> None:
    index = index_of(corpus, "val")
    for position in (-1, len(index)):
        with pytest.raises(IndexError, match=f"frame {position} of {len(index)}"):
            index.place(position)


def test_opening_reads_no_column(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: FrameIndex, columns: object) -> pa.Table:
        raise AssertionError(columns)

    monkeypatch.setattr(FrameIndex, "table", refused)
    reader = pickle.loads(pickle.dumps(CorpusReader(corpus, "train")))
    assert reader.key(3) == CorpusReader(corpus, "train").key(3)
    np.testing.assert_array_equal(
        reader.stored("depth_clean", 3), CorpusReader(corpus, "train").stored("depth_clean", 3)
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda footer: footer.update(format_version=9),
        lambda footer: footer.update(fingerprint="0" * 32),
        lambda footer: footer["shards"].pop(),
        lambda footer: footer["shards"][0].pop("split"),
        lambda footer: footer.pop("shards"),
    ],
    ids=["version", "of another corpus", "a shard less", "no split", "no shards"],
)
def test_a_footer_that_does_not_fit_is_an_integrity_error(own_corpus: Path, change: object) -> None:
    assert callable(change)
    path = own_corpus / "index.parquet"
    table = pq.read_table(path)
    footer = json.loads(table.schema.metadata[b"depthforge"])
    change(footer)
    pq.write_table(table.replace_schema_metadata({b"depthforge": json.dumps(footer).encode()}), path)
    with pytest.raises(IntegrityError, match="the index cannot be read"):
        CorpusReader(own_corpus)
