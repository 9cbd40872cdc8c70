"""What happens when shards do not end, or end badly: said, never waited for in silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.corpus.store import open_for_writing
from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import IncompleteError
from depthforge.manifest import Manifest
from depthforge.stages.prepare import prepare
from depthforge.stages.runners import Failure, RayOptions, run_on_ray
from depthforge.stages.shards import job_of

pytestmark = pytest.mark.ray


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four walls as 16-bit PNG."""
    root = tmp_path / "frames"
    root.mkdir()
    for index in range(4):
        cv2.imwrite(str(root / f"{index}.png"), np.full((24, 32), 1000 + index, np.uint16))
    return root


@pytest.fixture
def walls(tiny: Callable[..., Manifest], folder: Path) -> Manifest:
    """A run of four shards of one wall each."""
    camera = {"fx": 30, "fy": 30, "cx": 16, "cy": 12, "width": 32, "height": 24}
    source = {
        "name": "rgbd_folder",
        "root": str(folder),
        "depth": "{frame}.png",
        "depth_scale": 1000,
        "camera": camera,
    }
    return tiny(source=source, translator="identity", splits={"train": 1.0}, corpus={"shard_frames": 1})


def test_a_hanging_read_is_warned_about_and_then_ends_the_run(walls: Manifest, folder: Path) -> None:
    warnings: list[str] = []
    done: list[ShardReceipt | Failure] = []
    with (
        prepare(walls) as prepared,
        open_for_writing(walls.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        (folder / "2.png").unlink()
        os.mkfifo(folder / "2.png")  # nobody will ever write to it
        options = RayOptions(num_workers=2, stall_warning_s=2, stall_limit_s=6)
        with pytest.raises(IncompleteError, match="no shard has ended for") as caught:
            run_on_ray(store.pending(), job_of(prepared, store.root), done.append, options, warnings.append)
        assert store.committed() == {"train-000000", "train-000001", "train-000003"}
    assert "train-000002" in str(caught.value)
    assert any("train-000002" in warning for warning in warnings)


def test_shards_that_cannot_be_made_are_reported_and_the_run_ends(walls: Manifest) -> None:
    done: list[ShardReceipt | Failure] = []
    with (
        prepare(walls) as prepared,
        open_for_writing(walls.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        # As on a node that lacks the plug-in of the driver's environment.
        absent = walls.translator.model_copy(update={"name": "identty"})
        job = replace(job_of(prepared, store.root), translator=absent)
        run_on_ray(store.pending(), job, done.append, RayOptions(num_workers=2), lambda message: None)
        assert store.committed() == set()
    assert sorted(result.shard for result in done) == [f"train-{index:06d}" for index in range(4)]
    assert all(isinstance(result, Failure) and "did you mean 'identity'?" in result.error for result in done)
