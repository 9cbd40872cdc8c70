"""Who converts shards on Ray: actors that hold what the first frame needs, supervised here.

A worker is an actor on a core, or on a core and a GPU; it owns its converter, which ends with it. It gets shards only
once its model is loaded; one that dies is replaced and its shards are made again, and when none can be kept alive the
run ends. A pool that does not notice that one of its actors died waits for it for ever, and plain tasks would need a
converter that a process keeps beyond the call, of which nobody could say when it ends; on two cores actors made as many
frames a second as tasks (``benchmarks.bench_conversion``).

How many there are follows the cluster: it is looked at every ``REFRESH_S``, and workers are started for as many shards
as wait, up to what was asked for, or what there is room for. Ray places those that do not fit when a node comes, and an
autoscaler sees that they wait. Where a translator uses a GPU only if there is one, workers on cores end with the shard
in hand when GPUs come, and are started again when the last GPU goes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from depthforge.errors import DepthforgeError, IncompleteError, StorageError
from depthforge.stages.cluster import Cluster, Need, RayOptions, Resources
from depthforge.stages.mailbox import FramePlace, Heartbeat
from depthforge.stages.shards import limit_threads
from depthforge.stages.stall import Waiting
from depthforge.stages.work import COMMIT, Hung, Job, Piece, Receipt

__all__ = ["SHARDS_PER_GPU", "Again", "Crew", "Failure", "in_words"]

# While one shard is committed, or waits for its disk, the GPU works on the other.
SHARDS_PER_GPU: Final = 2
REFRESH_S: Final = 2.0


@dataclass(frozen=True)
class Failure:
    """A shard that could not be made, after every retry."""

    shard: str
    error: BaseException


@dataclass(frozen=True)
class Again:
    """A shard that is to be made again: its worker died, or was ended because it hung."""

    item: Piece


class _Holder:
    """The process of an actor."""

    def __init__(self, job: Job, heartbeat: Heartbeat) -> None:
        self._job, self._heartbeat = job, heartbeat

    def load(self) -> None:
        """Load everything that the first frame needs."""
        self._heartbeat()
        limit_threads(1)
        self._worker = self._job.open()
        self._worker.load()

    def convert(self, item: Piece, hung: Hung | None) -> Receipt:
        """Make one piece of work; one that hung before tells of every stage of every frame."""
        receipt: Receipt = self._worker.convert(item, self._heartbeat.pulse(always=hung is not None), hung)
        return receipt


@dataclass(eq=False)
class _Worker:
    """One actor as the driver knows it; ``deaths`` counts those before it that died without making a shard."""

    handle: Any
    loading: Any
    need: Need
    deaths: int
    is_ready: bool = False
    is_lost: bool = False
    running: dict[Any, Piece] = field(default_factory=dict)


class Crew:
    """The workers of one run; see the module. It is given work items and answers with receipts.

    Whoever drives it calls ``resize`` with how much there is to do, hands over shards while ``has_room``, waits for one
    of ``references`` and gives it to ``take``.
    """

    def __init__(
        self, cluster: Cluster, job: Job, heartbeat: Heartbeat, options: RayOptions, warn: Callable[[str], None]
    ) -> None:
        self._cluster, self._ray, self._options, self._warn = cluster, cluster.ray, options, warn
        self._gpu_use, self._heartbeat, self._job = job.gpu_use, heartbeat, cluster.ray.put(job)
        self._attempts: Counter[str] = Counter()
        self._places: dict[str, FramePlace | None] = {}
        self._moved: dict[str, float] = {}
        self._hung: dict[str, dict[str, str]] = {}
        self._workers: list[_Worker] = []
        self._owners: dict[Any, _Worker] = {}
        self._need, self._given_up = Need(), 0
        self._last_refresh = -REFRESH_S
        self._refresh()

    @property
    def shards(self) -> list[str]:
        """Names of the shards in flight, those of workers that are being buried included."""
        return sorted(item.shard for worker in set(self._owners.values()) for item in worker.running.values())

    @property
    def references(self) -> list[Any]:
        """What to wait for: one for each shard in flight, and one for each worker that is loading."""
        return list(self._owners)

    @property
    def most_shards(self) -> int:
        """How many shards could be in flight if every worker that may be there were."""
        return self._most_workers * self._shards_each

    def resize(self, num_shards: int) -> None:
        """Start workers until there is one for each of ``num_shards`` that run or wait, as far as there may be.

        Raises IncompleteError when the only node was this machine's and it is gone.
        """
        self._refresh()
        fit = [worker for worker in self._workers if worker.need == self._need]
        for worker in [worker for worker in self._workers if worker.need != self._need and not worker.running]:
            self._dismiss(worker)
        for _ in range(min(self._most_workers - self._given_up, num_shards) - len(fit)):
            self._start()

    def has_room(self) -> bool:
        """Say whether a worker has loaded its model and could make another shard."""
        return any(self._has_room(worker) for worker in self._workers)

    def hand_over(self, item: Piece) -> None:
        """Give ``item`` to the worker that has least to do."""
        worker = min(filter(self._has_room, self._workers), key=lambda worker: len(worker.running))
        reference = worker.handle.convert.options(name=item.shard).remote(item, self._hung.get(item.shard))
        worker.running[reference] = item
        self._owners[reference] = worker
        self._places[item.shard], self._moved[item.shard] = None, time.monotonic()

    def hear(self, places: Mapping[str, FramePlace]) -> bool:
        """Take in where workers say that they are; return whether a frame of a running shard has ended since."""
        has_ended = False
        for shard in self.shards:
            place, before = places.get(shard), self._places.get(shard)
            if place is None or place == before:
                continue
            self._places[shard], self._moved[shard] = place, time.monotonic()
            has_ended |= place.ended > (0 if before is None else before.ended)
        return has_ended

    def end_hung(self) -> list[Again | Failure]:
        """End workers of which a shard has not moved for the frame limit; return what becomes of their shards.

        The first time a shard is made again, frame by frame; the frame in which it hangs then is left out, as a reject.
        """
        late = time.monotonic() - self._options.frame_limit_s
        hung = [
            (worker, item)
            for worker in self._workers
            for item in worker.running.values()
            if self._moved[item.shard] < late
        ]
        outcomes: list[Again | Failure] = []
        for worker, item in hung:
            outcomes.append(self._given_up_on(item))
            if worker in self._workers:
                others = [each for each in worker.running.values() if (worker, each) not in hung]
                self._dismiss(worker)
                self._start(worker.deaths)
                outcomes += [Again(each) for each in others]
        return outcomes

    def _given_up_on(self, item: Piece) -> Again | Failure:
        """Say what becomes of a shard that has not moved for the frame limit."""
        place, limit_s = self._places.get(item.shard), self._options.frame_limit_s
        where = "before its first frame" if place is None else f"in {place.stage} of {place.key}, or soon after"
        if item.shard not in self._hung:
            self._hung[item.shard] = {}
            self._warn(f"{item.shard} has not moved for {limit_s:g} s, {where}: its worker is replaced")
            return Again(item)
        if place is None or place.stage == COMMIT:
            return Failure(item.shard, IncompleteError(f"it hung {where}, twice for {limit_s:g} s (--frame-limit)"))
        self._hung[item.shard][place.key] = place.stage
        self._warn(f"{place.key} hangs in {place.stage} again: it is rejected, and its worker replaced")
        return Again(item)

    def knows(self, reference: Any) -> bool:
        """Say whether ``reference`` is still waited for."""
        return reference in self._owners

    def take(self, reference: Any) -> Receipt | Failure | Again | None:
        """Return a receipt or failure, what is to be made again where its worker died, None where a worker has loaded.

        Raises StorageError when the output cannot be written, an error of ours with which a translator fails to load,
        IncompleteError when no shard can be made any more.
        """
        worker = self._owners.pop(reference)
        item = worker.running.pop(reference, None)
        try:
            receipt: Receipt | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            if item is not None and not isinstance(error.cause, SystemError):
                return _failure(item.shard, error.cause)
            if item is None and isinstance(error.cause, DepthforgeError):
                raise error.cause from None  # another worker would fail in the same way
            return self._lost(worker, item, error.cause)
        except self._ray.exceptions.LocalRayletDiedError:
            raise _node_died([*self.shards, *([item.shard] if item else [])]) from None
        except self._ray.exceptions.RayError as error:
            return self._lost(worker, item, error)
        if item is None:
            worker.is_ready = True
        else:
            worker.deaths = 0
            self._attempts.pop(item.shard, None)
        return receipt

    def waiting(self) -> Waiting:
        """Say what the crew waits for, for the stall watch."""
        resources = self._cluster.resources()
        shards = self.shards
        started = any(worker.is_ready for worker in self._workers)
        return Waiting(
            what=f"the shards {', '.join(shards)}" if shards else "a worker to start",
            asked=str(self._need),
            has=str(resources),
            impossible=not started and not resources.slots(self._need),
        )

    def close(self) -> None:
        """End every worker."""
        for worker in list(self._workers):
            self._dismiss(worker)

    def _refresh(self) -> None:
        """Look at the cluster, if it is time: which workers it should have, and how many."""
        if time.monotonic() - self._last_refresh < REFRESH_S:
            return
        self._last_refresh = time.monotonic()
        resources = self._cluster.resources()
        if self._cluster.address is None and not resources.nodes:
            raise _node_died(self.shards)
        need = self._need_on(resources)
        if need != self._need:
            self._need, self._given_up = need, 0
        self._shards_each = SHARDS_PER_GPU if self._need.gpus else 1
        # One that finds no room is asked for in any case: an autoscaler sees only what waits.
        self._most_workers = self._options.num_workers or max(1, resources.slots(self._need))

    def _need_on(self, resources: Resources) -> Need:
        on_core = Need(1, 0, self._options.worker_bytes)
        on_gpu = Need(1, 1, self._options.worker_bytes)
        if self._gpu_use == "required" or (self._gpu_use == "if_present" and resources.slots(on_gpu)):
            return on_gpu
        return on_core

    def _has_room(self, worker: _Worker) -> bool:
        return worker.is_ready and worker.need == self._need and len(worker.running) < self._shards_each

    def _start(self, deaths: int = 0) -> None:
        kind = self._cluster.actor(_Holder, self._need, max_concurrency=self._shards_each)
        handle = kind.remote(self._job, self._heartbeat)
        worker = _Worker(handle, handle.load.remote(), self._need, deaths)
        self._workers.append(worker)
        self._owners[worker.loading] = worker

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        for reference in (worker.loading, *worker.running):
            self._owners.pop(reference, None)
        self._ray.kill(worker.handle)

    def _lost(self, worker: _Worker, item: Piece | None, error: BaseException) -> Again | Failure | None:
        """Bury ``worker``, put another in its place, and say what becomes of the shard that it was making."""
        if not worker.is_lost:
            worker.is_lost = True
            self._ray.kill(worker.handle)  # dead or unreachable: it must not come back beside its successor
            self._workers.remove(worker)
            self._replace(worker, item, error)
        if item is None:
            return None
        self._attempts[item.shard] += 1
        if self._attempts[item.shard] > self._options.max_retries:
            died = f"its worker died {self._attempts[item.shard]} times, at last of: {in_words(error)}"
            return Failure(item.shard, IncompleteError(died))
        return Again(item)

    def _replace(self, worker: _Worker, item: Piece | None, error: BaseException) -> None:
        if worker.deaths < self._options.max_retries:
            self._warn(f"a worker died and is replaced: {in_words(error)}")
            self._start(worker.deaths + 1)
        elif self._workers:
            self._given_up += 1
            self._warn(f"a worker died {worker.deaths + 1} times in a row, the others go on: {in_words(error)}")
        else:
            raise IncompleteError(
                "no worker is left: each died again and again without making a shard",
                where=", ".join(sorted({*self.shards, *self._attempts, *([item.shard] if item else [])})) or None,
                found=in_words(error),
                remedy="run the same command again: committed shards are kept; --inline --debug shows what goes wrong",
            ) from None


def _failure(shard: str, cause: BaseException) -> Failure:
    """Return the failure of a shard that raised ``cause``; StorageError concerns all shards and is raised."""
    if isinstance(cause, StorageError):
        raise cause from None
    return Failure(shard, cause)


def in_words(error: BaseException) -> str:
    """Return what a driver says of a worker's error: all of one of ours, the first line of any other."""
    if isinstance(error, DepthforgeError):
        return str(error)
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _node_died(shards: list[str]) -> IncompleteError:
    return IncompleteError(
        "Ray's node on this machine died, and every running shard with it",
        where=", ".join(shards),
        remedy="run the same command again: committed shards are kept; with fewer --workers if memory ran out",
    )
