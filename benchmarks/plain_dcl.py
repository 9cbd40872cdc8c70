"""DCL in plain PyTorch, as one writes it down from its published description: the peer of two benchmarks.

A flat list of torch's own layers, contiguous NCHW, float32, eager; the blur is a grouped (transposed) convolution
behind a padding layer, as the published networks have it. Weights come from our modules by their published names.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from depthforge.networks.published import published_names
from depthforge.translators.contrastive import Pairs

__all__ = ["PlainDcl", "PlainDiscriminator", "PlainGenerator", "copy_weights"]

TAPS = (3, 12, 14, 16, 18)


class Blur(nn.Module):
    """A fixed binomial filter on each channel: halves the image, or with 4 taps doubles it."""

    filt: Tensor

    def __init__(self, channels: int, taps: tuple[float, ...]) -> None:
        super().__init__()
        row = torch.tensor(taps) / sum(taps)
        self.up = len(taps) == 4
        filt = torch.outer(row, row) * (4 if self.up else 1)
        self.register_buffer("filt", filt.repeat(channels, 1, 1, 1))
        self.pad = nn.ReplicationPad2d(1) if self.up else nn.ReflectionPad2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pad(x)
        if self.up:
            out = functional.conv_transpose2d(x, self.filt, stride=2, padding=2, groups=len(self.filt))
            return out[:, :, 1:-1, 1:-1]
        return functional.conv2d(x, self.filt, stride=2, groups=len(self.filt))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _conv(inputs: int, outputs: int, size: int = 3) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, size, bias=False)
    return [nn.ReflectionPad2d(size // 2), conv, nn.BatchNorm2d(outputs), nn.ReLU()]


class PlainGenerator(nn.Module):
    """The generator for depth without colour, layers numbered as published."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width
        self.model = nn.Sequential(
            *_conv(1, width, 7),
            *(*_conv(width, wide), Blur(wide, (1, 2, 1))),
            *(*_conv(wide, widest), Blur(widest, (1, 2, 1))),
            *(Block(widest) for _ in range(5)),
            *(Blur(widest, (1, 3, 3, 1)), *_conv(widest, wide)),
            *(Blur(wide, (1, 3, 3, 1)), *_conv(wide, width)),
            *(nn.ReflectionPad2d(3), nn.Conv2d(width, 1, 7), nn.Tanh()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the five features that the contrast compares."""
        found = []
        for i, layer in enumerate(self.model[: TAPS[-1] + 1]):
            x = layer(x)
            if i in TAPS:
                found.append(x)
        return found


class PlainDiscriminator(nn.Module):
    """The discriminator, layers numbered as published."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 4, padding=1), nn.LeakyReLU(0.2), Blur(width, (1, 2, 1))]
        for inputs in (width, 2 * width, 4 * width):
            conv = nn.Conv2d(inputs, 2 * inputs, 4, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(2 * inputs), nn.LeakyReLU(0.2)]
            layers += [Blur(2 * inputs, (1, 2, 1))] if inputs < 4 * width else []
        self.model = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def copy_weights(ours: nn.Module, plain: nn.Module) -> None:
    """Give ``plain`` the weights of our network, by their published names."""
    state = ours.state_dict(keep_vars=True) | dict(ours.named_buffers())
    plain.load_state_dict({published: state[name].detach() for published, name in published_names(ours).items()})


class PlainDcl:
    """The training step of DCL: lsgan, frozen heads, uniform pairs, a pass for everything that is compared."""

    def __init__(self, generator: PlainGenerator, discriminator: nn.Module, heads: nn.ModuleList) -> None:
        self.generator, self.discriminator, self.heads = generator, discriminator, heads
        self.adam_generator = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.adam_discriminator = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(self, clean: Tensor, real: Tensor, pairs: list[Pairs]) -> dict[str, float]:
        """Update discriminator and generator and return the losses."""
        fake, same = self.generator(torch.cat([clean, real])).split(len(clean))

        self.discriminator.requires_grad_(True)
        self.adam_discriminator.zero_grad()
        on_fake = (self.discriminator(fake.detach()) ** 2).mean()
        on_real = ((self.discriminator(real) - 1) ** 2).mean()
        (0.5 * (on_fake + on_real)).backward()
        self.adam_discriminator.step()

        self.discriminator.requires_grad_(False)
        self.adam_generator.zero_grad()
        gan = ((self.discriminator(fake) - 1) ** 2).mean()
        contrast = 1.5 * self.contrast(self.generator.features(fake), self.generator.features(clean), pairs)
        identity = (same - real).abs().mean()
        (gan + contrast + identity).backward()
        self.adam_generator.step()
        losses = {"discriminator_fake": on_fake, "discriminator_real": on_real, "gan": gan}
        return {name: x.item() for name, x in (losses | {"contrast": contrast, "identity": identity}).items()}

    def contrast(self, query: list[Tensor], key: list[Tensor], pairs: list[Pairs]) -> Tensor:
        """Return the mean over the layers of the differential contrastive loss."""
        total = query[0].new_zeros(())
        for q, k, (i, j), head in zip(query, key, pairs, self.heads, strict=True):
            a, b = (self.project(f, i, j, head) for f in (q, k.detach()))
            logits = torch.bmm(a, b.detach().transpose(1, 2)) / 0.07
            target = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
            total = total + functional.cross_entropy(logits.flatten(0, 1), target)
        return total / len(query)

    @staticmethod
    def project(features: Tensor, i: Tensor, j: Tensor, head: nn.Module) -> Tensor:
        """Return unit vectors of the differences of positions ``i`` and ``j``: (B, P, D)."""
        flat = features.permute(0, 2, 3, 1).flatten(1, 2)
        projected = head(flat[:, i] - flat[:, j])
        return projected / (projected.norm(dim=-1, keepdim=True) + 1e-7)
