"""Differential contrastive learning: sensor noise learnt from unpaired scans, geometry held by differences.

The published method, depth alone or conditioned on colour; see ``_one_way`` for how it is trained.
"""

from __future__ import annotations

import torch

from depthforge.registry import translators
from depthforge.translators.learned import Learned, LearnedConfig
from depthforge.translators.one_way_objectives import DclConfig, DclObjective

__all__ = ["Dcl"]


@translators.register("dcl")
class Dcl(Learned):
    """Clean depth to noisy depth by a generator that dcl trained."""

    class Config(DclConfig, LearnedConfig):
        """What it is trained with, and how its weights are used."""

    config: Config

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> DclObjective:
        """Return the networks and optimisers to train, initialised from ``random``."""
        assert isinstance(config, DclConfig)
        return DclObjective(config, random, device)
