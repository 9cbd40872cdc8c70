"""Borders that keep the layout against torch's own padding, forwards, backwards and twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from depthforge.networks import borders
from depthforge.networks.borders import bordered, spread


def reflected(x: Tensor, radius: int) -> Tensor:
    """The form for a GPU, here."""
    return borders._Reflect.apply(x, radius)  # type: ignore[no-any-return]


def picture(height: int, width: int, layout: torch.memory_format = torch.channels_last) -> Tensor:
    x = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("radius", "size"), [(1, (2, 5)), (3, (4, 9)), (3, (8, 6))])
def test_values_layout_and_gradients_are_those_of_padding(
    radius: int, size: tuple[int, int], layout: torch.memory_format
) -> None:
    x = picture(*size, layout).requires_grad_()
    ours, theirs = reflected(x, radius), functional.pad(x, (radius,) * 4, mode="reflect")
    assert torch.equal(ours, theirs)
    assert ours.is_contiguous(memory_format=layout)
    weights = torch.rand(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = weights.contiguous(memory_format=layout)
    (found,) = torch.autograd.grad((ours * weights).sum(), x)
    (expected,) = torch.autograd.grad((theirs * weights).sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert found.is_contiguous(memory_format=layout)


def test_it_is_differentiable_twice() -> None:
    x = picture(3, 3)[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reflected(x, 2), x)
    assert torch.autograd.gradgradcheck(lambda x: reflected(x, 2).square(), x)


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_what_is_done_on_the_way(mode: borders.Mode) -> None:
    x = picture(4, 6) - 0.5
    padded = functional.pad(x, (2, 2, 2, 2), mode=mode)
    assert torch.equal(bordered(x, 2, mode), padded)
    assert torch.equal(bordered(x, 2, mode, rectified=True), padded.relu())
    assert torch.equal(bordered(x, 2, mode, plus=x), padded + padded)
    single = bordered(x, 2, mode, rectified=True, dtype=torch.float32)
    assert torch.equal(single, padded.relu().float())
    assert torch.equal(bordered(x, 0, mode), x)


def test_blocks_are_written_as_the_image_that_they_are() -> None:
    y = torch.arange(2 * 8 * 3 * 5.0).reshape(2, 8, 3, 5)
    image = torch.empty(2, 2, 6, 10)
    for row in range(2):
        for column in range(2):
            image[:, :, row::2, column::2] = y[:, 4 * row + 2 * column : 4 * row + 2 * column + 2]
    assert torch.equal(spread(y, 2).reshape(image.shape), image)
    for layout in (torch.channels_last, torch.contiguous_format):
        made = bordered(spread(y.contiguous(memory_format=layout), 2), 1)
        assert torch.equal(made, functional.pad(image, (1, 1, 1, 1), mode="reflect"))
