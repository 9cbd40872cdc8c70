"""Where shards run: in this process, or as Ray tasks on this machine or a cluster.

Ray carries references, never images: a task takes a work item (keys and locators) and answers with a receipt.
The driver keeps two tasks per worker in flight and holds no more of the plan than that. Lost workers and nodes are
retried by Ray; a shard that keeps failing is reported, and the run goes on with the others. Plain tasks measured
0.87-0.97 of bare multiprocessing here, Ray Data 0.73 and half when images pass through the object store.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import DepthforgeError, IncompleteError, MissingDependencyError, StorageError
from depthforge.plan import WorkItem
from depthforge.stages.shards import ShardJob, convert_shard, limit_threads

__all__ = ["WORKER_ENVIRONMENT", "Done", "Failure", "RayOptions", "ray_session", "ray_task", "run_inline", "run_on_ray"]

# The environment of a worker: one thread each, since there is a worker per core.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made, after every retry."""

    shard: str
    error: str


Done = Callable[["ShardReceipt | Failure"], None]


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray: the address of a cluster (None: a local one for this run), workers, limits per task.

    ``num_workers`` None means every core: of the cluster, or of this machine.
    """

    num_workers: int | None
    address: str | None = None
    worker_bytes: int = 0
    max_retries: int = 3
    stall_warning_s: float = 120.0
    stall_limit_s: float = 1800.0


def run_inline(items: Iterator[WorkItem], job: ShardJob, done: Done) -> None:
    """Convert every shard in this process, one after the other."""
    for item in items:
        done(convert_shard(item, job))


def run_on_ray(
    items: Iterator[WorkItem], job: ShardJob, done: Done, options: RayOptions, warn: Callable[[str], None]
) -> None:
    """Convert every shard as a Ray task; ``done`` gets a receipt or a failure for each, as they end.

    Raises StorageError at once when the output is full or unwritable, and IncompleteError when nothing has ended for
    ``stall_limit_s`` seconds: never a silent hang.
    """
    ray = _import_ray()
    with ray_session(ray, options):
        task, shared_job = ray_task(ray, options), ray.put(job)
        num_workers = options.num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        running: dict[Any, str] = {}
        last_progress, warned = time.monotonic(), False
        exhausted = False
        while running or not exhausted:
            while not exhausted and len(running) < 2 * num_workers:
                item = next(items, None)
                if item is None:
                    exhausted = True
                else:
                    running[task.options(name=item.shard).remote(item, shared_job)] = item.shard
            if not running:
                break
            ended, _ = ray.wait(list(running), num_returns=1, timeout=5.0)
            if ended:
                last_progress, warned = time.monotonic(), False
            idle_s = time.monotonic() - last_progress
            if idle_s > options.stall_limit_s:
                names = ", ".join(sorted(running.values()))
                raise IncompleteError(
                    f"no shard has ended for {idle_s:.0f} s",
                    where=names,
                    remedy="run the same command again: committed shards are kept; --inline shows where it hangs",
                )
            if idle_s > options.stall_warning_s and not warned:
                warned = True
                warn(f"no shard has ended for {idle_s:.0f} s; running: {', '.join(sorted(running.values()))}")
            for reference in ended:
                done(_result(ray, reference, running.pop(reference)))


def ray_task(ray: Any, options: RayOptions) -> Any:
    """Return the remote form of :func:`convert_shard`, one core and the bounded memory for each call."""
    return ray.remote(
        num_cpus=1,
        max_retries=options.max_retries,
        retry_exceptions=[SystemError],  # a worker that was being shut down: see convert_shard
        memory=options.worker_bytes or None,
    )(_task)


def _task(item: WorkItem, job: ShardJob) -> ShardReceipt:
    limit_threads(1)
    return convert_shard(item, job)


def _result(ray: Any, reference: Any, shard: str) -> ShardReceipt | Failure:
    try:
        receipt: ShardReceipt = ray.get(reference)
        return receipt
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, StorageError):
            raise cause from None
        return Failure(shard, str(cause) if isinstance(cause, DepthforgeError) else f"{type(cause).__name__}: {cause}")
    except ray.exceptions.LocalRayletDiedError:
        raise IncompleteError(
            "Ray's node on this machine died, and every running shard with it",
            where=shard,
            remedy="run the same command again: committed shards are kept; with fewer --workers if memory ran out",
        ) from None
    except ray.exceptions.RayError as error:
        return Failure(shard, f"{type(error).__name__}: {str(error).splitlines()[0]}")


@contextmanager
def ray_session(ray: Any, options: RayOptions) -> Iterator[None]:
    """Connect to the cluster at ``address``, or start a local Ray that ends with this context."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The variable is removed upstream; without it Ray warns on every start.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    common: dict[str, Any] = {
        "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if options.address is not None:
        ray.init(address=options.address, **common)
    else:
        # address="local": a stale file of a dead cluster must not be mistaken for a running one.
        ray.init(
            address="local",
            num_cpus=options.num_workers,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            **common,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            "ray cannot be imported", found=error, remedy="pip install depthforge, or run with --inline"
        ) from None
    return ray
