"""Corpora read as one: sizes, fields, weights, ranks, and a position to go on from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthforge.corpus.combined import CombinedReader
from depthforge.corpus.datasets import CorpusDataset, CorpusStream
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.sampling import shares, weighted_order
from depthforge.corpus.schema import CorpusSchema
from depthforge.encoding import DepthEncoding
from depthforge.errors import InputError, UnknownNameError
from depthforge.labels.catalogue import INSTANCE, INTRINSICS, RGB, SEMANTIC_NYU40
from tests.corpus.corpora import FIELDS, HEIGHT, WIDTH, build


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another corpus, with fewer fields and float32 depth."""
    schema = CorpusSchema(
        HEIGHT, WIDTH, (INTRINSICS, RGB, INSTANCE), depth=DepthEncoding(dtype="float32"), shard_frames=4
    )
    return build(tmp_path_factory.mktemp("other"), 12, schema, rejected=())


def test_frames_of_both_follow_each_other_each_in_its_own_encoding(corpus: Path, other: Path) -> None:
    dataset = CorpusDataset([corpus, other], "train", ["depth_noisy", "depth_clean", "instance"])
    first, second = CorpusReader(corpus, "train"), CorpusReader(other, "train")
    assert len(dataset) == len(first) + len(second)
    batch = dataset.read_batch([len(first) - 1, len(first), 0])
    for row, record in enumerate((first.read(len(first) - 1), second.read(0), first.read(0))):
        assert batch["key"][row] == record.key
        np.testing.assert_array_equal(batch["depth_noisy"][row, 0], record.noisy_depth_m)
        np.testing.assert_array_equal(batch["depth_noisy_valid"][row, 0], record.noisy_valid)
        np.testing.assert_array_equal(batch["instance"][row], record.labels["instance"])


def test_fields_are_those_that_all_share(corpus: Path, other: Path) -> None:
    reader = CombinedReader([CorpusReader(corpus), CorpusReader(other)])
    assert set(reader.common_fields) == {"depth_clean", "depth_noisy", "K", "rgb", "instance"}
    with pytest.raises(InputError, match="do not all have the field 'semantic'") as caught:
        CorpusDataset([corpus, other], "train", ["semantic"])
    assert str(other) in str(caught.value.found)
    with pytest.raises(UnknownNameError, match="unknown field 'semantics'"):
        CorpusDataset([corpus, other], "train", ["semantics"])


def test_a_field_that_means_another_thing_is_refused(corpus: Path, tmp_path: Path) -> None:
    coarse = replace(SEMANTIC_NYU40, vocabulary="vkitti")
    fields = tuple(coarse if spec.name == "semantic" else spec for spec in FIELDS)
    second = build(tmp_path, 8, CorpusSchema(HEIGHT, WIDTH, fields, shard_frames=4), rejected=())
    with pytest.raises(InputError, match="do not all have the field 'semantic'"):
        CorpusDataset([corpus, second], "train", ["semantic"])


def test_other_sizes_and_no_corpus_are_refused(corpus: Path) -> None:
    with pytest.raises(InputError, match="no corpus is named"):
        CorpusDataset([], "train")
    reader = CorpusReader(corpus)
    smaller = CorpusReader(corpus)
    smaller.schema = replace(reader.schema, height=HEIGHT // 2)
    with pytest.raises(InputError, match="different sizes"):
        CombinedReader([reader, smaller])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")]])
def test_weights_that_draw_from_nothing_are_refused(corpus: Path, other: Path, weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights draw from no corpora"):
        CorpusDataset([corpus, other], "train", weights=weights)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.data())
def test_draws_are_in_proportion_and_use_every_frame_before_one_comes_again(
    counts: list[int], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(counts), max_size=len(counts)))
    order = weighted_order(counts, weights, seed=1, epoch=0, order=lambda count, number: np.arange(count))
    assert len(order) == sum(counts)
    first = 0
    for count, share in zip(counts, shares(weights, sum(counts)), strict=True):
        own = Counter(order[(order >= first) & (order < first + count)].tolist())
        assert sum(own.values()) == share
        assert max(own.values(), default=0) - min([own[at] for at in range(first, first + count)]) <= 1
        assert abs(share - weights[counts.index(count)] / sum(weights) * sum(counts)) < 1 or counts.count(count) > 1
        first += count


def test_ranks_share_an_epoch_and_each_epoch_has_its_own_order(corpus: Path, other: Path) -> None:
    dataset = CorpusDataset([corpus, other], weights=[1, 3])
    total = len(dataset) // 2 * 2
    drawn = {}
    for epoch in (0, 1):
        ranks = [dataset.sampler(seed=5, rank=rank, world_size=2) for rank in (0, 1)]
        for sampler in ranks:
            sampler.set_epoch(epoch)
        drawn[epoch] = [list(sampler) for sampler in ranks]
        assert [len(each) for each in drawn[epoch]] == [total // 2] * 2
        own = sum(position >= len(CorpusReader(corpus)) for each in drawn[epoch] for position in each)
        assert abs(own - 0.75 * total) <= 2
    assert drawn[0] != drawn[1]
    again = dataset.sampler(seed=5, rank=0, world_size=2)
    assert list(again) == drawn[0][0]


def test_a_sampler_goes_on_where_it_was(corpus: Path, other: Path) -> None:
    dataset = CorpusDataset([corpus, other], weights=[2, 1])
    sampler = dataset.sampler(seed=5)
    sampler.set_epoch(3)
    whole = list(sampler)
    state = sampler.state_dict(7)
    resumed = dataset.sampler(seed=5)
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert list(resumed) == whole[7:]
    assert list(resumed) == whole
    with pytest.raises(InputError, match="another seed"):
        dataset.sampler(seed=6).load_state_dict(state)
    with pytest.raises(InputError, match="another weights"):
        CorpusDataset([corpus, other], weights=[1, 1]).sampler(seed=5).load_state_dict(state)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, sampler=dataset.sampler(seed=5))
    assert sum(len(batch["key"]) for batch in loader) == len(dataset)


def test_a_stream_of_weighted_corpora_continues_in_the_middle(corpus: Path, other: Path) -> None:
    def stream() -> CorpusStream:
        return CorpusStream(
            [corpus, other], "train", seed=3, rank=1, world_size=2, shuffle="blocks", weights=[1, 2], batch_size=2
        )

    whole = [item["position"].tolist() for item in stream()]
    first = stream()
    items = iter(first)
    taken = [next(items) for _ in range(3)]
    resumed = stream()
    resumed.load_state_dict(first.state_dict(taken[-1]))
    assert [item["position"].tolist() for item in taken] + [item["position"].tolist() for item in resumed] == whole
    with pytest.raises(InputError, match="another weights"):
        CorpusStream(
            [corpus, other], "train", seed=3, rank=1, world_size=2, shuffle="blocks", weights=[1, 1], batch_size=2
        ).load_state_dict(first.state_dict(taken[-1]))
