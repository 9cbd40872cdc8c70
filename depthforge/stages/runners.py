"""Where shards run: in this process, or on Ray on this machine or a cluster (``crew``).

Ray carries references, never images: a worker takes a work item (keys and locators) and answers with a receipt.
The driver holds no more of the plan than the workers can have in flight. Work of lost workers and nodes is done again;
a shard that keeps failing is reported, and the run goes on with the others. Workers measured 0.87-0.97 of bare
multiprocessing here, Ray Data 0.73 and half when images pass through the object store.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from depthforge.stages.cluster import Cluster, RayOptions
from depthforge.stages.crew import Again, Crew
from depthforge.stages.mailbox import Heartbeat, Mailbox, look
from depthforge.stages.stall import StallWatch
from depthforge.stages.work import Job, Piece

__all__ = ["Done", "convert_on", "run_inline", "run_on_ray"]

Done = Callable[[Any], None]
"""Is given the receipt of a piece of work, or a :class:`depthforge.stages.crew.Failure`."""


def run_inline(items: Iterator[Piece], job: Job, done: Done) -> None:
    """Convert every shard in this process, one after the other."""
    with closing(job.open()) as worker:
        for item in items:
            done(worker.convert(item))


def run_on_ray(items: Iterator[Piece], job: Job, done: Done, options: RayOptions, warn: Callable[[str], None]) -> None:
    """Convert every shard on Ray, on this machine or at ``options.address``; see :func:`convert_on`."""
    with Cluster.connect(options.address, options.num_workers) as cluster:
        convert_on(cluster, items, job, done, options, warn)


def convert_on(
    cluster: Cluster,
    items: Iterator[Piece],
    job: Job,
    done: Done,
    options: RayOptions,
    warn: Callable[[str], None],
) -> None:
    """Convert every shard on ``cluster``; ``done`` gets a receipt or a failure for each, as they end.

    Raises StorageError at once when the output is full or unwritable, what a translator raises that cannot be loaded,
    IncompleteError when no worker can be kept alive or no frame has ended for ``stall_limit_s`` seconds, InputError
    when in that time no node had what a worker needs: never a silent hang.
    """
    interval_s = Heartbeat.interval_of(options.stall_limit_s)
    mailbox, signs = cluster.actor_here(Mailbox), 0
    watch = StallWatch(options.stall_limit_s, warn)
    crew = Crew(cluster, job, Heartbeat(mailbox, interval_s), options, warn)
    fresh, again = deque[Piece](), deque[Piece]()
    looked = time.monotonic()
    try:
        while True:
            fresh.extend(islice(items, max(0, crew.most_shards - len(fresh))))
            if not (fresh or again or crew.shards):
                return
            crew.resize(len(fresh) + len(again) + len(crew.shards))
            while (fresh or again) and crew.has_room():
                # What killed a worker comes last: it shall not keep the others from being made.
                crew.hand_over((fresh or again).popleft())
            ended, _ = cluster.ray.wait(crew.references, num_returns=1, timeout=interval_s)
            if not ended or time.monotonic() - looked >= interval_s:
                mail, looked = look(cluster.ray, mailbox, timeout_s=interval_s), time.monotonic()
                if mail is not None and (crew.hear(mail.places) | (mail.signs != signs)):
                    signs = mail.signs
                    watch.progress()
                for outcome in crew.end_hung():
                    if isinstance(outcome, Again):
                        again.append(outcome.item)
                        mailbox.leave.remote(outcome.item.shard)
                    else:
                        done(outcome)
            for reference in ended:
                if not crew.knows(reference):
                    continue  # of a worker that hung
                watch.progress()
                result = crew.take(reference)
                if isinstance(result, Again):
                    again.append(result.item)
                elif result is not None:
                    done(result)
            watch.check(crew.waiting)
    finally:
        crew.close()
