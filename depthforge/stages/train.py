"""The training stage: a manifest's ``training`` block to a trained translator, from wherever the last run stopped.

The driver lists and decodes both sides; workers of Ray Train, or this process with ``inline``, run the loop
(``training.loop``) on the decoded frames. The first worker looks at held-out frames at every checkpoint: it translates
clean ones, compares them with real ones (``realism``), watches for collapse, and notes which checkpoint is the best.
That one becomes the translator. A worker that dies is started again and goes on from the last checkpoint.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from depthforge import registry
from depthforge.durable import storage_errors, try_lock, unlock, write_atomically
from depthforge.errors import (
    CorpusBusyError,
    CorpusMismatchError,
    DepthforgeError,
    IncompleteError,
    InputError,
    MissingDataError,
)
from depthforge.manifest import Manifest, TrainingSettings
from depthforge.seeding import fingerprint_of
from depthforge.sources.base import Source
from depthforge.stages.observe import TrainingObserver
from depthforge.stages.prepare import make_source
from depthforge.stages.runners import RayOptions, import_ray, ray_session
from depthforge.training.batches import CropBatches
from depthforge.training.card import CARD_FILE, TranslatorCard, read_card
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.frames import DecodedFrames, decode_frames, evenly, overlap, summarise_range
from depthforge.training.loop import LoopReport, LoopSettings, TrainingLoop
from depthforge.training.memory import keep_freed_memory
from depthforge.translators._learned import Learned, choose_device, image_of

__all__ = ["TrainingProgress", "TrainingReport", "is_trained", "plan_lines", "train"]

IDENTITY_FILE = "training.json"


class TrainingProgress(Protocol):
    """What watches a training."""

    def note(self, line: str) -> None:
        """A line of progress."""

    def warn(self, message: str) -> None:
        """Something is odd; the training goes on."""


class Quiet:
    """A progress that shows nothing."""

    def note(self, line: str) -> None: ...

    def warn(self, message: str) -> None: ...


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


@dataclass(frozen=True)
class TrainingJob:
    """What a worker needs: a manifest, where the decoded frames are, and how many threads it may use."""

    manifest: Manifest
    out: Path
    clean: Path
    real: Path
    num_threads: int
    fingerprint: str
    trained_on: Mapping[str, Any]


def is_trained(manifest: Manifest) -> bool:
    """True when the folder of ``training`` holds a finished translator of this manifest."""
    settings = _settings(manifest)
    return (settings.out / CARD_FILE).exists() and _identity_there(settings.out) == _identity(manifest)


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
    settings, progress = _settings(manifest), progress or Quiet()
    choose_device(settings.device) if address is None else None
    out = settings.out.absolute()
    with _Claim(out):
        _start_or_resume(out, manifest, overwrite)
        report = TrainingReport(str(settings.out), manifest.translator.name)
        if is_trained(manifest):
            card = read_card(out)
            report.nothing_to_do, report.best_step = True, int(card.training.get("best_step", 0))
            return report
        job = _prepare(manifest, out, inline, progress)
        loop = _run_inline(job, progress) if inline else _run_on_ray(job, address, progress)
        report.num_steps, report.best_step, report.best_score = loop.num_steps, loop.best_step, loop.best_score
        report.resumed_from, report.stopped_early = loop.resumed_from, loop.stopped_early
        report.scores, report.figures = loop.scores, loop.figures.get(loop.best_step, {})
        report.clean_frames = len(DecodedFrames.load(job.clean))
        report.real_frames = len(DecodedFrames.load(job.real))
        report.seconds = time.monotonic() - start
        _publish(job, loop, report.seconds)
        shutil.rmtree(out / "frames", ignore_errors=True)
    return report


def plan_lines(manifest: Manifest) -> list[str]:
    """Return what :func:`train` would do, a line each; reads no image."""
    settings = _settings(manifest)
    counts = {}
    for name, block in (("clean", manifest.source), ("real", settings.real)):
        source = make_source(block)
        counts[name] = min(settings.max_frames, sum(1 for _ in source.frames()))
        source.close()
    trained = max(1, round(counts["clean"] * (1 - settings.held_out)))
    per_epoch = settings.steps_per_epoch or max(1, trained // settings.batch_size)
    crops = f"crops of {settings.crop_px}x{settings.crop_px}" if settings.crop_px else "whole frames"
    steps = (settings.epochs + settings.decay_epochs) * per_epoch
    state = "trained already" if is_trained(manifest) else "to be trained"
    return [
        f"plan of {manifest.translator.name}: {state}; nothing was written",
        f"  out       {settings.out}",
        f"  frames    {counts['clean']} clean, {counts['real']} real; the last {settings.held_out:.0%} held out",
        f"  steps     {steps} of {settings.batch_size} {crops} of each side: {settings.epochs} epochs of {per_epoch}, "
        f"{settings.decay_epochs} more with a falling learning rate",
        f"  workers   {settings.workers}, device {settings.device}, {settings.precision}",
        f"  look at   {settings.evaluation_frames} held-out frames every {settings.evaluate_every} steps",
    ]


def _settings(manifest: Manifest) -> TrainingSettings:
    if not manifest.translator.is_learned:
        raise InputError(
            f"the translator {manifest.translator.name} needs no training",
            where="translator.name",
            expected="a learned translator: dcl, cut, cyclegan or coupled",
            remedy="depthforge synthesize MANIFEST converts right away",
        )
    if manifest.training is None:
        raise InputError(
            "the manifest does not say how to train",
            where="training",
            expected="a block with `real:` (the source of the real scans) and `out:` (where the translator goes)",
            remedy="see manifests/interiornet.yaml, or name trained weights in translator.weights",
        )
    return manifest.training


# --- the folder of a training


def _identity(manifest: Manifest) -> dict[str, Any]:
    """What a training depends on: a folder of another one is refused."""
    settings = _settings(manifest)
    translator = registry.translators.get(manifest.translator.name)
    free = {"out", "keep_checkpoints", "workers", "device", "watch", "real"}
    config: Any = manifest.translator.config
    return {
        "translator": {"name": manifest.translator.name, "version": translator.version, **config.trained_with},
        "training": settings.model_dump(mode="json", exclude=free),
        "clean": manifest.source.portable(),
        "real": settings.real.portable(),
        "seed": manifest.seed,
    }


def _identity_there(out: Path) -> Any:
    try:
        return json.loads((out / IDENTITY_FILE).read_text())
    except (OSError, ValueError):
        return None


class _Claim:
    """Holds the folder for this run: two trainings never write one."""

    def __init__(self, out: Path) -> None:
        self._lock = out / ".lock"
        self._handle: int | None = None

    def __enter__(self) -> None:
        with storage_errors(self._lock.parent):
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            self._handle = try_lock(self._lock)
        if self._handle is None:
            raise CorpusBusyError(
                "another run is training here",
                where=self._lock.parent,
                remedy="wait for it to end, or change training.out",
            )

    def __exit__(self, *failure: object) -> None:
        if self._handle is not None:
            unlock(self._lock, self._handle)


def _start_or_resume(out: Path, manifest: Manifest, overwrite: bool) -> None:
    identity, there = _identity(manifest), _identity_there(out)
    if there is None and (others := [p.name for p in out.iterdir() if not p.name.startswith(".")]):
        raise CorpusMismatchError(
            "the directory holds other files and no training of ours",
            where=out,
            found=", ".join(sorted(others)[:5]),
            remedy="choose another training.out; files that depthforge did not write are never removed",
        )
    if there is not None and there != identity:
        if not overwrite:
            changed = sorted(_changes(there, identity))
            raise CorpusMismatchError(
                "the directory holds a translator that was trained from something else",
                where=out,
                found="; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else ""),
                remedy="choose another training.out, or --overwrite to replace that translator",
            )
        for path in out.iterdir():
            if not path.name.startswith("."):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    with storage_errors(out):
        write_atomically(out / IDENTITY_FILE, (json.dumps(identity, indent=2) + "\n").encode())


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += _changes(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.append(f"{prefix}{name}: {old} -> {new}")
    return changed


# --- both sides, decoded


def _prepare(manifest: Manifest, out: Path, inline: bool, progress: TrainingProgress) -> TrainingJob:
    settings = _settings(manifest)
    config: Any = manifest.translator.config
    translator: Learned = registry.translators.get(manifest.translator.name)(config)
    sides = {"clean": make_source(manifest.source), "real": make_source(settings.real)}
    with_rgb = "rgb" in translator.wanted
    decoded = {
        name: _decoded(source, out / "frames" / name, settings.max_frames, with_rgb, name, progress)
        for name, source in sides.items()
    }
    ranges = {name: summarise_range(frames, name) for name, frames in decoded.items()}
    _warn_of_differences(decoded, ranges, progress)
    for frames in decoded.values():
        frames.split(settings.held_out)
    cores = len(os.sched_getaffinity(0))
    return TrainingJob(
        manifest=manifest,
        out=out,
        clean=out / "frames" / "clean",
        real=out / "frames" / "real",
        num_threads=max(1, cores // (1 if inline else settings.workers)),
        fingerprint=fingerprint_of(_identity(manifest)),
        trained_on={
            name: {
                "source": source.name,
                "licence": asdict(source.licence),
                "frames": len(decoded[name]),
                "size": list(decoded[name].size),
                "focal_px": decoded[name].camera.fx,
                "depth": str(ranges[name]),
            }
            for name, source in sides.items()
        },
    )


def _decoded(
    source: Source, folder: Path, most: int, with_rgb: bool, name: str, progress: TrainingProgress
) -> DecodedFrames:
    chosen = list(evenly(list(source.frames()), most))
    if not chosen:
        raise MissingDataError(
            f"the {name} side holds no frame", where=source.name, remedy="depthforge check MANIFEST says what is there"
        )
    wanted = frozenset({"rgb"}) if with_rgb else frozenset()
    last = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 30:
            last = time.monotonic()
            progress.note(f"decoding the {name} side: {done}/{total} frames")

    try:
        return decode_frames(
            folder,
            lambda index: source.read(chosen[index], wanted),
            len(chosen),
            source.size,
            with_rgb=with_rgb,
            name=name,
            note=note,
        )
    finally:
        source.close()


def _warn_of_differences(
    decoded: Mapping[str, DecodedFrames], ranges: Mapping[str, Any], progress: TrainingProgress
) -> None:
    """Say what will make the two sides look different besides the sensor."""
    common = overlap(ranges["clean"], ranges["real"])
    if common < 0.3:
        progress.warn(
            f"clean and real depth share {common:.0%} of their range: {ranges['clean']}; {ranges['real']}. "
            "The translator would learn the scenes' difference in depth as noise; check the units of both"
        )
    clean_px, real_px = decoded["clean"].camera.fx, decoded["real"].camera.fx
    if not 0.8 < clean_px / real_px < 1.25:
        progress.warn(
            f"a pixel covers different angles: focal lengths of {clean_px:g} px (clean) and {real_px:g} px (real). "
            "Noise is learnt at the scale of real pixels; resize one side"
        )


# --- running


def _loop(job: TrainingJob, note: Callable[[str], None], rank: int = 0, world_size: int = 1) -> LoopReport:
    """Train as worker ``rank``; the process group, if any, is there."""
    torch.set_num_threads(job.num_threads)
    keep_freed_memory()
    manifest, settings = job.manifest, _settings(job.manifest)
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
            **_settings(job.manifest).model_dump(mode="json", exclude={"out", "real"}),
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
    settings = _settings(job.manifest)
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


def _publish(job: TrainingJob, loop: LoopReport, seconds: float) -> None:
    """Make the best checkpoint the translator of the folder; its card comes last."""
    best = Checkpoints(job.out / "checkpoints").path(loop.best_step)
    card = read_card(best)
    training = {**card.training, "best_step": loop.best_step, "num_steps": loop.num_steps, "seconds": round(seconds, 1)}
    training["scores"] = {str(step): score for step, score in loop.scores.items()}
    with storage_errors(job.out):
        write_atomically(job.out / "weights.safetensors", (best / "weights.safetensors").read_bytes())
        write_atomically(job.out / CARD_FILE, card.model_copy(update={"training": training}).to_bytes())
