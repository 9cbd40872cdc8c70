"""Compiled networks compute the same, and what cannot be compiled runs as it stands and says so."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import pytest
import torch

from depthforge.errors import InputError
from depthforge.networks.blur import doubled, halved
from depthforge.networks.borders import reflected
from depthforge.networks.compiling import compile_network
from depthforge.networks.generator import DepthGenerator
from depthforge.translators.adversarial import gradient_penalty


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_both_doors_give_the_same_depth_features_and_gradients() -> None:
    plain = DepthGenerator(width=2).double()
    network = copy.deepcopy(plain)
    compile_network(network, backend="aot_eager")
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(network(x), plain(x))
        for found, expected in zip(network.encode(x), plain.encode(x), strict=True):
            torch.testing.assert_close(found, expected)
        for each in (network, plain):
            each(x).sum().backward()
    torch.testing.assert_close(network.stem.conv.weight.grad, plain.stem.conv.weight.grad)
    assert network.state_dict().keys() == plain.state_dict().keys()
    network.eval()
    assert torch.equal(network(x), network(x))


def test_the_forms_for_a_gpu_can_be_compiled_with_their_gradients() -> None:
    def chain(x: torch.Tensor) -> torch.Tensor:
        return doubled(halved(reflected(x, 1))).square().sum()

    x = torch.rand(1, 2, 6, 8, requires_grad=True)
    compiled = torch.compile(chain, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(x), x)
    (expected,) = torch.autograd.grad(chain(x), x)
    torch.testing.assert_close(found, expected)


def test_what_does_not_compile_is_a_warning_once_and_runs() -> None:
    def broken(*_: object) -> None:
        raise FileNotFoundError("no C compiler")

    plain = DepthGenerator(width=2).eval()
    network = copy.deepcopy(plain)
    compile_network(network, backend=broken)  # type: ignore[arg-type]
    x = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        with pytest.warns(UserWarning, match=r"DepthGenerator\.forward runs uncompiled .*no C compiler"):
            assert torch.equal(network(x), plain(x))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(network(x), plain(x))


def test_an_error_of_the_input_stays_one() -> None:
    network = DepthGenerator(width=2).eval()
    compile_network(network, backend="eager")
    with pytest.raises(InputError, match="does not fit the generator"), torch.inference_mode():
        network(torch.zeros(1, 2, 16, 16))


def test_the_penalty_goes_past_the_compiler() -> None:
    """torch compiles no second derivatives."""
    network = DepthGenerator(width=2)
    compile_network(network, backend="aot_eager")
    images = torch.rand(2, 2, 1, 16, 16)
    penalty = gradient_penalty(network, *images, torch.Generator().manual_seed(0))
    penalty.backward()  # type: ignore[no-untyped-call]
    assert network.stem.conv.weight.grad is not None
