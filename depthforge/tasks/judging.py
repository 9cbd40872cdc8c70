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
    drawn: dict[str, list[float]] = {figure.id: [] for figure in task.figures}
    for _ in range(_DRAWS):
        chosen = random.integers(len(tests), size=len(tests))
        found = []
        for index in chosen:
            count = len(tests[index])
            weights = np.bincount(random.integers(count, size=count), minlength=count).astype(np.float64)
            found.append(task.figures_of(tests[index].sums(weights)))
        for name, collected in drawn.items():
            collected.append(_mean([one[name] for one in found]))
    return {name: Interval(values[name], *_bounds(np.array(drawn[name]))) for name in values}


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
