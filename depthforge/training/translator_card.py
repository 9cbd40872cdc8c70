"""The card of a trained translator: ``card.json`` beside ``weights.safetensors`` says what the weights are.

It holds all that using them depends on, so that nothing is guessed: the architecture, how depth becomes the network's
input (one fixed maximum in metres, or the maximum of each image), what they were trained on and how that went. The
weights themselves are in ``weights``; this module loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from depthforge.errors import InputError, MissingDataError, told

__all__ = ["CARD_FILE", "WEIGHTS_FILE", "Normalisation", "Quantity", "TranslatorCard", "read_card"]

CARD_FILE: Final = "card.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CARD_FORMAT: Final = 1


Quantity = Literal["z", "ray", "disparity"]
"""What a network is told of a distance."""


class Normalisation(BaseModel):
    """How metres become the network's [0, 1]: divided by ``max_depth_m``, or by the maximum of each image.

    ``quantity`` says what is divided: planar z, or ``ray``, the length of the ray. Of ``disparity``, which is inverse
    depth, 1 is the nearest: ``min_depth_m``, or that of each image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["fixed", "per_image"] = "fixed"
    max_depth_m: float | None = Field(default=None, gt=0)
    quantity: Quantity = "z"
    min_depth_m: float | None = Field(default=None, gt=0)


class TranslatorCard(BaseModel):
    """What a folder of weights is.

    ``translator`` and ``version`` name the method, ``architecture`` what its networks are built from, ``method`` every
    option it was trained with. ``normalisation`` and ``units`` are those of depth, None for networks that see none.
    ``trained_on`` names clean and real data with their licences, ``training`` says how
    long and how, ``figures`` what was measured on frames held out from training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = CARD_FORMAT
    translator: str
    version: int
    architecture: dict[str, Any]
    normalisation: Normalisation | None
    units: str | None = "m"
    weights_sha256: str = ""
    origin: str
    method: dict[str, Any] = {}
    trained_on: dict[str, Any] = {}
    training: dict[str, Any] = {}
    figures: dict[str, Any] = {}

    def to_bytes(self) -> bytes:
        """Return the text of ``card.json``."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def require_fits(
        self,
        translator: str,
        architecture: Mapping[str, Any],
        normalisation: Normalisation | None,
        defaults: Mapping[str, Any] = {},
    ) -> None:
        """Raise InputError, both sides told, unless weights of this card are what a manifest asks for.

        An option of the architecture that the card is too old to know had its value in ``defaults``.
        """
        asked = _identity(translator, architecture, normalisation)
        here = _identity(self.translator, {**defaults, **self.architecture}, self.normalisation)
        differing = sorted(name for name in asked.keys() | here.keys() if asked.get(name) != here.get(name))
        if differing:
            raise InputError(
                f"the weights are of another {' and another '.join(_kinds(differing))}",
                expected=", ".join(f"{name} {asked.get(name)}" for name in differing) + " (the manifest)",
                found=", ".join(f"{name} {here.get(name)}" for name in differing) + " (the card of the weights)",
                remedy="set the manifest's translator to what the card says, or train again",
            )


def _identity(translator: str, architecture: Mapping[str, Any], normalisation: Normalisation | None) -> dict[str, Any]:
    return {
        "translator": translator,
        "normalisation": None if normalisation is None else normalisation.mode,
        "max_depth_m": None if normalisation is None else normalisation.max_depth_m,
        "quantity": None if normalisation is None else normalisation.quantity,
        "min_depth_m": None if normalisation is None else normalisation.min_depth_m,
        **{f"architecture.{name}": value for name, value in architecture.items()},
    }


_OF_DEPTH: Final = ("normalisation", "max_depth_m", "quantity", "min_depth_m")


def _kinds(differing: list[str]) -> list[str]:
    kinds = {"translator": "translator", **dict.fromkeys(_OF_DEPTH, "normalisation")}
    return sorted({kinds.get(name, "architecture") for name in differing})


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
        found: object = error
        if isinstance(error, pydantic.ValidationError):
            wrong = error.errors(include_url=False)
            found = told((": ".join([*map(str, each["loc"]), each["msg"]]) for each in wrong), joint="; ")
        raise InputError("the card of the translator is not sound", where=path, found=found) from None
