"""The networks of the tasks: published counts, sizes, and the weights they start from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from depthforge.errors import InputError
from depthforge.networks.disparity_unet import DisparityUNet
from depthforge.networks.enhancement import EnhancementNet


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_the_published_network_has_the_published_number_of_weights() -> None:
    assert count(EnhancementNet()) == 3_587_920
    # Three heads of three outputs and the transposed convolution of three groups more.
    assert count(EnhancementNet(outputs=3, adds_input=False)) == 3_587_920 + 3 * 2 * 576 + 2 * 16
    assert count(DisparityUNet(channels=5)) == 195_521


@pytest.mark.parametrize("size", [(48, 64), (45, 62), (8, 4)])
def test_every_scale_comes_out_at_its_size(size: tuple[int, int]) -> None:
    network = EnhancementNet(width=4, layers=1)
    depth_m = torch.rand(2, 1, *size)
    with torch.no_grad():
        shapes = [tuple(image.shape) for image in network(depth_m, torch.zeros_like(depth_m))]
    height, width = size
    expected = [((height + n - 1) // n, (width + n - 1) // n) for n in (4, 2, 1)]
    assert shapes == [(2, 1, *each) for each in expected]


def test_a_step_up_keeps_features_as_large_as_they_are_unless_published() -> None:
    network = EnhancementNet(width=16, layers=1)
    flat = torch.ones(1, 16, 8, 8)
    for published, gain in ((False, 1.0), (True, 16.0)):
        network.initialise(torch.Generator().manual_seed(0), published_gain=published)
        with torch.no_grad():
            grown = network.up[0](flat)[..., 2:-2, 2:-2]
        torch.testing.assert_close(grown, torch.full_like(grown, gain))


def test_weights_are_drawn_with_the_published_spread() -> None:
    network = EnhancementNet()
    network.initialise(torch.Generator().manual_seed(0))
    trunk = network.decode[1].layers[0].weight
    assert float(trunk.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert float(network.first.weight.detach().std()) == pytest.approx((2 / (49 * 64)) ** 0.5, rel=0.05)


def test_a_network_whose_heads_say_nothing_gives_the_input_back() -> None:
    network = EnhancementNet(width=4, layers=1)
    network.initialise(torch.Generator().manual_seed(0))
    for head in network.heads:
        nn.init.zeros_(head.weight)
    depth_m = torch.full((1, 1, 16, 24), 2.5)
    with torch.no_grad():
        quarter, half, whole = network(depth_m, torch.zeros_like(depth_m))
    assert float((quarter - 2.5).abs().max()) == 0
    assert float((half - 2.5).abs().max()) < 1e-6
    assert float((whole[..., 2:-2, 2:-2] - 2.5).abs().max()) < 1e-6


def test_three_outputs_cannot_be_added_to_depth() -> None:
    with pytest.raises(InputError, match="one image"):
        EnhancementNet(outputs=3)


def test_the_small_network_starts_by_changing_nothing_at_any_size() -> None:
    network = DisparityUNet(channels=5, width=8)
    network.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        change = network(torch.rand(1, 5, 37, 51))
    assert change.shape == (1, 1, 37, 51)
    assert float(change.abs().max()) == 0


def test_the_finest_image_is_made_of_the_features_that_are_given() -> None:
    network = EnhancementNet(outputs=3, adds_input=False, width=4, layers=1)
    network.initialise(torch.Generator().manual_seed(0))
    depth_m = torch.rand(2, 1, 18, 22, generator=torch.Generator().manual_seed(1))
    hole = torch.zeros_like(depth_m)
    with torch.no_grad():
        images, features = network.forward_with_features(depth_m, hole)
        assert features.shape == (2, 4, 18, 22)
        for found, expected in zip(network(depth_m, hole), images, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)
        # The half-size image, brought to the whole size, is what the head's part is added to.
        rest = images[2] - network.heads[2](features)
        torch.testing.assert_close(
            rest[..., 2:-4, 2:-4], network.grow(images[1])[..., :18, :22][..., 2:-4, 2:-4], rtol=0, atol=1e-5
        )
