"""What tells source from target by a network's features, and the sign that turns it against the network.

Two discriminators: of one feature (1,313,793 parameters for 256 numbers) and of a map of features, each of its
positions by itself. Trained to tell the domains apart, they say where features still differ; ``reverse_gradient``
between features and discriminator makes one step train both sides of the game. The alternative, two optimisers that
take turns, is what the discriminator of maps is used with.

Sources: Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016; Hoffman et al., "CyCADA:
cycle-consistent adversarial domain adaptation", ICML 2018.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FeatureDiscriminator", "MapDiscriminator", "reverse_gradient"]

_HIDDEN = 1024
_MAP_HIDDEN = (512, 256)


class FeatureDiscriminator(nn.Module):
    """Features (B, num_features) to one logit each, (B,), higher for the source."""

    def __init__(self, num_features: int, hidden: int = _HIDDEN) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(num_features, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(hidden, 1),
        )

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight (Glorot and Bengio, AISTATS 2010) from ``random``, in the order of the modules."""
        _initialise(self, random)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        out: Tensor = self.layers(features)[:, 0]
        return out


class MapDiscriminator(nn.Module):
    """Maps of features (B, num_features, h, w) to scores (B, 2, h, w) of target (0) and source (1)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        first, second = _MAP_HIDDEN
        self.layers = nn.Sequential(
            nn.Conv2d(num_features, first, 1),
            nn.Dropout2d(0.5),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 1),
            nn.Dropout2d(0.5),
            nn.ReLU(inplace=True),
            nn.Conv2d(second, 2, 1),
        )

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight (Glorot and Bengio, AISTATS 2010) from ``random``, in the order of the modules."""
        _initialise(self, random)

    def forward(self, features: Tensor) -> Tensor:
        """Return the scores, before any softmax."""
        out: Tensor = self.layers(features)
        return out


def _initialise(network: nn.Module, random: torch.Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, generator=random)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """Return ``x``, whose gradient is that of what follows times ``-strength``."""
    out: Tensor = _Reverse.apply(x, strength)  # type: ignore[no-untyped-call]
    return out
