"""CycleGAN: a second generator takes the noise off again, and what returns must be what went in.

Two generators and two discriminators of DCL's sizes, so that methods are compared and not networks: 4,717,764
parameters to train. A step is, in this order: both ways there and back, one update of both generators, one of both
discriminators on the images that ``ImagePool`` returns. Six generator passes, each of one domain, so batch norm never
sees both: about twice the cost of DCL's step.

Source: Zhu et al., "Unpaired image-to-image translation using cycle-consistent adversarial networks", ICCV 2017,
equations 1 to 3, in the variant of DCL's published code: depth only, DCL's networks and initialisation. The paper has 9
residual blocks of twice the width with instance norm, and initial weights N(0, 0.02). Colour is ours: the published
class cannot run with it, having networks that expect other channels than they are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from depthforge.networks.ending import Steps
from depthforge.networks.generator import DepthGenerator
from depthforge.training.objective import Batch, Images, Objective, descend, frozen
from depthforge.translators.adversarial import HoleHeadConfig, ImagePool, adversarial_loss, penalties
from depthforge.translators.channels import stacked
from depthforge.translators.drawn_inputs import drawn_inputs

__all__ = ["CycleGanConfig", "CycleGanObjective"]


class CycleGanConfig(HoleHeadConfig):
    """CycleGAN; the defaults reproduce the variant of DCL's published code."""

    cycle_weight: float = Field(default=10.0, ge=0, description="weight of |there and back - image|, each way")
    identity_weight: float = Field(
        default=0.5, ge=0, description="weight of |G(real) - real| and its mirror, in units of cycle_weight"
    )
    with_rgb: bool = Field(
        default=False,
        description="ours, not published: condition both generators on colour, images of 4 channels, depth, b, g, r",
    )
    pool_size: int = Field(default=50, ge=0, description="past images that a discriminator may be shown again")


class CycleGanObjective(Objective):
    """``generator`` makes clean depth noisy, ``inverse`` real depth clean; one discriminator judges each domain.

    With ``with_rgb`` both generators see the colour of the image that they started from, there and back; losses and
    discriminators are of depth alone. Without, a batch with colour is the generator's InputError. Noise is given to
    ``generator`` alone: to take it off needs none.
    """

    watched_discriminator = "discriminator"

    def __init__(
        self,
        config: CycleGanConfig,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        *,
        steps: Steps | None = None,
    ) -> None:
        self.generator = DepthGenerator(**config.generator, steps=steps)
        self.inverse = DepthGenerator(width=config.width, with_rgb=config.with_rgb, residual=config.residual)
        self.discriminator = config.discriminator()
        self.clean_discriminator = config.discriminator()
        networks = {
            "generator": self.generator,
            "inverse": self.inverse,
            "discriminator": self.discriminator,
            "clean_discriminator": self.clean_discriminator,
        }
        super().__init__(networks, random, device)
        self.config = config
        self.optimisers = {
            "generators": config.adam([self.generator, self.inverse]),
            "discriminators": config.adam([self.discriminator, self.clean_discriminator]),
        }
        self.pools = {"noisy": ImagePool(config.pool_size), "cleaned": ImagePool(config.pool_size)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update both generators, then both discriminators.

        Returns ``gan``, ``gan_clean``, ``cycle_clean``, ``cycle_real``, ``identity_real``, ``identity_clean``, their
        sum ``generator``, and ``discriminator_real``, ``discriminator_fake`` with their mirrors
        ``clean_discriminator_real`` and ``clean_discriminator_fake``, and of each what ``penalties`` names.
        """
        config = self.config
        clean_images, real_images = stacked(batch.clean), stacked(batch.real)
        clean, real = batch.clean["depth"], batch.real["depth"]
        noisy = self._add_noise(clean_images, batch.clean)
        clean_again = self.inverse(_with_depth(noisy, clean_images))
        cleaned = self.inverse(real_images)
        real_again = self._add_noise(_with_depth(cleaned, real_images), batch.real)
        identity_weight = config.cycle_weight * config.identity_weight
        with frozen(self.discriminator, self.clean_discriminator):
            gan = adversarial_loss(self.discriminator(noisy), config.gan, real=True)
            gan_clean = adversarial_loss(self.clean_discriminator(cleaned), config.gan, real=True)
        terms = {
            "identity_real": identity_weight * functional.l1_loss(self._add_noise(real_images, batch.real), real),
            "identity_clean": identity_weight * functional.l1_loss(self.inverse(clean_images), clean),
            "gan": config.gan_weight * gan,
            "gan_clean": config.gan_weight * gan_clean,
            "cycle_clean": config.cycle_weight * functional.l1_loss(clean_again, clean),
            "cycle_real": config.cycle_weight * functional.l1_loss(real_again, real),
            **self.further_terms(batch, noisy, cleaned),
        }
        total = torch.stack(list(terms.values())).sum()
        descend(total, self.optimisers["generators"])
        losses = terms | {"generator": total} | self._improve_discriminators(clean, real, noisy, cleaned)
        return {name: loss.detach() for name, loss in losses.items()}

    def further_terms(self, batch: Batch, noisy: Tensor, cleaned: Tensor) -> dict[str, Tensor]:
        """Return what a method built on this one asks of the generators besides: weighted terms of their loss."""
        return {}

    def _add_noise(self, images: Tensor, side: Images) -> Tensor:
        depth: Tensor = self.generator(drawn_inputs(images, side, self.config, self.random))
        return depth

    def _improve_discriminators(self, clean: Tensor, real: Tensor, noisy: Tensor, cleaned: Tensor) -> dict[str, Tensor]:
        losses = {}
        for name, true, fake in (
            ("discriminator", real, self.pools["noisy"].exchange(noisy, self.random)),
            ("clean_discriminator", clean, self.pools["cleaned"].exchange(cleaned, self.random)),
        ):
            discriminator = self.networks[name]
            losses[f"{name}_real"] = adversarial_loss(discriminator(true), self.config.gan, real=True)
            losses[f"{name}_fake"] = adversarial_loss(discriminator(fake), self.config.gan, real=False)
            for term, value in penalties(self.config, discriminator, true, fake, self.random).items():
                losses[f"{name}_{term}"] = value
        descend(torch.stack(list(losses.values())).sum() / 2, self.optimisers["discriminators"])
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, the pools included."""
        return super().state_dict() | {"pools": {name: list(pool.images) for name, pool in self.pools.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state_dict``; one of another method or configuration is torch's error or a KeyError."""
        super().load_state_dict(state)
        for name, pool in self.pools.items():
            pool.images = list(state["pools"][name])


def _with_depth(depth: Tensor, images: Tensor) -> Tensor:
    """Return ``images`` with another depth, and the colour they have, if any."""
    return torch.cat([depth, images[:, 1:]], dim=1)
