"""Contrastive unpaired translation: as DCL, but each place is compared with itself instead of pairs of places.

The variant of the published DCL code; see ``one_way_objectives`` for how it is trained.
"""

from __future__ import annotations

import torch

from depthforge.registry import translators
from depthforge.translators.learned import LearnedConfig
from depthforge.translators.learned_depth import LearnedDepth, LearnedDepthConfig
from depthforge.translators.one_way_objectives import CutConfig, CutObjective

__all__ = ["Cut"]


@translators.register("cut")
class Cut(LearnedDepth):
    """Clean depth to noisy depth by a generator that cut trained."""

    class Config(CutConfig, LearnedDepthConfig):
        """What it is trained with, and how its weights are used."""

    config: Config

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> CutObjective:
        """Return the networks and optimisers to train, initialised from ``random``."""
        assert isinstance(config, Cut.Config)
        return CutObjective(config, random, device, steps=config.steps)
