"""What a training will do, resolved once from a manifest: all of the stage works from this plan.

What a manifest cannot ask for is refused here, before a folder is touched: a translator that is not learned, and a
batch that the workers cannot share evenly (each would silently take a smaller part, and the whole be another batch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from depthforge import registry
from depthforge.addresses import Address
from depthforge.errors import InputError
from depthforge.labels.catalogue import POSE, RGB
from depthforge.manifest import Manifest, PluginBlock, TrainingSettings
from depthforge.sources.fused import FusedConfig
from depthforge.stages.prepare import make_source
from depthforge.stages.recording import scans_of

if TYPE_CHECKING:
    from depthforge.translators.learned import Learned, LearnedConfig

__all__ = ["TrainingPlan", "plan_lines", "plan_training"]


@dataclass(frozen=True)
class TrainingPlan:
    """One training: the method with its options, the source of clean frames, and how (with the source of scans)."""

    translator: type[Learned]
    config: LearnedConfig
    clean: PluginBlock
    settings: TrainingSettings
    seed: int

    @property
    def out(self) -> Address:
        """Folder or URL of the translator, as the manifest has it."""
        return self.settings.out

    @property
    def sides(self) -> dict[str, tuple[PluginBlock, ...]]:
        """The sources of each side: ``clean`` and ``real``."""
        return {"clean": (self.clean,), "real": self.settings.recordings}

    @property
    def batch_per_worker(self) -> int:
        """Images of each side that one worker sees in a step."""
        return self.settings.batch_size // self.settings.workers

    def steps_per_epoch(self, num_clean: int) -> int:
        """Return the steps of one epoch over ``num_clean`` frames, those held out aside."""
        return self.settings.steps_per_epoch or max(1, num_clean // self.settings.batch_size)


def plan_training(manifest: Manifest, *, inline: bool = False) -> TrainingPlan:
    """Resolve how the translator of ``manifest`` is trained; ``inline``: in this process alone.

    Raises InputError when there is nothing to train, no word on how, or a batch that the workers cannot share.
    """
    if not manifest.translator.is_learned:
        raise InputError(
            f"the translator {manifest.translator.name} needs no training",
            where="translator.name",
            expected="a learned translator: hybrid, dcl, cut, cyclegan or coupled",
            remedy="depthforge synthesize MANIFEST converts right away",
        )
    if manifest.training is None:
        raise InputError(
            "the manifest does not say how to train",
            where="training",
            expected="a block with `real:` (the source of the real scans) and `out:` (where the translator goes)",
            remedy="see manifests/interiornet.yaml, or name trained weights in translator.weights",
        )
    settings = manifest.training
    _require_even_shares(settings.batch_size, settings.workers)
    if inline and settings.workers > 1:
        raise InputError(
            "one process cannot be several workers",
            where="--inline",
            expected="training.workers: 1",
            found=settings.workers,
            remedy="leave --inline out; or train with one worker, which is another training, to another training.out",
        )
    plan = TrainingPlan(
        translator=registry.translators.get(manifest.translator.name),
        config=cast("LearnedConfig", manifest.translator.config),
        clean=manifest.source,
        settings=settings,
        seed=manifest.seed,
    )
    _require_pairs(plan)
    _require_colour(plan)
    return plan


def _require_even_shares(batch_size: int, workers: int) -> None:
    if batch_size % workers == 0:
        return
    fewer = batch_size // workers * workers
    batch_sizes = [size for size in (fewer, fewer + workers) if size > 0]
    divisors = [number for number in range(1, batch_size + 1) if batch_size % number == 0]
    nearest = {
        max(number for number in divisors if number < workers),
        min((number for number in divisors if number > workers), default=divisors[-1]),
    }
    raise InputError(
        f"{workers} workers cannot share a batch of {batch_size} evenly",
        where="training.batch_size",
        expected=f"a multiple of training.workers, {workers}",
        found=batch_size,
        remedy=f"training.batch_size: {' or '.join(map(str, batch_sizes))}; "
        f"or training.workers (--workers): {' or '.join(map(str, sorted(nearest)))}",
    )


def _require_pairs(plan: TrainingPlan) -> None:
    """Raise InputError for a method whose scans have no truth to be held to, or one recording to leave out of one."""
    settings = plan.settings
    asked = "training.unseen" if settings.unseen else "training.leave_one_out"
    if (settings.unseen or settings.leave_one_out) and not plan.translator.paired:
        raise InputError(
            f"{plan.translator.name} is not held to single recordings",
            where=asked,
            expected="a translator that is trained on pairs: hybrid",
            remedy="depthforge evaluate CORPUS --real SCANS compares what any translator made with other scans",
        )
    named = [scans_of(block).flat() for block in settings.recordings]
    if any(scans_of(block).flat() in named for block in settings.unseen):
        raise InputError(
            "a recording that should be unseen is trained on",
            where="training.unseen",
            expected="recordings that are neither training.real nor one of training.more_real",
            remedy="take it out of one of them: what it gives itself is in the card's other figures",
        )
    if settings.leave_one_out and any(block in named[:place] for place, block in enumerate(named)):
        raise InputError(
            "a recording is named twice, and leaving one of them out leaves the other in",
            where="training.leave_one_out",
            expected="different recordings in training.real and training.more_real",
            remedy="name each once",
        )
    if settings.leave_one_out and len(settings.recordings) < 2:
        raise InputError(
            "one recording cannot be left out of one",
            where="training.leave_one_out",
            expected="two recordings or more: training.real and training.more_real",
            remedy="name another one in training.unseen, or set leave_one_out to false",
        )


def _require_colour(plan: TrainingPlan) -> None:
    """Raise InputError where a side, or an unseen recording, has no colour and the method takes it."""
    method = plan.translator(plan.config)
    settings = plan.settings
    real = {"training.real": settings.real}
    for name, blocks in (("more_real", settings.more_real), ("unseen", settings.unseen)):
        real |= {f"training.{name}[{number}]": block for number, block in enumerate(blocks)}
    looked_at = {"source": plan.clean} if RGB.name in method.trains_on("clean") else {}
    looked_at |= real if RGB.name in method.trains_on("real") else {}
    for where, block in looked_at.items():
        source = make_source(block)
        if RGB.name not in source.labels:
            raise InputError(
                "the recording has no colour, and the translator takes it",
                where=where,
                expected=f"a source of {block.name} that reads colour",
                remedy="say where colour lies, or train without it (`translator.colour: false`, `with_rgb: false`)",
            )
        source.close()


def plan_lines(plan: TrainingPlan, *, is_trained: bool) -> list[str]:
    """Return what the training would do, a line each; reads no image and prepares no source."""
    settings = plan.settings
    counts, first, bound = {}, [], dict.fromkeys(plan.sides, "")
    for name, blocks in plan.sides.items():
        counts[name] = 0
        for block in blocks:
            source = make_source(block)
            to_prepare = source.to_prepare()
            listed = source.frames() if to_prepare is None else source.candidates()
            counts[name] += sum(1 for _ in listed)
            if to_prepare is not None:
                first.append(f"  first     {to_prepare.task}")
                bound[name] = "at most " if to_prepare.drops_frames else ""
            own_truth = isinstance(block.config, FusedConfig)
            if name == "real" and plan.translator.paired and not own_truth and POSE.name in source.labels:
                first.append(f"  first     fuse the posed scans of {block.name} to their own truth, if they fit")
                bound[name] = "at most "
            source.close()
        counts[name] = min(settings.max_frames, counts[name])
    per_epoch = plan.steps_per_epoch(max(1, round(counts["clean"] * (1 - settings.held_out))))
    crops = f"crops of {settings.crop_px}x{settings.crop_px}" if settings.crop_px else "whole frames"
    steps = (settings.epochs + settings.decay_epochs) * per_epoch
    share = f" with {plan.batch_per_worker} of each side" if settings.workers > 1 else ""
    state = "trained already" if is_trained else "to be trained"
    return [
        f"plan of {plan.translator.name}: {state}; nothing was written",
        f"  out       {plan.out}",
        *first,
        f"  frames    {bound['clean']}{counts['clean']} clean, {bound['real']}{counts['real']} real; "
        f"the last {settings.held_out:.0%} held out",
        f"  steps     {steps} of {settings.batch_size} {crops} of each side: {settings.epochs} epochs of {per_epoch}, "
        f"{settings.decay_epochs} more with a falling learning rate",
        f"  workers   {settings.workers}{share}, device {settings.device}, {settings.precision}",
        f"  look at   {settings.evaluation_frames} held-out frames every {settings.evaluate_every} steps",
        *(
            [f"  then      hold it to recordings that it has not seen: {len(settings.unseen)}"]
            if settings.unseen
            else []
        ),
        *(
            [f"  then      {len(settings.recordings)} more trainings, each without one of the recordings"]
            if settings.leave_one_out
            else []
        ),
    ]
