"""GAN losses against their formulas; the pool of past images."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from depthforge.translators._adversarial import GanLoss, ImagePool, discriminator_loss, generator_loss

REAL, FAKE = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, 3.0]])


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("loss", "discriminator", "generator"),
    [
        ("lsgan", ((1 + 4) / 2 + (0.25 + 9) / 2) / 2, (0.25 + 4) / 2),
        ("wgangp", (-0.5 + 1.75) / 2, -1.75),
        (
            "vanilla",
            -(log_sigmoid(2) + log_sigmoid(-1) + log_sigmoid(-0.5) + log_sigmoid(-3)) / 4,
            -(log_sigmoid(0.5) + log_sigmoid(3)) / 2,
        ),
    ],
)
def test_formulas(loss: GanLoss, discriminator: float, generator: float) -> None:
    assert discriminator_loss(REAL, FAKE, loss).item() == pytest.approx(discriminator)
    assert generator_loss(FAKE, loss).item() == pytest.approx(generator)


@pytest.mark.parametrize("loss", get_args(GanLoss))
def test_both_sides_pull_their_own_way(loss: GanLoss) -> None:
    real, fake = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    discriminator_loss(real, fake, loss).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None
    assert fake.grad is not None
    # lsgan's target for fake is 0: no pull there.
    assert real.grad.item() < 0
    assert fake.grad.item() == 0 if loss == "lsgan" else fake.grad.item() > 0
    lone = torch.zeros(1, requires_grad=True)
    generator_loss(lone, loss).backward()  # type: ignore[no-untyped-call]
    assert lone.grad is not None
    assert lone.grad.item() < 0


def images(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32).reshape(count, 1, 1, 1)


def test_pool_passes_images_on_until_it_is_full() -> None:
    pool, random = ImagePool(4), torch.Generator().manual_seed(0)
    fresh = images(0, 3).requires_grad_()
    given = pool.exchange(fresh, random)
    assert torch.equal(given, fresh)
    assert not given.requires_grad
    assert len(pool.images) == 3


def test_full_pool_swaps_half_and_loses_none() -> None:
    pool, random = ImagePool(5), torch.Generator().manual_seed(0)
    pool.exchange(images(0, 5), random)
    given = pool.exchange(images(5, 1000), random).flatten()
    swapped = given != images(5, 1000).flatten()
    assert 0.45 < swapped.float().mean().item() < 0.55
    everything = torch.cat([given, *(image.flatten() for image in pool.images)])
    assert torch.equal(everything.sort().values, images(0, 1005).flatten())


def test_no_pool() -> None:
    pool = ImagePool(0)
    assert torch.equal(pool.exchange(images(0, 9), torch.Generator()), images(0, 9))
    assert pool.images == []
