"""The cluster that a stage works on: the connection to it, what it has, and what a worker asks of it.

Ray is started here for one command, or joined at an address. Nodes come late, leave and differ, so nothing of what a
cluster has is kept: it is read whenever it is asked for, at 1 ms. What a worker asks for must lie on one node, which is
why ``Resources`` counts node by node: a sum over the cluster says nothing about whether a worker can be placed.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from depthforge.errors import DepthforgeError, IncompleteError, InputError, MissingDependencyError

__all__ = [
    "FRAME_LIMIT_S",
    "STALL_LIMIT_S",
    "WORKER_ENVIRONMENT",
    "Cluster",
    "Need",
    "Node",
    "RayOptions",
    "Resources",
    "send_known_token",
    "short_folder",
]

# The environment of a worker: one thread each, since there is a worker per core.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}

STALL_LIMIT_S = 1800.0
FRAME_LIMIT_S = 600.0
_CONNECT_S = 20.0
_LONGEST_FOLDER = 107 - 66


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray: the address of a cluster (None: a local one for this run), workers, limits.

    ``num_workers`` None means as many as the cluster has room for, at any time. ``worker_bytes`` is the memory that
    each asks for (0: none is asked for). ``max_retries`` is how often a shard whose worker died is made again, and how
    often in a row a worker is replaced that dies without making a shard. ``stall_limit_s`` ends every wait;
    ``frame_limit_s`` ends a worker of which no frame ends for so long (a batch counts as many).
    """

    num_workers: int | None
    address: str | None = None
    worker_bytes: int = 0
    max_retries: int = 3
    stall_limit_s: float = STALL_LIMIT_S
    frame_limit_s: float = FRAME_LIMIT_S


@dataclass(frozen=True)
class Need:
    """What one worker asks for, all of it on one node."""

    cores: int = 1
    gpus: int = 0
    memory_bytes: int = 0

    def __str__(self) -> str:
        return _listed(self.cores, self.gpus, self.memory_bytes)


