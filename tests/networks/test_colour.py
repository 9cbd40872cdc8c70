"""The generator of colour images: parameters, range, sizes, and that it keeps an image's channels apart."""

from __future__ import annotations

import pytest
import torch

from depthforge.errors import InputError
from depthforge.networks.colour import ColourGenerator
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.initialise import initialise


def seeded() -> ColourGenerator:
    generator = ColourGenerator(width=4)
    initialise(generator, torch.Generator().manual_seed(0), gain=1.0)
    return generator


def test_parameters_are_those_of_the_depth_generator_and_of_two_more_channels() -> None:
    assert sum(p.numel() for p in ColourGenerator().parameters()) == 1_671_491
    assert 1_671_491 == 1_665_217 + 2 * 2 * 32 * 49 + 2
    assert ColourGenerator().feature_channels == DepthGenerator().feature_channels


@torch.no_grad()
def test_it_is_the_depth_generator_where_the_weights_are() -> None:
    """One channel in, one channel looked at: DepthGenerator of the centred image, moved from (-1, 1) to (0, 1)."""
    generator, depth_generator = seeded().eval(), DepthGenerator(width=4).eval()
    state = generator.state_dict()
    state["stem.conv.weight"] = state["stem.conv.weight"].sum(dim=1, keepdim=True)
    state["out.weight"], state["out.bias"] = state["out.weight"][1:2], state["out.bias"][1:2]
    depth_generator.load_state_dict(state)
    grey = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    colour = generator(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(colour[:, 1:2], (depth_generator(2 * grey - 1) + 1) / 2)
    assert colour.min() > 0
    assert colour.max() < 1
    for found, expected in zip(
        generator.encode(grey.expand(-1, 3, -1, -1)), depth_generator.encode(2 * grey - 1), strict=True
    ):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_sizes() -> None:
    generator = seeded().eval()
    assert generator(torch.rand(1, 3, 5, 14)).shape == (1, 3, 8, 16)
    for shape in ((1, 4, 16, 16), (1, 3, 4, 16), (3, 16, 16)):
        with pytest.raises(InputError, match="does not fit the colour generator"):
            generator(torch.zeros(shape))
