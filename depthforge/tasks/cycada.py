"""CyCADA: a dense task brought to another sensor without labels, by its images first and its features then.

Four stages in one training, each a share of its steps: the task's network on labelled frames as they are; CycleGAN
between labelled and unlabelled depth, whose generators must not change what that network says of an image (semantic
consistency, the network frozen); the network on translated labelled frames, for half as many steps; and a
discriminator of its maps of features, which the network deceives on unlabelled frames at a tenth of the rate, only
while the discriminator is right more often than 60 % of the time. The labels of the target are never looked at.

The second stage costs what CycleGAN costs (six passes of a generator a step) and two passes of the network; the whole
about four trainings of the task. Batches and Adam are the task's, where the original has single images, SGD and 100,000
steps of the last stage.

Source: Hoffman et al., "CyCADA: cycle-consistent adversarial domain adaptation", ICML 2018, and two published
implementations; where it stands beside DCL: Shen et al., RA-L 2022, Tables II, IV and V.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from depthforge.networks.domains import MapDiscriminator
from depthforge.tasks.adaptation import NETWORK, AdaptationConfig, DenseTask, require_adaptable
from depthforge.tasks.base import Task, Tensors
from depthforge.training.dropout import drawing_from
from depthforge.training.objective import Batch, Objective, descend, frozen
from depthforge.translators.cycle_objective import CycleGanConfig, CycleGanObjective

__all__ = ["CycadaObjective", "Stages", "stages_of"]

_MOST_FEATURE_STEPS: Final = 1000
_FEATURE_RATE: Final = 0.1
_FEATURE_WEIGHT: Final = 0.1
_LEAST_ACCURACY: Final = 0.6
_REMEMBERED: Final = 100
_SOURCE: Final = 1


class Stages(NamedTuple):
    """Steps of each stage."""

    task: int
    pixels: int
    translated: int
    features: int


def stages_of(task_steps: int) -> Stages:
    """Return the stages of a task that takes ``task_steps`` by itself."""
    half = max(1, task_steps // 2)
    return Stages(task_steps, task_steps, half, min(half, _MOST_FEATURE_STEPS))


class ConsistentCycle(CycleGanObjective):
    """CycleGAN whose generators keep what a task's network says of an image; see ``keep``."""

    _task: Task
    _dense: DenseTask
    _network: torch.nn.Module
    _labelled: Tensors
    _weight: float

    def keep(self, task: Task, network: torch.nn.Module, weight: float) -> None:
        """Hold translated images to what ``network`` says of them: the truth, and of the target its own word."""
        assert isinstance(task, DenseTask)
        self._task, self._dense, self._network, self._weight = task, task, network, weight

    def step_of(self, labelled: Tensors, unlabelled: Tensors) -> dict[str, Tensor]:
        """Update generators and discriminators once."""
        self._labelled = labelled
        sides = ({"depth": self._dense.depth_of(side)} for side in (labelled, unlabelled))
        return self.step(Batch(*sides))

    def further_terms(self, batch: Batch, noisy: Tensor, cleaned: Tensor) -> dict[str, Tensor]:
        """Return what the network's verdict on both translations is off by."""
        if not self._weight:
            return {}
        was_training = self._network.training
        self._network.eval()
        with torch.no_grad():
            inputs = self._dense.inputs_of(batch.real["depth"])
            said = self._dense.targets_said(self._task.predict(self._network, inputs))
        terms = {}
        with frozen(self._network):
            for name, image, targets in (("semantic", noisy, self._labelled), ("semantic_real", cleaned, said)):
                prediction = self._task.predict(self._network, self._dense.inputs_of(image.clamp(0, 1)))
                terms[name] = self._weight * torch.stack(list(self._task.loss(prediction, targets).values())).sum()
        self._network.train(was_training)
        return terms


