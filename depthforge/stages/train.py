"""The training stage: a manifest's ``training`` block to a trained translator, from wherever the last run stopped.

The driver lists and decodes both sides; workers of Ray Train, or this process with ``inline``, run the loop
(``training.loop``) on the decoded frames. The first worker looks at held-out frames at every checkpoint: it translates
clean ones, compares them with real ones (``realism``), watches for collapse, and notes which checkpoint is the best.
That one becomes the translator. A worker that dies is started again and goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from depthforge import registry
from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import (
    DepthforgeError,
    IncompleteError,
)
from depthforge.manifest import Manifest
from depthforge.stages.observe import TrainingObserver
from depthforge.stages.runners import RayOptions, import_ray, ray_session
from depthforge.stages.sides import Quiet, TrainingJob, TrainingProgress, decode_sides
from depthforge.stages.training_folder import Claim, is_trained, settings_of, start_or_resume
from depthforge.training.batches import CropBatches
from depthforge.training.card import CARD_FILE, TranslatorCard, read_card
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.frames import DecodedFrames
from depthforge.training.loop import LoopReport, LoopSettings, TrainingLoop
from depthforge.training.memory import keep_freed_memory
from depthforge.translators._learned import Learned, choose_device, image_of

__all__ = ["TrainingReport", "train"]


@dataclass
class TrainingReport:
    """What a training did, and the translator that it left."""

    out: str
    translator: str
    nothing_to_do: bool = False
    num_steps: int = 0
    best_step: int = 0
    best_score: float = 0.0
    resumed_from: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    clean_frames: int = 0
    real_frames: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def train(
    manifest: Manifest,
    *,
    inline: bool = False,
    address: str | None = None,
    overwrite: bool = False,
    progress: TrainingProgress | None = None,
) -> TrainingReport:
    """Train the manifest's translator into ``training.out``, or go on where an earlier run stopped.

    Raises InputError when the manifest has nothing to train or a side is empty or too small, CorpusMismatchError when
    the folder holds a training of something else, NotFiniteLossError and TrainingCollapsedError, StorageError when the
    disk is full, IncompleteError when the workers kept dying. Checkpoints are kept in all of these.
    """
    start = time.monotonic()
    settings, progress = settings_of(manifest), progress or Quiet()
    choose_device(settings.device) if address is None else None
    out = settings.out.absolute()
    with Claim(out):
        start_or_resume(out, manifest, overwrite)
        report = TrainingReport(str(settings.out), manifest.translator.name)
        if is_trained(manifest):
            card = read_card(out)
            report.nothing_to_do, report.best_step = True, int(card.training.get("best_step", 0))
            return report
        job = decode_sides(manifest, out, inline, progress)
        loop = _run_inline(job, progress) if inline else _run_on_ray(job, address, progress)
        report.num_steps, report.best_step, report.best_score = loop.num_steps, loop.best_step, loop.best_score
        report.resumed_from, report.stopped_early = loop.resumed_from, loop.stopped_early
        report.scores, report.figures = loop.scores, loop.figures.get(loop.best_step, {})
        report.clean_frames = len(DecodedFrames.load(job.clean))
        report.real_frames = len(DecodedFrames.load(job.real))
        report.seconds = time.monotonic() - start
        publish(job, loop, report.seconds)
        shutil.rmtree(out / "frames", ignore_errors=True)
    return report


def _loop(job: TrainingJob, note: Callable[[str], None], rank: int = 0, world_size: int = 1) -> LoopReport:
    """Train as worker ``rank``; the process group, if any, is there."""
    torch.set_num_threads(job.num_threads)
    keep_freed_memory()
    manifest, settings = job.manifest, settings_of(job.manifest)
    config: Any = manifest.translator.config
    cls: type[Learned] = registry.translators.get(manifest.translator.name)
    device = choose_device(settings.device)
    clean, clean_held = DecodedFrames.load(job.clean).split(settings.held_out)
    real, real_held = DecodedFrames.load(job.real).split(settings.held_out)
    with_rgb = "rgb" in cls(config).wanted
    batches = CropBatches(
        clean,
        real,
        partial(_image_alone, config=config, with_rgb=with_rgb),
        seed=manifest.seed,
        batch_size=max(1, settings.batch_size // world_size),
        crop_px=settings.crop_px,
        fixed_pairing=settings.fixed_pairing,
        rank=rank,
        world_size=world_size,
    )
    random = torch.Generator().manual_seed(manifest.seed & (2**63 - 1))
    objective = cls.make_objective(config, random, device)
    loop_settings = LoopSettings(
        steps_per_epoch=settings.steps_per_epoch or max(1, len(clean) // settings.batch_size),
        epochs=settings.epochs,
        decay_epochs=settings.decay_epochs,
        evaluate_every=settings.evaluate_every,
        seed=manifest.seed,
        patience=settings.patience,
        keep_checkpoints=settings.keep_checkpoints,
        precision=settings.precision,
    )
    observer = None
    if rank == 0:
        observer = TrainingObserver(
            cls, config, settings, loop_settings, clean_held, real_held, job.out, card=_card(job, cls), note=note
        )
    checkpoints = Checkpoints(job.out / "checkpoints")
    return TrainingLoop(objective, batches.steps, loop_settings, checkpoints, observer, device=device, rank=rank).run()


def _image_alone(frame: Any, config: Any, with_rgb: bool) -> Any:
    return image_of(frame, config, with_rgb=with_rgb)[0]


def _card(job: TrainingJob, cls: type[Learned]) -> TranslatorCard:
    config: Any = job.manifest.translator.config
    return TranslatorCard(
        translator=cls.name,
        version=cls.version,
        architecture=config.architecture,
        normalisation=config.scale,
        origin="trained",
        method=config.trained_with,
        trained_on=dict(job.trained_on),
        training={
            "fingerprint": job.fingerprint,
            "seed": job.manifest.seed,
            **settings_of(job.manifest).model_dump(mode="json", exclude={"out", "real"}),
        },
    )


def _run_inline(job: TrainingJob, progress: TrainingProgress) -> LoopReport:
    before = torch.get_num_threads()
    try:
        return _loop(job, progress.note)
    finally:
        torch.set_num_threads(before)


def _run_on_ray(job: TrainingJob, address: str | None, progress: TrainingProgress) -> LoopReport:
    """Train on workers of Ray Train, which are started again, from the last checkpoint, when one dies."""
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    ray = import_ray()
    settings = settings_of(job.manifest)
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
            torch_config=ray_torch.TorchConfig(backend="nccl" if use_gpu else "gloo"),
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


def _listen(ray: Any, mailbox: Any, progress: TrainingProgress, ended: threading.Event) -> None:
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
        outcome: LoopReport | DepthforgeError = _loop(config["job"], note, rank, world_size)
    except DepthforgeError as error:
        # Not Ray's to repeat: the same steps would end the same way.
        outcome = error
    if rank == 0:
        ray.get(mailbox.end.remote(outcome))


def publish(job: TrainingJob, loop: LoopReport, seconds: float) -> None:
    """Make the best checkpoint the translator of the folder; its card comes last."""
    best = Checkpoints(job.out / "checkpoints").path(loop.best_step)
    card = read_card(best)
    training = {**card.training, "best_step": loop.best_step, "num_steps": loop.num_steps, "seconds": round(seconds, 1)}
    training["scores"] = {str(step): score for step, score in loop.scores.items()}
    with storage_errors(job.out):
        write_atomically(job.out / "weights.safetensors", (best / "weights.safetensors").read_bytes())
        write_atomically(job.out / CARD_FILE, card.model_copy(update={"training": training}).to_bytes())
