"""The folder that a training owns: whose it is, what it was trained from, and whether it is done.

``training.json`` says what the training depends on; another manifest is refused. ``card.json`` is written last: that it
is there says that the training is finished. One run at a time, by a kernel lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthforge import registry
from depthforge.durable import remove, storage_errors, try_lock, unlock, write_atomically
from depthforge.errors import CorpusBusyError, CorpusMismatchError, InputError
from depthforge.manifest import Manifest, TrainingSettings
from depthforge.stages.prepare import make_source
from depthforge.training.translator_card import CARD_FILE

__all__ = ["Claim", "identity_of", "is_trained", "plan_lines", "settings_of", "start_or_resume"]

IDENTITY_FILE = "training.json"
TRAINING_VERSION = 1
"""Raised whenever the same settings would train other weights."""


def settings_of(manifest: Manifest) -> TrainingSettings:
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


def is_trained(manifest: Manifest) -> bool:
    """True when the folder of ``training`` holds a finished translator of this manifest."""
    settings = settings_of(manifest)
    return (settings.out / CARD_FILE).exists() and identity_there(settings.out) == identity_of(manifest)


def plan_lines(manifest: Manifest) -> list[str]:
    """Return what :func:`train` would do, a line each; reads no image and prepares no source."""
    settings = settings_of(manifest)
    counts, first, bound = {}, [], dict.fromkeys(("clean", "real"), "")
    for name, block in (("clean", manifest.source), ("real", settings.real)):
        source = make_source(block)
        to_prepare = source.to_prepare()
        listed = source.frames() if to_prepare is None else source.candidates()
        counts[name] = min(settings.max_frames, sum(1 for _ in listed))
        if to_prepare is not None:
            first.append(f"  first     {to_prepare.task}")
            bound[name] = "at most " if to_prepare.drops_frames else ""
        source.close()
    trained = max(1, round(counts["clean"] * (1 - settings.held_out)))
    per_epoch = settings.steps_per_epoch or max(1, trained // settings.batch_size)
    crops = f"crops of {settings.crop_px}x{settings.crop_px}" if settings.crop_px else "whole frames"
    steps = (settings.epochs + settings.decay_epochs) * per_epoch
    state = "trained already" if is_trained(manifest) else "to be trained"
    return [
        f"plan of {manifest.translator.name}: {state}; nothing was written",
        f"  out       {settings.out}",
        *first,
        f"  frames    {bound['clean']}{counts['clean']} clean, {bound['real']}{counts['real']} real; "
        f"the last {settings.held_out:.0%} held out",
        f"  steps     {steps} of {settings.batch_size} {crops} of each side: {settings.epochs} epochs of {per_epoch}, "
        f"{settings.decay_epochs} more with a falling learning rate",
        f"  workers   {settings.workers}, device {settings.device}, {settings.precision}",
        f"  look at   {settings.evaluation_frames} held-out frames every {settings.evaluate_every} steps",
    ]


def identity_of(manifest: Manifest) -> dict[str, Any]:
    """What a training depends on: a folder of another one is refused."""
    settings = settings_of(manifest)
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


def identity_there(out: Path) -> Any:
    try:
        return json.loads((out / IDENTITY_FILE).read_text())
    except (OSError, ValueError):
        return None


class Claim:
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


def start_or_resume(out: Path, manifest: Manifest, overwrite: bool) -> None:
    identity, there = identity_of(manifest), identity_there(out)
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
                remove(path)
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
