"""The training loop, one for every translator and for one process or many.

The method's objective makes a step; the loop owns everything around it: which crops a step sees, the learning rate, the
device and its precision, when to look at what is learnt, checkpoints, and the decision to stop. All of it is a function
of (settings, seed, step): nothing random is carried from step to step, so a training that was killed and goes on from
its last checkpoint ends with the weights of one that was not (bit for bit on a CPU with the same number of threads).

With several processes each sees its share of the batch; gradients are averaged (``objective.descend``), decisions are
taken together, and what fails in one is raised by all (``agreement``), so that none waits for one that has stopped.
Batch norm sees the share of its own process; the first one's running statistics are kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from depthforge.errors import NotFiniteLossError, TrainingCollapsedError
from depthforge.networks.compiling import compile_network
from depthforge.networks.precision import Precision, arithmetic
from depthforge.seeding import frame_words
from depthforge.training.agreement import all_agree, failing_together, from_first, num_processes
from depthforge.training.checkpoint import Checkpoints, all_finite
from depthforge.training.objective import Batch, Objective

__all__ = ["Evaluated", "LoopReport", "LoopSettings", "Observer", "TrainingLoop", "learning_rate_factor"]


@dataclass(frozen=True)
class LoopSettings:
    """What the loop needs of a manifest's ``training`` block, resolved."""

    steps_per_epoch: int
    epochs: int
    decay_epochs: int
    evaluate_every: int
    seed: int
    patience: int | None = None
    keep_checkpoints: int = 2
    precision: Precision = "float32"
    compile: bool = False
    log_every: int = 10

    @property
    def num_steps(self) -> int:
        """Steps of the whole training."""
        return (self.epochs + self.decay_epochs) * self.steps_per_epoch


@dataclass(frozen=True)
class Evaluated:
    """What looking at a checkpoint gave: a ``score``, lower is better, ``figures``, and a reason to stop, if any."""

    score: float
    figures: Mapping[str, float]
    collapsed: TrainingCollapsedError | None = None


