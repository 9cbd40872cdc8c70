"""The fused generator against the module it was made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.networks import fused
from depthforge.networks.fused import fuse
from depthforge.networks.generator import DepthGenerator


def trained(**options: object) -> DepthGenerator:
    """A generator of weights and statistics that give its layers, and its output, a realistic spread."""
    generator = DepthGenerator(**options)  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(0)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.2, generator=random)
            nn.init.normal_(module.bias, 0.0, 0.2, generator=random)
            module.momentum = 1.0
    nn.init.normal_(generator.out.weight, 0.0, 0.02, generator=random)
    with torch.no_grad():
        generator.train()(images(4, generator, 64, 48))
    return generator.eval()


def images(count: int, generator: DepthGenerator, height: int, width: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(count, generator.in_channels, height, width, generator=random)


every_form = pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": 7},
        {"width": 8, "with_rgb": True},
        {"width": 8, "noise_channels": 2, "residual": 1.0, "with_rgb": True},
        {"width": 8, "residual": 0.1, "validity": True},
        {"width": 8, "residual": 0.1, "validity": True, "drawn_holes": True, "with_rgb": True},
    ],
    ids=["published", "odd width", "colour", "noise, residual and colour", "validity", "drawn holes"],
)


@pytest.mark.parametrize("size", [(8, 36), (52, 12), (96, 64)])
@every_form
@torch.no_grad()
def test_equals_the_module_whatever_the_bands(
    options: dict[str, object], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = trained(**options)
    x = images(2, generator, *size)
    exact = generator.double()(x.double())
    assert exact.std() > 0.02
    quick = fuse(generator.float())
    for band_bytes in (8 << 20, 1):
        monkeypatch.setattr(fused, "BAND_BYTES", band_bytes)
        depth = quick(x)
        assert depth.dtype == torch.float32
        torch.testing.assert_close(depth.double(), exact, rtol=0, atol=1e-5)


def test_same_bytes_in_any_batch_and_with_any_threads() -> None:
    generator = trained(width=16, with_rgb=True)
    quick = fuse(generator)
    x = images(4, generator, 64, 96)
    together = quick(x)
    assert torch.equal(quick(x.flip(0)), together.flip(0))
    for i in range(len(x)):
        assert torch.equal(quick(x[i : i + 1]), together[i : i + 1])
    torch.set_num_threads(1)
    assert torch.equal(quick(x), together)


def test_is_a_copy_without_gradients() -> None:
    generator = trained(width=4)
    quick = fuse(generator)
    x = images(1, generator, 16, 16)
    before = quick(x)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.zero_()
    assert torch.equal(quick(x), before)
    assert not before.requires_grad
    assert not list(quick.parameters())


def test_bfloat16_is_near_and_returns_float32() -> None:
    generator = trained(width=8)
    x = images(1, generator, 32, 32)
    depth = fuse(generator, dtype=torch.bfloat16)(x)
    assert depth.dtype == torch.float32
    assert (depth - fuse(generator)(x)).abs().mean() < 0.05


@pytest.mark.parametrize("shape", [(1, 2, 16, 16), (1, 1, 4, 16), (1, 1, 16, 18), (1, 16, 16)])
def test_image_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="does not fit the generator"):
        fuse(DepthGenerator(width=4).eval())(torch.zeros(shape))


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fuse(DepthGenerator(width=4))
