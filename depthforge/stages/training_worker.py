"""What one worker of a training does: it builds the method, its batches and (the first one) the observer, and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from depthforge.realism.views import evenly_spaced, in_pairs
from depthforge.stages.depth_scorer import DepthScorer
from depthforge.stages.hole_scorer import HoleScorer
from depthforge.stages.observe import TrainingObserver
from depthforge.stages.sides import TrainingJob
from depthforge.stages.training_plan import TrainingPlan
from depthforge.training.agreement import failing_together
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.crops import CropBatches, frame_at
from depthforge.training.frames import DecodedFrames
from depthforge.training.loop import LoopReport, LoopSettings, TrainingLoop
from depthforge.training.memory import keep_freed_memory
from depthforge.training.objective import Batch
from depthforge.training.scoring import HeldOut
from depthforge.training.translator_card import TranslatorCard
from depthforge.translators.learned import choose_device

__all__ = ["card_of", "run_worker"]

_OF_THIS_MACHINE = {"out", "real", "more_real", "unseen"}
"""Settings that hold paths; the recordings are told by ``trained_on``."""


def run_worker(
    job: TrainingJob,
    note: Callable[[str], None],
    rank: int = 0,
    world_size: int = 1,
    *,
    stepped: Callable[[], None] = lambda: None,
) -> LoopReport:
    """Train as worker ``rank``; the process group, if any, is there. ``stepped`` is called before every step.

    What fails in one worker is raised by all (``training.agreement``).
    """
    with failing_together():
        loop = _prepared(job, note, rank, world_size, stepped)
    return loop.run()


def _prepared(
    job: TrainingJob, note: Callable[[str], None], rank: int, world_size: int, stepped: Callable[[], None]
) -> TrainingLoop:
    torch.set_num_threads(job.num_threads)
    keep_freed_memory()
    plan, settings = job.plan, job.plan.settings
    cls, config = plan.translator, plan.config
    assert world_size == settings.workers, f"{world_size} workers where the plan is for {settings.workers}"
    device = choose_device(settings.device)
    clean, clean_held = DecodedFrames.load(job.clean).split(settings.held_out)
    real, real_held = DecodedFrames.load(job.real).split(settings.held_out)
    batches = CropBatches(
        None if cls.paired else clean,
        real,
        cls(config).images,
        seed=plan.seed,
        batch_size=plan.batch_per_worker,
        crop_px=settings.crop_px,
        fixed_pairing=settings.fixed_pairing,
        rank=rank,
        world_size=world_size,
    )
    random = torch.Generator().manual_seed(plan.seed & (2**63 - 1))
    objective = cls.make_objective(config, random, device)
    loop_settings = LoopSettings(
        steps_per_epoch=plan.steps_per_epoch(len(clean)),
        epochs=settings.epochs,
        decay_epochs=settings.decay_epochs,
        evaluate_every=settings.evaluate_every,
        seed=plan.seed,
        patience=settings.patience,
        keep_checkpoints=settings.keep_checkpoints,
        precision=settings.precision,
        compile=settings.compile,
    )
    observer = None
    if rank == 0:
        held_out = _held_out(clean_held, real_held, plan)
        default = HoleScorer if cls.paired else DepthScorer
        scorer = cls.make_scorer(config, held_out) or default(cls, config, held_out)
        observer = TrainingObserver(scorer, loop_settings, job.out, card=card_of(job), note=note)

    def steps(first: int, last: int) -> Iterator[Batch]:
        for batch in batches.steps(first, last):
            stepped()
            yield batch

    checkpoints = Checkpoints(job.out / "checkpoints")
    return TrainingLoop(objective, steps, loop_settings, checkpoints, observer, device=device, rank=rank)


def _held_out(clean: DecodedFrames, real: DecodedFrames, plan: TrainingPlan) -> HeldOut:
    """Return the frames of an evaluation; real ones cost less than clean ones, and there are twice as many.

    Scans that are paired with their truth come with their neighbours, which see the same surfaces.
    """
    count = plan.settings.evaluation_frames
    chosen = (in_pairs if plan.translator.paired else evenly_spaced)(len(real), 2 * count)
    return HeldOut(
        [frame_at(clean, index) for index in evenly_spaced(len(clean), count)],
        [frame_at(real, index) for index in chosen],
        plan.seed,
        plan.settings.watch,
    )


def card_of(job: TrainingJob) -> TranslatorCard:
    """Return the card of what ``job`` trains, without its figures: nothing in it is of this machine."""
    cls, config = job.plan.translator, job.plan.config
    return TranslatorCard(
        translator=cls.name,
        version=cls.version,
        architecture=config.architecture,
        normalisation=config.scale,
        units=None if config.scale is None else "m",
        origin="trained",
        method=config.trained_with,
        trained_on=dict(job.trained_on),
        training={
            "fingerprint": job.fingerprint,
            "seed": job.plan.seed,
            **job.plan.settings.model_dump(mode="json", exclude=_OF_THIS_MACHINE),
        },
    )
