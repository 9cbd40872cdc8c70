"""Classes that a segmentation is trained on, made of the ids that a corpus stores, and their confusion.

The fifteen indoor classes of DCL's Table V are fourteen of NYU40 and "others", every other id but 0, which is
unlabelled. Counts of a whole test set add up in one matrix, and every figure is a function of it: mean intersection
over union of images would count a class that an image lacks as nothing or as perfect.

Sources: Shen et al., DCL, Table V; mIoU-12 leaves out the three classes that hardly occur (read off its numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError, closest, told
from depthforge.geometry import Float64
from depthforge.labels.vocabularies import class_names

__all__ = ["INDOOR", "OTHERS", "UNLABELLED", "class_lookup", "class_overlaps", "confusion"]

OTHERS: Final = "others"
"""The class of every id that no other class has."""

UNLABELLED: Final = 255
"""The class index of what is not labelled; it counts nowhere."""

INDOOR: Final = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "desk", "curtain", "ceiling",
    "refrigerator", "television", OTHERS,
)  # fmt: skip
"""DCL's fifteen classes by their names in NYU40."""


def class_lookup(vocabulary: str, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Return the class index by id of the vocabulary, (ids,) uint8; UNLABELLED for 0 and what belongs to no class.

    Raises InputError for a class that the vocabulary does not have, or one that is named twice.
    """
    names = class_names(vocabulary)
    unknown = [name for name in classes if name != OTHERS and name not in names[1:]]
    if unknown:
        near = closest(unknown[0], names[1:])
        raise InputError(
            f"unknown class {unknown[0]!r}",
            where=f"classes, of {vocabulary}",
            expected=f"{', '.join(names[1:])}, or {OTHERS}",
            remedy=(f"did you mean {near!r}? or " if near else "") + "name another `vocabulary`",
        )
    if len(set(classes)) < len(classes) or not 2 <= len(classes) < UNLABELLED:
        raise InputError(
            "the classes must be different ones", where="classes", expected="2 to 254 names", found=told(classes)
        )
    rest = classes.index(OTHERS) if OTHERS in classes else UNLABELLED
    lookup = np.full(len(names), rest, np.uint8)
    lookup[0] = UNLABELLED
    for index, name in enumerate(classes):
        if name != OTHERS:
            lookup[names.index(name)] = index
    return lookup


def confusion(truth: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], num_classes: int) -> Float64:
    """Return how often (num_classes, num_classes) a pixel of the row's class was taken for the column's.

    Both images are of class indices; pixels whose truth is UNLABELLED count nowhere.
    """
    labelled = truth != UNLABELLED
    joint = truth[labelled].astype(np.int64) * num_classes + predicted[labelled]
    return np.bincount(joint, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.float64)


def class_overlaps(counts: Float64) -> Float64:
    """Return the intersection over union (C,) of each class; NaN for one that neither truth nor prediction has."""
    right = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - right
    with np.errstate(invalid="ignore"):
        return np.asarray(right / np.where(union > 0, union, np.nan))
