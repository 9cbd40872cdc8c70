"""The mapping of published names is one to one and strict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.heads import PatchHeads
from depthforge.networks.published import load_published, published_names

NETWORKS = {
    "generator": lambda: DepthGenerator(width=4),
    "generator with rgb": lambda: DepthGenerator(width=4, with_rgb=True),
    "discriminator": lambda: PatchDiscriminator(width=4),
    "heads": lambda: PatchHeads((4, 16), width=8),
}


def published_state(network: nn.Module) -> dict[str, Tensor]:
    entries = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {published: entries[ours].detach().clone() for published, ours in published_names(network).items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(name: str) -> None:
    one, two = NETWORKS[name](), NETWORKS[name]()
    load_published(two, published_state(one))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_counters_of_batch_norm_may_be_absent() -> None:
    state = published_state(DepthGenerator(width=4))
    load_published(DepthGenerator(width=4), {k: v for k, v in state.items() if "num_batches" not in k})


def test_missing_and_unknown_keys_are_both_named() -> None:
    generator = DepthGenerator(width=4)
    before = generator.out.bias.detach().clone()
    state = published_state(DepthGenerator(width=4))
    state["model.99.weight"] = state.pop("model.5.weight")
    with pytest.raises(InputError, match=r"(?s)model\.5\.weight \(missing\).*model\.99\.weight \(unknown\)"):
        load_published(generator, state)
    assert torch.equal(generator.out.bias, before)


def test_other_width_is_refused_before_anything_is_copied() -> None:
    generator = DepthGenerator(width=4)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with pytest.raises(InputError, match=r"another shape(.|\n)*model\.1\.weight"):
        load_published(generator, published_state(DepthGenerator(width=8)))
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_other_blur_is_refused() -> None:
    state = published_state(DepthGenerator(width=4))
    state["model.8.filt"] = torch.full_like(state["model.8.filt"], 1 / 9)
    with pytest.raises(InputError, match="not the binomial one"):
        load_published(DepthGenerator(width=4), state)


def test_network_without_counterpart() -> None:
    with pytest.raises(TypeError, match="Linear"):
        published_names(nn.Linear(1, 1))