class CycadaObjective(Objective):
    """The stages one after the other; ``task_steps`` is what the task takes by itself (``stages_of``).

    The clean side of a batch is labelled inputs and targets, the real side inputs alone.
    """

    exported = (NETWORK,)

    def __init__(
        self,
        task: Task,
        config: AdaptationConfig,
        task_steps: int,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        learning_rate: float | None = None,
    ) -> None:
        require_adaptable(task, config)
        assert isinstance(task, DenseTask)
        super().__init__({}, random, device)
        self._task, self._dense, self._device = task, task, torch.device(device)
        self._stages, self._done = stages_of(task_steps), 0
        self._right: list[float] = []
        network = task.network()
        task.initialise(network, random)
        discriminator = MapDiscriminator(task.num_map_features())
        discriminator.initialise(random)
        self.cycle = ConsistentCycle(CycleGanConfig(width=config.width), random, device)
        self.cycle.keep(task, network, config.semantic_weight)
        self.networks = {NETWORK: network, "features": discriminator, **self.cycle.networks}
        for each in (network, discriminator):
            each.to(device).train()
        rate = task.config.learning_rate if learning_rate is None else learning_rate
        self.optimisers = {
            NETWORK: task.optimiser(network, learning_rate),
            "adapted": task.optimiser(network, _FEATURE_RATE * rate),
            "features": torch.optim.Adam(discriminator.parameters(), _FEATURE_RATE * rate, betas=(0.5, 0.999)),
            **self.cycle.optimisers,
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Do one step of the stage that is on; the one loss is that of the stage."""
        ends = [sum(self._stages[: place + 1]) for place in range(len(self._stages))]
        on = next((place for place, end in enumerate(ends) if self._done < end), len(ends) - 1)
        stage = (self._plain, self._pixels, self._translated, self._features)[on]
        with drawing_from(self.random, self._device):
            total = stage(batch)
        self._done += 1
        return {"total": total.detach()}

    def _plain(self, batch: Batch) -> Tensor:
        total = self._loss(batch.clean, batch.clean)
        descend(total, self.optimisers[NETWORK])
        return total

    def _pixels(self, batch: Batch) -> Tensor:
        return self.cycle.step_of(batch.clean, batch.real)["generator"]

    def _translated(self, batch: Batch) -> Tensor:
        total = self._loss(self._through(batch.clean), batch.clean)
        descend(total, self.optimisers[NETWORK])
        return total

    def _features(self, batch: Batch) -> Tensor:
        network, discriminator = self.networks[NETWORK], self.networks["features"]
        translated = self._through(batch.clean)
        with torch.no_grad():
            sides = [self._dense.predict_with_features(network, side)[1] for side in (batch.real, translated)]
        verdicts = [discriminator(side) for side in sides]
        goals = [torch.full_like(v[:, 0], goal, dtype=torch.int64) for goal, v in enumerate(verdicts)]
        judged = torch.stack([functional.cross_entropy(v, g) for v, g in zip(verdicts, goals, strict=True)]).mean()
        descend(judged, self.optimisers["features"])
        right = [(v.argmax(dim=1) == g).float().mean() for v, g in zip(verdicts, goals, strict=True)]
        self._right = [*self._right, float(torch.stack(right).mean())][-_REMEMBERED:]
        if sum(self._right) / len(self._right) > _LEAST_ACCURACY:
            with frozen(discriminator):
                seen = discriminator(self._dense.predict_with_features(network, batch.real)[1])
                goal = torch.full_like(seen[:, 0], _SOURCE, dtype=torch.int64)
                descend(_FEATURE_WEIGHT * functional.cross_entropy(seen, goal), self.optimisers["adapted"])
        total = self._loss(translated, batch.clean)
        descend(total, self.optimisers["adapted"])
        return total

    def _loss(self, inputs: Tensors, targets: Tensors) -> Tensor:
        terms = self._task.loss(self._task.predict(self.networks[NETWORK], inputs), targets)
        return torch.stack([term.float() for term in terms.values()]).sum()

    @torch.no_grad()
    def _through(self, labelled: Tensors) -> dict[str, Tensor]:
        """Return labelled inputs as the target's sensor would see them."""
        generator = self.networks["generator"].eval()
        noisy = generator(self._dense.depth_of(labelled))
        generator.train()
        return self._dense.inputs_of(noisy.clamp(0, 1))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            **super().state_dict(),
            "pools": self.cycle.state_dict()["pools"],
            "done": self._done,
            "right": list(self._right),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        super().load_state_dict(state)
        for name, pool in self.cycle.pools.items():
            pool.images = list(state["pools"][name])
        self._done, self._right = int(state["done"]), list(state["right"])
