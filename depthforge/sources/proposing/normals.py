"""Images of normals: the reading of them that agrees with the normals of depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from depthforge.errors import DepthforgeError
from depthforge.geometry import decode_normals, normals_from_depth
from depthforge.sources.proposing.contents import Content
from depthforge.sources.proposing.described import Described
from depthforge.sources.proposing.read_back import source_of

__all__ = ["add_normals"]

_LEAST_COSINE = 0.8


def add_normals(found: Described, content: Content, template: str) -> None:
    """Add the normals of ``content`` where some reading of them agrees with those of depth; else say so."""
    block = _agreeing(found.block, content, template)
    if block is None:
        found.unknown.append(f"the axes of the normals in {content.group.template}; they are not read")
    else:
        found.block["normals"] = block
        found.say("normals", "the reading that agrees with the normals of depth")


def _agreeing(block: Mapping[str, Any], content: Content, template: str) -> dict[str, Any] | None:
    is_float = content.planes[0].dtype.kind == "f"
    signed = is_float and bool((content.planes[0] < -0.1).any())
    base = {"file": template, "encoding": "signed" if signed else "unsigned"}
    readings: list[dict[str, Any]] = [{}, {"axes": "opengl"}]
    readings += [{"space": "world"}] if "pose" in block else []
    best: tuple[float, dict[str, Any]] = (_LEAST_COSINE, {})
    for reading in readings:
        normals = {**base, **reading}
        try:
            agreement = _agreement(block, normals)
        except DepthforgeError:
            continue
        if agreement > best[0]:
            best = (agreement, normals)
    return best[1] or None


def _agreement(block: Mapping[str, Any], normals: Mapping[str, Any]) -> float:
    """Return the median cosine between stored normals and those of depth, in the first frame."""
    source = source_of(block, {"normals": normals})
    frame = source.read(next(iter(source.frames())), frozenset({"normals", "T_world_cam"}))
    source.close()
    if "normals" not in frame.labels:
        return -1.0
    stored = decode_normals(frame.labels["normals"].astype(np.int16, copy=False))
    computed = normals_from_depth(frame.depth_m, frame.valid, frame.camera)
    both = np.abs(computed).any(axis=-1) & np.abs(stored).any(axis=-1)
    return float(np.median((stored * computed).sum(axis=-1)[both])) if both.any() else -1.0
