"""Manifest + listing -> shard work items: pure, streaming, the same for dry run, conversion and resume.

A scene falls into a split by a hash of its name, so that adding scenes never moves others. Only where that leaves a
split without a scene, which happens to small sets, are scenes put into splits by the rank of that hash
(``splits_by_rank``): each split has its share then, and a scene more can move others. Frames fill the open shard of
their split in key order. Memory is one open shard per split, whatever the size of the listing; planning
costs about 2 microseconds a frame on top of the listing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from depthforge.frame import FrameRef, require_key
from depthforge.seeding import unit_interval

__all__ = ["WorkItem", "plan_shards", "split_of", "splits_by_rank"]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One shard to make: its name (``train-000017``), its split, and the frames that go into it, in key order."""

    shard: str
    split: str
    frames: tuple[FrameRef, ...]


def split_of(scene: str, splits: Mapping[str, float], seed: int) -> str:
    """Return the split of a scene (``dataset/scene``); shares are of scenes, in expectation."""
    position = unit_interval(seed, scene, "split")
    edge = 0.0
    for name in sorted(splits):
        edge += splits[name]
        if position < edge:
            return name
    return max(name for name in splits if splits[name] > 0)


def splits_by_rank(scenes: Iterable[str], splits: Mapping[str, float], seed: int) -> dict[str, str]:
    """Return the split of each scene, so that each split with a share has at least one and else its share, rounded.

    Scenes are ranked by the hash that :func:`split_of` draws by, whatever their order here. Raises ValueError where
    there are fewer scenes than splits with a share.
    """
    ranked = sorted(scenes, key=lambda scene: (unit_interval(seed, scene, "split"), scene))
    asked = [name for name in sorted(splits) if splits[name] > 0]
    if len(ranked) < len(asked):
        raise ValueError(f"{len(ranked)} scenes do not fill {len(asked)} splits")
    counts = dict.fromkeys(asked, 1)
    for _ in range(len(ranked) - len(asked)):
        # Whoever lacks most of its share takes the next; of equals the first by name.
        counts[max(asked, key=lambda name: splits[name] * len(ranked) - counts[name])] += 1
    names = (name for name in asked for _ in range(counts[name]))
    return dict(zip(ranked, names, strict=True))


def plan_shards(
    refs: Iterable[FrameRef],
    *,
    splits: Mapping[str, float],
    seed: int,
    shard_frames: int,
    limit: int | None = None,
    assigned: Mapping[str, str] | None = None,
) -> Iterator[WorkItem]:
    """Yield the shards of a listing as each fills up; the last, shorter ones come at the end.

    ``assigned`` has the split of every scene where it is not that of :func:`split_of`.
    Raises InputError when keys are not strictly increasing or not ``dataset/scene/frame``.
    """
    waiting: dict[str, list[FrameRef]] = {name: [] for name in sorted(splits)}
    filled = dict.fromkeys(splits, 0)
    scene, split, last = "", "", ""

    def close(name: str) -> WorkItem:
        item = WorkItem(f"{name}-{filled[name]:06d}", name, tuple(waiting[name]))
        filled[name] += 1
        waiting[name] = []
        return item

    for ref in islice(refs, limit):
        require_key(ref.key, last)
        last = ref.key
        if ref.scene != scene:
            scene = ref.scene
            split = split_of(scene, splits, seed) if assigned is None else assigned[scene]
        waiting[split].append(ref)
        if len(waiting[split]) == shard_frames:
            yield close(split)
    for name in waiting:
        if waiting[name]:
            yield close(name)
