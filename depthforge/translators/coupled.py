"""Coupled (re-implementation): holes predicted from colour made to look real, noise from a network of its own.

The method of a paper without published code; see ``coupled_objective`` for what is known of it, what is our choice, and
how it is trained. A frame of 640x480 costs 148 GMAC, three times DCL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from depthforge.networks.generator import pad_to_multiple
from depthforge.networks.unet import UNET_MULTIPLE
from depthforge.registry import translators
from depthforge.translators.coupled_objective import CoupledConfig, CoupledObjective, coupled_networks
from depthforge.translators.learned import LearnedConfig
from depthforge.translators.learned_depth import LearnedDepth, LearnedDepthConfig
from depthforge.translators.surface_noise import HoleFields

__all__ = ["Coupled"]


@translators.register("coupled")
class Coupled(LearnedDepth):
    """Clean depth to noisy depth by Coupled (re-implementation): a noise network, and holes of translated colour."""

    class Config(CoupledConfig, HoleFields, LearnedDepthConfig):
        """What it is trained with, and how its weights are used."""

        # How holes are drawn may change after training: the hole network says probabilities, however they are drawn.
        drawing: ClassVar[frozenset[str]] = frozenset({"holes", *HoleFields.model_fields})
        inference_fields: ClassVar[frozenset[str]] = LearnedDepthConfig.inference_fields | drawing
        architecture_fields: ClassVar[tuple[str, ...]] = tuple(
            name for name in LearnedDepthConfig.architecture_fields if name not in {"holes", *HoleFields.model_fields}
        )

        holes: Literal["bernoulli", "threshold", "copula"] = Field(
            default="bernoulli",
            description="a pixel is a hole with the predicted probability, or where that is above 1/2; the first has "
            "the right number of them and is speckled, the second has their shape and drops what is unlikely; copula "
            "draws with the probability, as the first, holes of the sensor's size",
        )

        @property
        def draws_holes(self) -> bool:
            """Whether the networks are given the field that draws holes, in conversion."""
            return self.holes == "copula"

    config: Config
    version = 2

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> CoupledObjective:
        """Return the networks and optimisers to train, initialised from ``random``."""
        assert isinstance(config, Coupled.Config)
        return CoupledObjective(config, random, device, steps=config.steps)

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the networks that conversion needs, untrained."""
        assert isinstance(config, Coupled.Config)
        return coupled_networks(config, config.steps)

    @property
    def wanted(self) -> frozenset[str]:
        """Colour, always: the holes are read from it."""
        return frozenset({"rgb"})

    def infer(self, networks: Mapping[str, nn.Module], inputs: Tensor) -> Tensor:
        """Return the depth (B, 1, H, W), as a share of the range, of ``inputs`` (B, C, H, W): depth, noise, colour."""
        height, width = inputs.shape[-2:]
        inputs = pad_to_multiple(inputs, UNET_MULTIPLE)
        # The first channel of noise is the holes', the rest the noise network's own. A field for holes comes last.
        first_colour = 1 + self.config.noise_channels + self.config.anchored_channels
        colour = inputs[:, first_colour : first_colour + 3]
        chance = inputs[:, -1:] if self.config.draws_holes else inputs[:, 1:2]
        shape = torch.cat([inputs[:, :1], inputs[:, 2:first_colour]], dim=1)
        missing = torch.sigmoid(networks["holes"](networks["colour"](colour)).float())
        if self.config.holes != "threshold":
            is_hole = torch.special.ndtr(chance.float()) < missing
        else:
            is_hole = missing > 0.5
        depth: Tensor = networks["noise"](shape).float() * ~is_hole
        return depth[..., :height, :width]
