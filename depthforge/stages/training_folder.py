"""The folder that a training owns: whose it is, what it was trained from, and whether it is done.

``training.json`` says what the training depends on; another manifest is refused. ``card.json`` is written last: that it
is there says that the training is finished. One run at a time, by a kernel lock.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from depthforge.addresses import Address
from depthforge.durable import remove, storage_errors, try_lock, unlock, write_atomically
from depthforge.errors import CorpusBusyError, CorpusMismatchError, StorageError, told
from depthforge.identity import Identity, changed_fields, differences
from depthforge.stages.prepare import make_source
from depthforge.stages.training_plan import TrainingPlan
from depthforge.storage import open_storage
from depthforge.training.translator_card import CARD_FILE

__all__ = ["Claim", "identity_of", "is_trained", "start_or_resume"]

IDENTITY_FILE = "training.json"
TRAINING_VERSION = 2
"""Raised whenever the same settings would train other weights."""


def is_trained(plan: TrainingPlan) -> bool:
    """True when the folder of the plan holds the finished translator that it would train."""
    return open_storage(plan.out).exists(CARD_FILE) and identity_there(plan.out) == identity_of(plan)


def identity_of(plan: TrainingPlan) -> dict[str, Any]:
    """What a training depends on: a folder of another one is refused.

    The number of workers is in it: each draws its own crops, and batch norm sees the share of one.
    """
    free = frozenset({"out", "keep_checkpoints", "device", "watch", "real", "more_real", "unseen", "leave_one_out"})
    options = changed_fields(plan.config, without=plan.config.inference_fields)
    further = [make_source(block).identity.to_json() for block in plan.settings.more_real]
    return {
        "version": TRAINING_VERSION,
        "translator": Identity(plan.translator.name, plan.translator.version, options).to_json(),
        "training": changed_fields(plan.settings, without=free),
        **{name: make_source(blocks[0]).identity.to_json() for name, blocks in plan.sides.items()},
        **({"more_real": further} if further else {}),
        "seed": plan.seed,
    }


def identity_there(out: Address) -> Any:
    try:
        return json.loads(open_storage(out).read(IDENTITY_FILE))
    except StorageError:
        raise
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
            found=told(sorted(others)),
            remedy="choose another training.out; files that depthforge did not write are never removed",
        )
    if there is not None and there != identity:
        if not overwrite:
            raise CorpusMismatchError(
                "the directory holds a translator that was trained from something else",
                where=out,
                found="; ".join(differences(there, identity)),
                remedy="choose another training.out, or --overwrite to replace that translator",
            )
        for path in out.iterdir():
            if not path.name.startswith("."):
                remove(path)
    with storage_errors(out):
        write_atomically(out / IDENTITY_FILE, (json.dumps(identity, indent=2) + "\n").encode())
