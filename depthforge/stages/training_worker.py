"""What one worker of a training does: it builds the method, its batches and (the first one) the observer, and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from depthforge import registry
from depthforge.stages.observe import TrainingObserver
from depthforge.stages.sides import TrainingJob
from depthforge.stages.training_folder import settings_of
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.crops import CropBatches
from depthforge.training.frames import DecodedFrames
from depthforge.training.loop import LoopReport, LoopSettings, TrainingLoop
from depthforge.training.memory import keep_freed_memory
from depthforge.training.objective import Batch
from depthforge.training.translator_card import TranslatorCard
from depthforge.translators.learned import Learned, choose_device, image_of

__all__ = ["run_worker"]


def run_worker(
    job: TrainingJob,
    note: Callable[[str], None],
    rank: int = 0,
    world_size: int = 1,
    *,
    stepped: Callable[[], None] = lambda: None,
) -> LoopReport:
    """Train as worker ``rank``; the process group, if any, is there. ``stepped`` is called before every step."""
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

    def steps(first: int, last: int) -> Iterator[Batch]:
        for batch in batches.steps(first, last):
            stepped()
            yield batch

    checkpoints = Checkpoints(job.out / "checkpoints")
    return TrainingLoop(objective, steps, loop_settings, checkpoints, observer, device=device, rank=rank).run()


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
