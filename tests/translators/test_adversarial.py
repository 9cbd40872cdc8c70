"""GAN losses against their formulas; the pool of past images."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from depthforge.translators.adversarial import GanLoss, ImagePool, adversarial_loss, gradient_penalty, r1_penalty


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("loss", "as_real", "as_fake"),
    [
        ("lsgan", (1 + 4) / 2, (4 + 1) / 2),
        ("wgangp", -0.5, 0.5),
        ("vanilla", -(log_sigmoid(2) + log_sigmoid(-1)) / 2, -(log_sigmoid(-2) + log_sigmoid(1)) / 2),
        ("nonsaturating", -(log_sigmoid(2) + log_sigmoid(-1)) / 2, -(log_sigmoid(-2) + log_sigmoid(1)) / 2),
    ],
)
def test_formulas(loss: GanLoss, as_real: float, as_fake: float) -> None:
    logits = torch.tensor([[2.0, -1.0]])
    assert adversarial_loss(logits, loss, real=True).item() == pytest.approx(as_real)
    assert adversarial_loss(logits, loss, real=False).item() == pytest.approx(as_fake)


@pytest.mark.parametrize("loss", get_args(GanLoss))
@pytest.mark.parametrize("real", [True, False])
def test_logits_are_pulled_to_their_side(loss: GanLoss, real: bool) -> None:
    logits = torch.tensor([0.5], requires_grad=True)
    adversarial_loss(logits, loss, real=real).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad.item() < 0) == real


class Linear(nn.Module):
    """Two patch logits whose mean has the slope ``direction`` everywhere, of this length."""

    def __init__(self, length: float) -> None:
        super().__init__()
        direction = torch.tensor([3.0, 0.0, 4.0, 0.0]).reshape(1, 2, 2) / 5
        self.direction = nn.Parameter(length * direction)

    def forward(self, images: Tensor) -> Tensor:
        verdict = (self.direction * images).sum(dim=(1, 2, 3))
        return torch.stack([verdict - 1, verdict + 1], dim=1)[:, None, None]


@pytest.mark.parametrize("length", [0.0, 0.25, 1.0, 3.0])
def test_penalty_of_a_linear_critic_is_that_of_its_slope(length: float) -> None:
    random = torch.Generator().manual_seed(0)
    critic = Linear(length)
    real, fake = (torch.rand(3, 1, 2, 2, generator=random, requires_grad=True) for _ in range(2))
    penalty = gradient_penalty(critic, real, fake[:2], random)
    assert penalty.item() == pytest.approx((length - 1) ** 2)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert critic.direction.grad is not None
    assert critic.direction.grad.norm().item() == pytest.approx(2 * abs(length - 1) if length else 0, abs=1e-6)
    assert real.grad is None
    assert fake.grad is None


def test_r1_is_half_the_squared_slope_of_each_patch() -> None:
    critic = Patches()
    real = torch.rand(3, 1, 4, 4)
    penalty = r1_penalty(critic, real)
    # A patch's logit is 2 x its pixel: a slope of 2 everywhere.
    assert float(penalty.detach()) == pytest.approx(2.0)
    penalty.backward()
    assert critic.gain.grad is not None
    assert float(critic.gain.grad) == pytest.approx(2.0)
    assert real.grad is None


class Patches(nn.Module):
    """Logits that are pixels times a gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x


class Square(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images**2 / 2


def test_penalty_is_taken_between_real_and_fake() -> None:
    # The slope of x^2 / 2 is x, so the penalty of one pixel tells where on the line it was taken.
    real, fake = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 5.0)
    random = torch.Generator().manual_seed(0)
    again = torch.Generator().manual_seed(0)
    taken_at = [gradient_penalty(Square(), real, fake, random).sqrt().item() + 1 for _ in range(400)]
    assert taken_at == [gradient_penalty(Square(), real, fake, again).sqrt().item() + 1 for _ in range(400)]
    assert 2 <= min(taken_at) < 2.1
    assert 4.9 < max(taken_at) <= 5
    assert sum(taken_at) / 400 == pytest.approx(3.5, abs=0.15)


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
