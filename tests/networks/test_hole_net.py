"""The network of holes: any size in, the same size out, the same weights from the same generator."""

from __future__ import annotations

import pytest
import torch

from depthforge.networks.hole_net import HoleNet


def network(seed: int = 0, channels: int = 3) -> HoleNet:
    made = HoleNet(channels=channels)
    made.initialise(torch.Generator().manual_seed(seed))
    return made.eval()


@pytest.mark.parametrize("size", [(32, 48), (37, 53), (5, 7)])
def test_any_size_gives_a_map_of_that_size(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert network()(torch.zeros(2, 3, *size)).shape == (2, 1, *size)


def test_the_generator_alone_decides_the_weights() -> None:
    first, again, other = (network(seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_an_untrained_network_expects_few_holes() -> None:
    with torch.inference_mode():
        probability = torch.sigmoid(network()(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
    assert probability.mean().item() == pytest.approx(0.047, abs=0.01)


def test_it_learns_which_surface_is_lost_and_one_far_away_changes_nothing() -> None:
    made = network().train()
    image = torch.zeros(1, 3, 64, 128)
    image[:, 0, 16:32, 16:40] = 1
    optimiser = torch.optim.AdamW(made.parameters(), lr=5e-3)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(made(image), image[:, :1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        found = torch.sigmoid(made(image))[0, 0]
        image[:, 0, :, 100:] = 1
        again = torch.sigmoid(made(image))[0, 0]
    assert found[18:30, 18:38].min() > 0.5
    assert found[:, 48:].max() < 0.3
    torch.testing.assert_close(again[:, :60], found[:, :60])
    assert not torch.equal(again[:, 104:], found[:, 104:])
