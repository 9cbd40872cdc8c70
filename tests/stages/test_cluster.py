"""Conversion and training on clusters whose nodes come late, leave, and have less than the driver's machine."""

from __future__ import annotations

import os
import socket
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
from depthforge.manifest import Manifest, TrainingSettings
from depthforge.progress import Silent
from depthforge.stages.cluster import Cluster, Need, Node, Resources, send_known_token, short_folder
from depthforge.stages.convert import ConversionReport
from depthforge.stages.train import train
from depthforge.stages.train_on_ray import need_of_worker
from depthforge.training.checkpoint import Checkpoints
from tests.stages import heavy
from tests.stages.runs import contents, run
from tests.stages.test_train import manifest as training_manifest

GIB = 2**30


class Said(Silent):
    """Keeps what it is warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


# --- what a cluster has ---------------------------------------------------------------------------------------------


def test_workers_are_counted_node_by_node() -> None:
    resources = Resources((Node(4, 1, 8 * GIB), Node(4, 0, 2 * GIB), Node(1)))
    assert resources.slots(Need(1)) == 9
    assert resources.slots(Need(3)) == 2
    assert resources.slots(Need(5)) == 0
    assert resources.slots(Need(1, 1)) == 1
    assert resources.slots(Need(1, 0, 3 * GIB)) == 2
    assert Resources(()).slots(Need(1)) == 0


@pytest.mark.parametrize(
    ("num_workers", "gpus", "expected"), [(1, 0, 8), (2, 0, 4), (3, 0, 4), (4, 0, 2), (12, 0, 1), (99, 0, 1), (1, 1, 4)]
)
def test_all_workers_find_room_with_the_most_cores_there_are(num_workers: int, gpus: int, expected: int) -> None:
    assert Resources((Node(8), Node(4, 1))).most_cores(num_workers, gpus) == expected


def test_nodes_and_needs_are_worded() -> None:
    assert str(Resources((Node(4), Node(4), Node(1, 1, 2 * GIB)))) == (
        "2 nodes with 4 cores; 1 node with 1 core, 1 GPU and 2.0 GiB"
    )
    assert str(Resources(())) == "no node"
    assert str(Need(1, 1, GIB // 2)) == "1 core, 1 GPU and 0.5 GiB"


def test_threads_of_a_training_follow_the_nodes_and_not_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    cluster = Resources((Node(4), Node(4, 1)))

    def need(num_workers: int, device: str, num_threads: int | None = None) -> Need:
        settings = TrainingSettings.model_construct(workers=num_workers, device=device)
        return need_of_worker(cluster, settings, num_threads)

    assert need(2, "cpu") == Need(4)
    assert need(3, "auto") == Need(2)
    assert need(1, "auto") == Need(4, 1)
    assert need(2, "cuda") == Need(1, 1)
    assert need(1, "cpu", num_threads=2) == Need(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert need(1, "cpu") == Need(3)


def test_an_address_at_which_nobody_listens_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="no Ray cluster answers") as caught, Cluster.connect(address):
            pass
    assert caught.value.where == address


def test_a_token_that_this_machine_knows_is_sent_to_a_head_that_may_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local Ray leaves one, `ray start` then asks for it, and a plain client of Ray could not connect."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    send_known_token()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    send_known_token()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    send_known_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("http://127.0.0.1:8265", "the dashboard's"),
        ("https://head:8265/", "the dashboard's"),
        ("ray://127.0.0.1:10001", "Ray Client's"),
        ("s3://bucket", "no Ray cluster's"),
    ],
)
def test_an_address_of_another_kind_is_named_at_once(address: str, whose: str) -> None:
    with pytest.raises(InputError, match=f"this address is {whose}") as caught, Cluster.connect(address):
        pass
    assert "HEAD:6379" in str(caught.value.expected)
    assert ":6379" in str(caught.value.remedy)


def test_a_local_ray_keeps_its_sockets_where_their_paths_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    assert short_folder() is None
    long = "/scratch/slurm_jobdir/1355700/node0016/a-name-that-the-batch-system-made"
    monkeypatch.setattr("tempfile.gettempdir", lambda: long)
    assert short_folder() == "/tmp/ray"
    monkeypatch.setenv("RAY_TMPDIR", long)
    with pytest.raises(InputError, match="too long for Ray's sockets") as caught:
        short_folder()
    assert caught.value.where == "RAY_TMPDIR"


def test_no_home_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    send_known_token()


def test_a_head_that_refuses_the_token_is_not_called_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray says "failed to connect" of both; only what it was raised from tells them apart."""
    import ray

    def refused(**options: Any) -> None:
        raise ConnectionError("Failed to connect") from RuntimeError(
            "RPC error: InvalidAuthToken: missing or incorrect"
        )

    monkeypatch.setattr(ray, "init", refused)
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        with pytest.raises(InputError, match="refuses this client") as caught, Cluster.connect(address):
            pass
    assert "RAY_AUTH_TOKEN" in str(caught.value.remedy)


# --- on a cluster ---------------------------------------------------------------------------------------------------


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
