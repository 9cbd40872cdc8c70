"""The watch for collapse: a training that no longer learns what it is for is stopped, and told why.

Adversarial training fails in few ways, each of which shows in a figure of the held-out frames long before somebody
looks at pictures: one picture for every input, everything a hole or nothing, a discriminator that always wins or says
nothing, geometry that is no longer that of the input. A figure out of bounds at one evaluation means little, and an
untrained network shows most of the signs at once; so a sign counts from ``grace_steps`` on, and stops the training when
it was seen at ``patience`` evaluations in a row. What a training often gets over by itself, depth that is off as a
whole, holes that have not come yet and a discriminator that is ahead, is given ``slow_patience``: a small DCL on rooms
was off by 30 to 100 % of depth for 400 steps, and made no hole for the 300 after. Bounds are far outside of what a poor
but working translator does: choosing the best checkpoint is the score's task (``realism.choice``), not this one's.

Measuring takes 40 ms for 16 frames of 640x480.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import TrainingCollapsedError
from depthforge.manifest import WatchSettings

__all__ = ["Evaluation", "Sign", "Watch", "evaluation_of"]

_ALWAYS_WINS = "the discriminator always wins"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the watch looks at, measured on held-out frames after ``step`` steps. NaN and None are never a sign.

    ``spread``: standard deviation of a pixel's output over the frames, relative to that of the clean depth at the same
    pixels. ``hole_fraction``: share of the valid clean pixels that became holes; ``real_hole_fractions``: the 5th and
    95th percentile of the holes of real frames. ``separation``: chance that the discriminator ranks a real patch above
    a generated one, 0.5 when it cannot tell; ``logit_spread``: standard deviation of its logits over both;
    ``adversarial_loss``: the generator's, unweighted. ``depth_off``: median over the image of the distance between
    smoothed output and smoothed clean depth, as a share of depth; ``normals_off_deg``: median angle to clean normals.
    """

    step: int
    spread: float
    hole_fraction: float
    real_hole_fractions: tuple[float, float]
    separation: float | None = None
    logit_spread: float | None = None
    adversarial_loss: float | None = None
    depth_off: float | None = None
    normals_off_deg: float | None = None

    def figures(self) -> dict[str, float]:
        """Return the figures that were measured, for the training curves."""
        named = {
            "spread over inputs, relative to clean": self.spread,
            "holes made, share of valid": self.hole_fraction,
            "real told from generated, AUC": self.separation,
            "spread of logits": self.logit_spread,
        }
        return {name: value for name, value in named.items() if value is not None and not math.isnan(value)}


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign of collapse: its ``name``, the ``figure`` that shows it, the ``bound`` it is beyond, what to try.

    ``seen`` is the number of evaluations in a row, of the ``allowed`` ones after which the training stops.
    """

    name: str
    step: int
    figure: str
    bound: str
    remedy: str
    seen: int = 1
    allowed: int = 1

    def line(self) -> str:
        """Return one line for the log."""
        return f"sign of collapse, {self.seen} of {self.allowed}: {self.name} ({self.figure}; {self.bound})"

    def error(self) -> TrainingCollapsedError:
        """Return the error that stops the training."""
        times = "" if self.seen == 1 else f", at {self.seen} evaluations in a row"
        return TrainingCollapsedError.at(
            self.step, self.name, figure=self.figure + times, bound=self.bound, remedy=self.remedy
        )


class Watch:
    """Counts the signs of collapse over the evaluations of one training."""

    def __init__(self, settings: WatchSettings) -> None:
        self.settings = settings
        self._seen: dict[str, int] = {}
        self._adversarial_loss_since: float | None = None

    def look(self, evaluation: Evaluation) -> list[Sign]:
        """Take in one evaluation and return the signs it shows, none within the grace period."""
        if evaluation.step < self.settings.grace_steps:
            return []
        signs = [
            sign
            for check in (self._one_picture, self._all_holes, self._no_holes, self._discriminator, self._geometry)
            if (sign := check(evaluation)) is not None
        ]
        self._seen = {sign.name: self._seen.get(sign.name, 0) + 1 for sign in signs}
        return [replace(sign, seen=self._seen[sign.name]) for sign in signs]

    def verdict(self, signs: Sequence[Sign]) -> TrainingCollapsedError | None:
        """Return the error that ``signs``, those of the last look, amount to; None to go on."""
        grave = [sign for sign in signs if sign.seen >= sign.allowed]
        return grave[0].error() if grave and self.settings.enabled else None

    def state_dict(self) -> dict[str, Any]:
        """Return what the next look depends on: plain data, for the checkpoint."""
        return {"seen": dict(self._seen), "adversarial_loss_since": self._adversarial_loss_since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._seen = {str(name): int(count) for name, count in state["seen"].items()}
        self._adversarial_loss_since = state["adversarial_loss_since"]

    def _one_picture(self, seen: Evaluation) -> Sign | None:
        bound = self.settings.min_spread
        if not seen.spread < bound:
            return None
        return Sign(
            "one picture for all inputs",
            seen.step,
            f"a pixel varies over the frames by {seen.spread:.2g} of what the clean depth does",
            f"at least {bound:g}",
            "raise the weight of what ties output to input (contrast_weight, cycle_weight), set residual: true, lower "
            "gan_weight or learning_rate",
            allowed=self.settings.patience,
        )

    def _all_holes(self, seen: Evaluation) -> Sign | None:
        most = seen.real_hole_fractions[1]
        bound = most + self.settings.max_holes * (1 - most)
        if not seen.hole_fraction > bound:
            return None
        return Sign(
            "nearly everything is a hole",
            seen.step,
            f"{seen.hole_fraction:.1%} of the valid pixels became holes",
            f"at most {bound:.1%}; real frames have up to {most:.1%}",
            "check that clean and real depth are in metres and that max_depth_m covers both; set residual: true; lower "
            "hole_threshold; raise identity_weight",
            allowed=self.settings.patience,
        )

    def _no_holes(self, seen: Evaluation) -> Sign | None:
        fewest = seen.real_hole_fractions[0]
        bound = self.settings.min_holes * fewest
        if not seen.hole_fraction < bound:
            return None
        return Sign(
            "no holes where the sensor has many",
            seen.step,
            f"{seen.hole_fraction:.2%} of the valid pixels became holes",
            f"at least {bound:.2%}; real frames have from {fewest:.1%}",
            "raise gan_weight or hole_threshold, lower identity_weight and contrast_weight; to go on without holes, "
            "training.watch.min_holes: 0",
            allowed=self.settings.slow_patience,
        )

    def _discriminator(self, seen: Evaluation) -> Sign | None:
        settings = self.settings
        if seen.logit_spread is not None and seen.logit_spread < settings.min_logit_spread:
            return Sign(
                "the discriminator says the same of everything",
                seen.step,
                f"its logits vary by {seen.logit_spread:.2g} over real and generated patches",
                f"at least {settings.min_logit_spread:g}",
                "raise learning_rate, or start anew with another seed",
                allowed=settings.slow_patience,
            )
        if seen.separation is None or not seen.separation > settings.max_separation:
            return None
        loss, since = seen.adversarial_loss, self._adversarial_loss_since
        # While the generator's loss still falls, being behind is learning: the count starts again.
        falls = loss is not None and since is not None and loss < since - 0.1 * abs(since)
        if falls or _ALWAYS_WINS not in self._seen:
            self._adversarial_loss_since = loss
            self._seen.pop(_ALWAYS_WINS, None)
        held = "" if loss is None else f", the generator's adversarial loss stays at {loss:.3g}"
        return Sign(
            _ALWAYS_WINS,
            seen.step,
            f"it ranks a real patch above a generated one with a chance of {seen.separation:.4f}{held}",
            f"at most {settings.max_separation:g}",
            "check that clean and real frames are alike in size, range and unit; lower learning_rate; use gan: lsgan; "
            "give the generator noise_channels: 1",
            allowed=settings.slow_patience,
        )

    def _geometry(self, seen: Evaluation) -> Sign | None:
        settings = self.settings
        remedy = (
            "raise identity_weight and contrast_weight (cycle_weight), lower gan_weight, set residual: true; check "
            "that clean and real depth are in metres"
        )
        if seen.depth_off is not None and seen.depth_off > settings.max_depth_off:
            return Sign(
                "the geometry is distorted",
                seen.step,
                f"smoothed depth is off by {seen.depth_off:.1%} of depth",
                f"at most {settings.max_depth_off:.1%}",
                remedy,
                allowed=settings.slow_patience,
            )
        if seen.normals_off_deg is not None and seen.normals_off_deg > settings.max_normals_off_deg:
            return Sign(
                "the geometry is distorted",
                seen.step,
                f"normals are off by {seen.normals_off_deg:.1f} degrees",
                f"at most {settings.max_normals_off_deg:g}",
                remedy,
                allowed=settings.slow_patience,
            )
        return None


def evaluation_of(
    step: int,
    clean: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
    generated: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
    real_hole_fractions: Sequence[float] | npt.NDArray[np.floating],
    *,
    real_logits: npt.NDArray[np.floating] | None = None,
    generated_logits: npt.NDArray[np.floating] | None = None,
    adversarial_loss: float | None = None,
    depth_off: float | None = None,
    normals_off_deg: float | None = None,
) -> Evaluation:
    """Measure the held-out frames for the watch.

    ``clean`` and ``generated`` are the same frames in order, each (depth (H, W), valid (H, W) bool) in metres or any
    one unit, read only where valid, all of one size; ``real_hole_fractions`` (M,) is of real frames, one each; logits
    are of any shape. ``spread`` is NaN when no pixel is valid in two frames. Raises ValueError for shapes that differ.
    """
    masks = np.stack([valid for _, valid in clean]), np.stack([valid for _, valid in generated])
    both = masks[0] & masks[1]
    depths = (np.stack([depth for depth, _ in side]) for side in (clean, generated))
    clean_variation, generated_variation = (_variation(depth, both) for depth in depths)
    known = int(masks[0].sum())
    low, high = np.quantile(np.asarray(real_hole_fractions, np.float64), (0.05, 0.95)).tolist()
    separation = logit_spread = None
    if real_logits is not None and generated_logits is not None:
        separation = _chance_above(np.ravel(real_logits), np.ravel(generated_logits))
        logit_spread = float(np.concatenate([np.ravel(real_logits), np.ravel(generated_logits)]).std(dtype=np.float64))
    return Evaluation(
        step,
        spread=math.sqrt(generated_variation / clean_variation) if clean_variation else math.nan,
        hole_fraction=1 - int(both.sum()) / known if known else math.nan,
        real_hole_fractions=(low, high),
        separation=separation,
        logit_spread=logit_spread,
        adversarial_loss=adversarial_loss,
        depth_off=depth_off,
        normals_off_deg=normals_off_deg,
    )


def _variation(depth: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]) -> float:
    """Return the squared deviations from the mean of each pixel over the frames (N, H, W), summed."""
    depth = np.where(valid, depth, np.float32(0))
    mean = depth.sum(axis=0) / np.maximum(valid.sum(axis=0), 1)
    return float(np.sum(np.square(depth - mean, where=valid, out=np.zeros_like(depth)), dtype=np.float64))


def _chance_above(high: npt.NDArray[np.floating], low: npt.NDArray[np.floating]) -> float:
    """Return the chance that a value of ``high`` is above one of ``low``, ties counting half."""
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean() / 2 / len(ordered))
