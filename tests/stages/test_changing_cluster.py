"""Conversion and training on clusters whose nodes come late, leave, and have less than the driver's machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from depthforge.errors import IncompleteError, InputError, IntegrityError
from depthforge.manifest import Manifest
from depthforge.progress import Silent
from depthforge.stages.convert import ConversionReport
from depthforge.stages.train import train
from depthforge.training.checkpoint import Checkpoints
from tests.stages import heavy
from tests.stages.runs import contents, run
from tests.stages.test_train import manifest as training_manifest


class Said(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


class Nodes:
    """A cluster of processes on this machine: a head without cores, and nodes that tests add and take away."""

    def __init__(self) -> None:
        from ray import cluster_utils

        self._cluster = cluster_utils.Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "num_gpus": 0,
                "include_dashboard": False,
                "object_store_memory": 80 * 2**20,
            },
        )
        self.address: str = self._cluster.address

    def add(self, **options: Any) -> Any:
        return self._cluster.add_node(**{"num_gpus": 0, "object_store_memory": 80 * 2**20, **options})

    def remove(self, node: Any, *, graceful: bool = True) -> None:
        self._cluster.remove_node(node, allow_graceful=graceful)

    @contextmanager
    def with_node(self, **options: Any) -> Iterator[Any]:
        node = self.add(**options)
        try:
            yield node
        finally:
            if node in self._cluster.worker_nodes:
                self.remove(node)

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Nodes()
        yield cluster
        cluster.close()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    folder = tmp_path / "trace"
    folder.mkdir()
    return folder


@pytest.fixture
def heavy_run(tiny: Callable[..., Manifest], trace: Path) -> Callable[..., Manifest]:
    """Return a maker of runs of six shards of two frames; keyword arguments are options of the translator."""

    def make(*, frames_per_shard: int = 2, **options: Any) -> Manifest:
        block = {"name": heavy.Heavy.name, "trace": str(trace), **options}
        return tiny(translator=block, splits={"train": 1.0}, corpus={"shard_frames": frames_per_shard})

    return make


@contextmanager
def beside(run_it: Callable[[], ConversionReport]) -> Iterator[Future[ConversionReport]]:
    """Let a conversion run in a thread: nodes come and go in the main one, which alone may start them."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(run_it)


def wait_until(condition: Callable[[], bool], running: Future[ConversionReport]) -> None:
    while not condition() and not running.done():
        time.sleep(0.05)


def loaded(trace: Path) -> list[str]:
    """Return the GPU that each worker was given, of those that have loaded."""
    return [path.name.split("-", 1)[1] for path in trace.iterdir()]


@pytest.mark.slow
@pytest.mark.ray
def test_what_no_node_has_is_waited_for_named_and_then_an_input_error(
    nodes: Nodes, heavy_run: Callable[..., Manifest]
) -> None:
    said = Said()
    with nodes.with_node(num_cpus=1), pytest.raises(InputError) as caught:
        run(
            heavy_run(gpu="required"),
            inline=False,
            num_workers=None,
            address=nodes.address,
            stall_limit_s=6,
            progress=said,
        )
    assert "1 core, 1 GPU" in str(caught.value.expected)
    assert "1 node with 1 core" in str(caught.value.found)
    assert any("no node has 1 core, 1 GPU" in warning for warning in said.warnings)


