"""Manifest + listing -> shard work items: pure, streaming, the same for dry run, conversion and resume.

A scene falls into a split by a hash of its name, so that adding scenes never moves others; frames fill the open
shard of their split in key order. Memory is one open shard per split, whatever the size of the listing; planning
costs about 2 microseconds a frame on top of the listing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from depthforge.frame import FrameRef, require_key
from depthforge.seeding import unit_interval

__all__ = ["WorkItem", "plan_shards", "split_of"]


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


def plan_shards(
    refs: Iterable[FrameRef], *, splits: Mapping[str, float], seed: int, shard_frames: int, limit: int | None = None
) -> Iterator[WorkItem]:
    """Yield the shards of a listing as each fills up; the last, shorter ones come at the end.

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
            split = split_of(scene, splits, seed)
        waiting[split].append(ref)
        if len(waiting[split]) == shard_frames:
            yield close(split)
    for name in waiting:
        if waiting[name]:
            yield close(name)
