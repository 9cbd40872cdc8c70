"""The one-way objectives, clean to real: DCL and CUT, which differ in the contrast that holds the geometry in place.

A step is, in this order: one generator pass over the clean and the real images together, so that batch norm sees both
domains; a discriminator update on fake and real, a pass each; a generator update on what the updated discriminator
says of the fake, plus the contrast, for which the encoder passes over the fake and over the clean depth again. That
is 3.5 generator passes forward for a pair of images (CycleGAN: six). There is no pool of past images.

Sources: Shen et al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022; Park et
al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020. Both as in DCL's published code: its
CUT has DCL's small networks, so that only the loss differs. DCL's paper has a logarithmic adversarial loss and sums
the contrast over the layers; the code, followed here, has least squares and the mean.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from depthforge.networks.ending import Steps
from depthforge.networks.generator import DepthGenerator, Features
from depthforge.networks.heads import PatchHeads
from depthforge.training.objective import Batch, Objective, descend, frozen
from depthforge.translators.adversarial import HoleHeadConfig, adversarial_loss, penalties
from depthforge.translators.channels import stacked
from depthforge.translators.contrastive import (
    Negatives,
    Pairs,
    differential_losses,
    draw_pairs,
    draw_positions,
    layer_mean,
    patch_losses,
)
from depthforge.translators.drawn_inputs import drawn_inputs

__all__ = ["CutConfig", "CutObjective", "DclConfig", "DclObjective"]


class OneWayConfig(HoleHeadConfig):
    """What DCL and CUT share."""

    with_rgb: bool = Field(default=False, description="condition on colour: images of 4 channels, depth, b, g, r")
    head: Literal["frozen", "trained"] = Field(default="frozen", description="whether the heads of the contrast learn")
    head_width: int = Field(default=128, gt=0, description="dimensions of the space that vectors are compared in")
    num_vectors: int = Field(default=256, gt=1, description="vectors compared for each image and layer, at most")
    temperature: float = Field(default=0.07, gt=0, description="temperature of the contrast")


class DclConfig(OneWayConfig):
    """DCL; the defaults reproduce the published code.

    There the heads never learn, since its optimiser step asks for a head of another name: the contrast is taken in a
    fixed random projection.
    """

    contrast_weight: float = Field(default=1.5, ge=0, description="weight of the contrast, alpha in the paper")
    identity_weight: float = Field(default=1.0, ge=0, description="weight of |G(real) - real|, beta in the paper")
    negatives: Negatives = Field(default="same_image", description="what a pair is told apart from")
    pair_sampling: Literal["uniform", "gaussian"] = Field(
        default="uniform", description="partners anywhere, as in the published code, or near, as in the paper"
    )
    pair_sigma_px: float = Field(
        default=16.0, gt=0, description="gaussian: distance in pixels of the layer; our choice, the paper gives none"
    )


class CutConfig(OneWayConfig):
    """CUT; the defaults reproduce the variant of DCL's published code."""

    head: Literal["frozen", "trained"] = Field(default="trained", description="whether the heads of the contrast learn")
    contrast_weight: float = Field(default=1.0, ge=0, description="weight of the mean of the two contrasts")
    negatives: Literal["same_image", "batch"] = Field(
        default="same_image", description="what a position is told apart from"
    )


Config = TypeVar("Config", bound=OneWayConfig)


