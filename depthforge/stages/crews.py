"""Who converts shards on Ray: tasks, or actors that hold a model.

Both are given work items and answer with receipts; the driver (``runners``) asks a crew for room, hands it shards and
takes what has ended. Lost tasks are retried by Ray. Actors are supervised here, because a pool that does not notice
that one of its actors died waits for it for ever: an actor gets shards only once its model is loaded, one that dies is
replaced and its shards are made again, and when none can be kept alive the run ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from depthforge.corpus.writer import ShardReceipt
from depthforge.errors import DepthforgeError, IncompleteError, InputError, StorageError
from depthforge.plan import WorkItem
from depthforge.stages.shards import Converter, ShardJob, convert_shard, limit_threads

__all__ = ["SHARDS_PER_GPU", "Actors", "Crew", "Failure", "RayOptions", "Tasks", "ray_task"]

# While one shard is committed, or waits for its disk, the GPU works on the other.
SHARDS_PER_GPU = 2


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made, after every retry."""

    shard: str
    error: str


@dataclass(frozen=True)
class RayOptions:
    """How to use Ray: the address of a cluster (None: a local one for this run), workers, limits per shard.

    ``num_workers`` None means every core (for a translator that uses GPUs, every GPU): of the cluster, or of this
    machine. ``max_retries`` is also how often in a row an actor is replaced that dies without making a shard.
    """

    num_workers: int | None
    address: str | None = None
    worker_bytes: int = 0
    max_retries: int = 3
    stall_warning_s: float = 120.0
    stall_limit_s: float = 1800.0


class Crew(Protocol):
    """What the driver sees of its workers."""

    @property
    def shards(self) -> list[str]:
        """Names of the shards that were handed over and have not ended, in order."""

    @property
    def references(self) -> list[Any]:
        """What to wait for: each, once it is there, is for ``take``."""

    def has_room(self) -> bool:
        """Say whether another shard may be handed over now."""

    def hand_over(self, item: WorkItem) -> None:
        """Start to convert ``item``."""

    def take(self, reference: Any) -> ShardReceipt | Failure | WorkItem | None:
        """Return what has ended: a shard made or failed, one to hand over again, or None where it was no shard.

        Raises StorageError when the output cannot be written, IncompleteError when no shard can be made any more.
        """


class Tasks:
    """A task for each shard, two for each core in flight."""

    def __init__(self, ray: Any, job: ShardJob, options: RayOptions) -> None:
        self._ray = ray
        self._task, self._job = ray_task(ray, options), ray.put(job)
        self._limit = 2 * (options.num_workers or _resource(ray, "CPU") or 1)
        self._running: dict[Any, str] = {}

    @property
    def shards(self) -> list[str]:
        """Names of the shards in flight."""
        return sorted(self._running.values())

    @property
    def references(self) -> list[Any]:
        """One for each shard in flight."""
        return list(self._running)

    def has_room(self) -> bool:
        """Say whether fewer than two tasks for each core are in flight."""
        return len(self._running) < self._limit

    def hand_over(self, item: WorkItem) -> None:
        """Queue a task for ``item``."""
        self._running[self._task.options(name=item.shard).remote(item, self._job)] = item.shard

    def take(self, reference: Any) -> ShardReceipt | Failure:
        """Return the shard's receipt or failure; raises StorageError, and IncompleteError when this node died."""
        shard = self._running.pop(reference)
        try:
            receipt: ShardReceipt = self._ray.get(reference)
            return receipt
        except self._ray.exceptions.RayTaskError as error:
            return _failure(shard, error.cause)
        except self._ray.exceptions.LocalRayletDiedError:
            raise _node_died([shard]) from None
        except self._ray.exceptions.RayError as error:
            return Failure(shard, _said(error))


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


