"""A training on workers of Ray Train, which are started again, from the last checkpoint, when one dies.

Ray Train waits without end for workers that cannot be placed and for workers that have stopped, so it runs in a process
of its own, an actor beside this one, which watches and can end it: workers tell the driver's mailbox of every step and
how they end. (In a thread here it would outlive the connection to Ray and take the driver down with it.) Each worker
gets the same number of threads, as many as let all of them be placed on the nodes that are there. It changes the last
bits of what is learnt on a CPU, and is no part of a training's identity.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

from depthforge.errors import DepthforgeError, IncompleteError
from depthforge.manifest import TrainingSettings
from depthforge.progress import Progress
from depthforge.stages.cluster import STALL_LIMIT_S, Cluster, Need, Resources
from depthforge.stages.mailbox import Heartbeat, Mail, Mailbox, look
from depthforge.stages.sides import TrainingJob, threads_of_a_worker
from depthforge.stages.stall import StallWatch, Waiting
from depthforge.stages.training_plan import TrainingPlan
from depthforge.stages.training_worker import run_worker
from depthforge.training.loop import LoopReport

__all__ = ["need_of_worker", "train_on_ray"]

# An error that one worker told is raised after this, whatever the others wait for.
GRACE_S = 60.0
_LOOK_EVERY_S = 0.5


def train_on_ray(
    job: TrainingJob, address: str | None, progress: Progress, *, stall_limit_s: float = STALL_LIMIT_S
) -> LoopReport:
    """Train on ``training.workers`` workers of the cluster at ``address``, or of a local Ray.

    Raises what a worker raises that is one of our errors, IncompleteError when the workers kept dying or nothing has
    moved for ``stall_limit_s``, InputError when in that time no node had what a worker needs.
    """
    settings = job.plan.settings
    local_cores = max(len(os.sched_getaffinity(0)), settings.workers * job.num_threads)
    with Cluster.connect(address, None if address else local_cores) as cluster:
        need = need_of_worker(cluster.resources(), settings, None if address else job.num_threads)
        job = replace(job, num_threads=need.cores)
        if settings.device == "auto" and not need.gpus and cluster.resources().slots(Need(1, 1)):
            progress.warn(f"there are fewer GPUs than training.workers ({settings.workers}): the training uses none")
            job = replace(job, plan=_on_cpu(job.plan))
        fit = _Fit(cluster, job, need, stall_limit_s)
        try:
            # Ray prints of dead workers to standard output, which is for results.
            with redirect_stdout(sys.stderr):
                outcomes = _watched(cluster, fit, settings.workers, progress, stall_limit_s)
        finally:
            fit.end()
            shutil.rmtree(job.out / ".ray", ignore_errors=True)
    for rank in sorted(outcomes):
        if isinstance(outcomes[rank], DepthforgeError):
            raise outcomes[rank]
    if fit.failure is not None or 0 not in outcomes:
        said = str(fit.failure).strip().splitlines() if fit.failure is not None else []
        # Several workers cannot be had in this process.
        closer = "--inline --debug shows why" if settings.workers == 1 else "--debug shows what Ray Train raised"
        raise IncompleteError(
            "the training did not finish",
            where=job.out,
            found=said[-1] if said else "no worker said that it had finished",
            remedy=f"run the same command again: it goes on from the last checkpoint; {closer}",
        ) from fit.failure
    report: LoopReport = outcomes[0]
    return report


def need_of_worker(resources: Resources, settings: TrainingSettings, num_threads: int | None) -> Need:
    """Return what each worker asks for: a GPU as ``training.device`` says, and a core for each of its threads.

    ``num_threads`` None: as many as all workers can have on the nodes that are there. With ``device: auto`` GPUs are
    used when there is one for each worker.
    """
    workers = settings.workers
    gpus = int(settings.device == "cuda" or (settings.device == "auto" and resources.slots(Need(1, 1)) >= workers))
    if num_threads is None:
        num_threads = threads_of_a_worker(1, resources.most_cores(workers, gpus))
    return Need(num_threads, gpus)


def _on_cpu(plan: TrainingPlan) -> TrainingPlan:
    """Return the plan with workers that leave GPUs alone which were given to none of them."""
    return replace(plan, settings=plan.settings.model_copy(update={"device": "cpu"}))


class _Trainer:
    """The actor that Ray Train runs in: killed with all of its workers where the training is to end."""

    def fit(self, job: TrainingJob, mailbox: Any, heartbeat: Heartbeat, need: Need) -> None:
        """Train to the end; raises what Ray Train raises."""
        os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
        import ray.train.torch as ray_torch
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        ray_torch.TorchTrainer(
            _ray_worker,
            train_loop_config={"job": job, "mailbox": mailbox, "heartbeat": heartbeat},
            scaling_config=ScalingConfig(
                num_workers=job.plan.settings.workers,
                use_gpu=need.gpus > 0,
                resources_per_worker={"CPU": need.cores},
            ),
            torch_config=ray_torch.TorchConfig(backend="cpu:gloo,cuda:nccl" if need.gpus else "gloo"),
            run_config=RunConfig(
                name="run", storage_path=str(job.out / ".ray"), failure_config=FailureConfig(max_failures=3)
            ),
        ).fit()


class _Fit:
    """A training that has been started; ``failure`` is what Ray Train raised."""

    def __init__(self, cluster: Cluster, job: TrainingJob, need: Need, stall_limit_s: float) -> None:
        self.need = need
        self.mailbox = cluster.actor_here(Mailbox)
        self.failure: Exception | None = None
        self._ray = cluster.ray
        self._trainer = cluster.actor_here(_Trainer, max_restarts=0)
        heartbeat = Heartbeat(self.mailbox, Heartbeat.interval_of(stall_limit_s))
        self._running = self._trainer.fit.remote(job, self.mailbox, heartbeat, need)

    def has_ended(self, *, within_s: float) -> bool:
        """Wait for the end of the training, at most ``within_s``."""
        try:
            self._ray.get(self._running, timeout=within_s)
        except self._ray.exceptions.GetTimeoutError:
            return False
        except Exception as error:  # Ray wraps whatever happened in its own
            self.failure = error
        return True

    def end(self) -> None:
        """End the training and all of its workers, whatever they wait for."""
        self._ray.kill(self._trainer)


def _watched(cluster: Cluster, fit: _Fit, num_workers: int, progress: Progress, stall_limit_s: float) -> dict[int, Any]:
    """Show what the workers say until the training ends; return how each of them that said so ended."""
    watch = StallWatch(stall_limit_s, progress.warn)
    mail, failed_at = Mail(), None

    def waiting() -> Waiting:
        resources = cluster.resources()
        workers = f"{num_workers} worker{'s' * (num_workers != 1)} of the training"
        return Waiting(
            what=f"a step of the {workers}" if mail.signs else f"the {workers} to start",
            asked=str(fit.need) + (f" for each of {num_workers} workers" if num_workers > 1 else ""),
            has=str(resources),
            impossible=not mail.signs and resources.slots(fit.need) < num_workers,
            remedy="run the same command again: it goes on from the last checkpoint",
        )

    ended = False
    while not ended:
        ended = fit.has_ended(within_s=_LOOK_EVERY_S)
        latest = look(cluster.ray, fit.mailbox)
        if latest is not None:
            if latest.signs != mail.signs:
                watch.progress()
            for line in latest.lines:
                progress.note(line)
            mail = latest
        if any(isinstance(outcome, DepthforgeError) for outcome in mail.outcomes.values()):
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > GRACE_S:
                break
        if not ended:
            watch.check(waiting)
    return mail.outcomes


def _ray_worker(config: dict[str, Any]) -> None:
    import ray
    from ray.train import get_context

    mailbox, context = config["mailbox"], get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()

    def note(line: str) -> None:
        mailbox.note.remote(line)

    config["heartbeat"]()
    try:
        outcome: LoopReport | DepthforgeError = run_worker(
            config["job"], note, rank, world_size, stepped=config["heartbeat"]
        )
    except DepthforgeError as error:
        # Not Ray's to repeat: the same steps would end the same way.
        outcome = error
    ray.get(mailbox.end.remote(rank, outcome))