class OneWay(Objective, Generic[Config]):
    """Generator, discriminator and heads, and the step that DCL and CUT share."""

    watched_discriminator = "discriminator"

    def __init__(
        self,
        config: Config,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        *,
        steps: Steps | None = None,
    ) -> None:
        self.generator = DepthGenerator(**config.generator, steps=steps)
        self.discriminator = config.discriminator()
        self.heads = PatchHeads(self.generator.feature_channels, config.head_width)
        networks = {"generator": self.generator, "discriminator": self.discriminator, "heads": self.heads}
        super().__init__(networks, random, device)
        self.config = config
        self.optimisers = {
            "generator": config.adam([self.generator]),
            "discriminator": config.adam([self.discriminator]),
        }
        if config.head == "trained":
            self.optimisers["heads"] = config.adam([self.heads])
        else:
            self.heads.requires_grad_(False)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update discriminator, generator and, where trained, heads.

        Returns ``discriminator_real``, ``discriminator_fake`` (and ``discriminator_`` with the names of
        ``penalties``), ``gan``, the terms of the method, and their sum with ``gan``, ``generator``.
        """
        both = {name: torch.cat([images, batch.real[name]]) for name, images in batch.clean.items()}
        generated = self.generator(drawn_inputs(stacked(both), both, self.config, self.random))
        count = len(batch.clean["depth"])
        fake, same = generated[:count], generated[count:]
        losses = self._improve_discriminator(batch.real["depth"], fake.detach())
        losses |= self._improve_generator(batch, fake, same)
        return {name: loss.detach() for name, loss in losses.items()}

    def _improve_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        gan = self.config.gan
        on_fake = adversarial_loss(self.discriminator(fake), gan, real=False)
        on_real = adversarial_loss(self.discriminator(real), gan, real=True)
        losses = {"discriminator_real": on_real, "discriminator_fake": on_fake}
        for name, term in penalties(self.config, self.discriminator, real, fake, self.random).items():
            losses[f"discriminator_{name}"] = term
        total = torch.stack(list(losses.values())).sum()
        descend(total / 2, self.optimisers["discriminator"])
        return losses

    def _improve_generator(self, batch: Batch, fake: Tensor, same: Tensor) -> dict[str, Tensor]:
        with frozen(self.discriminator):
            gan = adversarial_loss(self.discriminator(fake), self.config.gan, real=True)
        terms = {"gan": self.config.gan_weight * gan} | self._terms(batch, fake, same)
        total = torch.stack(list(terms.values())).sum()
        descend(total, *(optimiser for name, optimiser in self.optimisers.items() if name != "discriminator"))
        return terms | {"generator": total}

    @abstractmethod
    def _terms(self, batch: Batch, fake: Tensor, same: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the generator's loss besides the adversarial one; ``same`` is G(real)."""

    def _features(self, generated: Tensor, depth: Tensor) -> tuple[Features, Features]:
        """Query and key features, with batch norm statistics of each pass alone; no gradient through the key."""
        query = self.generator.encode(generated)
        with torch.no_grad():
            return query, self.generator.encode(depth)


class DclObjective(OneWay[DclConfig]):
    """Differential contrastive learning: the difference of two places stays, whatever the depth of either does."""

    def draw(self, features: Features) -> list[Pairs]:
        """Return fresh pairs for every layer, the same for all images of the batch."""
        config = self.config
        sigma_px = config.pair_sigma_px if config.pair_sampling == "gaussian" else None
        sizes = [(f.shape[2], f.shape[3]) for f in features]
        pairs = [draw_pairs(*size, config.num_vectors, self.random, sigma_px=sigma_px) for size in sizes]
        return [Pairs(*(side.to(features[0].device) for side in pair)) for pair in pairs]

    def _terms(self, batch: Batch, fake: Tensor, same: Tensor) -> dict[str, Tensor]:
        config = self.config
        query, key = self._features(fake, batch.clean["depth"])
        losses = differential_losses(
            query, key, self.draw(key), self.heads, temperature=config.temperature, negatives=config.negatives
        )
        return {
            "contrast": config.contrast_weight * layer_mean(losses),
            "identity": config.identity_weight * functional.l1_loss(same, batch.real["depth"]),
        }


class CutObjective(OneWay[CutConfig]):
    """Contrastive unpaired translation: each place of the output shows what the same place of the input shows.

    The contrast is taken twice, between fake and clean and, so that real images stay as they are, between G(real) and
    real.
    """

    def draw(self, features: Features) -> list[Tensor]:
        """Return fresh positions for every layer, the same for all images of the batch."""
        positions = [draw_positions(f.shape[2], f.shape[3], self.config.num_vectors, self.random) for f in features]
        return [p.to(features[0].device) for p in positions]

    def _terms(self, batch: Batch, fake: Tensor, same: Tensor) -> dict[str, Tensor]:
        half = self.config.contrast_weight / 2
        return {
            "contrast": half * self._contrast(fake, batch.clean["depth"]),
            "identity_contrast": half * self._contrast(same, batch.real["depth"]),
        }

    def _contrast(self, generated: Tensor, depth: Tensor) -> Tensor:
        query, key = self._features(generated, depth)
        config = self.config
        losses = patch_losses(
            query, key, self.draw(key), self.heads, temperature=config.temperature, negatives=config.negatives
        )
        return layer_mean(losses)