class Observer(Protocol):
    """What the first process tells of a training, and asks about it."""

    def logged(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Called every ``log_every`` steps with the mean losses since the last time."""

    def evaluate(self, step: int, objective: Objective) -> Evaluated:
        """Look at the networks, which are in evaluation mode; called at every checkpoint."""

    def save(self, step: int, objective: Objective, evaluated: Evaluated, checkpoints: Checkpoints) -> None:
        """Write what else belongs to checkpoint ``step``: the translator itself."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the next evaluation depends on, for the checkpoint."""

    def resumed(self, step: int, state: dict[str, Any]) -> None:
        """Called when the training goes on after ``step`` steps, with the state of then."""


@dataclass
class LoopReport:
    """How a training ended. ``best_step`` is that of the checkpoint to use."""

    num_steps: int
    best_step: int = 0
    best_score: float = sys.float_info.max
    stopped_early: bool = False
    resumed_from: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    figures: dict[int, dict[str, float]] = field(default_factory=dict)


def learning_rate_factor(epoch: int, epochs: int, decay_epochs: int) -> float:
    """Return the factor of the learning rate in ``epoch`` (from 0): 1, then linear to 0 behind the last epoch.

    Source: DCL's published schedule, 1 - max(0, e + 1 - 40) / 21 for 40 and 20 epochs.
    """
    return 1.0 - max(0, epoch + 1 - epochs) / (decay_epochs + 1)


class TrainingLoop:
    """One training of ``objective`` on ``batches``; see the module."""

    def __init__(
        self,
        objective: Objective,
        batches: Callable[[int, int], Iterator[Batch]],
        settings: LoopSettings,
        checkpoints: Checkpoints,
        observer: Observer | None,
        *,
        device: torch.device,
        rank: int = 0,
    ) -> None:
        # Channels innermost: 1.3 times as fast on a CPU, and what tensor cores want (``benchmarks.bench_training``).
        for network in objective.networks.values():
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if settings.compile:
                compile_network(network)
        self.objective = objective
        self.batches = batches
        self.settings = settings
        self.checkpoints = checkpoints
        self.observer = observer
        self.device = device
        self.rank = rank
        self.report = LoopReport(settings.num_steps)
        self._rates = {
            name: [group["lr"] for group in optimiser.param_groups] for name, optimiser in objective.optimisers.items()
        }

    def run(self) -> LoopReport:
        """Train from the last checkpoint, or from the start, to the end.

        Raises NotFiniteLossError and TrainingCollapsedError, StorageError when a checkpoint does not fit on the disk,
        IntegrityError when the last one is damaged; every process raises what the first that failed does. Checkpoints
        before that are kept.
        """
        with failing_together():
            return self._run()

    def _run(self) -> LoopReport:
        settings = self.settings
        first = self._resume()
        if self._stops(first):
            return self.report
        pending: list[dict[str, Tensor]] = []
        since = time.monotonic()
        for step, batch in enumerate(self.batches(first, settings.num_steps), start=first):
            self._set_learning_rate(step // settings.steps_per_epoch)
            self.objective.random.manual_seed(self._seed_of(step))
            pending.append(self._step(batch))
            done = step + 1
            checkpoint = done % settings.evaluate_every == 0 or done == settings.num_steps
            if checkpoint or done % settings.log_every == 0:
                losses = self._read(pending, done)
                elapsed = max(time.monotonic() - since, 1e-9)
                if self.observer is not None:
                    images = len(pending) * batch.num_images * num_processes()
                    self.observer.logged(done, losses, images / elapsed)
                pending.clear()
            if checkpoint:
                self._checkpoint(done)
                if self._stops(done):
                    break
            if checkpoint or not pending:
                since = time.monotonic()
        return self.report

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        moved = batch.to(self.device)
        with arithmetic(self.settings.precision, self.device):
            return self.objective.step(moved)

    def _seed_of(self, step: int) -> int:
        # torch seeds its CPU generator with 64 bits; the sign bit is left out for its sake.
        return frame_words(self.settings.seed, f"step/{step}/{self.rank}", "training")[0] >> 1

    def _set_learning_rate(self, epoch: int) -> None:
        factor = learning_rate_factor(epoch, self.settings.epochs, self.settings.decay_epochs)
        for name, optimiser in self.objective.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self._rates[name], strict=True):
                group["lr"] = rate * factor

    def _read(self, pending: list[dict[str, Tensor]], done: int) -> dict[str, float]:
        """Return the mean of each loss; raise NotFiniteLossError where one, or a weight, is not a number."""
        names = list(pending[0])
        values = torch.stack([torch.stack([losses[name].float() for name in names]) for losses in pending]).cpu()
        if not (values.isfinite().all() and all_finite(self.objective.networks)):
            bad = [
                (done - len(pending) + 1 + int(row), names[int(column)])
                for row, column in (~values.isfinite()).nonzero()
            ]
            step, name = bad[0] if bad else (done, "a weight")
            kept = self.checkpoints.steps()
            raise NotFiniteLossError.at(step, name, self.checkpoints.path(kept[-1]) if kept else None)
        all_agree()
        return dict(zip(names, values.double().mean(0).tolist(), strict=True))

    def _checkpoint(self, done: int) -> None:
        """Evaluate and write a checkpoint."""
        evaluated = self._evaluate(done) if self.observer is not None else None
        # What has collapsed is no checkpoint: a second try goes on before it.
        if evaluated is not None and evaluated.collapsed is not None:
            raise evaluated.collapsed
        all_agree()
        state = {"objective": self.objective.state_dict(), "report": asdict(self.report)}
        if self.observer is not None:
            state["observer"] = self.observer.state_dict()
        self.checkpoints.write_state(done, state, rank=self.rank)
        all_agree()
        if self.observer is not None and evaluated is not None:
            self.observer.save(done, self.objective, evaluated, self.checkpoints)
            self.checkpoints.commit(done)
            self.checkpoints.prune(self.settings.keep_checkpoints, always=[self.report.best_step])

    def _evaluate(self, done: int) -> Evaluated:
        assert self.observer is not None
        for network in self.objective.networks.values():
            network.eval()
        try:
            evaluated = self.observer.evaluate(done, self.objective)
        finally:
            for network in self.objective.networks.values():
                network.train()
        report = self.report
        report.scores[done] = evaluated.score
        report.figures[done] = dict(evaluated.figures)
        if evaluated.score < report.best_score:
            report.best_step, report.best_score = done, evaluated.score
        return evaluated

    def _stops(self, done: int) -> bool:
        """Return whether nothing has got better for too long, the same in every process.

        A function of the scores so far: a training that was killed as it stopped stops again.
        """
        patience = self.settings.patience
        later = [step for step in self.report.scores if step > self.report.best_step]
        stops = not all_agree(patience is None or len(later) < patience)
        self.report.stopped_early = stops and done < self.settings.num_steps
        return stops

    def _resume(self) -> int:
        steps = self.checkpoints.steps()
        # The listing of a shared folder may lag behind on another machine.
        last = from_first(steps[-1] if steps else 0)
        if last == 0:
            return 0
        state = self.checkpoints.read_state(last, rank=self.rank)
        self.objective.load_state_dict(state["objective"])
        self.report = LoopReport(**{**state["report"], "resumed_from": last})
        if self.observer is not None:
            self.observer.resumed(last, state["observer"])
        return last
