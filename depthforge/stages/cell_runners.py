"""Where the cells of a table are measured: in this process one after the other, or on Ray, a task for each.

A cell is one training in one process and its test. What a worker is given are names and paths, and what it leaves is
the cell's file, so an answer is nothing but that it has ended. Cells that begin with the same network wait for each
other: the first trains it, the others find it. A cell that fails is named at the end and takes no other with it; one
whose worker died is begun again by Ray, and goes on from the last checkpoint of its network.

A cell has one thread on a CPU, wherever it runs: with more, the last bits of what is learnt depend on how many there
were, and the cells of one table would not compare with those of another machine. A GPU goes to one cell at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from depthforge.errors import CorpusError, DepthforgeError, IncompleteError, StorageError
from depthforge.stages.cluster import Cluster, Need, RayOptions, Resources
from depthforge.stages.crew import in_words
from depthforge.stages.mailbox import Heartbeat, Mail, Mailbox, look
from depthforge.stages.shards import limit_threads
from depthforge.stages.stall import StallWatch, Waiting
from depthforge.tasks.base import Task
from depthforge.tasks.cells import Lesson, Row, measured_cell, networks_of

__all__ = ["CellJob", "measure_cells"]

Note = Callable[[str], None]
_LOOK_EVERY_S: Final = 0.5


@dataclass(frozen=True)
class CellJob:
    """One cell to measure: a row with a seed, tested on ``test`` and kept in ``folder``."""

    task: Task
    row: Row
    seed: int
    test: Lesson
    folder: Path

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def networks(self) -> frozenset[str]:
        """Names of the networks that it trains or finds trained."""
        return frozenset(networks_of(self.task, self.row, self.seed))

    def measure(self, note: Note, beat: Callable[[], None] = lambda: None) -> None:
        """Train and test, or find both done; as ``measured_cell`` does, which calls ``beat`` while it works."""
        test = self.test.frames(self.task)
        measured_cell(self.task, self.row, self.seed, test, self.folder, note, beat=beat)


@dataclass(frozen=True)
class _Failure:
    cell: str
    error: BaseException


def measure_cells(jobs: Sequence[CellJob], ray: RayOptions | None, note: Note, warn: Note) -> None:
    """Measure every cell: on Ray as ``ray`` says, in this process where it is None.

    Raises IncompleteError that names the cells which failed once the others have ended, StorageError at once, and on
    Ray IncompleteError where nothing has moved for ``stall_limit_s`` or this machine's node died, InputError where in
    that time no node had what a cell needs. Cells that had ended are kept in all of these.
    """
    failures: list[_Failure] = []
    num_ended = 0

    def done(job: CellJob, error: BaseException | None) -> None:
        nonlocal num_ended
        num_ended += 1
        if error is None:
            note(f"{job.name}: measured, {num_ended} of {len(jobs)} cells")
            return
        if isinstance(error, StorageError):
            raise error
        failures.append(_Failure(job.name, error))
        warn(f"{job.name}: {in_words(error)}")

    if ray is None:
        _measure_here(jobs, done, note)
    elif jobs:
        with Cluster.connect(ray.address, ray.num_workers) as cluster:
            _measure_on(cluster, jobs, done, ray, note, warn)
    if failures:
        first = failures[0].error
        kind = type(first) if isinstance(first, CorpusError) else IncompleteError
        raise kind(
            f"{len(failures)} of {len(jobs)} cells could not be measured",
            where="; ".join(failure.cell for failure in failures),
            found=in_words(first),
            remedy="run the same command again: finished cells are kept; --inline --debug shows the traceback",
        ) from first


def _measure_here(jobs: Sequence[CellJob], done: Callable[[CellJob, BaseException | None], None], note: Note) -> None:
    for job in jobs:
        error: BaseException | None = None
        try:
            with _one_thread():
                job.measure(note)
        except Exception as raised:
            error = raised
        done(job, error)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure_on(
    cluster: Cluster,
    jobs: Sequence[CellJob],
    done: Callable[[CellJob, BaseException | None], None],
    options: RayOptions,
    note: Note,
    warn: Note,
) -> None:
    ray = cluster.ray
    mailbox = cluster.actor_here(Mailbox)
    heartbeat = Heartbeat(mailbox, Heartbeat.interval_of(options.stall_limit_s))
    need = _need_of(cluster.resources(), jobs[0].task)
    remote = cluster.task(_measure, need, max_retries=options.max_retries)
    watch, mail = StallWatch(options.stall_limit_s, warn), Mail()
    waiting, running = list(jobs), dict[Any, CellJob]()

    def waits_for() -> Waiting:
        resources = cluster.resources()
        return Waiting(
            what="the cells " + "; ".join(job.name for job in running.values()),
            asked=str(need),
            has=str(resources),
            impossible=not mail.signs and not resources.slots(need),
            remedy="run the same command again: finished cells are kept; --inline shows where it hangs",
        )

    def take_mail() -> None:
        nonlocal mail
        latest = look(ray, mailbox)
        if latest is None:
            return
        if latest.signs != mail.signs:
            watch.progress()
        for line in latest.lines:
            note(line)
        mail = latest

    try:
        while waiting or running:
            for job in _ready(waiting, list(running.values()), options.num_workers):
                waiting.remove(job)
                running[remote.options(name=job.name).remote(job, mailbox, heartbeat)] = job
            ended, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY_S)
            take_mail()
            for reference in ended:
                watch.progress()
                done(running.pop(reference), _error_of(ray, reference))
            watch.check(waits_for)
    finally:
        for reference in running:
            with suppress(Exception):  # of a cluster that is no longer there
                ray.cancel(reference, force=True)


def _ready(waiting: Sequence[CellJob], running: Sequence[CellJob], most: int | None) -> list[CellJob]:
    """Return the cells to begin now: as many as may run, and none whose network another one is training."""
    taken = {network for job in running for network in job.networks}
    found: list[CellJob] = []
    for job in waiting:
        if most is not None and len(running) + len(found) >= most:
            break
        if not job.networks & taken:
            found.append(job)
            taken |= job.networks
    return found


def _need_of(resources: Resources, task: Task) -> Need:
    """Return what a cell asks for: a core, and a GPU as ``device`` says; with ``auto`` where there is one."""
    device = task.config.device
    return Need(1, int(device == "cuda" or (device == "auto" and resources.slots(Need(1, 1)) > 0)))


def _measure(job: CellJob, mailbox: Any, heartbeat: Heartbeat) -> None:
    """What a worker runs."""
    limit_threads(1)
    heartbeat()
    with _one_thread():
        job.measure(lambda line: mailbox.note.remote(line), heartbeat)


def _error_of(ray: Any, reference: Any) -> BaseException | None:
    """Return how a cell failed, None where it did not; IncompleteError where the node of this machine died."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause: BaseException = error.cause
        return cause
    except ray.exceptions.LocalRayletDiedError:
        raise IncompleteError(
            "Ray's node on this machine died, and every running cell with it",
            remedy="run the same command again: finished cells are kept; with fewer --workers if memory ran out",
        ) from None
    except ray.exceptions.RayError as error:
        return error if isinstance(error, DepthforgeError) else IncompleteError(f"its worker died: {in_words(error)}")
    return None
