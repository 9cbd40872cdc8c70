"""Adversarial losses on patch logits, the penalty on the Wasserstein critic's gradient, and CycleGAN's pool of images.

``lsgan`` is what DCL, CUT and CycleGAN train with: squared distance to 1 for real and 0 for fake, whose gradient does
not vanish where the discriminator is sure. DCL's paper writes the logarithmic loss (equation 2), ``vanilla`` here; its
code uses lsgan. Every generator loss but that of ``wgangp`` asks for "real" instead of against "fake", which makes
``vanilla`` and ``nonsaturating`` the same function; both names are kept because manifests of the field use both.
``wgangp`` costs a discriminator update a third pass and a second derivative; the critic keeps its batch norm, which
the penalty's paper advises against (an image's gradient then runs through the other images too), as the field does.
``r1_weight`` adds a second derivative on real images, with any loss; ``spectral_norm`` costs a product of the weights
with a vector. Either keeps a discriminator that is always right from being ever surer of it.

Sources: Mao et al., "Least squares generative adversarial networks", ICCV 2017; Goodfellow et al., NeurIPS 2014;
Arjovsky et al., "Wasserstein generative adversarial networks", ICML 2017; Gulrajani et al., "Improved training of
Wasserstein GANs", NeurIPS 2017 (the penalty); Mescheder et al., "Which training methods for GANs do actually
converge?", ICML 2018 (R1); Shrivastava et al., "Learning from simulated
and unsupervised images through adversarial training", CVPR 2017 (the pool).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam

from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.precision import without_autocast
from depthforge.translators.surface_noise import HoleFields

__all__ = [
    "GanLoss",
    "HoleHeadConfig",
    "ImagePool",
    "ObjectiveConfig",
    "adversarial_loss",
    "gradient_penalty",
    "penalties",
    "r1_penalty",
]

GanLoss = Literal["lsgan", "vanilla", "wgangp", "nonsaturating"]


class ObjectiveConfig(BaseModel):
    """What every adversarial method is configured by; the defaults are those of the published DCL code."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(default=32, gt=0, description="channels of the first layer of each network")
    noise_channels: int = Field(
        default=0, ge=0, description="channels of noise that the generator is given besides depth; the published has 0"
    )
    anchored_channels: int = Field(
        default=0,
        ge=0,
        description="further channels of noise, that belong to places on surfaces: in the world where frames have "
        "poses, else before the camera",
    )
    anchored_m: float = Field(
        default=0.05, gt=0, description="distance on the surface at which anchored noise has fallen to 1/e, metres"
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
    r1_weight: float = Field(
        default=0.0, ge=0, description="weight of the discriminator's squared slope on real images, with any `gan`"
    )
    spectral_norm: bool = Field(
        default=False,
        description="discriminators whose convolutions are divided by their largest singular value, without batch norm",
    )
    learning_rate: float = Field(default=2e-4, gt=0, description="Adam's step size")
    betas: tuple[float, float] = Field(default=(0.5, 0.999), description="Adam's decay of the two moments")

    @property
    def draws_holes(self) -> bool:
        """Whether the generator is given the field that draws its holes."""
        return False

    @property
    def generator(self) -> dict[str, Any]:
        """What a ``DepthGenerator`` is built from."""
        return {
            "width": self.width,
            "with_rgb": bool(getattr(self, "with_rgb", False)),
            "noise_channels": self.noise_channels + self.anchored_channels,
            "residual": self.residual,
            "validity": self.validity,
            "drawn_holes": self.draws_holes,
        }

    def discriminator(self, channels: int = 1) -> PatchDiscriminator:
        """Return an untrained discriminator of images of so many channels."""
        return PatchDiscriminator(width=self.width, channels=channels, spectral_norm=self.spectral_norm)

    def adam(self, networks: Iterable[nn.Module]) -> Adam:
        """Return an optimiser of all weights of ``networks``."""
        weights = list(chain.from_iterable(network.parameters() for network in networks))
        # On a GPU one kernel for all weights; elsewhere torch's choice.
        fused = True if all(weight.is_cuda for weight in weights) else None
        return Adam(weights, lr=self.learning_rate, betas=self.betas, fused=fused)


class HoleHeadConfig(ObjectiveConfig, HoleFields):
    """What methods whose generator says by itself where holes are add to that."""

    holes: Literal["threshold", "copula"] = Field(
        default="threshold",
        description="validity: a pixel is a hole where that is likelier than not, or with its probability, by a field "
        "that makes holes as large as the sensor's and lets lost surfaces stay lost",
    )

    @model_validator(mode="after")
    def _drawn_by_a_head(self) -> Self:
        if self.holes == "copula" and not self.validity:
            raise ValueError("`holes: copula` draws what a head says: it wants `validity: true`")
        return self

    @property
    def draws_holes(self) -> bool:
        """Whether the generator is given the field that draws its holes."""
        return self.holes == "copula"


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


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """Return the squared slope of the verdict on ``real`` (B, C, H, W), mean over images and patches, halved.

    Of patch logits that were independent the squared slope of their sum is the sum of theirs: it is divided by their
    number. The gradient reaches the discriminator's weights alone. In float32, as ``gradient_penalty``.
    """
    real = real.detach().float().requires_grad_()
    with without_autocast(real.device):
        logits = type(discriminator).forward(discriminator, real)
        (slopes,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    penalty: Tensor = slopes.square().sum() / (2 * logits.numel())
    return penalty


def penalties(
    config: ObjectiveConfig, discriminator: nn.Module, real: Tensor, fake: Tensor, random: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted terms that ``config`` adds to a discriminator's loss: ``penalty``, ``r1``, both or none."""
    terms = {}
    if config.gan == "wgangp":
        terms["penalty"] = config.penalty_weight * gradient_penalty(discriminator, real, fake, random)
    if config.r1_weight:
        terms["r1"] = config.r1_weight * r1_penalty(discriminator, real)
    return terms


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
