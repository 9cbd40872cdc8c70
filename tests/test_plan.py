from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.corpus.plan_file import read_plan, write_plan
from depthforge.errors import InputError
from depthforge.frame import FrameRef
from depthforge.plan import WorkItem, plan_shards, split_of, splits_by_rank


def listing(*frames_per_scene: int) -> list[FrameRef]:
    return [
        FrameRef(f"set/room-{scene:03d}/{frame:04d}", f"{scene}/{frame}")
        for scene, count in enumerate(frames_per_scene)
        for frame in range(count)
    ]


def test_shards_fill_in_key_order_and_the_short_one_comes_last() -> None:
    items = list(plan_shards(listing(5), splits={"train": 1.0}, seed=0, shard_frames=2))
    assert [item.shard for item in items] == ["train-000000", "train-000001", "train-000002"]
    assert [[ref.locator for ref in item.frames] for item in items] == [["0/0", "0/1"], ["0/2", "0/3"], ["0/4"]]


def test_limit_takes_the_first_frames() -> None:
    items = list(plan_shards(iter(listing(5)), splits={"train": 1.0}, seed=0, shard_frames=64, limit=3))
    assert [ref.locator for ref in items[0].frames] == ["0/0", "0/1", "0/2"]


@given(
    frames=st.lists(st.integers(0, 7), max_size=30),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
    shard_frames=st.integers(1, 9),
)
def test_every_frame_is_planned_once_and_no_scene_is_divided(
    frames: list[int], share: float, seed: int, shard_frames: int
) -> None:
    refs = listing(*frames)
    items = list(plan_shards(refs, splits={"train": share, "val": 1 - share}, seed=seed, shard_frames=shard_frames))
    assert sorted(ref.key for item in items for ref in item.frames) == [ref.key for ref in refs]
    assert all(1 <= len(item.frames) <= shard_frames for item in items)
    splits: dict[str, set[str]] = {}
    for item in items:
        for ref in item.frames:
            splits.setdefault(ref.scene, set()).add(item.split)
    assert all(len(names) == 1 for names in splits.values())


def test_more_scenes_move_no_scene_to_another_split() -> None:
    shares = {"train": 0.5, "val": 0.5}
    first = {f"set/{i}": split_of(f"set/{i}", shares, 0) for i in range(100)}
    assert {split_of(f"set/{i}", shares, 0) for i in range(100)} == {"train", "val"}
    assert all(split_of(scene, shares, 0) == split for scene, split in first.items())
    assert 30 < sum(split == "val" for split in first.values()) < 70


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_an_empty_split_gets_nothing(share: float) -> None:
    names = {split_of(f"set/{i}", {"train": share, "val": 1 - share}, 3) for i in range(50)}
    assert names == ({"train"} if share else {"val"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [(["a/b/2", "a/b/1"], "unique and in order"), (["a/b/1", "a/b/1"], "unique"), (["a/b"], "three parts")],
)
def test_unsound_listings_are_refused(keys: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(plan_shards([FrameRef(key, "") for key in keys], splits={"train": 1.0}, seed=0, shard_frames=4))


def test_a_written_plan_reads_back(tmp_path: Path) -> None:
    items = list(plan_shards(listing(*[40] * 60), splits={"train": 0.7, "val": 0.3}, seed=1, shard_frames=7))
    summary = write_plan(tmp_path / "frames.parquet", items)
    assert list(read_plan(tmp_path / "frames.parquet")) == items
    assert (summary.num_frames, summary.num_shards) == (2400, len(items))
    assert sum(summary.frames_per_split.values()) == 2400


def test_the_digest_of_a_plan_depends_on_keys_and_shards(tmp_path: Path) -> None:
    def digest(*items: WorkItem) -> str:
        return write_plan(tmp_path / "frames.parquet", items).digest

    one = WorkItem("train-000000", "train", (FrameRef("a/b/1", "x"), FrameRef("a/b/2", "y")))
    assert digest(one) == digest(one)
    assert digest(one) != digest(WorkItem("train-000001", "train", one.frames))
    assert digest(one) != digest(WorkItem("train-000000", "train", one.frames[:1]))


@pytest.mark.parametrize(
    ("num_scenes", "counts"),
    [(3, {"train": 1, "val": 1, "test": 1}), (5, {"train": 3, "val": 1, "test": 1}), (20, {"train": 16, "val": 2})],
)
def test_by_rank_each_split_has_its_share_whatever_the_order(num_scenes: int, counts: dict[str, int]) -> None:
    splits = {"train": 0.8, "val": 0.1, "test": 0.1, "never": 0.0}
    scenes = [f"set/{index}" for index in range(num_scenes)]
    for seed in range(20):
        found = splits_by_rank(scenes, splits, seed)
        assert found == splits_by_rank(reversed(scenes), splits, seed)
        held = Counter(found.values())
        assert {name: held[name] for name in counts} == counts
        assert held["never"] == 0
    assert len({tuple(splits_by_rank(scenes, splits, seed).items()) for seed in range(20)}) > 1
    with pytest.raises(ValueError, match="2 scenes do not fill 3 splits"):
        splits_by_rank(scenes[:2], splits, 0)


def test_assigned_scenes_go_where_they_are_assigned() -> None:
    assigned = {"set/room-000": "val", "set/room-001": "train"}
    both = plan_shards(listing(2, 1), splits={"train": 0.5, "val": 0.5}, seed=0, shard_frames=8, assigned=assigned)
    assert {item.split: len(item.frames) for item in both} == {"train": 1, "val": 2}
