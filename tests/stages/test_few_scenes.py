"""Splits of sets of few scenes: none is empty where scenes suffice, and sets that need no help keep their plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from depthforge.manifest import Manifest
from depthforge.plan import split_of
from depthforge.stages.prepare import Prepared, prepare

SPLITS = {"train": 0.8, "val": 0.2}


def prepared_with(tiny: Callable[..., Manifest], num_scenes: int, seed: int, **changes: Any) -> Prepared:
    source = {"name": "procedural", "num_scenes": num_scenes, "frames_per_scene": 2, "width": 64, "height": 48}
    with prepare(tiny(source=source, translator="identity", splits=SPLITS, seed=seed, **changes)) as prepared:
        return prepared


def seed_where(num_scenes: int, *, leaves_val_empty: bool) -> int:
    scenes = [f"procedural/room-{index:06d}" for index in range(num_scenes)]
    drawn = ({split_of(scene, SPLITS, seed) for scene in scenes} for seed in range(100))
    wanted = {"train"} if leaves_val_empty else set(SPLITS)
    return next(seed for seed, found in enumerate(drawn) if found == wanted)


@pytest.mark.parametrize("leaves_val_empty", [True, False])
def test_three_scenes_fill_both_splits(tiny: Callable[..., Manifest], leaves_val_empty: bool) -> None:
    seed = seed_where(3, leaves_val_empty=leaves_val_empty)
    prepared = prepared_with(tiny, 3, seed)
    again = prepared_with(tiny, 3, seed)
    assert prepared.plan == again.plan, "dry run, run and resume have one plan"
    found = prepared.plan.frames_per_split
    assert found.keys() == SPLITS.keys()
    assert not [finding for finding in prepared.findings if finding.path.startswith("splits")]
    if leaves_val_empty:
        assert found == {"train": 4, "val": 2}


def test_fewer_scenes_than_splits_is_warned_of(tiny: Callable[..., Manifest]) -> None:
    prepared = prepared_with(tiny, 1, 0)
    [finding] = [finding for finding in prepared.findings if finding.path.startswith("splits")]
    assert "is empty" in finding.message
    assert "fewer scenes than splits" in (finding.remedy or "")
