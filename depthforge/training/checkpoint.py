"""Checkpoints: folders ``step-NNNNNNNN`` that are whole or absent, from which a training goes on as if never stopped.

Each holds ``weights.safetensors`` and ``card.json``, a translator that can be used, and ``state-R.safetensors`` for
each worker R: every weight, moment and image that the next step depends on. safetensors keeps tensors and no code; what
is no tensor lies beside them as JSON. 40 MB for DCL.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from depthforge.durable import remove, remove_temporaries, storage_errors, sync_directory, write_atomically
from depthforge.errors import IntegrityError, StorageError
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator

__all__ = ["Checkpoints"]

_NAME = re.compile(r"step-(\d{8})")
_TENSOR: Final = "$tensor"


class Checkpoints:
    """The checkpoints of one training, under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """The folder of the checkpoint after ``step`` steps."""
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Return the steps after which there is a checkpoint, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)))

    def begin(self, step: int) -> Path:
        """Return the folder that the parts of a new checkpoint are written to; :meth:`commit` makes them one."""
        path = self.folder / f".step-{step:08d}.tmp"
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def write_state(self, step: int, state: Mapping[str, Any], *, rank: int = 0) -> None:
        """Write what worker ``rank`` goes on from, as a part of checkpoint ``step``.

        Raises StorageError, with the checkpoints before it untouched, when there is no room.
        """
        tensors: dict[str, Tensor] = {}
        tree = _without_tensors(dict(state), "", tensors)
        content = save(tensors, metadata={"tree": json.dumps(tree, allow_nan=False)})
        folder = self.begin(step)
        with storage_errors(folder):
            free = shutil.disk_usage(folder).free
            if len(content) > free:
                raise StorageError(
                    "there is no room for a checkpoint",
                    where=self.folder,
                    expected=f"{len(content) / 2**20:.0f} MiB free",
                    found=f"{free / 2**20:.0f} MiB",
                    remedy="free some space, then run the same command again: it goes on from the last checkpoint",
                )
            write_atomically(folder / f"state-{rank}.safetensors", content)

    def write_weights(self, step: int, networks: Mapping[str, nn.Module], card: TranslatorCard) -> None:
        """Write the translator of checkpoint ``step``."""
        write_translator(self.begin(step), networks, card)

    def commit(self, step: int) -> None:
        """Make the parts of checkpoint ``step`` a checkpoint."""
        with storage_errors(self.folder):
            remove(self.path(step))
            os.replace(self.begin(step), self.path(step))
            sync_directory(self.folder)

    def read_state(self, step: int, *, rank: int = 0) -> dict[str, Any]:
        """Return what worker ``rank`` goes on from; IntegrityError when the file is damaged or not there."""
        path = self.path(step) / f"state-{rank}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                tree = json.loads(file.metadata()["tree"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                "the checkpoint cannot be read",
                where=path,
                found=error,
                remedy=f"remove {path.parent}: training then goes on from the checkpoint before it",
            ) from None
        state = _with_tensors(tree, tensors)
        assert isinstance(state, dict)
        return state

    def prune(self, keep: int, always: Iterable[int] = ()) -> None:
        """Remove all but the latest ``keep`` checkpoints and those of the steps ``always``, and parts of none."""
        wanted = {*self.steps()[-keep:], *always}
        for step in self.steps():
            if step not in wanted:
                remove(self.path(step))
        remove_temporaries(self.folder)


def _without_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON, its tensors moved to ``tensors`` under their path."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, Mapping):
        # Keys of an optimiser's state are integers, which JSON has none of: kept as pairs.
        return {"$items": [[key, _without_tensors(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(item, tensors) for key, item in value["$items"]}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value


def all_finite(networks: Mapping[str, nn.Module]) -> bool:
    """True when no weight is NaN or infinite; waits for the device once."""
    sound = [torch.isfinite(weight).all() for network in networks.values() for weight in network.parameters()]
    return bool(torch.stack(sound).all())
