"""Differential contrastive learning: sensor noise learnt from unpaired scans, geometry held by differences.

The published method, depth alone or conditioned on colour; see ``one_way_objectives`` for how it is trained.
"""

from __future__ import annotations

import torch

from depthforge.registry import translators
from depthforge.translators.learned import LearnedConfig
from depthforge.translators.learned_depth import LearnedDepth, LearnedDepthConfig
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

__all__ = ["Dcl"]


@translators.register("dcl")
class Dcl(LearnedDepth):
    """Clean depth to noisy depth by a generator that dcl trained."""

    class Config(DclConfig, LearnedDepthConfig):
        """What it is trained with, and how its weights are used."""

    config: Config

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> DclObjective:
        """Return the networks and optimisers to train, initialised from ``random``."""
        assert isinstance(config, Dcl.Config)
        return DclObjective(config, random, device, steps=config.steps)
