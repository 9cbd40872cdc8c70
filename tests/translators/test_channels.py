"""Named images become the channels of the published networks in one order, with or without noise."""

from __future__ import annotations

import pytest
import torch

from depthforge.translators.channels import stacked, with_frame_noise, with_noise

DEPTH = torch.full((2, 1, 4, 5), 0.5)
RGB = torch.stack([torch.full((4, 5), value) for value in (0.1, 0.2, 0.3)]).expand(2, 3, 4, 5)


def test_colour_comes_behind_depth_as_blue_green_red() -> None:
    assert stacked({"depth": DEPTH, "normals": RGB}) is DEPTH
    channels = stacked({"rgb": RGB, "depth": DEPTH})
    assert channels.shape == (2, 4, 4, 5)
    assert channels[1, :, 2, 3].tolist() == pytest.approx([0.5, 0.3, 0.2, 0.1])


def test_noise_lies_between_depth_and_colour_and_is_the_generators() -> None:
    images = stacked({"depth": DEPTH, "rgb": RGB})
    assert with_noise(images, 0, torch.Generator()) is images
    noisy = with_noise(images, 2, torch.Generator().manual_seed(3))
    assert torch.equal(noisy[:, 1:3], torch.randn(2, 2, 4, 5, generator=torch.Generator().manual_seed(3)))
    assert torch.equal(noisy[:, [0, 3, 4, 5]], images)


def test_the_noise_of_a_frame_is_keyed_by_its_words() -> None:
    image = stacked({"depth": DEPTH[:1], "rgb": RGB[:1]})
    one, again, other = (with_frame_noise(image, 1, words) for words in ((1, 2), (1, 2), (1, 3)))
    assert torch.equal(one, again)
    assert not torch.equal(one[:, 1], other[:, 1])
    assert torch.equal(one[:, [0, 2, 3, 4]], image)
