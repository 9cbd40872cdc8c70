"""Which checkpoint of a training to keep: a score of realism and geometry on held-out frames, lower is better.

Losses do not say it: an adversarial loss is relative to a discriminator that moves too, and the last checkpoint is
rarely the best. The score is a sum of terms, each 0 when there is nothing left to gain and 1 at, or beyond, a stated
scale, so that no term outweighs the others by being hopeless:

===========  ==============================================================================================  =======
term         figure                                                                                          1 at
===========  ==============================================================================================  =======
patches      AUC of telling patches apart, above the floor of real against real (never below 0.5)            0.5 above
holes        Wasserstein distance of the frames' hole rates, relative to the real rate (of 1 % at least)     1
hole sizes   Wasserstein distance of the hole sizes                                                          4 octaves
noise        noise against depth, mean abs(log2 of the ratio to real)                                        2 octaves
roughness    Wasserstein distance of the angles between neighbouring normals                                 15 deg
normals      median angle to clean normals, above the real median roughness / sqrt(2)                        20 deg
depth        median distance of smoothed to clean smoothed depth, share of depth                             10 %
===========  ==============================================================================================  =======

The last two hold the geometry: without them a network that paints any room with perfect noise would win. And realism
does not make up for depth that is not the frame's: from a depth term of 1 on (10 % off) up to 50 % off every other term
is at least as far on its way to 1. (A small DCL whose depth had doubled, with noise near the sensor's, had a better
plain sum than 300 steps later with 13 % off.) A sensor turns normals too, and a translator must not be punished for it:
windows turned independently by an angle a differ by a sqrt(2) from their neighbours, so roughness / sqrt(2) is what
noise alone explains (11.7 degrees of a Kinect v1; a simulation of it measures 10.1). A figure that could not be
measured (everything a hole, no flat window) counts 1.

By the table in docs/realism.md clean depth scores 4.2, the Kinect simulation 2.3, and the other half of the real frames
0.4 in the five terms that need no clean depth; a network that makes holes of everything scores 7. The scales weigh the
terms by what is a large error for each, not by what a downstream task needs: the score ranks checkpoints of one
training on the same frames and is no figure to publish.

Cost: 40 ms a frame of 640x480 to describe beside its clean depth, and 0.1 s to compare 16 with 32 real frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from depthforge.errors import InputError
from depthforge.frame import BoolImage, DepthImage
from depthforge.realism.compare import HELD_OUT, REFERENCE, Comparison, compare
from depthforge.realism.describe import Description, describe
from depthforge.realism.views import DepthView

__all__ = [
    "TERMS",
    "THRESHOLDS",
    "WORST",
    "Judged",
    "Score",
    "evaluate_translator",
    "hole_threshold_sensitivity",
    "score",
]

TERMS: Final = ("patches", "holes", "hole sizes", "noise", "roughness", "normals", "depth")
# Around 1/255, the step of the 8-bit images that the published networks wrote.
THRESHOLDS: Final = (0.0, 0.25 / 255, 0.5 / 255, 1 / 255, 2 / 255, 4 / 255)

_PATCHES_AUC: Final = 0.5
_FEWEST_HOLES_PERCENT: Final = 1.0
_HOLE_SIZES_OCTAVES: Final = 4.0
_NOISE_OCTAVES: Final = 2.0
_ROUGHNESS_DEG: Final = 15.0
_NORMALS_DEG: Final = 20.0
_DEPTH_PERCENT: Final = 10.0
_LOST_PERCENT: Final = 50.0


@dataclass(frozen=True, slots=True)
class Score:
    """``terms`` by the names of ``TERMS``, each in [0, 1], 0 is best, raised to what lost geometry leaves of them."""

    terms: dict[str, float]

    @property
    def total(self) -> float:
        """The sum of the terms, 0 to 7, lower is better."""
        return math.fsum(self.terms.values())


WORST: Final = Score(dict.fromkeys(TERMS, 1.0))
"""The score of a set in which nothing could be measured."""


class Judged(NamedTuple):
    """A translator's ``score``, and the ``comparison`` behind it: None when no frame holds any measurement."""

    score: Score
    comparison: Comparison | None


