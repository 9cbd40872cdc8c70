"""Coupled (re-implementation): holes and noise learnt apart, holes from colour that is first made to look real.

Three networks, trained side by side, since none hears of another before conversion:

* ``colour``, CUT on colour images, synthetic to real;
* ``holes``, a U-Net from real colour to where the raw depth has none: dark, shiny and thin things, seen by colour;
* ``noise``, a residual network from clean depth to depth as measured, judged where there is a measurement only.

Conversion predicts the holes of the translated colour and cuts them out of the noisy depth. A step is a CUT step on
colour, a pass of ``noise`` and one of ``holes``: one update of both discriminators, one of everything else. Twice the
arithmetic of a DCL step; 6,676,103 parameters to train.

Source: Gu et al., "Coupled real-synthetic domain adaptation for real-world deep depth enhancement", IEEE TIP 2020. No
code was published: this is built from the paper's abstract and from what DCL's paper says of it, without its last
part, an enhancement network, which is no translator. Published figures are anchors for it and no target. The networks,
their sizes and all weights are choices of ours, and so is that

* the hole network takes colour alone. Clean depth would help on the synthetic side, but on the real side, where it
  learns, there is none: raw depth has the answer in it.
* the two images that the discriminator tells apart are given each other's holes first, so that holes tell it nothing
  and it can only judge values. Judging just the patches without a hole would leave few: they are 84 pixels wide.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.colour import ColourGenerator
from depthforge.networks.ending import Steps
from depthforge.networks.generator import DepthGenerator, pad_to_multiple
from depthforge.networks.heads import PatchHeads
from depthforge.networks.unet import UNET_MULTIPLE, UNet
from depthforge.training.objective import Batch, Objective, descend, frozen
from depthforge.translators.adversarial import ObjectiveConfig, adversarial_loss, penalties
from depthforge.translators.channels import stacked
from depthforge.translators.contrastive import draw_positions, layer_mean, patch_losses
from depthforge.translators.drawn_inputs import drawn_inputs

__all__ = ["CoupledConfig", "CoupledObjective", "coupled_networks", "dice_loss"]


class CoupledConfig(ObjectiveConfig):
    """Coupled (re-implementation); no published defaults exist, these are CUT's where CUT has them, else ours."""

    noise_channels: int = Field(
        default=1, ge=1, description="channels of noise: the first draws the holes, the noise network is given the rest"
    )
    residual: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="the most that the noise network adds to clean depth, as a share of the range; 0: it says the "
        "depth itself",
    )
    validity: Literal[False] = Field(default=False, description="the hole network says where there is no measurement")
    head_width: int = Field(default=128, gt=0, description="dimensions of the space that colours are compared in")
    num_vectors: int = Field(default=256, gt=1, description="places compared for each image and layer, at most")
    temperature: float = Field(default=0.07, gt=0, description="temperature of the contrast")
    contrast_weight: float = Field(default=1.0, ge=0, description="weight of the mean of the two contrasts of colour")
    dice_weight: float = Field(default=1.0, ge=0, description="weight of the holes' Dice loss, in units of their BCE")
    self_weight: float = Field(default=10.0, ge=0, description="weight of |noisy - clean| where clean depth is known")


