"""A task's network brought to another sensor with frames of it that have no labels: DANN and UAN.

Both let a discriminator tell labelled from unlabelled frames by the network's features, and push the features, through
a reversed gradient, to where it cannot. DANN weighs all examples alike. UAN weighs them by how sure the classes are and
how like the other side an example looks, so that what only one side has pulls at nothing; here both sides have the same
classes, and nothing is rejected. The target's labels are never looked at, and no checkpoint is chosen by them, as both
published codes do: the last one counts. CyCADA, for tasks on images, is ``tasks.cycada``.

Adam stands where the originals have SGD, with their factors of the learning rate, from the rate of the task. A step
costs two passes of the network in place of one.

Sources: Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016; You et al., "Universal domain
adaptation", CVPR 2019; where they stand beside DCL: Shen et al., RA-L 2022, Table III.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.domains import FeatureDiscriminator, reverse_gradient
from depthforge.tasks.base import Task, Tensors
from depthforge.training.dropout import drawing_from
from depthforge.training.objective import Batch, Objective, descend

__all__ = ["AdaptationConfig", "AdaptedObjective", "DenseTask", "FeatureTask", "require_adaptable", "unit_weights"]

NETWORK: Final = "network"
_TEMPERATURE: Final = 10.0


class AdaptationConfig(BaseModel):
    """How a network is brought to frames without labels; the defaults are the published discriminators."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["dann", "uan", "cycada"] = Field(
        description="dann: all examples alike; uan: weighed by likeness; cycada: images translated, then features"
    )
    hidden: int = Field(default=1024, ge=1, description="dann, uan: numbers in the hidden layers of a discriminator")
    weight: float = Field(default=1.0, ge=0, description="dann, uan: of the discriminators' losses")
    width: int = Field(default=32, ge=1, description="cycada: channels of the first layer of its generators")
    semantic_weight: float = Field(
        default=1.0, ge=0, description="cycada: of what the task's network must say of translated images; 0: left out"
    )


@runtime_checkable
class FeatureTask(Protocol):
    """A task whose network says one feature of an example, and everything else from it."""

    def features(self, network: nn.Module, inputs: Tensors) -> Tensor:
        """Return the features (B, C) of a batch of inputs."""

    def read(self, network: nn.Module, features: Tensor) -> dict[str, Tensor]:
        """Return what ``predict`` returns, from features; ``logits`` (B, classes) among it."""


@runtime_checkable
class DenseTask(Protocol):
    """A task whose inputs are images of depth, and whose network says a map of features on the way."""

    def depth_of(self, inputs: Tensors) -> Tensor:
        """Return the depth (B, 1, H, W) of inputs as a share of the task's range, 0 where nothing is measured."""

    def inputs_of(self, depth: Tensor) -> dict[str, Tensor]:
        """Return the inputs of such depth, in [0, 1], through which its gradient passes."""

    def predict_with_features(self, network: nn.Module, inputs: Tensors) -> tuple[dict[str, Tensor], Tensor]:
        """Return what ``predict`` returns, and the features (B, C, h, w) that domains are told apart by."""

    def num_map_features(self) -> int:
        """Return the C of those features; InputError for a network that cannot be adapted."""

    def targets_said(self, prediction: Tensors) -> dict[str, Tensor]:
        """Return what a prediction says as if it were the truth, detached."""


def require_adaptable(task: Task, config: AdaptationConfig) -> None:
    """Raise InputError for a task, or a network of it, that the method cannot bring to another sensor."""
    if config.method == "cycada":
        fits, wanted = isinstance(task, DenseTask), "a task on images of depth, as segmentation, normals and grasping"
    else:
        fits, wanted = isinstance(task, FeatureTask), "a task with one feature an example, as pose"
    if not fits:
        raise InputError(
            f"the task {task.name} cannot be brought to another sensor by {config.method}",
            expected=wanted,
            found=task.name,
        )
    if isinstance(task, DenseTask) and config.method == "cycada":
        task.num_map_features()


