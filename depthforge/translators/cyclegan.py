"""CycleGAN: a second generator takes the noise off again, and what returns must be what went in.

The variant of the published DCL code; see ``cycle_objective`` for how it is trained.
"""

from __future__ import annotations

import torch

from depthforge.registry import translators
from depthforge.translators.cycle_objective import CycleGanConfig, CycleGanObjective
from depthforge.translators.learned import LearnedConfig
from depthforge.translators.learned_depth import LearnedDepth, LearnedDepthConfig

__all__ = ["CycleGan"]


@translators.register("cyclegan")
class CycleGan(LearnedDepth):
    """Clean depth to noisy depth by a generator that cyclegan trained."""

    class Config(CycleGanConfig, LearnedDepthConfig):
        """What it is trained with, and how its weights are used."""

    config: Config

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> CycleGanObjective:
        """Return the networks and optimisers to train, initialised from ``random``."""
        assert isinstance(config, CycleGan.Config)
        return CycleGanObjective(config, random, device, steps=config.steps)
