"""What a cluster has, and at which address: counted, worded, refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from depthforge.errors import InputError
from depthforge.manifest import TrainingSettings
from depthforge.stages.cluster import Cluster, Need, Node, Resources, send_known_token, short_folder
from depthforge.stages.train_on_ray import need_of_worker

GIB = 2**30


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
