"""How the network of ``hybrid`` is trained: cross-entropy of holes, where there is truth to say what was there, and
the likelihood of residuals, where a surface is flat.

Crops are flipped upside down and their light is changed at random, so that exposure and a floor say nothing; left and
right stay, since shadows fall on one side. Colour is left out of some crops altogether: a network that can do without
it leans less on one room's colours. Geometry may be, where the truth is a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from depthforge.training.objective import Batch, Objective, descend
from depthforge.translators.hybrid_inputs import COLOUR_CHANNELS, GEOMETRY_CHANNELS
from depthforge.translators.hybrid_network import FREQUENCY, HybridNetwork
from depthforge.translators.hybrid_residual import likelihood

__all__ = ["HybridObjective", "HybridTraining"]

_SCALARS_FASTER = 10.0
_OF_GEOMETRY = [channel for channel in range(len(GEOMETRY_CHANNELS)) if channel != FREQUENCY]
_SLOPE_Y = GEOMETRY_CHANNELS.index("slope of disparity along y")


class HybridTraining(BaseModel):
    """What the network is trained with."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    colour: bool = Field(default=True, description="whether the network sees colour beside depth")
    learning_rate: float = Field(default=2e-3, gt=0, description="AdamW's step size")
    weight_decay: float = Field(default=1e-3, ge=0, description="AdamW's decay of weights")
    without_colour: float = Field(default=0.2, ge=0, le=1, description="share of the crops whose colour is left out")
    without_geometry: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the crops of which only the simulation's holes and colour are left, and no geometry: "
        "against a guess of the truth that shows where depth was missing",
    )
    light: float = Field(
        default=0.4,
        ge=0,
        le=2,
        description="how much the light of a crop varies: contrast by a factor of up to e^light",
    )


class HybridObjective(Objective):
    """The network, its optimiser and one step of it."""

    exported = ("holes",)

    def __init__(
        self,
        network: HybridNetwork,
        config: HybridTraining,
        random: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__({"holes": network}, random)
        network.initialise(random)
        network.to(device)
        self.config = config
        own = {id(each) for each in network.scalars}
        groups: list[dict[str, Any]] = [
            {"params": [each for each in network.parameters() if id(each) not in own]},
            # Numbers that no weight decay should draw to 0, and that must move by tenths.
            {"params": network.scalars, "lr": _SCALARS_FASTER * config.learning_rate, "weight_decay": 0.0},
        ]
        self.optimisers["holes"] = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the network once.

        ``bce`` is the mean cross-entropy of holes over pixels with truth, nats (the network's prior is not in it);
        ``residual``, where there is that head,
        the negative log likelihood of residuals over pixels that count, nats.
        """
        seen = self._varied(batch.real)
        network = self.networks["holes"]
        assert isinstance(network, HybridNetwork)
        logit, maps = network(seen["inputs"])
        each = functional.binary_cross_entropy_with_logits(logit, seen["hole"], reduction="none")
        bce = (each * seen["known"]).sum() / seen["known"].sum().clamp(min=1.0)
        loss = bce + network.prior_loss()
        told = {"bce": bce.detach()}
        if maps is not None:
            nll = likelihood(maps, network.truth_variance, seen["error"], seen["spread"], seen["counts"])
            told["residual"] = nll.detach()
            loss = loss + nll
        descend(loss, self.optimisers["holes"])
        return told

    def _varied(self, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs = seen["inputs"]
        chances = torch.rand((4, len(inputs), 1, 1, 1), generator=self.random).to(inputs)
        upside_down = chances[0] < 0.5
        turned = {name: torch.where(upside_down, image.flip(2), image) for name, image in seen.items()}
        inputs = turned["inputs"]
        inputs[:, _SLOPE_Y] *= torch.where(upside_down, -1.0, 1.0)[:, 0]
        geometry = inputs[:, _OF_GEOMETRY]
        inputs[:, _OF_GEOMETRY] = geometry * (chances[3] >= self.config.without_geometry).to(geometry)
        if self.config.colour:
            first = len(GEOMETRY_CHANNELS)
            colour = inputs[:, first : first + len(COLOUR_CHANNELS)]
            contrast = torch.exp(self.config.light * (2 * chances[1] - 1))
            kept = (chances[2] >= self.config.without_colour).to(colour)
            inputs[:, first : first + len(COLOUR_CHANNELS)] = colour * contrast * kept
        return turned
