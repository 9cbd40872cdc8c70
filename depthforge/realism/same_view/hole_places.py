"""Are simulated holes where the sensor's are? Overlap of masks, and the score of probabilities against real holes.

Only pixels with truth count: elsewhere every simulation has a hole, and so, mostly, has the sensor. One simulated frame
is a mask, and masks give overlap (IoU), precision and recall. A simulation that draws its holes is better judged by
the probability that it gave to each pixel: by the area under the ROC curve and average precision, which ask for the
right order only, and by the log loss (nats a pixel), which asks for the right number. Its skill is the share of the log
loss of a constant (the real rate of holes) that it saves: negative when the constant is the better guess.

Probabilities are counted in 4096 steps, so a set of frames is two histograms and every figure is read off them (ties
counting half in the AUC). Where they are frequencies over N draws, k holes count as (k + 1/2) / (N + 1): a pixel that
was a hole in none of eight draws is not one that never will be. 640x480 on one core: 4 ms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage
from depthforge.realism.same_view.figures import Figure

__all__ = [
    "CALIBRATION_EDGES",
    "FIGURES",
    "CalibrationPoint",
    "HoleOverlap",
    "calibration_curve",
    "frequency",
    "measure_overlap",
    "summarise",
]

Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

CALIBRATION_EDGES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

FIGURES: Final = (
    Figure("hole_rate", "holes where there is truth", "%", "as real"),
    Figure("hole_iou", "holes, IoU with the real ones", "", "higher"),
    Figure("hole_precision", "holes that are real ones", "%", "higher"),
    Figure("hole_recall", "real holes that are met", "%", "higher"),
    Figure("hole_auc", "hole probability, AUC", "", "higher"),
    Figure("hole_average_precision", "hole probability, average precision", "", "higher"),
    Figure("hole_log_loss", "hole probability, log loss", "nats", "lower"),
    Figure("hole_log_loss_skill", "hole probability, skill over a constant", "%", "higher"),
    Figure("hole_calibration_error", "hole probability, calibration error", "%", "lower"),
)

_STEPS: Final = 4096


@dataclass(frozen=True, slots=True)
class HoleOverlap:
    """Pixels of one frame with truth: measured by neither or one of candidate and real (``both``, ``only_candidate``,
    ``only_real`` are holes), and how often each step of probability (4097,) was given to real holes and to the rest;
    None without probabilities.
    """

    num_pixels: int
    both: int
    only_candidate: int
    only_real: int
    at_holes: Counts | None = None
    elsewhere: Counts | None = None


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """Pixels whose probability lies in a bin: how many, the mean that was promised, and the share that are holes."""

    num_pixels: int
    promised: float
    found: float


def frequency(num_holes: npt.NDArray[np.integer], draws: int) -> npt.NDArray[np.float32]:
    """Return the probability of a hole where ``num_holes`` (H, W) of ``draws`` simulations had one."""
    return ((num_holes + 0.5) / (draws + 1)).astype(np.float32)


def measure_overlap(
    truth_valid: BoolImage,
    real_valid: BoolImage,
    valid: BoolImage,
    probability: npt.NDArray[np.floating] | None = None,
) -> HoleOverlap:
    """Compare the holes of a candidate with those of the sensor in one view, images (H, W)."""
    real_hole, hole = truth_valid & ~real_valid, truth_valid & ~valid
    both = int(np.count_nonzero(real_hole & hole))
    num_holes, num_real = int(np.count_nonzero(hole)), int(np.count_nonzero(real_hole))
    at_holes = elsewhere = None
    if probability is not None:
        step = np.rint(np.clip(probability, 0, 1) * _STEPS).astype(np.int64)
        at_holes = np.bincount(step[real_hole], minlength=_STEPS + 1)
        elsewhere = np.bincount(step[truth_valid & real_valid], minlength=_STEPS + 1)
    return HoleOverlap(int(np.count_nonzero(truth_valid)), both, num_holes - both, num_real - both, at_holes, elsewhere)


def summarise(frames: Sequence[HoleOverlap]) -> dict[str, float]:
    """Return the figures of a set of frames, by id; NaN where there is nothing to measure."""
    pixels, both, only_candidate, only_real = np.sum(
        [(f.num_pixels, f.both, f.only_candidate, f.only_real) for f in frames], axis=0
    ).tolist()
    found = {
        "hole_rate": 100 * _ratio(both + only_candidate, pixels),
        "hole_iou": _ratio(both, both + only_candidate + only_real),
        "hole_precision": 100 * _ratio(both, both + only_candidate),
        "hole_recall": 100 * _ratio(both, both + only_real),
    }
    at_holes, elsewhere = _histograms(frames)
    if at_holes is None or elsewhere is None or not at_holes.any() or not elsewhere.any():
        return found
    log_loss = _log_loss(at_holes, elsewhere)
    rate = at_holes.sum() / (at_holes.sum() + elsewhere.sum())
    constant = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
    curve = calibration_curve(frames)
    num_pixels = sum(point.num_pixels for point in curve)
    return found | {
        "hole_auc": _auc(at_holes, elsewhere),
        "hole_average_precision": _average_precision(at_holes, elsewhere),
        "hole_log_loss": log_loss,
        "hole_log_loss_skill": 100 * (1 - log_loss / constant),
        "hole_calibration_error": 100
        * math.fsum(point.num_pixels * abs(point.promised - point.found) for point in curve)
        / num_pixels,
    }


def calibration_curve(frames: Sequence[HoleOverlap]) -> tuple[CalibrationPoint, ...]:
    """Return a point for each bin of ``CALIBRATION_EDGES`` that holds a pixel; none without probabilities."""
    at_holes, elsewhere = _histograms(frames)
    if at_holes is None or elsewhere is None:
        return ()
    probability = np.arange(_STEPS + 1) / _STEPS
    bins = np.minimum(np.digitize(probability, CALIBRATION_EDGES) - 1, len(CALIBRATION_EDGES) - 2)
    pixels = at_holes + elsewhere
    points = []
    for index in range(len(CALIBRATION_EDGES) - 1):
        inside = bins == index
        count = int(pixels[inside].sum())
        if count:
            promised = float(probability[inside] @ pixels[inside]) / count
            points.append(CalibrationPoint(count, promised, float(at_holes[inside].sum()) / count))
    return tuple(points)


def _histograms(frames: Sequence[HoleOverlap]) -> tuple[Counts | None, Counts | None]:
    known = [(f.at_holes, f.elsewhere) for f in frames if f.at_holes is not None and f.elsewhere is not None]
    if not known:
        return None, None
    return np.sum([holes for holes, _ in known], axis=0), np.sum([rest for _, rest in known], axis=0)


def _auc(at_holes: Counts, elsewhere: Counts) -> float:
    below = np.cumsum(elsewhere) - elsewhere
    return float(at_holes @ (below + 0.5 * elsewhere) / (at_holes.sum() * elsewhere.sum()))


def _average_precision(at_holes: Counts, elsewhere: Counts) -> float:
    """Return the mean, over real holes, of the precision at the threshold that just takes them in."""
    holes, pixels = np.cumsum(at_holes[::-1]), np.cumsum((at_holes + elsewhere)[::-1])
    precision = np.divide(holes, pixels, out=np.zeros(len(holes)), where=pixels > 0)
    return float(at_holes[::-1] @ precision / at_holes.sum())


def _log_loss(at_holes: Counts, elsewhere: Counts) -> float:
    # A probability of 0 or 1 stands for the half step that was rounded to it.
    probability = np.clip(np.arange(_STEPS + 1) / _STEPS, 0.25 / _STEPS, 1 - 0.25 / _STEPS)
    loss = -(at_holes @ np.log(probability) + elsewhere @ np.log1p(-probability))
    return float(loss / (at_holes.sum() + elsewhere.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
