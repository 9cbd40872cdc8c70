"""The one line that says how a training goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

__all__ = ["progress_line", "time_words"]


def progress_line(
    step: int,
    num_steps: int,
    epoch: int,
    num_epochs: int,
    losses: Mapping[str, float],
    images_per_second: float | None = None,
    seconds_left: float | None = None,
) -> str:
    """Return e.g. ``step 400/1200  epoch 3/6  generator 1.234  contrast 0.812  12.3 images/s  3 min 20 s left``.

    ``step`` counts finished steps and ``epoch`` is that of the step, from 1. The sum of the generator's losses comes
    first, the others in their order; rate and time are left out where they are not known.
    """
    named = sorted(losses.items(), key=lambda loss: loss[0] != "generator")
    parts = [
        f"step {step}/{num_steps}",
        f"epoch {epoch}/{num_epochs}",
        *(f"{name} {_number(value)}" for name, value in named),
    ]
    if images_per_second is not None and math.isfinite(images_per_second):
        parts.append(f"{images_per_second:.{1 if images_per_second < 100 else 0}f} images/s")
    if seconds_left is not None and math.isfinite(seconds_left):
        parts.append(f"{time_words(seconds_left)} left")
    return "  ".join(parts)


def time_words(seconds: float) -> str:
    """Return a duration in its two largest units: ``45 s``, ``3 min 20 s``, ``1 h 5 min``, ``2 d 3 h``."""
    whole = max(round(seconds), 0)
    if whole >= 3600:
        # The smaller unit is rounded before it is cut off the larger, so that there never are 60 min.
        whole = round(whole / 60) * 60 if whole < 86400 else round(whole / 3600) * 3600
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    for (name, length), (smaller, part) in pairwise(units):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _number(value: float) -> str:
    """Return three decimals, and the exponent for what these would hide."""
    if value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3f}"
    return f"{value:.1e}"
