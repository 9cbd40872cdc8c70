"""What enhancement and normals share: a depth image in, an image out, by one of two networks."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from depthforge.networks.disparity_unet import DisparityUNet
from depthforge.networks.enhancement import EnhancementNet
from depthforge.tasks.base import Task, TaskConfig

__all__ = ["DenseConfig", "DenseTask"]


class DenseConfig(TaskConfig):
    """Which network, and how large."""

    network: Literal["published", "small"] = Field(
        default="published", description="published: Jeon and Lee's; small: a U-Net on disparity, of 196,000 parameters"
    )
    width: int | None = Field(default=None, ge=4, multiple_of=4, description="channels; null: 64, of small 16")
    trunk_layers: int = Field(default=10, ge=1, description="convolutions in a trunk of the published network")
    published_gain: bool = Field(
        default=False, description="start transposed convolutions as the published code does by oversight"
    )
    baseline_m: float = Field(default=0.075, gt=0, description="of the sensor whose disparity `small` works in")


class DenseTask(Task):
    """A task whose network gives an image."""

    config: DenseConfig

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        """Draw every weight."""
        if isinstance(network, EnhancementNet):
            network.initialise(random, published_gain=self.config.published_gain)
        else:
            assert isinstance(network, DisparityUNet)
            network.initialise(random)

    def optimiser(self, network: nn.Module, learning_rate: float | None = None) -> torch.optim.Optimizer:
        """Return Adam as published; for ``small`` with the usual betas and a little weight decay."""
        if self.config.network == "published":
            return super().optimiser(network, learning_rate)
        rate = self.config.learning_rate if learning_rate is None else learning_rate
        return torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
