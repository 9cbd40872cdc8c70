"""One cell of a comparison: a network trained on some frames, perhaps tuned on others, tested on a third lot.

A cell is known by what decides it: task, frames of each corpus by its fingerprint, steps, seed. What was measured is
kept under that name, written whole, so a comparison that was killed goes on behind its last finished cell, a changed
row is the only one that runs again, and another test trains nothing anew. Networks are kept apart: two rows that start
from the same training share it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from depthforge.addresses import Address
from depthforge.durable import locked, storage_errors, write_atomically
from depthforge.errors import IntegrityError
from depthforge.identity import fingerprint_of
from depthforge.tasks.adaptation import AdaptationConfig
from depthforge.tasks.base import Example, InputDepth, Metrics, Task, Tensors
from depthforge.tasks.judging import Predict, judge_given, judge_network, predictor
from depthforge.tasks.learning import TaskTraining, load_task_network, train_task
from depthforge.tasks.reading import Frames
from depthforge.translators.learned import choose_device

__all__ = ["Lesson", "Row", "cell_file", "measured_cell", "networks_of"]

CELL_VERSION: Final = 1
"""Raised whenever the same network and frames would give other figures; a task has a version of its own."""
_TUNING_RATE: Final = 0.1
_TUNING_SHARE: Final = 5
_KEYS: Final = "keys"

Note = Callable[[str], None]


@dataclass(frozen=True)
class Lesson:
    """Which frames of which corpus, and which of its depths is the input; as ``Frames`` has them."""

    corpus: Address
    input_depth: InputDepth
    split: str | None = None
    part: tuple[float, float] = (0.0, 1.0)
    every: int = 1
    labelled: bool = True

    def frames(self, task: Task) -> Frames:
        """Return the frames; raises as ``Frames`` does."""
        return Frames(
            self.corpus,
            task,
            self.input_depth,
            split=self.split,
            part=self.part,
            every=self.every,
            labelled=self.labelled,
        )


@dataclass(frozen=True)
class Row:
    """What is compared: a network trained on ``lesson`` and then, at a tenth of the rate, on ``tuning``.

    With ``adaptation`` it is brought to the frames of ``target``, without their labels, while it is trained. Without a
    lesson nothing is trained, and what the sensor gave is measured as it is.
    """

    name: str
    lesson: Lesson | None
    tuning: Lesson | None = None
    adaptation: AdaptationConfig | None = None
    target: Lesson | None = None


def measured_cell(
    task: Task,
    row: Row,
    seed: int,
    test: Frames,
    folder: Path,
    note: Note = lambda _: None,
    *,
    beat: Callable[[], None] = lambda: None,
) -> Metrics | None:
    """Return what a row measures on ``test`` with one seed: from ``folder``, or trained and tested now.

    None for a row without a lesson where the task's input says nothing. ``beat`` is called as each step and each tested
    frame ends. A network that another process is training is waited for, and then found trained. Raises as ``Frames``,
    ``train_task`` and ``judge_network`` do, and IntegrityError for a damaged cell.
    """
    trainings = _trainings(task, row, seed)
    path = cell_file(task, row, seed, test, folder)
    if path.exists():
        return _read(task, path)
    if not trainings:
        metrics = judge_given(task, test)
        if metrics is None:
            return None
    else:
        network = None
        for training, name in zip(trainings, networks_of(task, row, seed), strict=True):
            place = folder / "networks" / name
            started = TaskTraining(**{**_fields(training), "start": network})
            with storage_errors(place):
                place.parent.mkdir(parents=True, exist_ok=True)
            # The worker of a killed table outlives it by a second or so.
            with locked(place.with_name(f".{name}.lock")):
                train_task(started, place, lambda line: note(f"{row.name}, seed {seed}: {line}"), stepped=beat)
            network = place
        assert network is not None
        trained = load_task_network(task, network).to(choose_device(task.config.device))
        metrics = judge_network(task, test, _beating(predictor(task, trained), beat))
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _to_bytes(metrics))
    return metrics


def cell_file(task: Task, row: Row, seed: int, test: Frames, folder: Path) -> Path:
    """Return where a cell is kept; that it is there says that it is finished."""
    identity = {
        "version": CELL_VERSION,
        "task": {"name": task.name, "version": task.version, "identity": task.identity.to_json()},
        "trained": [training.identity() for training in _trainings(task, row, seed)],
        "test": {"corpus": test.fingerprint, "input": test.input_depth, "frames": fingerprint_of(test.keys)},
    }
    return folder / "cells" / f"{fingerprint_of(identity)[:16]}.npz"


def networks_of(task: Task, row: Row, seed: int) -> list[str]:
    """Return the names of the networks that a cell trains, one after the other; none for a row without a lesson.

    Cells with a name in common start from the same training.
    """
    identities = [training.identity() for training in _trainings(task, row, seed)]
    return [fingerprint_of(identities[: count + 1])[:16] for count in range(len(identities))]


def _beating(predict: Predict, beat: Callable[[], None]) -> Predict:
    def predicted(example: Example) -> Tensors:
        beat()
        return predict(example)

    return predicted


def _trainings(task: Task, row: Row, seed: int) -> list[TaskTraining]:
    """Return the trainings of a row, one after the other; the second goes on from the first."""
    if row.lesson is None:
        return []
    target = None if row.target is None else row.target.frames(task)
    first = TaskTraining(task, row.lesson.frames(task), seed, adaptation=row.adaptation, target=target)
    if row.tuning is None:
        return [first]
    config, frames = task.config, row.tuning.frames(task)
    # A fifth of the epochs (10 of 50), or of the steps.
    by_epochs = max(1, config.epochs // _TUNING_SHARE) * max(1, len(frames) // config.batch_size)
    steps = by_epochs if config.steps is None else max(1, config.steps // _TUNING_SHARE)
    return [first, TaskTraining(task, frames, seed, steps=steps, learning_rate=_TUNING_RATE * config.learning_rate)]


def _fields(training: TaskTraining) -> dict[str, Any]:
    return {name: getattr(training, name) for name in TaskTraining.__dataclass_fields__}


def _to_bytes(metrics: Metrics) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {**metrics.to_arrays(), _KEYS: np.array(metrics.keys, dtype=np.str_)}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _read(task: Task, path: Path) -> Metrics:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        keys = [str(key) for key in arrays.pop(_KEYS)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(
            "a finished cell cannot be read", where=path, found=error, remedy="remove it: it is then made again"
        ) from None
    return Metrics.from_arrays(task, keys, arrays)
