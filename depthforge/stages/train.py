"""The training stage: a manifest's ``training`` block to a trained translator, from wherever the last run stopped.

The driver lists and decodes both sides; workers of Ray Train, or this process with ``inline``, run the loop
(``training.loop``) on the decoded frames. The first worker looks at held-out frames at every checkpoint: it translates
clean ones, compares them with real ones (``realism``), watches for collapse, and notes which checkpoint is the best.
That one becomes the translator. A worker that dies is started again and goes on from the last checkpoint.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import DepthforgeError, InputError
from depthforge.manifest import Manifest
from depthforge.progress import Progress, Silent
from depthforge.stages.cluster import STALL_LIMIT_S
from depthforge.stages.sides import TrainingJob, decode_sides
from depthforge.stages.train_on_ray import train_on_ray
from depthforge.stages.training_folder import Claim, is_trained, start_or_resume
from depthforge.stages.training_mirror import mirrored
from depthforge.stages.training_plan import TrainingPlan, plan_training
from depthforge.stages.training_worker import run_worker
from depthforge.stages.unseen import LEFT_OUT, UNSEEN, judge_unseen, leave_each_out
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.curves import CURVES_FILE, draw_picture
from depthforge.training.frames import DecodedFrames
from depthforge.training.loop import LoopReport
from depthforge.training.translator_card import CARD_FILE, read_card
from depthforge.translators.learned import choose_device

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
    unseen: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def train(
    manifest: Manifest,
    *,
    inline: bool = False,
    address: str | None = None,
    stall_limit_s: float = STALL_LIMIT_S,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainingReport:
    """Train the manifest's translator into ``training.out``, or go on where an earlier run stopped.

    Raises InputError when the manifest cannot be trained (``plan_training``) or a side is empty or too small,
    CorpusMismatchError when the folder holds a training of something else, NotFiniteLossError and
    TrainingCollapsedError, StorageError when the disk is full, IncompleteError when the workers kept dying or
    none has made a step for ``stall_limit_s`` seconds.
    Checkpoints are kept in all of these.
    """
    progress = progress or Silent()
    if manifest.training is not None and isinstance(manifest.training.out, str):
        if address is not None:
            raise InputError(
                "a training on a cluster writes to a folder that every node reaches",
                where="training.out",
                expected="a folder; without --address, an object store as well",
                found=manifest.training.out,
                remedy="train into a shared folder, and copy it; translator.weights takes the copy",
            )
        with mirrored(manifest.training.out, progress) as folder:
            settings = manifest.training.model_copy(update={"out": folder})
            again = partial(train, stall_limit_s=stall_limit_s, overwrite=overwrite, progress=progress)
            report = again(manifest.model_copy(update={"training": settings}), inline=inline)
        report.out = manifest.training.out
        return report
    start = time.monotonic()
    plan = plan_training(manifest, inline=inline)
    choose_device(plan.settings.device) if address is None else None
    assert isinstance(plan.out, Path)
    out = plan.out.absolute()
    with Claim(out):
        start_or_resume(out, plan, overwrite)
        report = TrainingReport(str(plan.out), plan.translator.name)
        if is_trained(plan):
            card = read_card(out)
            report.nothing_to_do, report.best_step = True, int(card.training.get("best_step", 0))
        else:
            _train(plan, out, report, inline, address, stall_limit_s, progress)
            report.seconds = time.monotonic() - start
        if plan.settings.unseen:
            judge_unseen(plan, out, progress)
    if plan.settings.leave_one_out:
        again = partial(
            train, inline=inline, address=address, stall_limit_s=stall_limit_s, overwrite=overwrite, progress=progress
        )
        leave_each_out(manifest, again)
    figures = read_card(out).figures
    report.unseen, report.left_out = figures.get(UNSEEN, []), figures.get(LEFT_OUT, [])
    return report


def _train(
    plan: TrainingPlan,
    out: Path,
    report: TrainingReport,
    inline: bool,
    address: str | None,
    stall_limit_s: float,
    progress: Progress,
) -> None:
    start = time.monotonic()
    job = decode_sides(plan, out, inline, progress)
    try:
        if inline:
            loop = _run_inline(job, progress)
        else:
            loop = train_on_ray(job, address, progress, stall_limit_s=stall_limit_s)
    except Exception:
        # What failed is what one wants to see most; that it cannot be drawn must not hide why it failed.
        with suppress(DepthforgeError):
            draw_picture(out)
        raise
    if (out / CURVES_FILE).exists():
        draw_picture(out)
    report.num_steps, report.best_step, report.best_score = loop.num_steps, loop.best_step, loop.best_score
    report.resumed_from, report.stopped_early = loop.resumed_from, loop.stopped_early
    report.scores, report.figures = loop.scores, loop.figures.get(loop.best_step, {})
    report.clean_frames = len(DecodedFrames.load(job.clean))
    report.real_frames = len(DecodedFrames.load(job.real))
    publish(job, loop, time.monotonic() - start)
    shutil.rmtree(out / "frames", ignore_errors=True)


def _run_inline(job: TrainingJob, progress: Progress) -> LoopReport:
    before = torch.get_num_threads()
    try:
        return run_worker(job, progress.note)
    finally:
        torch.set_num_threads(before)


def publish(job: TrainingJob, loop: LoopReport, seconds: float) -> None:
    """Make the best checkpoint the translator of the folder; its card comes last."""
    best = Checkpoints(job.out / "checkpoints").path(loop.best_step)
    card = read_card(best)
    training = {**card.training, "best_step": loop.best_step, "num_steps": loop.num_steps, "seconds": round(seconds, 1)}
    training["scores"] = {str(step): score for step, score in loop.scores.items()}
    with storage_errors(job.out):
        write_atomically(job.out / "weights.safetensors", (best / "weights.safetensors").read_bytes())
        write_atomically(job.out / CARD_FILE, card.model_copy(update={"training": training}).to_bytes())
