"""GAN losses against their formulas; the pool of past images."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from depthforge.translators._adversarial import GanLoss, ImagePool, adversarial_loss


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
