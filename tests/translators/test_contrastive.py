"""The contrastive losses against plain loops, and the drawing of positions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from depthforge.errors import InputError
from depthforge.networks.heads import PatchHeads
from depthforge.networks.initialise import initialise
from depthforge.translators import contrastive as contrastive
from depthforge.translators.contrastive import Negatives, Pairs

TEMPERATURE = 0.07


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(random: torch.Generator, batch: int = 3, channels: int = 4, side: int = 5) -> Tensor:
    return torch.randn(batch, channels, side, side, generator=random, dtype=torch.float64)


def cross_entropy(query: Tensor, positive: Tensor, negatives: list[Tensor]) -> float:
    logits = [float(query @ k) / TEMPERATURE for k in (positive, *negatives)]
    return math.log(sum(math.exp(x) for x in logits)) - logits[0]


def unit(v: Tensor) -> Tensor:
    return v / (v.norm() + 1e-7)


@pytest.mark.parametrize("negatives", ["same_image", "same_anchor", "batch"])
def test_differential_loss_is_the_plain_loop(negatives: Negatives) -> None:
    random = seeded()
    query, key = features(random), features(random)
    pairs = contrastive.draw_pairs(5, 5, 6, random)
    (found,) = contrastive.differential_losses([query], [key], [pairs], negatives=negatives)

    def difference(f: Tensor, image: int, anchor: Tensor, partner: Tensor) -> Tensor:
        flat = f[image].flatten(1)
        return unit(flat[:, anchor] - flat[:, partner])

    expected = []
    for image in range(3):
        for p, (i, j) in enumerate(zip(*pairs, strict=True)):
            others: list[Tensor] = []
            for b in range(3) if negatives == "batch" else [image]:
                for m, (k, n) in enumerate(zip(*pairs, strict=True)):
                    if (b, m) != (image, p):
                        others.append(difference(key, b, i if negatives == "same_anchor" else k, n))
            expected.append(cross_entropy(difference(query, image, i, j), difference(key, image, i, j), others))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_patch_loss_is_the_plain_loop() -> None:
    random = seeded()
    query, key = features(random), features(random)
    positions = contrastive.draw_positions(5, 5, 6, random)
    (found,) = contrastive.patch_losses([query], [key], [positions])
    q, k = query.flatten(2)[..., positions], key.flatten(2)[..., positions]
    expected = [
        cross_entropy(unit(q[b, :, p]), unit(k[b, :, p]), [unit(k[b, :, m]) for m in range(6) if m != p])
        for b in range(3)
        for p in range(6)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@given(st.integers(0, 1000), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_a_depth_offset_does_not_matter_to_differences(seed: int, offset: float) -> None:
    random = seeded(seed)
    query, key = features(random), features(random)
    pairs = [contrastive.draw_pairs(5, 5, 8, random)]
    (found,) = contrastive.differential_losses([query + offset], [key], pairs)
    (expected,) = contrastive.differential_losses([query], [key], pairs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_equal_features_cost_little_and_equal_candidates_cost_log_p() -> None:
    query = torch.eye(8, dtype=torch.float64)[None]
    assert contrastive.info_nce(query, query, TEMPERATURE).max() < 1e-5
    same = torch.ones(2, 8, 3, dtype=torch.float64)
    torch.testing.assert_close(
        contrastive.info_nce(same, same, TEMPERATURE), torch.full((16,), math.log(8), dtype=torch.float64)
    )


def test_gradients_reach_query_and_heads_only() -> None:
    random = seeded()
    heads = PatchHeads((4, 4), width=8)
    initialise(heads, random, gain=1.0)
    query = [features(random).float().requires_grad_() for _ in range(2)]
    key = [features(random).float().requires_grad_() for _ in range(2)]
    pairs = [contrastive.draw_pairs(5, 5, 6, random) for _ in range(2)]
    contrastive.layer_mean(contrastive.differential_losses(query, key, pairs, heads)).backward()  # type: ignore[no-untyped-call]
    assert all(q.grad is not None and q.grad.abs().sum() > 0 for q in query)
    assert all(k.grad is None for k in key)
    assert all(p.grad is not None for p in heads.parameters())


def test_pair_of_one_position_has_finite_gradient() -> None:
    random = seeded()
    query, key = features(random).requires_grad_(), features(random)
    pairs = Pairs(torch.tensor([3, 7, 9]), torch.tensor([3, 2, 4]))
    (losses,) = contrastive.differential_losses([query], [key], [pairs])
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert query.grad.isfinite().all()
    assert query.grad.flatten(2)[..., 3].abs().max() == 0
    torch.testing.assert_close(losses[0].item(), math.log(3))


def test_layers_weigh_the_same_whatever_their_size() -> None:
    assert contrastive.layer_mean([torch.tensor([1.0, 3.0]), torch.full((100,), 5.0)]).item() == 3.5


@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 200), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_uniform_positions_are_distinct_and_within(height: int, width: int, count: int, seed: int) -> None:
    pairs = contrastive.draw_pairs(height, width, count, seeded(seed))
    for side in pairs:
        assert len(side) == min(count, height * width)
        assert len(side.unique()) == len(side)
        assert 0 <= int(side.min()) <= int(side.max()) < height * width
    again = contrastive.draw_pairs(height, width, count, seeded(seed))
    assert all(torch.equal(a, b) for a, b in zip(pairs, again, strict=True))


def test_gaussian_partners_have_the_spread_asked_for() -> None:
    pairs = contrastive.draw_pairs(200, 300, 60_000, seeded(), sigma_px=4.0)
    row, column = pairs.anchor // 300, pairs.anchor % 300
    inner = (row >= 30) & (row < 170) & (column >= 30) & (column < 270)
    for anchor, partner in ((row, pairs.partner // 300), (column, pairs.partner % 300)):
        offset = (partner - anchor)[inner].double()
        assert offset.mean().item() == pytest.approx(0, abs=0.1)
        assert offset.std().item() == pytest.approx(math.sqrt(16 + 1 / 12), rel=0.02)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 1000), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_gaussian_partners_stay_within(height: int, width: int, sigma_px: float, seed: int) -> None:
    anchor, partner = contrastive.draw_pairs(height, width, 50, seeded(seed), sigma_px=sigma_px)
    assert len(anchor) == len(partner) == min(50, height * width)
    assert 0 <= int(partner.min()) <= int(partner.max()) < height * width


def test_sigma_is_positive() -> None:
    with pytest.raises(InputError, match="pair distance"):
        contrastive.draw_pairs(4, 4, 4, seeded(), sigma_px=0.0)
