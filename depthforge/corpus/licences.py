"""Whose terms a corpus is under: those of its source, and of whatever a learned translator was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from depthforge.corpus.layout import CorpusInfo
from depthforge.frame import Licence

__all__ = ["binding_licence", "licence_terms", "licences_of"]


def licences_of(info: CorpusInfo, trained: Mapping[str, Any] | None) -> dict[str, Licence]:
    """Return, for the card and the report, the licence of the source and of each side of a training, by name.

    ``trained`` is the card of a learned translator (``translator/card.json``); a side under the source's own licence is
    left out.
    """
    licences = {info.source.name: info.source.licence}
    for side, described in (trained or {}).get("trained_on", {}).items():
        licence = Licence(**described["licence"])
        if licence != info.source.licence:
            licences[f"{described['source']} (the translator was trained on it, {side} side)"] = licence
    return licences


def binding_licence(licences: Mapping[str, Licence]) -> Licence:
    """Return the most restrictive of ``licences``, the source's among equals."""
    return next((licence for licence in licences.values() if licence.non_commercial), next(iter(licences.values())))


def licence_terms(licence: Licence) -> str:
    """Return in words what is known of a licence: whether it excludes commercial use."""
    return "non-commercial use only" if licence.non_commercial else "commercial use is not excluded"