def score(comparison: Comparison, name: str) -> Score:
    """Return the score of the set ``name`` of a comparison; see the module. UnknownNameError as of ``value``."""

    def value(figure: str, of: str = name) -> float | None:
        return comparison.value(figure, of)

    floor = max(value("patches told apart, AUC", HELD_OUT) or 0.5, 0.5)
    real_holes = max(value("holes", REFERENCE) or 0.0, _FEWEST_HOLES_PERCENT)
    real_roughness = value("roughness of normals, median", REFERENCE) or 0.0
    depth_off = value("depth off clean, median")
    terms = {
        "patches": _term(value("patches told apart, AUC"), _PATCHES_AUC, floor),
        "holes": _term(value("holes a frame, Wasserstein"), real_holes),
        "hole sizes": _term(value("hole sizes, Wasserstein"), _HOLE_SIZES_OCTAVES),
        "noise": _term(value("noise against depth"), _NOISE_OCTAVES),
        "roughness": _term(value("roughness, Wasserstein"), _ROUGHNESS_DEG),
        "normals": _term(value("normals off clean, median"), _NORMALS_DEG, real_roughness / math.sqrt(2)),
        "depth": _term(depth_off, _DEPTH_PERCENT),
    }
    # Of a sparse sensor there is no block to average over: its checkpoints are ranked by what else there is.
    lost = 0.0 if depth_off is None else _term(depth_off, _LOST_PERCENT - _DEPTH_PERCENT, _DEPTH_PERCENT)
    return Score({term: max(value, lost) for term, value in terms.items()})


def evaluate_translator(
    views: Sequence[DepthView], real: Description, *, name: str = "translated", seed: int = 0
) -> Judged:
    """Hold translated held-out frames against real ones.

    ``views`` hold the translator's output with the clean depth as ``clean``; ``real`` is described once and used for
    every checkpoint. Views without any measurement, what an untrained network makes, get the worst score. Otherwise
    raises as ``describe`` and ``compare`` do, and InputError for views without clean depth.
    """
    if not views or any(view.clean is None for view in views):
        raise InputError(
            "a translator is judged on its output beside the clean depth",
            where=name,
            expected="at least one view, each with clean depth",
            found=f"{len(views)} views, {sum(view.clean is None for view in views)} of them without",
        )
    if not any(view.valid.any() for view in views):
        return Judged(WORST, None)
    comparison = compare({name: describe(views, name=name, seed=seed)}, real, seed=seed)
    return Judged(score(comparison, name), comparison)


def hole_threshold_sensitivity(
    outputs: Sequence[DepthImage], clean_valid: Sequence[BoolImage], thresholds: Sequence[float] = THRESHOLDS
) -> list[tuple[float, float]]:
    """Return, for each threshold, the share of valid clean pixels at which the output is a hole.

    ``outputs`` are the network's, (H, W) each in shares of the range; a hole is what is at or below the threshold, as
    in conversion, or not a number. A rate that hardly moves with the threshold means that the network has learnt holes;
    one that follows it means that it fades to small depths. Raises InputError when no pixel is valid.
    """
    shares = [output[valid] for output, valid in zip(outputs, clean_valid, strict=True)]
    values = np.concatenate(shares) if shares else np.empty(0, np.float32)
    if not values.size:
        raise InputError("there is no valid clean pixel to count holes among")
    ordered = np.sort(np.where(np.isnan(values), -np.inf, values))
    return [(float(t), float(np.searchsorted(ordered, t, "right") / len(ordered))) for t in thresholds]


def _term(found: float | None, scale: float, free: float = 0.0) -> float:
    """Return how far ``found`` is above ``free``, in units of ``scale``, clipped to [0, 1]; 1 for None and NaN."""
    if found is None or math.isnan(found):
        return 1.0
    return min(max((found - free) / scale, 0.0), 1.0)