class _Holder:
    """The process of an actor: a converter whose model is loaded once."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job

    def load(self) -> None:
        """Load everything that the first frame needs."""
        limit_threads(1)
        self._converter = Converter(self._job)
        self._converter.translator.load()

    def convert(self, item: WorkItem) -> ShardReceipt:
        """Convert one shard."""
        return self._converter.convert(item)


@dataclass(eq=False)
class _Actor:
    """One actor as the driver knows it; ``deaths`` counts the actors before it that died without making a shard."""

    handle: Any
    loading: Any
    deaths: int
    is_ready: bool = False
    is_lost: bool = False
    running: dict[Any, WorkItem] = field(default_factory=dict)


class Actors:
    """An actor for each GPU, or without GPUs for each core, that holds the model; supervised as the module says.

    An actor on a core makes one shard at a time: its model is always the slowest. Raises InputError when the
    translator requires a GPU and Ray has none.
    """

    def __init__(self, ray: Any, job: ShardJob, options: RayOptions, warn: Callable[[str], None]) -> None:
        self._ray, self._warn, self._options = ray, warn, options
        num_gpus = _resource(ray, "GPU") if job.gpu_use != "never" else 0
        if job.gpu_use == "required" and not num_gpus:
            raise InputError(
                "a GPU is asked for and there is none",
                where="device: cuda",
                expected="a GPU that Ray offers",
                found=f"{_resource(ray, 'CPU')} cores and no GPU"
                + (f" at {options.address}" if options.address else ""),
                remedy="device: cpu, or auto; else run where there is a GPU (--address)",
            )
        self._shards_each = SHARDS_PER_GPU if num_gpus else 1
        self._kind = ray.remote(
            num_cpus=1,
            num_gpus=1 if num_gpus else 0,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=self._shards_each,
            memory=options.worker_bytes or None,
        )(_Holder)
        self._job = ray.put(job)
        self._attempts: Counter[str] = Counter()
        most = num_gpus or _resource(ray, "CPU") or 1
        self._actors = [self._start() for _ in range(min(options.num_workers or most, most))]
        self._owners: dict[Any, _Actor] = {actor.loading: actor for actor in self._actors}

    @property
    def shards(self) -> list[str]:
        """Names of the shards in flight, those of actors that are being buried included."""
        return sorted(item.shard for actor in set(self._owners.values()) for item in actor.running.values())

    @property
    def references(self) -> list[Any]:
        """One for each shard in flight, and one for each actor that is loading."""
        return list(self._owners)

    def has_room(self) -> bool:
        """Say whether an actor has loaded its model and could make another shard."""
        return any(self._has_room(actor) for actor in self._actors)

    def hand_over(self, item: WorkItem) -> None:
        """Give ``item`` to the actor that has least to do."""
        actor = min(filter(self._has_room, self._actors), key=lambda actor: len(actor.running))
        reference = actor.handle.convert.remote(item)
        actor.running[reference] = item
        self._owners[reference] = actor

    def take(self, reference: Any) -> ShardReceipt | Failure | WorkItem | None:
        """Return a receipt or failure, the item again where its actor died, None where an actor has loaded."""
        actor = self._owners.pop(reference)
        item = actor.running.pop(reference, None)
        try:
            receipt: ShardReceipt | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if item is not None and not isinstance(error.cause, SystemError):
                return _failure(item.shard, error.cause)
            return self._lost(actor, item, error.cause)
        except self._ray.exceptions.LocalRayletDiedError:
            raise _node_died([*self.shards, *([item.shard] if item else [])]) from None
        except self._ray.exceptions.RayError as error:
            return self._lost(actor, item, error)
        if item is None:
            actor.is_ready = True
        else:
            actor.deaths = 0
            self._attempts.pop(item.shard, None)
        return receipt

    def _has_room(self, actor: _Actor) -> bool:
        return actor.is_ready and len(actor.running) < self._shards_each

    def _start(self, deaths: int = 0) -> _Actor:
        handle = self._kind.remote(self._job)
        return _Actor(handle, handle.load.remote(), deaths)

    def _lost(self, actor: _Actor, item: WorkItem | None, error: BaseException) -> WorkItem | Failure | None:
        """Bury ``actor``, put another in its place, and say what becomes of the shard that it was making."""
        if not actor.is_lost:
            actor.is_lost = True
            self._ray.kill(actor.handle)  # dead or unreachable: it must not come back beside its successor
            self._actors.remove(actor)
            self._replace(actor, item, error)
        if item is None:
            return None
        self._attempts[item.shard] += 1
        if self._attempts[item.shard] > self._options.max_retries:
            return Failure(
                item.shard, f"its worker died {self._attempts[item.shard]} times, at last of: {_said(error)}"
            )
        return item

    def _replace(self, actor: _Actor, item: WorkItem | None, error: BaseException) -> None:
        if actor.deaths < self._options.max_retries:
            self._warn(f"a worker died and is replaced: {_said(error)}")
            successor = self._start(actor.deaths + 1)
            self._actors.append(successor)
            self._owners[successor.loading] = successor
        elif self._actors:
            self._warn(f"a worker died {actor.deaths + 1} times in a row, the others go on: {_said(error)}")
        else:
            raise IncompleteError(
                "no worker is left: each died again and again without making a shard",
                where=", ".join(sorted({*self.shards, *self._attempts, *([item.shard] if item else [])})) or None,
                found=_said(error),
                remedy="run the same command again: committed shards are kept; --inline --debug shows what goes wrong",
            ) from None


def _failure(shard: str, cause: BaseException) -> Failure:
    """Return the failure of a shard that raised ``cause``; StorageError concerns all shards and is raised."""
    if isinstance(cause, StorageError):
        raise cause from None
    return Failure(shard, _said(cause))


def _said(error: BaseException) -> str:
    if isinstance(error, DepthforgeError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _node_died(shards: list[str]) -> IncompleteError:
    return IncompleteError(
        "Ray's node on this machine died, and every running shard with it",
        where=", ".join(shards),
        remedy="run the same command again: committed shards are kept; with fewer --workers if memory ran out",
    )


def _resource(ray: Any, name: str) -> int:
    return int(ray.cluster_resources().get(name, 0))
