"""Testing a task's network on a corpus, frame by frame, and how sure its figures are.

Frames are whole and in key order. An interval is that of a bootstrap: frames are drawn with replacement, and with
several trainings (seeds) those too, 1000 times; the figures are taken of what was drawn together, so pooled medians
stay pooled medians. Neighbouring frames of one recording are alike: an interval says how far other frames of the same
recording might have gone, and not another recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from depthforge.seeding import frame_generator
from depthforge.tasks.base import Example, Float64, Metrics, Task, Tensors
from depthforge.tasks.reading import Frames

__all__ = ["Interval", "as_json", "figures_with_intervals", "judge_given", "judge_network", "predictor"]

_DRAWS: Final = 1000
_LEVEL: Final = 0.95

Predict = Callable[[Example], Tensors]


class Interval(NamedTuple):
    """A figure and the bounds of its 95 % interval; NaN where nothing says it."""

    value: float
    low: float
    high: float


def predictor(task: Task, network: nn.Module) -> Predict:
    """Return what predicts one example with ``network``, on the device that it is on."""
    device = next(network.parameters()).device

    @torch.inference_mode()
    def predict(example: Example) -> Tensors:
        inputs: dict[str, Tensor] = {name: value[None].to(device) for name, value in example.inputs.items()}
        return {name: value[0].cpu() for name, value in task.predict(network, inputs).items()}

    return predict


def judge_network(
    task: Task, frames: Frames, predict: Predict, note: Callable[[str], None] = lambda _: None
) -> Metrics:
    """Return what the predictions of every frame measure; frames without an example are left out.

    Raises what reading the corpus raises.
    """
    metrics = Metrics(task)
    for number, view in enumerate(frames):
        for example in task.examples(view):
            metrics.update(predict(example), example)
        if (number + 1) % 50 == 0:
            note(f"tested {number + 1} of {len(frames)} frames")
    return metrics


def judge_given(task: Task, frames: Frames) -> Metrics | None:
    """Return what the inputs themselves measure, None for a task whose input says nothing."""
    metrics = Metrics(task)
    for view in frames:
        for example in task.examples(view):
            given = task.given(example)
            if given is None:
                return None
            metrics.update(given, example)
    return metrics


def figures_with_intervals(tests: Sequence[Metrics], task: Task, *, seed: int = 0) -> dict[str, Interval]:
    """Return each figure over the trainings in ``tests`` (one for each seed, of the same frames), by id.

    The value is the mean of the trainings' figures; the interval a bootstrap over frames and trainings.
    """
    random = frame_generator(seed, "bootstrap", f"task {task.name}")
    each = [metrics.figures() for metrics in tests]
    values = {figure.id: _mean([found[figure.id] for found in each]) for figure in task.figures}
    drawn = np.stack([_drawn(tests, task, random) for _ in tests]).mean(0)
    return {name: Interval(values[name], *_bounds(drawn[:, place])) for place, name in enumerate(values)}


def _drawn(tests: Sequence[Metrics], task: Task, random: np.random.Generator) -> Float64:
    """Return the figures (draws, figures) of a training drawn at random and frames of it drawn with replacement."""
    chosen = random.integers(len(tests), size=_DRAWS)
    found = np.empty((_DRAWS, len(task.figures)))
    for index, metrics in enumerate(tests):
        draws = np.flatnonzero(chosen == index)
        frames = random.integers(len(metrics), size=(len(draws), len(metrics)))
        weights = np.stack([np.bincount(row, minlength=len(metrics)) for row in frames]) if len(draws) else frames
        sums = metrics.sums(weights.astype(np.float64))
        for place, draw in enumerate(draws):
            figures = task.figures_of({name: value[place] for name, value in sums.items()})
            found[draw] = [figures[figure.id] for figure in task.figures]
    return found


def _bounds(values: Float64) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def as_json(figures: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    """Return plain data."""
    return {name: interval._asdict() for name, interval in figures.items()}
