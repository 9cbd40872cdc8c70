"""The names under which DCL's and CUT's published code keeps its weights, mapped to ours: this table and no other.

The published networks are flat lists, so a weight is named by its position; ours are named by what they do. Loading
is strict: every weight must be there, of our shape, and nothing else. Two kinds of entry are not weights. The blur
filters (``filt``) are constants, and must equal ours. The pass counters of batch norm are unused at its fixed
momentum, and may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.networks.discriminator import PatchDiscriminator
from depthforge.networks.generator import DepthGenerator
from depthforge.networks.heads import PatchHeads

__all__ = ["load_published", "published_names"]

COUNTER = ".num_batches_tracked"


def published_names(network: nn.Module) -> dict[str, str]:
    """Return published name -> our name for every entry of a network's state, blur kernels included.

    ``network`` is a DepthGenerator, PatchDiscriminator or PatchHeads; another one is a TypeError.
    """
    if isinstance(network, DepthGenerator):
        modules = dict(_generator(network))
    elif isinstance(network, PatchDiscriminator):
        modules = dict(_discriminator())
    elif isinstance(network, PatchHeads):
        modules = dict(_heads(len(network.layers)))
    else:
        raise TypeError(f"no published counterpart of {type(network).__name__}")
    entries = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    names = {}
    for ours in entries:
        module, _, entry = ours.rpartition(".")
        names[f"{modules[module]}.{'filt' if entry == 'kernel' else entry}"] = ours
    return names


def load_published(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a published state into ``network``, as it stands or not at all.

    InputError names what is missing and what is unknown, a weight of another shape, or a blur that is not ours.
    """
    names = published_names(network)
    missing = sorted(name for name in names.keys() - state.keys() if not name.endswith(COUNTER))
    unknown = sorted(state.keys() - names.keys())
    if missing or unknown:
        raise InputError(
            f"these are not the weights of a {type(network).__name__}",
            expected=f"{', '.join(missing) or 'nothing else'} (missing)",
            found=f"{', '.join(unknown) or 'nothing else'} (unknown)",
        )
    entries = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    present = {published: ours for published, ours in names.items() if published in state}
    for published, ours in present.items():
        if state[published].shape != entries[ours].shape:
            raise InputError(
                "a published weight has another shape",
                where=f"{published} ({ours})",
                expected=tuple(entries[ours].shape),
                found=tuple(state[published].shape),
            )
        if published.endswith(".filt") and not torch.allclose(state[published].to(entries[ours]), entries[ours]):
            raise InputError("a published blur filter is not the binomial one", where=published)
    with torch.no_grad():
        for published, ours in present.items():
            entries[ours].copy_(state[published])


def _generator(network: DepthGenerator) -> Iterator[tuple[str, str]]:
    if network.image is None:
        encoder = decoder = "model"
        first_up = 19
    else:
        encoder, decoder = "depth_encoder", "depth_decoder"
        first_up = 4
        yield from _encoder("image.", "rgb_encoder")
        yield "fuse.conv", f"{decoder}.1"
        yield "fuse.norm", f"{decoder}.2"
    yield from _encoder("", encoder)
    for i in range(len(network.blocks)):
        for part, position in (("first", 1), ("second", 5)):
            yield f"blocks.{i}.{part}.conv", f"{encoder}.{14 + i}.conv_block.{position}"
            yield f"blocks.{i}.{part}.norm", f"{encoder}.{14 + i}.conv_block.{position + 1}"
    for i, start in enumerate((first_up, first_up + 5)):
        yield f"blur_up.{i}", f"{decoder}.{start}"
        yield f"up.{i}.conv", f"{decoder}.{start + 2}"
        yield f"up.{i}.norm", f"{decoder}.{start + 3}"
    yield "out", f"{decoder}.{first_up + 11}"


def _encoder(ours: str, published: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}stem.conv", f"{published}.1"
    yield f"{ours}stem.norm", f"{published}.2"
    for i, start in enumerate((5, 10)):
        yield f"{ours}down.{i}.conv", f"{published}.{start}"
        yield f"{ours}down.{i}.norm", f"{published}.{start + 1}"
        yield f"{ours}blur_down.{i}", f"{published}.{start + 3}"


def _discriminator() -> Iterator[tuple[str, str]]:
    yield "stages.0.conv", "model.0"
    yield "stages.0.blur_down", "model.2"
    for i, start in enumerate((3, 7, 11), start=1):
        yield f"stages.{i}.conv", f"model.{start}"
        yield f"stages.{i}.norm", f"model.{start + 1}"
        yield f"stages.{i}.blur_down", f"model.{start + 3}"
    yield "logits", "model.14"


def _heads(num_layers: int) -> Iterator[tuple[str, str]]:
    for i in range(num_layers):
        yield f"layers.{i}.hidden", f"mlp_{i}.0"
        yield f"layers.{i}.out", f"mlp_{i}.2"
