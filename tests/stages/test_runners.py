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
from depthforge.errors import IncompleteError, UnknownNameError
from depthforge.manifest import Manifest
from depthforge.stages import convert as stage
from depthforge.stages.cluster import RayOptions
from depthforge.stages.crew import Failure
from depthforge.stages.prepare import Prepared, prepare
from depthforge.stages.runners import run_on_ray
from depthforge.stages.shards import ShardJob, job_of
from tests.heads import Head
from tests.stages.runs import run

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


@pytest.mark.slow
def test_a_hanging_read_is_warned_about_and_then_ends_the_run(walls: Manifest, folder: Path, head: Head) -> None:
    warnings: list[str] = []
    done: list[ShardReceipt | Failure] = []
    with (
        prepare(walls) as prepared,
        open_for_writing(walls.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        (folder / "2.png").unlink()
        os.mkfifo(folder / "2.png")  # nobody will ever write to it
        options = RayOptions(num_workers=2, address=head.address, stall_limit_s=15)
        with pytest.raises(IncompleteError, match="nothing has moved for") as caught:
            run_on_ray(store.pending(), job_of(prepared, store.storage), done.append, options, warnings.append)
        assert store.committed() == {"train-000000", "train-000001", "train-000003"}
    assert "train-000002" in str(caught.value)
    assert any("train-000002" in warning and "--stall-limit" in warning for warning in warnings)


@pytest.mark.slow
def test_a_frame_that_hangs_costs_one_retry_and_is_a_row(walls: Manifest, folder: Path, head: Head) -> None:
    """Defect: it ended the run, however many others there were to make."""
    warnings: list[str] = []
    done: list[ShardReceipt | Failure] = []
    with (
        prepare(walls) as prepared,
        open_for_writing(walls.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        (folder / "2.png").unlink()
        os.mkfifo(folder / "2.png")
        options = RayOptions(num_workers=2, address=head.address, stall_limit_s=60, frame_limit_s=4)
        run_on_ray(store.pending(), job_of(prepared, store.storage), done.append, options, warnings.append)
        assert len(store.committed()) == 4
        (reason,) = store.reasons()
    rejects = [receipt.rejects_by_error for receipt in done if isinstance(receipt, ShardReceipt)]
    assert sorted(map(str, rejects)) == ["{'FrameHungError': 1}", "{}", "{}", "{}"]
    assert "hung in read" in str(reason)
    first, second = warnings
    assert "train-000002 has not moved for 4 s, in read of" in first
    assert "hangs in read again: it is rejected" in second


@pytest.mark.slow
def test_shards_that_cannot_be_made_are_reported_and_the_run_ends(walls: Manifest, head: Head) -> None:
    done: list[ShardReceipt | Failure] = []
    with (
        prepare(walls) as prepared,
        open_for_writing(walls.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        # As on a node that lacks the plug-in of the driver's environment.
        absent = walls.source.model_copy(update={"name": "rgbd_foldr"})
        job = replace(job_of(prepared, store.storage), source=absent)
        options = RayOptions(num_workers=2, address=head.address)
        run_on_ray(store.pending(), job, done.append, options, lambda message: None)
        assert store.committed() == set()
    assert sorted(result.shard for result in done) == [f"train-{index:06d}" for index in range(4)]
    assert all(isinstance(result, Failure) and isinstance(result.error, UnknownNameError) for result in done)


@pytest.mark.slow
def test_a_run_that_lacks_shards_says_which_and_ends_incomplete(
    walls: Manifest, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_job_of = stage.job_of

    def job_of_a_node_without_the_plugin(prepared: Prepared, root: Path) -> ShardJob:
        absent = walls.source.model_copy(update={"name": "rgbd_foldr"})
        return replace(real_job_of(prepared, root), source=absent)

    monkeypatch.setattr(stage, "job_of", job_of_a_node_without_the_plugin)
    with pytest.raises(IncompleteError, match="4 of 4 shards could not be made") as caught:
        run(walls, inline=False, num_workers=2, address=head.address)
    assert "train-000003" in str(caught.value)
    assert "did you mean 'rgbd_folder'?" in str(caught.value)
    monkeypatch.undo()
    assert run(walls).num_frames == 4
