"""What the last convolutions of a depth generator say, made depth: residual, steps of the sensor, and holes.

One place for the module (``generator``) and for both of its forms at inference (``fused``, ``whole``). All of it is a
few passes over one channel; where a choice is hard (a step, a hole) the gradient passes straight through it, as if it
had not been made (Bengio et al., "Estimating or propagating gradients through stochastic neurons", 2013).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["MEASURED_AT_FIRST", "Ending", "Steps", "stepped", "where_measured"]

MEASURED_AT_FIRST = 2.0
"""Added to the logit of a measurement: an untrained network, whose logits are near 0, makes no hole."""

_LEAST_SHARE = 1e-4  # below this share of the range there is no measurement to have steps
_LEVELS = 4096  # probabilities of a hole are multiples of one over it: rounding moves no hole


class Steps(NamedTuple):
    """The values that a sensor can give, as shares of the range.

    ``even``: multiples of ``number``. ``inverse``: ``number`` / n for whole n, as depth in even steps of disparity has.
    """

    spacing: Literal["even", "inverse"]
    number: float


class Ending(NamedTuple):
    """How a generator ends.

    ``residual`` above 0: it says what to add to its depth, at most that much. ``steps``: what it gives is one of them.
    ``drawn``: its last input channel is a standard normal field, and a pixel is a hole where the field's quantile is
    below the hole's probability (a Gaussian copula); else where the probability is at least a half.
    """

    residual: float = 0.0
    steps: Steps | None = None
    drawn: bool = False

    def __call__(self, said: Tensor, logit: Tensor | None, x: Tensor) -> Tensor:
        """Return the noisy depth (B, 1, H, W) of the inputs ``x`` (B, C, H, W), depth first.

        ``said`` and ``logit`` are the last convolutions' responses, (B, 1, H, W): of depth, before tanh, and of there
        being a measurement, None where nothing says that apart.
        """
        depth = x[:, :1]
        noisy = torch.tanh(said)
        if self.residual:
            noisy = depth + self.residual * noisy
        if logit is not None:
            noisy = where_measured(noisy, logit, depth, x[:, -1:] if self.drawn else None)
        # Last, so that what is given is a step to the last bit.
        return noisy if self.steps is None else stepped(noisy, self.steps)


def stepped(share: Tensor, steps: Steps) -> Tensor:
    """Return ``share`` at the nearest of ``steps``, exactly; its gradient is that of ``share``."""
    if steps.spacing == "even":
        nearest = torch.round(share / steps.number) * steps.number
    else:
        nearest = steps.number / torch.round(steps.number / share.clamp(min=_LEAST_SHARE)).clamp(min=1)
    nearest = torch.where(share > _LEAST_SHARE, nearest, share)
    # The difference of equals is 0: what is returned is the step and not a sum that rounds beside it.
    return nearest.detach() + (share - share.detach())


def where_measured(noisy: Tensor, logit: Tensor, depth: Tensor, field: Tensor | None = None) -> Tensor:
    """Return ``noisy`` where it is measured, by ``logit``, and the input ``depth`` is, 0 elsewhere.

    With a standard normal ``field`` a pixel is lost with the probability that the logit gives, else where that is at
    least 1/2. The gradient passes as if a pixel were measured to a degree.
    """
    degree = torch.sigmoid(logit + MEASURED_AT_FIRST)
    if field is None:
        hard = degree > 0.5
    else:
        hard = torch.special.ndtr(field) >= torch.round((1 - degree) * _LEVELS) / _LEVELS
    measured = hard.to(degree) + degree - degree.detach()
    return noisy * measured * (depth > 0)
