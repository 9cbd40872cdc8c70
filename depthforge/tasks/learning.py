"""Training of a task's network on a corpus, by the one training loop: deterministic, and resumed from checkpoints.

A step is a pure function of (seed, step): which frames, which crops. Frames come in random order, each once before any
comes twice, read through the corpus' torch dataset by a DataLoader; a frame that gives no example (a crop without
depth) is drawn again, a few times, then the next one is taken. The last checkpoint is the network: choosing one by
held-out frames of a training corpus gains little with a falling learning rate, and by real ones would be cheating.

``out`` holds checkpoints while training, then ``weights.safetensors`` and ``card.json``, written last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from depthforge.corpus.datasets import stream_order
from depthforge.durable import remove, storage_errors, write_atomically
from depthforge.errors import CorpusMismatchError, InputError
from depthforge.identity import differences, fingerprint_of
from depthforge.seeding import frame_generator
from depthforge.tasks.adaptation import AdaptationConfig, AdaptedObjective, require_adaptable
from depthforge.tasks.base import Task, Tensors, View
from depthforge.tasks.cycada import CycadaObjective, stages_of
from depthforge.tasks.reading import Frames
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.dropout import drawing_from
from depthforge.training.loop import Evaluated, LoopSettings, TrainingLoop
from depthforge.training.objective import Batch, Objective, descend
from depthforge.training.translator_card import CARD_FILE, WEIGHTS_FILE, TranslatorCard, read_card
from depthforge.training.weights import load_networks
from depthforge.translators.learned import choose_device

__all__ = ["StepBatches", "TaskObjective", "TaskTraining", "load_task_network", "train_task"]

NETWORK: Final = "network"
TASK_TRAINING_VERSION: Final = 1
"""Raised whenever the same settings would train other weights."""
_IDENTITY_FILE: Final = "training.json"
_TRIES: Final = 8
_CHECKPOINT_EVERY: Final = 250

Draw = Callable[[View, np.random.Generator], Tensors | None]


@dataclass(frozen=True)
class TaskTraining:
    """One training: of what, on which frames, from which weights, for how long.

    ``start`` is the folder of a trained network of the same task to go on from, None for weights drawn from ``seed``.
    ``steps`` and ``learning_rate`` are the configuration's where None. With ``adaptation`` the network learns from the
    frames of ``target`` besides, and never sees their labels. InputError where crops are larger than frames, and where
    the task cannot be adapted.
    """

    task: Task
    frames: Frames
    seed: int = 0
    start: Path | None = None
    steps: int | None = None
    learning_rate: float | None = None
    adaptation: AdaptationConfig | None = None
    target: Frames | None = None

    def __post_init__(self) -> None:
        if (self.adaptation is None) != (self.target is None):
            raise InputError("adaptation and the frames that it brings a network to are said together")
        if self.adaptation is not None:
            require_adaptable(self.task, self.adaptation)
        for frames in (self.frames, self.target):
            if frames is not None:
                frames.require_larger_than(self.task.config.crop_px)

    @property
    def num_steps(self) -> int:
        """Steps in all: those of the task, and of cycada's further stages."""
        if self.adaptation is not None and self.adaptation.method == "cycada":
            return sum(stages_of(self.task_steps))
        return self.task_steps

    @property
    def task_steps(self) -> int:
        """Steps on labelled frames as they are."""
        config = self.task.config
        if self.steps is not None:
            return self.steps
        return config.steps or config.epochs * max(1, len(self.frames) // config.batch_size)

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights, as plain data."""
        return {
            "version": TASK_TRAINING_VERSION,
            "task": self.task.training_identity.to_json(),
            "corpus": self.frames.fingerprint,
            "input": self.frames.input_depth,
            "frames": fingerprint_of(self.frames.keys),
            "seed": self.seed,
            "steps": self.num_steps,
            "learning_rate": self.learning_rate or self.task.config.learning_rate,
            "start": None if self.start is None else read_card(self.start).weights_sha256,
            **self._adaptation_identity(),
        }

    def _adaptation_identity(self) -> dict[str, Any]:
        if self.adaptation is None or self.target is None:
            return {}
        return {
            "adaptation": self.adaptation.model_dump(mode="json"),
            "target": {
                "corpus": self.target.fingerprint,
                "input": self.target.input_depth,
                "frames": fingerprint_of(self.target.keys),
            },
        }


def train_task(
    training: TaskTraining,
    out: Path,
    note: Callable[[str], None] = lambda _: None,
    *,
    stepped: Callable[[], None] = lambda: None,
) -> TranslatorCard:
    """Train into ``out``, or go on where an earlier run stopped; return the card of the finished network.

    ``stepped`` is called before every step.

    CorpusMismatchError where ``out`` holds another training, NotFiniteLossError, StorageError, and what reading the
    corpus raises; checkpoints are kept in all of these.
    """
    identity = training.identity()
    if _is_of(out, identity) and (out / CARD_FILE).exists():
        return read_card(out)
    _claim(out, identity)
    task, config = training.task, training.task.config
    random = torch.Generator().manual_seed(training.seed & (2**63 - 1))
    device = choose_device(config.device)
    num_steps = training.num_steps
    objective = _objective(training, random, device)
    if training.start is not None:
        load_networks(training.start, {NETWORK: objective.networks[NETWORK]})
    falling = min(num_steps - 1, round(config.decay * num_steps))
    settings = LoopSettings(
        steps_per_epoch=1,
        epochs=num_steps - falling,
        decay_epochs=falling,
        evaluate_every=_CHECKPOINT_EVERY,
        seed=training.seed,
        keep_checkpoints=1,
        log_every=50,
    )
    checkpoints = Checkpoints(out / "checkpoints")
    observer = _LastIsBest(training, identity, num_steps, note)
    batches = StepBatches(task, training.frames, training.seed, training.target)

    def counted(first: int, last: int) -> Iterator[Batch]:
        for batch in batches.steps(first, last):
            stepped()
            yield batch

    loop = TrainingLoop(objective, counted, settings, checkpoints, observer, device=device)
    report = loop.run()
    last = checkpoints.path(report.num_steps)
    with storage_errors(out):
        write_atomically(out / WEIGHTS_FILE, (last / WEIGHTS_FILE).read_bytes())
        write_atomically(out / CARD_FILE, (last / CARD_FILE).read_bytes())
        remove(checkpoints.folder)
    return read_card(out)


def _objective(training: TaskTraining, random: torch.Generator, device: torch.device) -> Objective:
    task, rate = training.task, training.learning_rate
    if training.adaptation is None:
        return TaskObjective(task, random, device, rate)
    if training.adaptation.method == "cycada":
        return CycadaObjective(task, training.adaptation, training.task_steps, random, device, rate)
    return AdaptedObjective(task, training.adaptation, training.num_steps, random, device, rate)


def load_task_network(task: Task, folder: Path) -> torch.nn.Module:
    """Return the trained network of ``folder`` in evaluation mode, on the CPU; raises as ``load_networks``."""
    network = task.network()
    card = load_networks(folder, {NETWORK: network})
    if card.translator != f"task {task.name}":
        raise InputError(
            "the weights are of something else", where=folder, expected=f"task {task.name}", found=card.translator
        )
    return network.eval()


class TaskObjective(Objective):
    """The network of a task and its optimiser: one loss, one update a step."""

    exported = (NETWORK,)

    def __init__(
        self,
        task: Task,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        learning_rate: float | None = None,
    ) -> None:
        network = task.network()
        super().__init__({}, random, device)
        task.initialise(network, random)
        self._task, self._device = task, torch.device(device)
        self.networks[NETWORK] = network.to(device).train()
        self.optimisers[NETWORK] = task.optimiser(network, learning_rate)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Descend the sum of the loss' terms once; inputs and targets are the real side of the batch, by name."""
        with drawing_from(self.random, self._device):
            prediction = self._task.predict(self.networks[NETWORK], batch.real)
        terms = self._task.loss(prediction, batch.real)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        descend(total, self.optimisers[NETWORK])
        return {"total": total.detach(), **{name: term.detach() for name, term in terms.items()}}


class StepBatches(Dataset[Batch]):
    """The batch of each step, inputs and targets by name: a pure function of (seed, step).

    Without ``target`` they are the real side of the batch; with it they are the clean side, and the real side are
    inputs of as many examples of ``target``. InputError when the frames give no example however often they are drawn.
    """

    def __init__(self, task: Task, frames: Frames, seed: int, target: Frames | None = None) -> None:
        self._task, self._frames, self._seed, self._target = task, frames, seed, target

    def __getitem__(self, step: int) -> Batch:
        size = self._task.config.batch_size
        labelled = _stacked([self._drawn(self._frames, self._labelled, step * size + k, k, step) for k in range(size)])
        if self._target is None:
            return Batch({}, labelled)
        draw = self._task.draw_unlabelled
        return Batch(
            labelled, _stacked([self._drawn(self._target, draw, step * size + k, size + k, step) for k in range(size)])
        )

    def _labelled(self, view: View, random: np.random.Generator) -> Tensors | None:
        example = self._task.draw(view, random)
        return None if example is None else {**example.inputs, **example.targets}

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``last`` - 1, each read while the one before is in use."""
        workers = self._task.config.loader_workers
        yield from self._read_by_processes(first, last, workers) if workers else self._read_by_a_thread(first, last)

    def _read_by_processes(self, first: int, last: int, workers: int) -> Iterator[Batch]:
        loader: DataLoader[Batch] = DataLoader(
            self, batch_size=None, sampler=range(first, last), num_workers=workers, collate_fn=_as_it_is
        )
        yield from loader

    def _read_by_a_thread(self, first: int, last: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.__getitem__, first) if first < last else None
            for step in range(first, last):
                assert coming is not None
                batch = coming.result()
                coming = pool.submit(self.__getitem__, step + 1) if step + 1 < last else None
                yield batch

    def _drawn(self, frames: Frames, draw: Draw, number: int, place: int, step: int) -> Tensors:
        count = len(frames)
        random = frame_generator(self._seed, f"example/{step}/{place}", f"task {self._task.name}")
        for later in range(count):
            epoch, index = divmod(number + later, count)
            view = frames[int(_order(self._seed, epoch, count)[index])]
            for _ in range(_TRIES):
                tensors = draw(view, random)
                if tensors is not None:
                    return tensors
        raise InputError(
            f"no frame holds anything that the task {self._task.name} could learn from",
            where=frames.corpus,
            expected="measured depth and truth in the same places",
            found=f"{count} frames, drawn {_TRIES} times each",
        )


def _stacked(examples: Sequence[Tensors]) -> dict[str, Tensor]:
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def _as_it_is(batch: Any) -> Any:
    return batch


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return stream_order(count, "full", seed=seed, epoch=epoch)


class _LastIsBest:
    """Tells of a training and writes its network at every checkpoint; the last one counts."""

    def __init__(
        self, training: TaskTraining, identity: Mapping[str, Any], num_steps: int, note: Callable[[str], None]
    ) -> None:
        self._training, self._identity, self._num_steps, self._note = training, identity, num_steps, note
        self._losses: Mapping[str, float] = {}

    def logged(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        self._losses = losses
        told = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self._note(f"step {step} of {self._num_steps}: {told}, {images_per_second:.0f} examples/s")

    def evaluate(self, step: int, objective: Objective) -> Evaluated:
        return Evaluated(float(self._num_steps - step), dict(self._losses))

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        task = self._training.task
        card = TranslatorCard(
            translator=f"task {task.name}",
            version=task.version,
            architecture=task.config.model_dump(mode="json", exclude=set(task.config.local_fields)),
            normalisation=None,
            origin="trained",
            trained_on={"corpus": self._training.frames.fingerprint, "frames": len(self._training.frames)},
            training={**self._identity, "step": step},
            figures=dict(evaluated.figures),
        )
        exported = {name: objective.networks[name] for name in objective.exported}
        checkpoints.write_weights(step, exported, card)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        self._note(f"resuming from the checkpoint of step {step}")


def _is_of(out: Path, identity: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads((out / _IDENTITY_FILE).read_text()) == identity)
    except (OSError, ValueError):
        return False


def _claim(out: Path, identity: Mapping[str, Any]) -> None:
    """Make ``out`` the folder of this training; CorpusMismatchError where it is another's."""
    path = out / _IDENTITY_FILE
    if path.exists() and not _is_of(out, identity):
        there = json.loads(path.read_text())
        raise CorpusMismatchError(
            "the folder holds a network that was trained from something else",
            where=out,
            found="; ".join(differences(there, identity)),
            remedy="choose another folder, or remove that one",
        )
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(identity, indent=2) + "\n").encode())
