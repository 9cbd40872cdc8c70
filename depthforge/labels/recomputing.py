"""What noise does to labels: nothing, but where a LabelSpec says how the label is computed again.

A rule is a function on the LabelSpec (``NoiseRule``), so that a source with a label of its own brings its rule with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Frame

if TYPE_CHECKING:  # the catalogue's specs hold rules of this module
    from depthforge.labels.spec import LabelSpec

__all__ = ["after_noise", "count_measured_pixels", "needed_by_noise"]


def after_noise(frame: Frame, valid: BoolImage, specs: Mapping[str, LabelSpec]) -> Frame:
    """Return ``frame`` with the labels that noise changes, computed for what is ``valid`` (H, W) in the noisy depth.

    ``specs`` are those of the source, by name. A label whose rule lacks what it needs is left out rather than carried
    wrong.
    """
    rules = {name: spec.noise for name in frame.labels if (spec := specs.get(name)) is not None and spec.noise}
    if not rules:
        return frame
    labels = {name: value for name, value in frame.labels.items() if name not in rules}
    for name, rule in rules.items():
        label = rule.recompute(frame, valid)
        if label is not None:
            labels[name] = label
    return replace(frame, labels=labels)


def needed_by_noise(specs: Iterable[LabelSpec]) -> frozenset[str]:
    """Return the names of the labels from which noise computes any of ``specs`` again."""
    return frozenset().union(*(spec.noise.needs for spec in specs if spec.noise is not None))


def count_measured_pixels(frame: Frame, valid: BoolImage) -> npt.NDArray[Any] | None:
    """Return ``object_px_count_valid`` (N,) uint32: as in BOP, the measured pixels of each silhouette, hidden or not.

    It reads ``object_silhouettes``, in which bit k of a pixel says that it lies in the silhouette of object k.
    """
    silhouettes = frame.labels.get("object_silhouettes")
    if silhouettes is None:
        return None
    measured = silhouettes[valid].astype(np.uint64, copy=False)
    num_objects = len(frame.labels["object_px_count_valid"])
    counts = [np.count_nonzero(measured & np.uint64(1 << row)) for row in range(num_objects)]
    return np.array(counts, np.uint32)
