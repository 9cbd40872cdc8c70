"""The network of ``hybrid``: how likely a pixel is to be lost, given what the physics says of it, and how it errs.

The physics is a prior that is trusted, not an input that may be learnt away: P = 1 - (1 - P_physics)(1 - sigmoid(h)),
where P_physics is the frequency of holes over its drawings and 3x3 pixels, taken through a logistic function of two
learnt numbers, and h is the map of a ``HoleNet``. What the network has not learnt (h far below 0) is
left to the physics: so it is in a room unlike those that it was trained in.

A second head gives the maps of ``hybrid_residual``. It reads features of the first and does not train them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.hole_net import HoleNet
from depthforge.translators.hybrid_inputs import GEOMETRY_CHANNELS
from depthforge.translators.hybrid_residual import RESIDUAL_MAPS, ResidualMaps

__all__ = ["FREQUENCY", "HybridNetwork"]

FREQUENCY = GEOMETRY_CHANNELS.index("frequency of holes in the simulation, over 3x3 pixels")
"""The channel of its inputs that P_physics is read from."""
_HIDDEN = 16
_TRUTH = -3.0
"""Softplus of this is the variance of the truth, in typical errors, that training starts from."""
_TRUST, _OFFSET, _DOUBT = 0.8, -1.0, 0.1
"""What P_physics starts from: k of n drawings count as (k + doubt) / (n + 2 doubt), never and always being uncertain,
and the logit of that is multiplied by the trust before the offset is added.
"""


class HybridNetwork(nn.Module):
    """(B, channels, H, W), as of ``hybrid_inputs``, to the logit of a hole (B, 1, H, W), and to ``ResidualMaps``.

    ``draws``: drawings that the frequency is over. ``residual``: whether there is a second head. The probability is
    calibrated: logits become logits / ``temperature`` + ``offset``, which are found on held-out frames.
    """

    temperature: Tensor
    offset: Tensor

    def __init__(self, *, channels: int, draws: int, residual: bool = False) -> None:
        super().__init__()
        self.draws = draws
        self.holes = HoleNet(channels=channels)
        self.trust = nn.Parameter(torch.tensor(_TRUST))
        self.physics_offset = nn.Parameter(torch.tensor(_OFFSET))
        self.residual = _ResidualHead(self.holes.num_features) if residual else None
        self.truth = nn.Parameter(torch.tensor(_TRUTH)) if residual else None
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight from ``random``, in the order of the modules."""
        self.holes.initialise(random)
        if self.residual is not None:
            self.residual.initialise(random)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ResidualMaps | None]:
        """Return the uncalibrated logits, and what the second head says where there is one."""
        features = self.holes.features(inputs)
        logit = _either(self._physics(inputs), self.holes.whole(self.holes.last(features), inputs))
        if self.residual is None:
            return logit, None
        maps = ResidualMaps.of(self.residual(features.detach()))
        return logit, ResidualMaps(*(self.holes.whole(each, inputs) for each in maps))

    @property
    def scalars(self) -> list[nn.Parameter]:
        """The single numbers among the weights: the physics' trust and offset, and the truth's own variance."""
        return [self.trust, self.physics_offset, *([] if self.truth is None else [self.truth])]

    @property
    def truth_variance(self) -> Tensor:
        """What residuals have everywhere beyond the physics: the truth's own errors, which are not drawn."""
        assert self.truth is not None
        return functional.softplus(self.truth)

    def maps(self, inputs: Tensor) -> tuple[Tensor, ResidualMaps | None]:
        """Return the calibrated probability of a hole (B, 1, H, W), and what the second head says."""
        logit, residual = self(inputs)
        return torch.sigmoid(logit / self.temperature + self.offset), residual

    def _physics(self, inputs: Tensor) -> Tensor:
        # A copy, and two logarithms: torch.logit of every tenth number takes as long as all layers together.
        frequency = inputs[:, FREQUENCY : FREQUENCY + 1].contiguous()
        odds = torch.log(frequency * self.draws + _DOUBT) - torch.log((1 - frequency) * self.draws + _DOUBT)
        return self.trust * odds + self.physics_offset


class _ResidualHead(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, _HIDDEN, 1)
        self.last = nn.Conv2d(_HIDDEN, RESIDUAL_MAPS, 1)

    def initialise(self, random: torch.Generator) -> None:
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu", generator=random)
        nn.init.normal_(self.last.weight, 0.0, 0.01, generator=random)
        for layer in (self.first, self.last):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        maps: Tensor = self.last(functional.silu(self.first(features)))
        return maps


def _either(first: Tensor, second: Tensor) -> Tensor:
    """Return the logit of 1 - (1 - sigmoid(first))(1 - sigmoid(second))."""
    kept = -functional.softplus(first) - functional.softplus(second)  # log of the chance that neither
    return torch.log(-torch.expm1(kept.clamp(max=-1e-6))) - kept