@pytest.mark.slow
@pytest.mark.ray
def test_memory_that_no_node_has_is_named(
    nodes: Nodes, tiny: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    with nodes.with_node(num_cpus=2, memory=100 * 2**20), pytest.raises(InputError) as caught:
        run(tiny(), inline=False, num_workers=2, address=nodes.address, stall_limit_s=4)
    assert "1 core and 0.4 GiB" in str(caught.value.expected)
    assert "2 cores and 0.1 GiB" in str(caught.value.found)


@pytest.mark.slow
@pytest.mark.ray
def test_gpus_that_join_late_are_used_and_cores_are_left(
    nodes: Nodes, heavy_run: Callable[..., Manifest], trace: Path
) -> None:
    """No worker makes a frame before all three have loaded: that of a core, and those of two GPUs that come later."""
    manifest = heavy_run(gpu="if_present", together=3, frames_per_shard=1)
    with (
        nodes.with_node(num_cpus=1),
        beside(lambda: run(manifest, inline=False, num_workers=None, address=nodes.address)) as running,
    ):
        wait_until(lambda: bool(loaded(trace)), running)
        with nodes.with_node(num_cpus=2, num_gpus=2):
            report = running.result()
    assert (report.num_frames, report.made_shards) == (12, 12)
    assert sorted(loaded(trace)) == ["", "0", "1"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_run_begins_before_its_gpu_is_there(nodes: Nodes, heavy_run: Callable[..., Manifest], trace: Path) -> None:
    """As on a cluster that scales up from nothing; and more workers than have room are asked for, and wait."""
    manifest = heavy_run(gpu="required")
    with (
        beside(lambda: run(manifest, inline=False, num_workers=3, address=nodes.address)) as running,
        nodes.with_node(num_cpus=1, num_gpus=1),
    ):
        report = running.result()
    assert report.made_shards == 6
    assert loaded(trace) == ["0"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_node_that_leaves_takes_no_shard_with_it(
    nodes: Nodes, heavy_run: Callable[..., Manifest], tmp_path: Path, trace: Path
) -> None:
    manifest = heavy_run(frame_s=0.7)
    leaving = nodes.add(num_cpus=1)
    with (
        nodes.with_node(num_cpus=1),
        beside(lambda: run(manifest, inline=False, num_workers=None, address=nodes.address)) as running,
    ):
        wait_until(lambda: len(loaded(trace)) == 2, running)
        nodes.remove(leaving, graceful=False)
        report = running.result()
    assert report.made_shards == 6
    run(manifest.overridden(out=tmp_path / "inline"))
    shards = {name for name in contents(tmp_path / "inline") if name.startswith("shards")}
    assert shards
    made, whole = contents(manifest.corpus.out), contents(tmp_path / "inline")
    assert {name: made[name] for name in shards} == {name: whole[name] for name in shards}


@pytest.mark.slow
@pytest.mark.ray
def test_a_long_shard_is_no_stall_while_it_makes_frames(nodes: Nodes, heavy_run: Callable[..., Manifest]) -> None:
    said = Said()
    manifest = heavy_run(frame_s=0.9, frames_per_shard=12)
    with nodes.with_node(num_cpus=1):
        report = run(manifest, inline=False, num_workers=None, address=nodes.address, stall_limit_s=9, progress=said)
    assert (report.num_frames, report.made_shards) == (12, 1)
    assert not [warning for warning in said.warnings if "waiting for the shards" in warning]


@pytest.mark.slow
@pytest.mark.ray
def test_a_model_that_does_not_load_ends_the_run_with_its_own_error_at_once(
    nodes: Nodes, heavy_run: Callable[..., Manifest], trace: Path
) -> None:
    said = Said()
    with nodes.with_node(num_cpus=1), pytest.raises(IntegrityError, match="not those of the card"):
        run(heavy_run(damaged=True), inline=False, num_workers=1, address=nodes.address, progress=said)
    assert len(loaded(trace)) == 1
    assert said.warnings == []


@pytest.mark.slow
@pytest.mark.ray
def test_a_training_finds_room_on_nodes_with_fewer_cores_than_the_driver(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    manifest = training_manifest(tmp_path, {"epochs": 1, "decay_epochs": 0})
    with nodes.with_node(num_cpus=1):
        report = train(manifest, address=nodes.address, stall_limit_s=120)
    assert report.best_step == 2


@pytest.mark.slow
@pytest.mark.ray
def test_a_training_that_finds_no_room_is_ended_and_says_what_was_asked(nodes: Nodes, tmp_path: Path) -> None:
    said = Said()
    manifest = training_manifest(tmp_path, {"workers": 3, "batch_size": 3})
    with nodes.with_node(num_cpus=2), pytest.raises(InputError) as caught:
        train(manifest, address=nodes.address, stall_limit_s=6, progress=said)
    assert caught.value.where == "the 3 workers of the training to start"
    assert "1 core for each of 3 workers" in str(caught.value.expected)
    assert "1 node with 2 cores" in str(caught.value.found)
    assert any("3 workers of the training" in warning for warning in said.warnings)


@pytest.mark.slow
@pytest.mark.ray
def test_a_training_whose_worker_stops_is_ended(nodes: Nodes, tmp_path: Path) -> None:
    """A worker that is stopped (as by a hung file system) is alive, and makes no step."""

    def stop() -> None:
        while not ended.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "RayTrainWorker" in " ".join(process.cmdline()) and Checkpoints(checkpoints).steps():
                        process.suspend()
                        return

    manifest = training_manifest(tmp_path, {"epochs": 500})
    checkpoints, ended = tmp_path / "translator" / "checkpoints", threading.Event()
    stopping = threading.Thread(target=stop)
    stopping.start()
    with nodes.with_node(num_cpus=1), pytest.raises(IncompleteError, match="nothing has moved") as caught:
        train(manifest, address=nodes.address, stall_limit_s=15)
    ended.set()
    stopping.join()
    assert "1 node with 1 core" in str(caught.value.found)