def coupled_networks(config: CoupledConfig, steps: Steps | None = None) -> dict[str, nn.Module]:
    """Return the networks that conversion needs, untrained: ``colour``, ``holes``, ``noise``, which gives ``steps``."""
    channels = config.noise_channels - 1 + config.anchored_channels
    noise = {**config.generator, "noise_channels": channels, "drawn_holes": False}
    return {
        "colour": ColourGenerator(width=config.width),
        "holes": UNet(channels=3, width=config.width),
        "noise": DepthGenerator(**noise, steps=steps),
    }


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - (2 |p t| + 1) / (|p| + |t| + 1), the mean over images, of ``logits`` and ``target`` (B, 1, H, W).

    |x| is the sum over an image and p the logits' probability; the ones make an image without holes count as found
    where none is predicted. Unlike cross-entropy it does not fade as holes get rarer. Source: Milletari et al.,
    "V-Net", 3DV 2016.
    """
    found, target = torch.sigmoid(logits).flatten(1), target.flatten(1)
    overlap = (found * target).sum(dim=1)
    return (1 - (2 * overlap + 1) / (found.sum(dim=1) + target.sum(dim=1) + 1)).mean()


class CoupledObjective(Objective):
    """Coupled (re-implementation): the three networks, the heads of colour's contrast and two discriminators.

    Batches have colour; one without is the colour network's InputError.
    """

    exported = ("colour", "holes", "noise")

    def __init__(
        self,
        config: CoupledConfig,
        random: torch.Generator,
        device: torch.device | str = "cpu",
        *,
        steps: Steps | None = None,
    ) -> None:
        built = coupled_networks(config, steps)
        colour = built["colour"]
        assert isinstance(colour, ColourGenerator)
        self.colour, self.holes, self.noise = colour, built["holes"], built["noise"]
        self.heads = PatchHeads(colour.feature_channels, config.head_width)
        self.discriminator = config.discriminator()
        self.colour_discriminator = config.discriminator(channels=3)
        discriminators = {"discriminator": self.discriminator, "colour_discriminator": self.colour_discriminator}
        super().__init__(built | {"heads": self.heads} | discriminators, random, device)
        self.config = config
        self.optimisers = {
            "generators": config.adam([self.colour, self.holes, self.noise, self.heads]),
            "discriminators": config.adam(discriminators.values()),
        }

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update both discriminators, then everything else.

        Returns ``colour_gan``, ``colour_contrast``, ``colour_identity_contrast``, ``holes_cross_entropy``,
        ``holes_dice``, ``gan``, ``self``, their sum ``generator``, and ``discriminator_real``, ``discriminator_fake``
        and their namesakes of the ``colour_discriminator``, and of each what ``penalties`` names.
        """
        config = self.config
        clean, clean_colour = stacked(batch.clean).tensor_split([1], dim=1)
        real, real_colour = stacked(batch.real).tensor_split([1], dim=1)
        translated = self.colour(torch.cat([clean_colour, real_colour]))
        like_real, same = translated[: len(clean)], translated[len(clean) :]
        noisy = self.noise(drawn_inputs(clean, batch.clean, config, self.random, white=config.noise_channels - 1))
        measured, made = _with_each_others_holes(real, noisy, clean)

        losses = self._improve_discriminators(
            {"discriminator": (measured, made), "colour_discriminator": (real_colour, like_real)}
        )
        with frozen(self.discriminator, self.colour_discriminator):
            colour_gan = adversarial_loss(self.colour_discriminator(like_real), config.gan, real=True)
            gan = adversarial_loss(self.discriminator(made), config.gan, real=True)
        logits, missing = self._hole_logits(real_colour), (real == 0).to(real)
        terms = {
            "colour_gan": config.gan_weight * colour_gan,
            "colour_contrast": config.contrast_weight / 2 * self._contrast(like_real, clean_colour),
            "colour_identity_contrast": config.contrast_weight / 2 * self._contrast(same, real_colour),
            "holes_cross_entropy": functional.binary_cross_entropy_with_logits(logits, missing),
            "holes_dice": config.dice_weight * dice_loss(logits, missing),
            "gan": config.gan_weight * gan,
            "self": config.self_weight * _mean_where(clean > 0, (noisy - clean).abs()),
        }
        total = torch.stack(list(terms.values())).sum()
        descend(total, self.optimisers["generators"])
        losses |= terms | {"generator": total}
        return {name: loss.detach() for name, loss in losses.items()}

    def draw(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Return fresh positions for every layer, the same for all images of the batch."""
        positions = [draw_positions(f.shape[2], f.shape[3], self.config.num_vectors, self.random) for f in features]
        return [p.to(features[0].device) for p in positions]

    def _hole_logits(self, colour: Tensor) -> Tensor:
        height, width = colour.shape[-2:]
        logits: Tensor = self.holes(pad_to_multiple(colour, UNET_MULTIPLE))
        return logits[..., :height, :width]

    def _improve_discriminators(self, seen: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        losses = {}
        for name, (real, fake) in seen.items():
            discriminator, fake = self.networks[name], fake.detach()
            losses[f"{name}_fake"] = adversarial_loss(discriminator(fake), self.config.gan, real=False)
            losses[f"{name}_real"] = adversarial_loss(discriminator(real), self.config.gan, real=True)
            for term, value in penalties(self.config, discriminator, real, fake, self.random).items():
                losses[f"{name}_{term}"] = value
        descend(torch.stack(list(losses.values())).sum() / 2, self.optimisers["discriminators"])
        return losses

    def _contrast(self, generated: Tensor, source: Tensor) -> Tensor:
        query = self.colour.encode(generated)
        with torch.no_grad():
            key = self.colour.encode(source)
        return layer_mean(patch_losses(query, key, self.draw(key), self.heads, temperature=self.config.temperature))


def _with_each_others_holes(real: Tensor, noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Return real and noisy depth, 0 where the real image of a pair or its clean one has no depth.

    Where one side has fewer images, they are paired again from the first.
    """
    count = max(len(real), len(noisy))
    of_real, of_clean = (torch.arange(count, device=real.device) % len(images) for images in (real, clean))
    both = (real[of_real] > 0) & (clean[of_clean] > 0)
    return real[of_real] * both, noisy[of_clean] * both


def _mean_where(valid: Tensor, values: Tensor) -> Tensor:
    """Return the mean of ``values`` where ``valid``; 0 where nothing is."""
    return (values * valid).sum() / valid.sum().clamp(min=1)
