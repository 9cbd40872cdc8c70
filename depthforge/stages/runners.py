"""Where shards run: in this process, or on Ray on this machine or a cluster, as tasks or in actors (``crews``).

Ray carries references, never images: a worker takes a work item (keys and locators) and answers with a receipt.
The driver keeps at most two shards per worker in flight and holds no more of the plan than that. Work of lost workers
and nodes is done again; a shard that keeps failing is reported, and the run goes on with the others. Plain tasks
measured 0.87-0.97 of bare multiprocessing here, Ray Data 0.73 and half when images pass through the object store.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import IncompleteError, MissingDependencyError
from depthforge.plan import WorkItem
from depthforge.stages.crews import Actors, Crew, Failure, RayOptions, Tasks, ray_task
from depthforge.stages.shards import ShardJob, convert_shard

__all__ = [
    "WORKER_ENVIRONMENT",
    "Done",
    "Failure",
    "RayOptions",
    "import_ray",
    "ray_session",
    "ray_task",
    "run_inline",
    "run_on_ray",
]

# The environment of a worker: one thread each, since there is a worker per core.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NUMBA_THREADING_LAYER": "workqueue"}


Done = Callable[["ShardReceipt | Failure"], None]


def run_inline(items: Iterator[WorkItem], job: ShardJob, done: Done) -> None:
    """Convert every shard in this process, one after the other."""
    for item in items:
        done(convert_shard(item, job))


def run_on_ray(
    items: Iterator[WorkItem], job: ShardJob, done: Done, options: RayOptions, warn: Callable[[str], None]
) -> None:
    """Convert every shard on Ray; ``done`` gets a receipt or a failure for each, as they end.

    Raises StorageError at once when the output is full or unwritable, InputError when a GPU is required and there is
    none, and IncompleteError when no worker can be kept alive or nothing has ended for ``stall_limit_s`` seconds:
    never a silent hang.
    """
    ray = import_ray()
    with ray_session(ray, options):
        crew: Crew = Actors(ray, job, options, warn) if job.heavy else Tasks(ray, job, options)
        fresh, again = next(items, None), deque[WorkItem]()
        last_progress, warned = time.monotonic(), False
        while fresh or again or crew.shards:
            while (fresh or again) and crew.has_room():
                # What killed a worker comes last: it shall not keep the others from being made.
                crew.hand_over(fresh or again.popleft())
                fresh = next(items, None) if fresh else None
            ended, _ = ray.wait(crew.references, num_returns=1, timeout=5.0)
            if ended:
                last_progress, warned = time.monotonic(), False
            idle_s = time.monotonic() - last_progress
            if idle_s > options.stall_limit_s:
                raise IncompleteError(
                    f"no shard has ended for {idle_s:.0f} s",
                    where=", ".join(crew.shards) or "no worker has started",
                    remedy="run the same command again: committed shards are kept; --inline shows where it hangs",
                )
            if idle_s > options.stall_warning_s and not warned:
                warned = True
                running = ", ".join(crew.shards) or "none, no worker has started"
                warn(f"no shard has ended for {idle_s:.0f} s; running: {running}")
            for reference in ended:
                result = crew.take(reference)
                if isinstance(result, WorkItem):
                    again.append(result)
                elif result is not None:
                    done(result)


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


def import_ray() -> Any:
    """Return the module ``ray``; raises MissingDependencyError."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            "ray cannot be imported", found=error, remedy="pip install depthforge, or run with --inline"
        ) from None
    return ray
