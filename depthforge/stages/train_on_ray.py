"""A training on workers of Ray Train, which are started again, from the last checkpoint, when one dies."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from contextlib import redirect_stdout, suppress
from typing import Any

from depthforge.errors import DepthforgeError, IncompleteError
from depthforge.progress import Progress
from depthforge.stages.runners import RayOptions, import_ray, ray_session
from depthforge.stages.sides import TrainingJob
from depthforge.stages.training_worker import run_worker
from depthforge.training.loop import LoopReport
from depthforge.translators.learned import choose_device

__all__ = ["train_on_ray"]


def train_on_ray(job: TrainingJob, address: str | None, progress: Progress) -> LoopReport:
    """Train on workers of Ray Train, which are started again, from the last checkpoint, when one dies."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    ray = import_ray()
    settings = job.plan.settings
    with ray_session(ray, RayOptions(num_workers=None if address else len(os.sched_getaffinity(0)), address=address)):
        import ray.train.torch as ray_torch
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        use_gpu = settings.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
        if settings.device == "cuda" and not use_gpu:
            choose_device("cuda")
        mailbox = ray.remote(num_cpus=0)(_Mailbox).remote()
        trainer = ray_torch.TorchTrainer(
            _ray_worker,
            train_loop_config={"job": job, "mailbox": mailbox},
            scaling_config=ScalingConfig(
                num_workers=settings.workers, use_gpu=use_gpu, resources_per_worker={"CPU": job.num_threads}
            ),
            torch_config=ray_torch.TorchConfig(backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo"),
            run_config=RunConfig(
                name="run", storage_path=str(job.out / ".ray"), failure_config=FailureConfig(max_failures=3)
            ),
        )
        ended, failure = threading.Event(), None
        listener = threading.Thread(target=_listen, args=(ray, mailbox, progress, ended), daemon=True)
        listener.start()
        try:
            # Ray prints of dead workers to standard output, which is for results.
            with redirect_stdout(sys.stderr):
                trainer.fit()
        except Exception as error:  # Ray wraps whatever happened in its own
            failure = error
        finally:
            ended.set()
            listener.join(timeout=10)
            shutil.rmtree(job.out / ".ray", ignore_errors=True)
        outcome = ray.get(mailbox.outcome.remote())
    if isinstance(outcome, DepthforgeError):
        raise outcome
    if failure is not None or outcome is None:
        reason = str(failure).strip().splitlines()[-1] if failure else "no worker said that it had finished"
        raise IncompleteError(
            "the training did not finish",
            where=job.out,
            found=reason,
            remedy="run the same command again: it goes on from the last checkpoint; --inline --debug shows why",
        ) from failure
    report: LoopReport = outcome
    return report


class _Mailbox:
    """What workers tell the driver: lines as they come, and the outcome, a report or one of our errors."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._outcome: LoopReport | DepthforgeError | None = None

    def note(self, line: str) -> None:
        self._lines.append(line)

    def end(self, outcome: LoopReport | DepthforgeError) -> None:
        self._outcome = outcome

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def outcome(self) -> LoopReport | DepthforgeError | None:
        return self._outcome


def _listen(ray: Any, mailbox: Any, progress: Progress, ended: threading.Event) -> None:
    with suppress(Exception):  # the actor goes with the session
        while True:
            last = ended.wait(0.5)
            for line in ray.get(mailbox.take.remote()):
                progress.note(line)
            if last:
                return


def _ray_worker(config: dict[str, Any]) -> None:
    import ray
    from ray.train import get_context

    mailbox, context = config["mailbox"], get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()

    def note(line: str) -> None:
        mailbox.note.remote(line)

    try:
        outcome: LoopReport | DepthforgeError = run_worker(config["job"], note, rank, world_size)
    except DepthforgeError as error:
        # Not Ray's to repeat: the same steps would end the same way.
        outcome = error
    if rank == 0:
        ray.get(mailbox.end.remote(outcome))
