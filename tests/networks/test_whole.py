"""The generator for a GPU against the module it was made from, on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from depthforge.errors import InputError
from depthforge.networks.folding import BLOCK, blocks_in, blocks_out
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.whole import DoublingConv, WholeGenerator
from tests.networks.test_fused import every_form, images, trained


def test_blocks_are_the_same_convolution() -> None:
    random = torch.Generator().manual_seed(0)
    weight = torch.rand(3, 2, 7, 7, generator=random, dtype=torch.float64)
    x = torch.rand(1, 2, 8, 12, generator=random, dtype=torch.float64)
    expected = functional.conv2d(functional.pad(x, (3,) * 4, mode="reflect"), weight)
    by_block = expected.unflatten(3, (3, BLOCK)).unflatten(2, (2, BLOCK)).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    out = functional.conv2d(functional.pad(x, (3,) * 4, mode="reflect"), blocks_out(weight), stride=BLOCK)
    torch.testing.assert_close(out, by_block, rtol=1e-13, atol=1e-13)
    unshuffled = functional.pixel_unshuffle(functional.pad(x, (4,) * 4, mode="reflect"), BLOCK)
    torch.testing.assert_close(functional.conv2d(unshuffled, blocks_in(weight)), by_block, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (6, 3)])
def test_doubling_and_convolution_in_one(size: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    weight, bias = torch.rand(3, 2, 3, 3, generator=random).double(), torch.rand(3, generator=random).double()
    x = torch.rand(2, 2, *size, generator=random).double()
    fine = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    expected = functional.conv2d(functional.pad(fine, (1,) * 4, mode="reflect"), weight, bias)
    conv = DoublingConv(weight, bias, torch.float64)
    found = conv(functional.pad(x, (1,) * 4, mode="replicate")).reshape(expected.shape)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("size", [(8, 8), (52, 12)])
@every_form
@torch.no_grad()
def test_equals_the_module(options: dict[str, object], size: tuple[int, int]) -> None:
    generator = trained(**options)
    x = images(2, generator, *size)
    single = WholeGenerator(generator)(x)
    exact = generator.double()(x.double())
    assert exact.std() > 0.02
    torch.testing.assert_close(WholeGenerator(generator, torch.float64)(x.double()), exact, rtol=0, atol=1e-12)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bfloat16_ends_in_float32() -> None:
    generator = trained(width=8)
    x = images(1, generator, 32, 32)
    whole = WholeGenerator(generator, torch.bfloat16)
    depth = whole(x)
    assert (depth.dtype, whole.head.weight.dtype) == (torch.float32, torch.float32)
    assert (depth - generator(x)).abs().mean() < 0.05
    assert len(depth.unique()) > 900, "bfloat16 has some 200 values of this range"


def test_image_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit the generator"):
        WholeGenerator(DepthGenerator(width=4).eval())(torch.zeros(1, 1, 16, 18))


def test_compiling_sees_one_graph_and_the_same_numbers() -> None:
    """The functional form that a compiler is given, traced and run by torch without a compiler."""
    generator = trained(width=4, with_rgb=True)
    whole = WholeGenerator(generator)
    x = images(2, generator, 16, 24)
    with torch.inference_mode():
        compiled = torch.compile(whole.encode, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), whole.encode(x), rtol=1e-5, atol=1e-5)
