"""Statistics are those of the index, in groups of shards that lose no frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from depthforge.corpus.frame_index import IndexedShard
from depthforge.corpus.reader import CorpusReader
from depthforge.report.statistics import frame_figures, shard_groups, statistics_section
from tests.report.corpora import build_corpus
from tests.report.pages import Page

SHARDS = st.lists(st.tuples(st.sampled_from(["test", "train", "val"]), st.integers(0, 5)), max_size=60).map(sorted)


@given(SHARDS, st.integers(1, 12))
def test_groups_cover_every_frame_once_and_no_two_splits(shards: list[tuple[str, int]], most: int) -> None:
    named = [IndexedShard(f"{split}-{i:06d}", split, count, 1, {}, 0) for i, (split, count) in enumerate(shards)]
    groups = shard_groups(named, most)
    assert len(groups) <= most + 3
    assert [group.start for group in groups] == [0, *(group.stop for group in groups)][: len(groups)]
    assert sum(group.stop - group.start for group in groups) == sum(count for _, count in shards)
    assert sum(group.num_rejects for group in groups) == len(shards)
    for group in groups:
        assert group.name.startswith(group.split)


def test_a_group_is_named_by_its_first_and_its_last_shard() -> None:
    shards = [IndexedShard(f"train-{number:06d}", "train", 1, 0, {}, 0) for number in range(4)]
    assert [group.name for group in shard_groups(shards, 2)] == ["train-000000 to 000001", "train-000002 to 000003"]


def test_the_table_holds_medians_and_extremes(made: Path) -> None:
    reader = CorpusReader(made)
    figures = frame_figures(reader)
    page = Page(statistics_section(figures))
    assert not page.mistakes
    text = page.texts["statistics"]
    assert "Of all 18 frames" in text
    first = reader.index.shards[0]
    holes = np.median(figures["hole_fraction_noisy"][: first.num_frames])
    assert f"{first.shard}{first.num_frames}{first.num_rejects}" in text
    assert f"{100 * holes:.3g}" in text
    assert "1.22" in text  # 1.2 m nearest and 2 m in the middle, in one row


def test_without_noisy_depth_nothing_is_said_of_it(tmp_path: Path) -> None:
    figures = frame_figures(CorpusReader(build_corpus(tmp_path, num_frames=4, colour_only=True)))
    assert not figures.has_noise
    text = Page(statistics_section(figures)).texts["statistics"]
    assert "noisy" not in text
    assert "Holes in a frame" in text
