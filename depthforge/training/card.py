"""A trained translator on disk: a folder of ``weights.safetensors`` and ``card.json``, which says what they are.

The card holds all that using the weights depends on, so that nothing is guessed: the architecture, how depth becomes
the network's input (one fixed maximum in metres, or the maximum of each image), what they were trained on and how that
went. Weights and card name each other by hash; a folder whose halves do not fit is refused. safetensors holds tensors
and no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pydantic
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import InputError, IntegrityError, MissingDataError
from depthforge.seeding import fingerprint_of

__all__ = [
    "CARD_FILE",
    "WEIGHTS_FILE",
    "Normalisation",
    "TranslatorCard",
    "load_networks",
    "read_card",
    "write_translator",
]

CARD_FILE: Final = "card.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CARD_FORMAT: Final = 1


class Normalisation(BaseModel):
    """How metres become the network's [0, 1]: divided by ``max_depth_m``, or by the maximum of each image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["fixed", "per_image"] = "fixed"
    max_depth_m: float | None = Field(default=None, gt=0)


class TranslatorCard(BaseModel):
    """What a folder of weights is.

    ``translator`` and ``version`` name the method, ``architecture`` what its networks are built from, ``method`` every
    option it was trained with. ``trained_on`` names clean and real data with their licences, ``training`` says how
    long and how, ``figures`` what was measured on frames held out from training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = CARD_FORMAT
    translator: str
    version: int
    architecture: dict[str, Any]
    normalisation: Normalisation
    units: str = "m"
    weights_sha256: str = ""
    origin: str
    method: dict[str, Any] = {}
    trained_on: dict[str, Any] = {}
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}

    @property
    def fingerprint(self) -> str:
        """32 hex digits over what decides the output: method, architecture, normalisation and weights."""
        deciding = {"translator", "version", "architecture", "normalisation", "weights_sha256"}
        return fingerprint_of(self.model_dump(mode="json", include=deciding))

    def to_bytes(self) -> bytes:
        """Return the text of ``card.json``."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def require_fits(self, translator: str, architecture: Mapping[str, Any], normalisation: Normalisation) -> None:
        """Raise InputError, both sides told, unless weights of this card are what a manifest asks for."""
        asked = _identity(translator, architecture, normalisation)
        here = _identity(self.translator, self.architecture, self.normalisation)
        differing = sorted(name for name in asked.keys() | here.keys() if asked.get(name) != here.get(name))
        if differing:
            raise InputError(
                f"the weights are of another {' and another '.join(_kinds(differing))}",
                expected=", ".join(f"{name} {asked.get(name)}" for name in differing) + " (the manifest)",
                found=", ".join(f"{name} {here.get(name)}" for name in differing) + " (the card of the weights)",
                remedy="set the manifest's translator to what the card says, or train again",
            )


def _identity(translator: str, architecture: Mapping[str, Any], normalisation: Normalisation) -> dict[str, Any]:
    return {
        "translator": translator,
        "normalisation": normalisation.mode,
        "max_depth_m": normalisation.max_depth_m,
        **{f"architecture.{name}": value for name, value in architecture.items()},
    }


def _kinds(differing: list[str]) -> list[str]:
    kinds = {"translator": "translator", "normalisation": "normalisation", "max_depth_m": "normalisation"}
    return sorted({kinds.get(name, "architecture") for name in differing})


def write_translator(folder: Path, networks: Mapping[str, nn.Module], card: TranslatorCard) -> TranslatorCard:
    """Write weights, then card, each whole or not at all; return the card with the hash of the weights.

    Raises StorageError when there is no room.
    """
    weights = {
        f"{name}.{entry}": value.detach().cpu().contiguous()
        for name, network in networks.items()
        for entry, value in network.state_dict().items()
    }
    content = save(weights, metadata={"format": "pt", "translator": card.translator})
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS_FILE, content)
        write_atomically(folder / CARD_FILE, card.to_bytes())
    return card


def read_card(folder: Path) -> TranslatorCard:
    """Return the card of a trained translator; MissingDataError when there is none, InputError when it is unsound."""
    path = folder / CARD_FILE
    try:
        return TranslatorCard.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError(
            "there is no trained translator",
            where=folder,
            expected=f"a folder with {CARD_FILE} and {WEIGHTS_FILE}",
            remedy="depthforge train MANIFEST, or depthforge translator import CHECKPOINT",
        ) from None
    except (OSError, pydantic.ValidationError) as error:
        reason = error.errors(include_url=False)[0]["msg"] if isinstance(error, pydantic.ValidationError) else error
        raise InputError("the card of the translator is not sound", where=path, found=reason) from None


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
            expected=_few([f"{name} {tuple(expected[name].shape)}" for name in [*missing, *sorted(other)]]),
            found=_few([f"{name} {tuple(found[name].shape)}" for name in [*unknown, *sorted(other)]]),
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "nothing else"