class AdaptedObjective(Objective):
    """A task's network, trained on the clean side of a batch with labels and on the real side without.

    ``num_steps`` is the length of the training: the pull on the features grows and the learning rate falls with the
    share of it that is done.
    """

    exported = (NETWORK,)

    def __init__(
        self,
        task: Task,
        config: AdaptationConfig,
        num_steps: int,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        learning_rate: float | None = None,
    ) -> None:
        super().__init__({}, random, device)
        require_adaptable(task, config)
        assert isinstance(task, FeatureTask)
        self._task, self._features, self._config = task, task, config
        self._num_steps, self._done = num_steps, 0
        self._device = torch.device(device)
        network = task.network()
        task.initialise(network, random)
        self.networks[NETWORK] = network
        names = ("adversary", "judge") if config.method == "uan" else ("adversary",)
        for name in names:
            discriminator = FeatureDiscriminator(int(network.num_features), config.hidden)  # type: ignore[arg-type]
            discriminator.initialise(random)
            self.networks[name] = discriminator
        for each in self.networks.values():
            each.to(device).train()
        self.optimisers[NETWORK] = task.optimiser(network, learning_rate)
        rate = task.config.learning_rate if learning_rate is None else learning_rate
        weights = [weight for name in names for weight in self.networks[name].parameters()]
        self.optimisers["discriminators"] = torch.optim.Adam(weights, rate, betas=(0.5, 0.999))

    @property
    def progress(self) -> float:
        """How far the training is, 0 to 1; UAN's schedule has run down after half of it."""
        share = self._done / self._num_steps
        return min(2 * share, 1.0) if self._config.method == "uan" else share

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Descend the task's loss and the discriminators' once, together."""
        with drawing_from(self.random, self._device):
            terms = self._dann(batch) if self._config.method == "dann" else self._uan(batch)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        factor = (1 + 10 * self.progress) ** -0.75
        groups = [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= factor
        descend(total, *self.optimisers.values())
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self._done += 1
        return {"total": total.detach(), **{name: term.detach() for name, term in terms.items()}}

    def _dann(self, batch: Batch) -> dict[str, Tensor]:
        network = self.networks[NETWORK]
        both = {name: torch.cat([batch.clean[name], value]) for name, value in batch.real.items()}
        features = self._features.features(network, both)
        count = len(features) - len(next(iter(batch.real.values())))
        terms = self._task.loss(self._features.read(network, features[:count]), batch.clean)
        logits = self.networks["adversary"](reverse_gradient(features, self._pull()))
        is_source = torch.zeros_like(logits)
        is_source[:count] = 1
        domain = functional.binary_cross_entropy_with_logits(logits, is_source)
        return {**terms, "domain": self._config.weight * domain}

    def _uan(self, batch: Batch) -> dict[str, Tensor]:
        network, pull = self.networks[NETWORK], self._pull()
        of_source, of_target = (self._features.features(network, side) for side in (batch.clean, batch.real))
        said, unsaid = (self._features.read(network, features) for features in (of_source, of_target))
        terms = self._task.loss(said, batch.clean)
        adversarial, judged, source_like = [], [], []
        for features, target in ((of_source, 1.0), (of_target, 0.0)):
            verdict = self.networks["judge"](features.detach())
            goal = torch.full_like(verdict, target)
            judged.append(functional.binary_cross_entropy_with_logits(verdict, goal))
            source_like.append(torch.sigmoid(verdict.detach()))
            logits = self.networks["adversary"](reverse_gradient(features, pull))
            adversarial.append(functional.binary_cross_entropy_with_logits(logits, goal, reduction="none"))
        weights = (
            unit_weights(_uncertainty(said["logits"] / _TEMPERATURE) - source_like[0]),
            unit_weights(source_like[1] - _uncertainty(unsaid["logits"])),
        )
        domain = torch.stack([(w * loss).mean() for w, loss in zip(weights, adversarial, strict=True)]).mean()
        judge = torch.stack(judged).mean()
        return {**terms, "domain": self._config.weight * domain, "judge": self._config.weight * judge}

    def _pull(self) -> float:
        return 2 / (1 + math.exp(-10 * self.progress)) - 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {**super().state_dict(), "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        super().load_state_dict(state)
        self._done = int(state["done"])


def unit_weights(raw: Tensor) -> Tensor:
    """Return weights (B,) of mean 1 that lie as ``raw`` does between its least and its largest; detached.

    All are 1 where ``raw`` is one number throughout.
    """
    raw = raw.detach()
    least, largest = raw.min(), raw.max()
    if largest == least:
        return torch.ones_like(raw)
    scaled = (raw - least) / (largest - least)
    return scaled / scaled.mean()


def _uncertainty(logits: Tensor) -> Tensor:
    """Return the entropy (B,) of the classes, 0 where sure, 1 where all are alike."""
    log = functional.log_softmax(logits.detach(), dim=1)
    return -(log.exp() * log).sum(dim=1) / math.log(logits.shape[1])
