"""The folder that a training owns: whose it is, what it was trained from, and whether it is done.

``training.json`` says what the training depends on; another manifest is refused. ``card.json`` is written last: that it
is there says that the training is finished. One run at a time, by a kernel lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthforge.durable import remove, storage_errors, try_lock, unlock, write_atomically
from depthforge.errors import CorpusBusyError, CorpusMismatchError
from depthforge.stages.prepare import make_source
from depthforge.stages.training_plan import TrainingPlan
from depthforge.training.translator_card import CARD_FILE

__all__ = ["Claim", "identity_of", "is_trained", "start_or_resume"]

IDENTITY_FILE = "training.json"


def is_trained(plan: TrainingPlan) -> bool:
    """True when the folder of the plan holds the finished translator that it would train."""
    return (plan.out / CARD_FILE).exists() and identity_there(plan.out) == identity_of(plan)


def identity_of(plan: TrainingPlan) -> dict[str, Any]:
    """What a training depends on: a folder of another one is refused.

    The number of workers is in it: each draws its own crops, and batch norm sees the share of one.
    """
    free = {"out", "keep_checkpoints", "device", "watch", "real"}
    sides = {
        name: {**block.portable(), "adapter_version": make_source(block).adapter_version}
        for name, block in plan.sides.items()
    }
    return {
        "translator": {"name": plan.translator.name, "version": plan.translator.version, **plan.config.trained_with},
        "training": plan.settings.model_dump(mode="json", exclude=free),
        **sides,
        "seed": plan.seed,
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


def start_or_resume(out: Path, plan: TrainingPlan, overwrite: bool) -> None:
    """Make ``out``, the plan's folder, that of this training: CorpusMismatchError where it is another's."""
    identity, there = identity_of(plan), identity_there(out)
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
