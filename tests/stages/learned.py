"""Tiny untrained translators on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from depthforge.networks.initialise import initialise
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator
from depthforge.translators.dcl import Dcl


def write_weights(folder: Path, **options: Any) -> dict[str, Any]:
    """Write random weights of a tiny generator; return the manifest's translator block that uses them.

    The generator says what to add to the depth, with random weights next to nothing: its gain is raised until the
    noise is millimetres.
    """
    config = Dcl.Config(width=4, residual=True, **options)
    networks = Dcl.make_networks(config)
    random = torch.Generator().manual_seed(0)
    for network in networks.values():
        initialise(network, random, gain=1.0)
    with torch.no_grad():
        networks["generator"].out.weight.mul_(0.01)
    card = TranslatorCard(
        translator="dcl",
        version=Dcl.version,
        architecture=config.architecture,
        normalisation=config.scale,
        origin="a test",
    )
    write_translator(folder, networks, card)
    return {"name": "dcl", "width": 4, "residual": True, **options, "weights": str(folder)}
