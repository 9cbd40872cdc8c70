"""Parameters, shapes and initial weights of the networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from depthforge.errors import InputError
from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.generator import DepthGenerator, apply_padded, pad_to_multiple
from depthforge.networks.heads import PatchHeads
from depthforge.networks.initialise import initialise


def seeded(network: nn.Module, seed: int = 0, **options: object) -> nn.Module:
    initialise(network, torch.Generator().manual_seed(seed), **options)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (DepthGenerator(), 1_665_217),
        (DepthGenerator(with_rgb=True), 1_873_121),
        (PatchDiscriminator(), 693_665),
        (PatchHeads(DepthGenerator().feature_channels), 152_832),
    ],
    ids=["generator", "generator with rgb", "discriminator", "heads"],
)
def test_parameter_counts(network: nn.Module, parameters: int) -> None:
    assert sum(p.numel() for p in network.parameters()) == parameters


@torch.no_grad()
def test_features_are_those_of_the_depth_alone() -> None:
    generator = seeded(DepthGenerator(width=4, with_rgb=True)).eval()
    x = torch.rand(2, 4, 12, 20)
    depth, features = generator.forward_with_features(x)
    assert depth.shape == (2, 1, 12, 20)
    assert [tuple(f.shape[1:]) for f in features] == [(4, 12, 20), (16, 6, 10), *[(16, 3, 5)] * 3]
    assert tuple(f.shape[1] for f in features) == generator.feature_channels
    for found, expected in zip(generator.encode(x[:, :1]), features, strict=True):
        assert torch.equal(found, expected)
    recoloured = torch.cat([x[:, :1], 1 - x[:, 1:]], dim=1)
    assert not torch.equal(generator(recoloured), depth)


@pytest.mark.parametrize("size", [(5, 5), (12, 20), (13, 18), (15, 7)])
@torch.no_grad()
def test_any_size_comes_back_as_it_went_in(size: tuple[int, int]) -> None:
    generator = seeded(DepthGenerator(width=4)).eval()
    x = torch.rand(1, 1, *size)
    height, width = size
    rounded = (1, 1, -(-height // 4) * 4, -(-width // 4) * 4)
    assert generator(x).shape == rounded
    assert pad_to_multiple(x).shape == rounded
    assert torch.equal(pad_to_multiple(x)[..., :height, :width], x)
    assert apply_padded(generator, x).shape == x.shape
    if rounded == x.shape:
        assert torch.equal(apply_padded(generator, x), generator(x))


def test_padding_reflects_without_repeating_the_border() -> None:
    row = torch.arange(5.0).expand(1, 1, 8, 5)
    assert pad_to_multiple(row)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]


@pytest.mark.parametrize("shape", [(1, 4, 16, 16), (1, 1, 4, 16), (1, 16, 16)])
def test_image_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="does not fit the generator"):
        DepthGenerator(width=4)(torch.zeros(shape))


def test_discriminator_judges_patches_of_84_pixels() -> None:
    discriminator = seeded(PatchDiscriminator(width=4)).eval()
    x = torch.rand(1, 1, 240, 240, requires_grad=True)
    logits = discriminator(x)
    assert logits.shape == (1, 1, 28, 28)
    logits[0, 0, 14, 14].backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [84, 84]
    assert discriminator(torch.zeros(1, 1, 24, 24)).shape == (1, 1, 1, 1)


def test_spectral_norm_leaves_no_convolution_stretching() -> None:
    discriminator = seeded(PatchDiscriminator(width=4, spectral_norm=True))
    assert not [module for module in discriminator.modules() if isinstance(module, nn.BatchNorm2d)]
    conv = discriminator.stages[1].conv
    features = torch.rand(1, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    for _ in range(60):
        conv(features)
    discriminator.eval()
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}
    used = conv.weight.detach().flatten(1)
    u = conv.left
    stretch = float(u @ used @ nn.functional.normalize(u @ used, dim=0))
    assert stretch == pytest.approx(float(torch.linalg.matrix_norm(used, 2)), rel=1e-3)
    expected = nn.functional.conv2d(features, conv.weight / stretch, conv.bias, padding=1)
    torch.testing.assert_close(conv(features), expected, rtol=1e-3, atol=1e-6)
    # Evaluation leaves the state alone, which is part of the weights.
    discriminator(torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(before[name], value) for name, value in discriminator.state_dict().items())


def test_heads_keep_leading_axes_and_want_every_layer() -> None:
    heads = PatchHeads((3, 5), width=7)
    out = heads([torch.zeros(2, 9, 3), torch.zeros(4, 5)])
    assert [tuple(x.shape) for x in out] == [(2, 9, 7), (4, 7)]
    with pytest.raises(ValueError, match="zip"):
        heads([torch.zeros(2, 3)])


def test_initial_weights_follow_the_seed_and_nothing_else() -> None:
    torch.manual_seed(1)
    one = seeded(DepthGenerator(width=4))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = DepthGenerator(width=4)
    torch.set_rng_state(state)
    seeded(two)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.stem.conv.weight, seeded(two, seed=1).stem.conv.weight)


@pytest.mark.parametrize(("scheme", "std"), [("xavier", 0.02 * math.sqrt(2 / (2 * 128 * 9))), ("normal", 0.02)])
def test_initial_distribution(scheme: str, std: float) -> None:
    generator = seeded(DepthGenerator(), scheme=scheme)
    assert generator.blocks[2].first.conv.weight.std().item() == pytest.approx(std, rel=0.01)
    scales = torch.cat([m.weight.detach() for m in generator.modules() if isinstance(m, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.002)
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)
    biases = [p for name, p in generator.named_parameters() if name.endswith("bias")]
    assert all((bias == 0).all() for bias in biases)
