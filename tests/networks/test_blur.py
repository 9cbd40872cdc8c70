"""The blurs against their definition: sizes, constants, mean and a plain double loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.networks import blur
from depthforge.networks.blur import BlurDown, BlurUp, doubled, halved

sides = st.integers(2, 19)


@given(sides, sides, st.floats(-5, 5, width=32))
@settings(max_examples=25, deadline=None)
def test_sizes_and_constants(height: int, width: int, value: float) -> None:
    x = torch.full((1, 2, height, width), value)
    down, up = BlurDown(2)(x), BlurUp(2)(x)
    assert down.shape == (1, 2, -(-height // 2), -(-width // 2))
    assert up.shape == (1, 2, 2 * height, 2 * width)
    for y in (down, up):
        torch.testing.assert_close(y, torch.full_like(y, value))


def test_up_preserves_the_mean_away_from_the_border() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[..., 3:5, 3:5] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert BlurUp(1)(x).mean() == pytest.approx(x.mean())


def test_down_is_the_binomial_at_every_second_pixel() -> None:
    x = torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = np.pad(x[0, 0].numpy(), 1, mode="reflect")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = [[(padded[r : r + 3, c : c + 3] * kernel).sum() for c in range(0, 6, 2)] for r in range(0, 5, 2)]
    np.testing.assert_allclose(BlurDown(1).double()(x)[0, 0].numpy(), expected, rtol=1e-14)


def test_up_weighs_the_nearer_pixel_three_to_one() -> None:
    x = torch.tensor([0.0, 4.0]).expand(1, 1, 2, 2)
    assert BlurUp(1)(x)[0, 0, 0].tolist() == [0.0, 1.0, 3.0, 4.0]


def test_channels_do_not_mix() -> None:
    x = torch.stack([torch.ones(4, 4), torch.zeros(4, 4)])[None]
    for each in (BlurDown(2), BlurUp(2)):
        assert each(x)[0].mean(dim=(1, 2)).tolist() == [1.0, 0.0]


def test_neither_has_state() -> None:
    assert not BlurDown(3).state_dict()
    assert not BlurUp(3).state_dict()


@pytest.mark.parametrize("size", [(2, 3), (5, 6), (8, 7)])
def test_the_forms_for_a_gpu_are_the_same_filters(size: tuple[int, int]) -> None:
    x = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    for ours, module in ((halved, BlurDown(2).double()), (doubled, BlurUp(2).double())):
        found, expected = ours(x), module(x)
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
        weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("size", [(2, 3), (5, 6), (8, 7)])
def test_the_forms_for_a_compiler_are_the_same_filters(size: tuple[int, int]) -> None:
    x = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(blur._halved_by_slices(x), halved(x), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(blur._doubled_by_slices(x), doubled(x), rtol=1e-14, atol=1e-14)


def test_the_forms_for_a_gpu_keep_channels_innermost_and_are_differentiable_twice() -> None:
    x = torch.rand(1, 2, 2, 3, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    for ours in (halved, doubled):
        y = ours(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in (y, gradient))
        assert torch.autograd.gradgradcheck(lambda x, ours=ours: ours(x).square(), x)
