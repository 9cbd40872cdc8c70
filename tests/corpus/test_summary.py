from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.picture import picture
from depthforge.corpus.store import open_for_writing
from depthforge.corpus.summary import summarise
from depthforge.corpus.writer import ShardWriter
from depthforge.errors import CorpusError, MissingDataError
from tests.corpus.corpora import HEIGHT, SCHEMA, WIDTH, clean_mm, make_frame, make_info, noisy, ref


def test_a_summary_counts_what_is_there(corpus: Path) -> None:
    summary = summarise(corpus)
    assert summary.is_finished
    assert (summary.totals.num_frames, summary.totals.num_rejects, summary.totals.num_shards) == (21, 1, 6)
    assert {name: (s.num_planned, s.num_frames, s.num_rejects) for name, s in summary.splits.items()} == {
        "train": (12, 11, 1),
        "val": (10, 10, 0),
    }
    assert {field.name: field.num_present for field in summary.fields}["rgb"] == 13  # 8 of 22 have none, 7 is rejected
    assert summary.statistics["depth_min_m"] == pytest.approx(clean_mm(0)[clean_mm(0) > 0].min() / 1000)
    assert summary.statistics["depth_max_m"] == pytest.approx(clean_mm(21).max() / 1000)
    assert summary.statistics["noise_bias_m"] == pytest.approx(0.005)
    assert summary.statistics["hole_fraction_noisy"] == pytest.approx((6 + WIDTH) / (HEIGHT * WIDTH))
    assert summary.rejects_by_error == {"DecodeError": 1}
    assert json.loads(json.dumps(summary.to_json()))["licence"] == "CC BY-NC 4.0"
    text = "\n".join(summary.lines())
    for part in (
        "21 frames of 16x12, finished",
        "planar z in m",
        "CC BY-NC 4.0",
        "train: 11 of 12",
        "1 DecodeError in",
        "bias +5.00 mm",
    ):
        assert part in text


def test_an_unfinished_corpus_is_summarised_as_such(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    with open_for_writing(tmp_path / "corpus", info, plan_file):
        summary = summarise(tmp_path / "corpus")
        assert not summary.is_finished
        assert summary.compression is None
        assert "NOT FINISHED" in summary.lines()[0]
        with pytest.raises(CorpusError, match="no frame yet"):
            picture(tmp_path / "corpus", tmp_path / "x.png")
    with pytest.raises(MissingDataError):
        summarise(tmp_path)


def test_values_that_frames_lack_are_counted_in_an_unfinished_corpus_and_a_finished_one(tmp_path: Path) -> None:
    info, plan_file = make_info(tmp_path, 22)
    root = tmp_path / "corpus"
    with open_for_writing(root, info, plan_file) as corpus:
        for item in corpus.pending():
            with ShardWriter(root, item, SCHEMA, fingerprint=info.fingerprint) as shard:
                for reference in item.frames:
                    number = int(reference.locator)
                    dropped = {"points that are not finite": 2} if number in (3, 17) else {}
                    shard.add(replace(make_frame(number), dropped=dropped), noisy(number))
                shard.commit()
        assert summarise(root).dropped == {"points that are not finite": 4}
        corpus.finish()
    summary = summarise(root)
    assert summary.is_finished
    assert summary.dropped == {"points that are not finite": 4}
    assert "  dropped      4 points that are not finite" in summary.lines()


def test_where_nothing_was_dropped_no_file_says_so(corpus: Path) -> None:
    assert summarise(corpus).dropped == {}
    for path in (corpus / "index.parquet", *corpus.glob("index/*.parquet")):
        metadata = pq.read_metadata(path).metadata
        assert set(metadata) == {b"depthforge", b"ARROW:schema"}
        assert b"dropped" not in metadata[b"depthforge"]


def test_a_picture_has_a_row_for_each_frame(corpus: Path, tmp_path: Path) -> None:
    picture(corpus, tmp_path / "three.png", count=3)
    picture(corpus, tmp_path / "one.png", keys=[ref(4).key])
    three, one = (cv2.imread(str(tmp_path / name)) for name in ("three.png", "one.png"))
    assert three.shape[1] == one.shape[1] == 8 * 240
    assert three.shape[0] - one.shape[0] == 2 * (180 + 22)
    noise = one[44 : 44 + 180, 2 * 240 : 3 * 240]
    assert not noise[:10, :10].any()  # a hole is black
    assert tuple(noise[170, 200]) == (0, 0, 255)  # 5 mm farther on a scale of 5 mm: red
    with pytest.raises(MissingDataError):
        picture(corpus, tmp_path / "x.png", keys=["nothing"])
