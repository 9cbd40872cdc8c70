"""What a training loop needs from a method: its networks, their optimisers, and one step.

The loop owns everything else (batches, epochs, learning rates, checkpoints, devices of a cluster) and is the same for
every translator. A step is not a loss to be minimised, since the players of an adversarial method take turns; so the
order of passes and updates belongs to the method, and with it which batch norm statistics each pass sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from depthforge.networks.initialise import initialise
from depthforge.training.agreement import average, num_processes

__all__ = ["Batch", "Images", "Objective", "descend", "frozen"]


Images = Mapping[str, Tensor]
"""Images of one side by name, (B, C, H, W) float32 each: ``depth`` (C 1), ``rgb`` (C 3), what else a method sees."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean and real images, unpaired: what the method's own view of a frame (``Learned.images``) holds, stacked.

    An objective takes what it wants by name; the two sides need not have the same names, nor the same number of images.
    Of pairs the clean side is empty, and the real one holds both.
    """

    clean: Images
    real: Images

    @property
    def num_images(self) -> int:
        """Images of both sides together."""
        return sum(len(next(iter(side.values()))) for side in (self.clean, self.real) if side)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``; to a GPU through pinned memory, the only kind that copies meanwhile."""
        return Batch(
            *({name: _sent(images, device) for name, images in side.items()} for side in (self.clean, self.real))
        )


def _sent(images: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=True)


class Objective(ABC):
    """The networks of a method, in training mode, with their optimisers and one optimisation step.

    ``random`` is a CPU generator that the caller seeds: it draws the initial weights, in the order of ``networks``,
    then whatever the steps draw, and nothing else is random. It is part of the state, so a run resumed from
    ``state_dict`` equals the uninterrupted one. A step calls ``descend`` for every update: there the gradients of
    several processes are averaged, after which all hold the same weights.
    """

    exported: ClassVar[tuple[str, ...]] = ("generator",)
    """The networks that a translator needs, by their names in ``networks``."""

    watched_discriminator: ClassVar[str | None] = None
    """The network that tells real from generated images, shown them as they are; None where there is none like that."""

    def __init__(
        self, networks: Mapping[str, nn.Module], random: torch.Generator, device: torch.device | str = "cpu"
    ) -> None:
        self.networks = dict(networks)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.random = random
        for network in self.networks.values():
            initialise(network, random)
            network.to(device).train()

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update every network once and return the losses, weighted, as detached scalars on the device.

        Reading one waits for the device: the caller decides how often.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "networks": {name: network.state_dict() for name, network in self.networks.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "random": self.random.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``; one of another method or configuration is torch's error or a KeyError."""
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
            _lay_out_as_weights(optimiser)
        self.random.set_state(state["random"])


def _lay_out_as_weights(optimiser: torch.optim.Optimizer) -> None:
    """Give the moments of each weight its strides: a checkpoint keeps values, and the fused Adam of CUDA wants both."""
    for weight, kept in optimiser.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight).copy_(value)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Passes within give the weights of ``networks`` no gradient, while their inputs still get theirs."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


def descend(loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
    """One step of each of ``optimisers`` down the gradient of ``loss`` alone.

    Within a torch.distributed process group, down the mean of the gradients of all its processes. (The usual wrapper
    around a module, DistributedDataParallel, counts on one forward pass for a backward one; here a network is entered
    by several doors, several times, under losses that take turns.)
    """
    for optimiser in optimisers:
        optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if num_processes() > 1:
        weights = [weight for o in optimisers for group in o.param_groups for weight in group["params"]]
        _average_gradients([weight.grad for weight in weights if weight.grad is not None])
    for optimiser in optimisers:
        optimiser.step()


def _average_gradients(gradients: list[Tensor]) -> None:
    """Replace ``gradients`` by their mean over the processes, in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    average(flat)
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))
