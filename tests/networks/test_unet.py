"""The U-Net: parameters, sizes, and that detail and surroundings both reach a pixel."""

from __future__ import annotations

import pytest
import torch

from depthforge.errors import InputError
from depthforge.networks.initialise import initialise
from depthforge.networks.unet import UNet


def seeded() -> UNet:
    network = UNet(width=4)
    initialise(network, torch.Generator().manual_seed(0), gain=1.0)
    return network.eval()


def test_parameter_count() -> None:
    assert sum(p.numel() for p in UNet().parameters()) == 1_798_209


@torch.no_grad()
def test_shapes() -> None:
    assert seeded()(torch.rand(2, 3, 16, 40)).shape == (2, 1, 16, 40)
    assert UNet(channels=4, width=2)(torch.rand(2, 4, 24, 16)).shape == (2, 1, 24, 16)
    for shape in ((1, 4, 16, 16), (1, 3, 8, 16), (1, 3, 16, 20), (3, 16, 16)):
        with pytest.raises(InputError, match="does not fit the U-Net"):
            seeded()(torch.zeros(shape))


def test_a_pixel_sees_itself_and_a_window_of_115() -> None:
    image = torch.rand(1, 3, 240, 240, generator=torch.Generator().manual_seed(1), requires_grad=True)
    logits = seeded()(image)
    logits[0, 0, 120, 120].backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    seen = image.grad[0].abs().sum(dim=0)
    assert seen[120, 120] > 0
    # Off centre, since 120 is even on every scale.
    assert (seen.nonzero().amax(0) - seen.nonzero().amin(0) + 1).tolist() == [115, 115]


@torch.no_grad()
def test_detail_comes_by_the_shortcut_alone() -> None:
    """With the way through the bottleneck cut, only the 9x9 pixels of the outermost stage are left."""
    network = seeded()
    network.narrow[-1].norm.weight.zero_()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    changed = image.clone()
    changed[:, :, 16, 16] += 1
    moved = (network(changed) != network(image))[0, 0].nonzero()
    assert moved.amin(0).tolist() == [12, 12]
    assert moved.amax(0).tolist() == [20, 20]
