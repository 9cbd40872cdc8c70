"""Testing a task's network on a corpus, frame by frame, and how sure its figures are.

Frames are whole and in key order. An interval is that of a bootstrap: frames are drawn with replacement, and with
several trainings (seeds) those too, 1000 times; the figures are taken of what was drawn together, so pooled medians
stay pooled medians. Neighbouring frames of one recording are alike: an interval says how far other frames of the same
recording might have gone, and not another recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.seeding import frame_generator
from depthforge.tasks.base import Example, Float64, Metrics, Task, Tensors
from depthforge.tasks.reading import Frames

__all__ = [
    "Interval",
    "Predict",
    "as_json",
    "differences_with_intervals",
    "figures_with_intervals",
    "judge_given",
    "judge_network",
    "predictor",
]

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

    InputError where that leaves none; raises what reading the corpus raises.
    """
    metrics = Metrics(task)
    for number, view in enumerate(frames):
        for example in task.examples(view):
            metrics.update(predict(example), example)
        if (number + 1) % 50 == 0:
            note(f"tested {number + 1} of {len(frames)} frames")
    if not len(metrics):
        raise InputError(
            f"no frame holds anything that the task {task.name} could be tested on",
            where=frames.corpus,
            expected="measured depth and truth in the same places",
            found=f"{len(frames)} frames without",
        )
    return metrics


def judge_given(task: Task, frames: Frames) -> Metrics | None:
    """Return what the inputs themselves measure, None for a task whose input says nothing, or frames without any."""
    metrics = Metrics(task)
    for view in frames:
        for example in task.examples(view):
            given = task.given(example)
            if given is None:
                return None
            metrics.update(given, example)
    return metrics if len(metrics) else None


def figures_with_intervals(tests: Sequence[Metrics], task: Task, *, seed: int = 0) -> dict[str, Interval]:
    """Return each figure over the trainings in ``tests`` (one for each seed, of the same frames), by id.

    The value is the mean of the trainings' figures; the interval a bootstrap over frames and trainings.
    """
    each = [metrics.figures() for metrics in tests]
    values = {figure.id: _mean([found[figure.id] for found in each]) for figure in task.figures}
    drawn = _drawn(tests, task, seed)
    return {name: Interval(values[name], *_bounds(drawn[:, place])) for place, name in enumerate(values)}


def differences_with_intervals(
    first: Sequence[Metrics], second: Sequence[Metrics], task: Task, *, seed: int = 0
) -> dict[str, Interval]:
    """Return each figure of ``first`` less that of ``second``, by id; both of the same frames and numbers of seeds.

    Every draw takes the same frames of both: what frames have in common does not widen the interval.
    """
    assert [metrics.keys for metrics in first] == [metrics.keys for metrics in second]
    one, other = (figures_with_intervals(tests, task, seed=seed) for tests in (first, second))
    drawn = _drawn(first, task, seed) - _drawn(second, task, seed)
    return {
        name: Interval(one[name].value - other[name].value, *_bounds(drawn[:, place])) for place, name in enumerate(one)
    }


def _drawn(tests: Sequence[Metrics], task: Task, seed: int) -> Float64:
    """Return the figures (draws, figures), each the mean of as many trainings as there are, drawn with replacement.

    The frames of a drawn training are drawn with replacement, too. The same draws for whatever has as many of both.
    """
    random = frame_generator(seed, "bootstrap", f"task {task.name}")
    drawn: Float64 = np.mean([_drawn_once(tests, task, random) for _ in tests], axis=0)
    return drawn


def _drawn_once(tests: Sequence[Metrics], task: Task, random: np.random.Generator) -> Float64:
    chosen = random.integers(len(tests), size=_DRAWS)
    found = np.empty((_DRAWS, len(task.figures)))
    for index, metrics in enumerate(tests):
        draws = np.flatnonzero(chosen == index)
        if not len(draws):
            continue
        count = len(metrics)
        weights = np.stack(
            [np.bincount(row, minlength=count) for row in random.integers(count, size=(len(draws), count))]
        )
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


def as_json(figures: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Return plain data, None for NaN."""
    return {
        name: {field: value if math.isfinite(value) else None for field, value in interval._asdict().items()}
        for name, interval in figures.items()
    }
