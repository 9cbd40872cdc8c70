"""What a generator is given in a training step: its images, and noise that is drawn for them.

The one place where an objective's random numbers become channels; what conversion gives the same networks is in
``learned_depth``, keyed by frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depthforge.training.objective import Images
from depthforge.translators.adversarial import HoleHeadConfig, ObjectiveConfig
from depthforge.translators.channels import with_fields, with_noise
from depthforge.translators.surface_noise import drawn_anchored, drawn_hole_field

__all__ = ["drawn_inputs"]


def drawn_inputs(
    images: Tensor, side: Images, config: ObjectiveConfig, random: torch.Generator, *, white: int | None = None
) -> Tensor:
    """Return ``images`` (B, C, H, W), depth and perhaps colour, with all that the generator of ``config`` is given.

    ``side`` holds the ``points`` (B, 3, H, W) that fields lie on, where ``config`` has fields. In this order: ``white``
    channels of noise (default: the configuration's), anchored fields, the field that draws holes.
    """
    white = config.noise_channels if white is None else white
    noisy = with_noise(images, white, random)
    anchored = hole_field = None
    if config.anchored_channels:
        anchored = drawn_anchored(side["points"], config.anchored_channels, config.anchored_m, random)
    if isinstance(config, HoleHeadConfig) and config.draws_holes:
        hole_field = drawn_hole_field(side["points"], config, random)
    return with_fields(noisy, white, anchored, hole_field)