@dataclass(frozen=True)
class Node:
    """What one living node offers in all, whoever uses it."""

    cores: float
    gpus: float = 0
    memory_bytes: float = 0

    def slots(self, need: Need) -> int:
        """Return how many workers with ``need`` it has room for."""
        wanted = ((self.cores, need.cores), (self.gpus, need.gpus), (self.memory_bytes, need.memory_bytes))
        return int(min(has // asked for has, asked in wanted if asked))


@dataclass(frozen=True)
class Resources:
    """What the living nodes of a cluster offer."""

    nodes: tuple[Node, ...]

    def slots(self, need: Need) -> int:
        """Return how many workers with ``need`` the cluster has room for."""
        return sum(node.slots(need) for node in self.nodes)

    def most_cores(self, num_workers: int, gpus: int = 0) -> int:
        """Return the most cores that each of ``num_workers`` workers can have at once, at least 1."""
        largest = int(max((node.cores for node in self.nodes), default=1))
        fitting = (cores for cores in range(largest, 1, -1) if self.slots(Need(cores, gpus)) >= num_workers)
        return next(fitting, 1)

    def __str__(self) -> str:
        counted: dict[str, int] = {}
        for node in self.nodes:
            line = _listed(int(node.cores), int(node.gpus), int(node.memory_bytes))
            counted[line] = counted.get(line, 0) + 1
        lines = (f"{count} node{'s' * (count > 1)} with {line}" for line, count in counted.items())
        return "; ".join(lines) or "no node"


class Cluster:
    """A connection to Ray. ``ray`` is the module, for what has no word here."""

    def __init__(self, ray: Any, address: str | None) -> None:
        self.ray, self.address = ray, address

    @classmethod
    @contextmanager
    def connect(cls, address: str | None, num_cores: int | None = None) -> Iterator[Self]:
        """Join the cluster at ``address``, or start a local Ray of ``num_cores`` that ends with this context.

        Raises MissingDependencyError without Ray, InputError when nothing answers at ``address``, IncompleteError when
        the cluster is lost within this context.
        """
        if address is None:
            # Under `uv run` Ray would pack the working directory for workers that are on this machine anyway.
            os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        else:
            _require_form(address)
            send_known_token()
        ray = _import_ray()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # The variable is removed upstream; without it Ray warns on every start.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray sets a handler of its own, which would end this process with 15 and without a word.
        in_main = threading.current_thread() is threading.main_thread()
        on_terminate = signal.getsignal(signal.SIGTERM)
        common: dict[str, Any] = {
            "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
            "log_to_driver": False,
            "logging_level": "ERROR",
        }
        if address is None:
            # address="local": a stale file of a dead cluster must not be mistaken for a running one.
            local = {"include_dashboard": False, "object_store_memory": 100 * 2**20, "_temp_dir": short_folder()}
            ray.init(address="local", num_cpus=num_cores, **local, **common)
        else:
            try:
                _require_listener(address)
                ray.init(address=address, **common)
            except OSError as error:
                raise _not_joined(address, error) from error
        if in_main:
            signal.signal(signal.SIGTERM, on_terminate)
        try:
            yield cls(ray, address)
        except ray.exceptions.RayError as error:
            if isinstance(error, DepthforgeError):  # a worker's own, which Ray gives both classes
                raise
            raise _lost(address, error) from error
        finally:
            ray.shutdown()

    def resources(self) -> Resources:
        """Return what the nodes that live now offer."""
        living = (node["Resources"] for node in self.ray.nodes() if node["Alive"])
        return Resources(tuple(Node(r.get("CPU", 0), r.get("GPU", 0), r.get("memory", 0)) for r in living))

    def actor(self, kind: type, need: Need, **options: Any) -> Any:
        """Return the remote form of class ``kind``, whose actors have ``need`` and are never restarted by Ray."""
        asked = {"num_cpus": need.cores, "num_gpus": need.gpus, "memory": need.memory_bytes or None}
        return self.ray.remote(**{"max_restarts": 0, "max_task_retries": 0, **asked, **options})(kind)

    def task(self, function: Callable[..., Any], need: Need, **options: Any) -> Any:
        """Return the remote form of ``function``, each call of which has ``need`` to itself."""
        asked = {"num_cpus": need.cores, "num_gpus": need.gpus, "memory": need.memory_bytes or None}
        return self.ray.remote(**{**asked, **options})(function)

    def actor_here(self, kind: type, *, max_restarts: int = -1) -> Any:
        """Start an actor of class ``kind`` beside the driver, which takes no core; restarted if it dies, by default."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), soft=False)
        return self.actor(kind, Need(cores=0), max_restarts=max_restarts, scheduling_strategy=here).remote()


def _not_joined(address: str, error: OSError) -> InputError:
    if "InvalidAuthToken" in str(error.__cause__):
        return InputError(
            "the Ray cluster refuses this client",
            where=address,
            found="a missing or wrong token",
            remedy="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its head, or copy the head's ~/.ray/auth_token",
        )
    return InputError(
        "no Ray cluster answers",
        where=address,
        found=(str(error).splitlines() or [""])[0],
        remedy="ray start --head prints the address; without --address a local Ray is started",
    )


def _lost(address: str | None, error: BaseException) -> IncompleteError:
    return IncompleteError(
        "the Ray cluster was lost",
        where=address or "this machine",
        found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
        remedy="run the same command again, when the cluster is there: committed shards and checkpoints are kept",
    )


def send_known_token() -> None:
    """Let Ray's clients in this process send the token that this machine knows, if any; for whoever joins a cluster.

    A head asks for one where ``~/.ray/auth_token`` exists, which every local Ray writes; a client sends none unless
    told to. No head minds one that it did not ask for. Of no use once Ray is imported, which reads the mode then.
    """
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path("~/.ray/auth_token"))
    with suppress(RuntimeError):  # a user without a home
        path = path.expanduser()
    if os.environ.get("RAY_AUTH_TOKEN") or path.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _require_form(address: str) -> None:
    """Raise InputError for an address of another kind: of the dashboard, or of Ray's client."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return
    host = rest.partition("/")[0].rpartition(":")[0] or "HEAD"
    what = {"http": "the dashboard's", "https": "the dashboard's", "ray": "Ray Client's"}.get(
        scheme, "no Ray cluster's"
    )
    raise InputError(
        f"this address is {what}",
        where="--address or RAY_ADDRESS",
        expected="HEAD:6379, as `ray start --head` prints it; unset for a local Ray",
        found=address,
        remedy=f"--address {host}:6379; jobs go to the dashboard by depthforge submit",
    )


def short_folder() -> str | None:
    """Return where a local Ray keeps its sockets: None for its own choice, a shorter one where that is too long.

    A socket's path has at most 107 bytes, of which Ray takes 66. Raises InputError where no folder is short enough.
    """
    named = os.environ.get("RAY_TMPDIR")
    chosen = Path(named or tempfile.gettempdir()) / "ray"
    if len(os.fsencode(chosen)) <= _LONGEST_FOLDER:
        return None
    short = Path("/tmp")
    if named is None and os.access(short, os.W_OK):
        return str(short / "ray")
    raise InputError(
        "the folder for temporary files is too long for Ray's sockets",
        where="RAY_TMPDIR" if named else "TMPDIR",
        expected=f"at most {_LONGEST_FOLDER - len('/ray')} bytes",
        found=str(chosen.parent),
        remedy="export RAY_TMPDIR=/tmp, or run with --inline",
    )


def _require_listener(address: str) -> None:
    """Raise OSError when nothing listens at host:port of ``address``: Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            "ray cannot be imported", found=error, remedy="pip install depthforge, or run with --inline"
        ) from None
    return ray


def _listed(cores: int, gpus: int, memory_bytes: int) -> str:
    parts = [f"{cores} core{'s' * (cores != 1)}"]
    if gpus:
        parts.append(f"{gpus} GPU{'s' * (gpus != 1)}")
    if memory_bytes:
        parts.append(f"{memory_bytes / 2**30:.1f} GiB")
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
