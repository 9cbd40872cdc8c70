"""The weights of a trained translator on disk: ``weights.safetensors``, tensors and no code, and its card beside it.

The card names the weights by hash, so a folder whose halves do not fit is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import InputError, IntegrityError, MissingDataError, told
from depthforge.training.translator_card import CARD_FILE, WEIGHTS_FILE, TranslatorCard, read_card

__all__ = ["load_networks", "write_translator"]


def write_translator(folder: Path, networks: Mapping[str, nn.Module], card: TranslatorCard) -> TranslatorCard:
    """Write weights, then card, each whole or not at all; return the card with the hash of the weights.

    Raises StorageError when there is no room.
    """
    weights = {
        f"{name}.{entry}": value.detach().cpu().contiguous()
        for name, network in networks.items()
        for entry, value in network.state_dict().items()
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    content = save(weights, metadata={"format": "pt"})
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS_FILE, content)
        write_atomically(folder / CARD_FILE, card.to_bytes())
    return card


def load_networks(folder: Path, networks: Mapping[str, nn.Module]) -> TranslatorCard:
    """Copy the weights of ``folder`` into ``networks``, all of them or none; return the card.

    Raises MissingDataError, IntegrityError when the weights are not those that the card names (truncated, or of
    another run), InputError when they do not fit the networks.
    """
    card = read_card(folder)
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MissingDataError("the translator has no weights", where=path, remedy="train it again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != card.weights_sha256:
        raise IntegrityError(
            "the weights are not those that the card was written for",
            where=path,
            expected=f"sha256 {card.weights_sha256}",
            found=f"{found}, {len(content)} bytes",
            remedy="copy the folder again, or train again",
        )
    try:
        weights = load(content)
    except SafetensorError as error:
        raise IntegrityError("the weights cannot be read", where=path, found=error) from None
    expected = {f"{n}.{e}": v for n, network in networks.items() for e, v in network.state_dict().items()}
    _require_same_shapes(weights, expected, path)
    with torch.no_grad():
        for name, value in expected.items():
            value.copy_(weights[name])
    return card


def _require_same_shapes(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [name for name in expected.keys() & found.keys() if expected[name].shape != found[name].shape]
    if missing or unknown or other:
        raise InputError(
            "the weights are of another architecture",
            where=path,
            expected=told(f"{name} {tuple(expected[name].shape)}" for name in [*sorted(other), *missing]),
            found=told(f"{name} {tuple(found[name].shape)}" for name in [*sorted(other), *unknown]),
        )
