"""Adversarial losses on patch logits, the penalty on the Wasserstein critic's gradient, and CycleGAN's pool of images.

``lsgan`` is what DCL, CUT and CycleGAN train with: squared distance to 1 for real and 0 for fake, whose gradient does
not vanish where the discriminator is sure. DCL's paper writes the logarithmic loss (equation 2), ``vanilla`` here; its
code uses lsgan. Every generator loss but that of ``wgangp`` asks for "real" instead of against "fake", which makes
``vanilla`` and ``nonsaturating`` the same function; both names are kept because manifests of the field use both.
``wgangp`` costs a discriminator update a third pass and a second derivative; the critic keeps its batch norm, which
the penalty's paper advises against (an image's gradient then runs through the other images too), as the field does.

Sources: Mao et al., "Least squares generative adversarial networks", ICCV 2017; Goodfellow et al., NeurIPS 2014;
Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017; Gulrajani et al., "Improved training of
Wasserstein GANs", NeurIPS 2017 (the penalty); Shrivastava et al., "Learning from simulated
and unsupervised images through adversarial training", CVPR 2017 (the pool).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from depthforge.networks.precision import without_autocast

__all__ = ["GanLoss", "ImagePool", "ObjectiveConfig", "adversarial_loss", "gradient_penalty"]

GanLoss = Literal["lsgan", "vanilla", "wgangp", "nonsaturating"]


class ObjectiveConfig(BaseModel):
    """What every adversarial method is configured by; the defaults are those of the published DCL code."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(default=32, gt=0, description="channels of the first layer of each network")
    noise_channels: int = Field(
        default=0, ge=0, description="channels of noise that the generator is given besides depth; the published has 0"
    )
    residual: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="the most that the generator adds to clean depth, as a share of the range; 0: it says the depth "
        "itself, as published",
    )
    validity: bool = Field(
        default=False, description="the generator says apart from depth where a hole is; published: depth near 0 is one"
    )
    gan: GanLoss = Field(default="lsgan", description="adversarial loss")
    gan_weight: float = Field(default=1.0, ge=0, description="weight of the generator's adversarial loss")
    penalty_weight: float = Field(default=10.0, ge=0, description="wgangp: weight of the critic's gradient penalty")
    learning_rate: float = Field(default=2e-4, gt=0, description="Adam's step size")
    betas: tuple[float, float] = Field(default=(0.5, 0.999), description="Adam's decay of the two moments")

    def adam(self, networks: Iterable[nn.Module]) -> Adam:
        """Return an optimiser of all weights of ``networks``."""
        weights = list(chain.from_iterable(network.parameters() for network in networks))
        # On a GPU one kernel for all weights; elsewhere torch's choice.
        fused = True if all(weight.is_cuda for weight in weights) else None
        return Adam(weights, lr=self.learning_rate, betas=self.betas, fused=fused)


def adversarial_loss(logits: Tensor, loss: GanLoss = "lsgan", *, real: bool) -> Tensor:
    """Return the mean loss of calling the patches behind ``logits`` real, or fake.

    A discriminator minimises half of ``real`` on real images plus half of fake on generated ones; a generator
    minimises ``real`` on its own. ``wgangp`` is the Wasserstein term alone, without ``gradient_penalty``.
    """
    sign = -1.0 if real else 1.0
    match loss:
        case "lsgan":
            return ((logits - float(real)) ** 2).mean()
        case "vanilla" | "nonsaturating":
            return functional.softplus(sign * logits).mean()
        case "wgangp":
            return sign * logits.mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator) -> Tensor:
    """Return how far the critic's slope is from 1: mean of (||d verdict / d image||_2 - 1)^2 between real and fake.

    ``real`` and ``fake`` are (B, C, H, W), the longer cut to the shorter; each image is somewhere on the straight line
    between its two, uniform by ``random``, a CPU generator. The verdict is the mean of an image's patch logits, as in
    the Wasserstein term. The gradient reaches the critic's weights and neither image. Always in float32: a slope and
    its derivative are differences that the 8 bits of bfloat16 lose.
    """
    count = min(len(real), len(fake))
    real, fake = real[:count].detach().float(), fake[:count].detach().float()
    share = torch.rand((count, 1, 1, 1), generator=random).to(real)
    between = torch.lerp(real, fake, share).requires_grad_()
    with without_autocast(between.device):
        # Past a compiler (``networks.compiling``), which has no second derivatives.
        verdicts = type(critic).forward(critic, between).flatten(1).mean(dim=1)
        (slopes,) = torch.autograd.grad(verdicts.sum(), between, create_graph=True)
    # The gradient of this norm is 0 at 0, not NaN.
    penalty: Tensor = ((torch.linalg.vector_norm(slopes.flatten(1), dim=1) - 1) ** 2).mean()
    return penalty


class ImagePool:
    """Up to ``size`` generated images: a discriminator that sees old ones too does not chase the generator in circles.

    ``images`` (detached, (1, C, H, W) each) is its whole state. Size 0 passes images through.
    """

    def __init__(self, size: int = 50) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, fresh: Tensor, random: torch.Generator) -> Tensor:
        """Return, for each image of ``fresh`` (B, C, H, W), itself or, half the time, a stored one that it replaces.

        The answer is detached. Until the pool is full an image is stored and returned.
        """
        return torch.cat([self._exchange_one(image[None], random) for image in fresh.detach()])

    def _exchange_one(self, image: Tensor, random: torch.Generator) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if self.size == 0 or torch.rand((), generator=random) <= 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=random))
        stored, self.images[place] = self.images[place], image
        return stored
