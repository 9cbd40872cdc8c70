"""The network of ``hybrid``: how likely a pixel is to be lost, given what the physics says of it, and how it errs.

The physics is a prior that is believed, not an input that may be learnt away: P = 1 - (1 - P_physics)(1 - sigmoid(h)),
where P_physics is the frequency of holes over its drawings and 3x3 pixels times how often such a hole is a real one,
and h is the map of a ``HoleNet``. What the network has not learnt (h far below 0) is left to the physics: so it is in a
room unlike those that it was trained in.

How often is learnt for two kinds of holes, thin ones and wide ones. A thin shadow depends on a pixel more or less, a
window bridges it, and the truth's own error is as large; where one is wider than a window no light falls, and scans in
which that seems to be measured mostly show that their truth is wrong there. There are few silhouettes in a recording,
and no two pixels of one are independent; so a prior (``prior_loss``) keeps wide ones near 0.9 until many say otherwise.

A second head gives the maps of ``hybrid_residual``. It reads features of the first and does not train them.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.hole_net import HoleNet
from depthforge.translators.hole_fields import Correlation
from depthforge.translators.hybrid_inputs import GEOMETRY_CHANNELS
from depthforge.translators.hybrid_residual import RESIDUAL_MAPS, ResidualMaps

__all__ = ["FREQUENCY", "PRIOR_SHARE", "PRIOR_WIDE", "WIDE_PX", "HybridNetwork"]

FREQUENCY = GEOMETRY_CHANNELS.index("frequency of holes in the simulation, over 3x3 pixels")
"""The channel of its inputs that P_physics is read from."""
_HIDDEN = 16
_TRUTH = -3.0
"""Softplus of this is the variance of the truth, in typical errors, that training starts from."""
_THIN = 0.5
PRIOR_WIDE = 0.9
"""How often holes of the physics are real ones, at the start: thin ones, and wide ones."""
PRIOR_SHARE = 0.002
"""Pixels of wide holes that the prior counts for, as a share of all pixels."""
WIDE_PX = 7
"""A hole is wide where a square of so many pixels fits in."""


class HybridNetwork(nn.Module):
    """(B, channels, H, W), as of ``hybrid_inputs``, to the logit of a hole (B, 1, H, W), and to ``ResidualMaps``.

    ``residual``: whether there is a second head. What is learnt is calibrated: h becomes h / ``temperature`` +
    ``offset``, which are found on held-out frames, and so is the ``correlation`` of holes.
    """

    temperature: Tensor
    offset: Tensor

    def __init__(self, *, channels: int, residual: bool = False) -> None:
        super().__init__()
        self.holes = HoleNet(channels=channels)
        self.thin = nn.Parameter(torch.logit(torch.tensor(_THIN)))
        self.wide = nn.Parameter(torch.logit(torch.tensor(PRIOR_WIDE)))
        self.residual = _ResidualHead(self.holes.num_features) if residual else None
        self.truth = nn.Parameter(torch.tensor(_TRUTH)) if residual else None
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))
        for name, value in Correlation()._asdict().items():
            self.register_buffer(name, torch.tensor(value))

    def initialise(self, random: torch.Generator) -> None:
        """Draw every weight from ``random``, in the order of the modules."""
        self.holes.initialise(random)
        if self.residual is not None:
            self.residual.initialise(random)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ResidualMaps | None]:
        """Return the uncalibrated logits, and what the second head says where there is one."""
        features = self.holes.features(inputs)
        logit = _either(self.physics(inputs), self.holes.whole(self.holes.last(features), inputs))
        return logit, self._residual_of(features, inputs)

    def parts(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the frequency of the physics' holes, that of wide ones, and h uncalibrated, (B, 1, H, W) each."""
        return *_frequencies(inputs), self.holes(inputs)

    def physics(self, inputs: Tensor) -> Tensor:
        """Return how likely a pixel is to be lost for the physics' reasons (B, 1, H, W)."""
        frequency, of_wide = _frequencies(inputs)
        thin, wide = torch.sigmoid(self.thin), torch.sigmoid(self.wide)
        return thin * (frequency - of_wide) + wide * of_wide

    def prior_loss(self) -> Tensor:
        """Return what is lost, nats a pixel, where wide holes of the physics are real less, or more, often than 0.9."""
        real, not_real = functional.logsigmoid(self.wide), functional.logsigmoid(-self.wide)
        return -PRIOR_SHARE * (PRIOR_WIDE * real + (1 - PRIOR_WIDE) * not_real)

    @property
    def scalars(self) -> list[nn.Parameter]:
        """The single numbers among the weights: how often the physics is right, and the truth's own variance."""
        return [self.thin, self.wide, *([] if self.truth is None else [self.truth])]

    @property
    def truth_variance(self) -> Tensor:
        """What residuals have everywhere beyond the physics: the truth's own errors, which are not drawn."""
        assert self.truth is not None
        return functional.softplus(self.truth)

    @property
    def correlation(self) -> Correlation:
        """How what is learnt is drawn, as the held-out pairs say."""
        return Correlation(*(float(getattr(self, name)) for name in Correlation._fields))

    def maps(self, inputs: Tensor) -> tuple[Tensor, ResidualMaps | None]:
        """Return the calibrated probability of a hole by what is learnt (B, 1, H, W), and what the second head says."""
        features = self.holes.features(inputs)
        learnt = torch.sigmoid(self.holes.last(features) / self.temperature + self.offset)
        return self.holes.whole(learnt, inputs), self._residual_of(features, inputs)

    def physics_of(self, frequency: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return what ``physics`` does, of an image (H, W): OpenCV opens one in a tenth of the time."""
        square = np.ones((WIDE_PX, WIDE_PX), np.uint8)
        of_wide = cv2.dilate(cv2.erode(frequency, square), square)
        thin, wide = (np.float32(torch.sigmoid(share.detach())) for share in (self.thin, self.wide))
        found: npt.NDArray[np.float32] = thin * (frequency - of_wide) + wide * of_wide
        return found

    def _residual_of(self, features: Tensor, inputs: Tensor) -> ResidualMaps | None:
        if self.residual is None:
            return None
        maps = ResidualMaps.of(self.residual(features.detach()))
        return ResidualMaps(*(self.holes.whole(each, inputs) for each in maps))


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


def _frequencies(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return how often the physics loses a pixel, and what a morphological opening leaves of it, (B, 1, H, W) each."""
    frequency = inputs[:, FREQUENCY : FREQUENCY + 1].contiguous()  # every tenth number would be slow
    return frequency, _highest(-_highest(-frequency))


def _highest(image: Tensor) -> Tensor:
    reach = WIDE_PX // 2  # rows, then columns: a square at once takes five times as long
    rows = functional.max_pool2d(functional.pad(image, (0, 0, reach, reach), mode="replicate"), (WIDE_PX, 1), stride=1)
    return functional.max_pool2d(functional.pad(rows, (reach, reach, 0, 0), mode="replicate"), (1, WIDE_PX), stride=1)


def _either(probability: Tensor, logit: Tensor) -> Tensor:
    """Return the logit of 1 - (1 - ``probability``)(1 - sigmoid(``logit``))."""
    kept = torch.log1p(-probability) - functional.softplus(logit)  # log of the chance that neither
    return torch.log(-torch.expm1(kept.clamp(max=-1e-6))) - kept
