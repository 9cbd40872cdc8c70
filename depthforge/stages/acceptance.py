"""Which labels a run reads, and which frames it would reject before they are made noisy: asked before it and in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from depthforge.corpus.encode import encode_depth
from depthforge.errors import FrameError, MissingLabelError, UnknownNameError
from depthforge.frame import Frame
from depthforge.manifest import Labels, Manifest
from depthforge.sources.base import Source
from depthforge.translators.base import Translator

__all__ = [
    "acceptance",
    "present_labels",
    "require_depth",
    "require_known_labels",
    "require_labels",
    "required_labels",
    "wanted_labels",
]


def wanted_labels(labels: Labels, source: Source, translator: Translator) -> frozenset[str]:
    """Return the labels to read: what the manifest does not turn off and what the translator itself needs."""
    carried = frozenset(name for name in source.labels if labels.get(name) != "off")
    return carried | translator.wanted | (translator.uses & set(source.labels))


def required_labels(labels: Labels, translator: Translator) -> frozenset[str]:
    """Return the labels without which a frame is rejected."""
    return frozenset(name for name, presence in labels.items() if presence == "required") | translator.wanted


def require_known_labels(manifest: Manifest, source: Source) -> None:
    """Raise UnknownNameError for a label of ``manifest`` that ``source`` does not have."""
    for name in manifest.labels:
        if name not in source.labels:
            raise UnknownNameError("label", name, source.labels, where=f"labels.{name} (source {source.name})")


def acceptance(
    manifest: Manifest, source: Source, translator: Translator | None
) -> Callable[[Frame], Mapping[str, int]]:
    """Return what raises FrameError for a frame that a run of ``manifest`` would reject before translating it.

    Of any other it returns, in words, the single values that would not be stored, and how many. Without a translator
    (one that is not trained yet) it is taken to need depth.
    """
    needs_depth = translator is None or translator.needs_depth
    if translator is None:
        required = frozenset(name for name, presence in manifest.labels.items() if presence == "required")
    else:
        required = required_labels(manifest.labels, translator)

    def accept(frame: Frame) -> Mapping[str, int]:
        if needs_depth:
            require_depth(frame)
        require_labels(frame, required)
        if frame.camera.size != source.size:
            raise FrameError(
                "the frame has another size", where=frame.key, expected=source.size, found=frame.camera.size
            )
        dropped: Counter[str] = Counter()
        where = f"{frame.key}: clean depth"
        encode_depth(frame.depth_m, frame.valid, manifest.corpus.depth, where=where, dropped=dropped)
        return dropped

    return accept


def require_depth(frame: Frame) -> None:
    """Raise FrameError when no pixel of ``frame`` has depth."""
    if not frame.valid.any():
        raise FrameError(
            "the frame has no valid depth",
            where=frame.key,
            remedy="no noisy depth can be made of an empty frame; depthforge check lists such frames",
        )


def require_labels(frame: Frame, required: frozenset[str]) -> None:
    """Raise MissingLabelError when ``frame`` lacks a required label."""
    absent = sorted(required - present_labels(frame))
    if absent:
        raise MissingLabelError(
            f"the frame has no {' and no '.join(absent)}",
            where=frame.key,
            remedy=f"complete the data set, or set labels.{absent[0]}: if_present (or off) in the manifest",
        )


def present_labels(frame: Frame) -> frozenset[str]:
    """Return the names of the labels that the frame carries; a pose that is not finite is none."""
    present = set(frame.labels)
    if frame.rgb is not None or frame.rgb_file is not None:
        present.add("rgb")
    if frame.T_world_cam is not None and np.isfinite(frame.T_world_cam).all():
        present.add("T_world_cam")
    return frozenset(present)
