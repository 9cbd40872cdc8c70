"""Intervals: they cover what they should, and pairing takes out what frames have in common."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from depthforge.tasks.base import Example, Figure, Float64, Metrics, Sums, Task, Tensors, View
from depthforge.tasks.judging import Interval, as_json, differences_with_intervals, figures_with_intervals


class Mean(Task):
    """Its only figure is the mean of numbers, one a frame."""

    name = "mean of a test"
    figures = (Figure("mean", "mean", "", "lower"),)

    def network(self) -> nn.Module:
        return nn.Identity()

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        pass

    def examples(self, view: View) -> list[Example]:
        return [Example(view.key, {}, {})]

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, torch.Tensor]:
        return {}

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, torch.Tensor]:
        return {}

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        return {"sum": prediction["value"].double().numpy(), "count": np.array(1.0)}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        return {"mean": float(sums["sum"] / sums["count"])}


def metrics_of(values: np.ndarray) -> Metrics:
    metrics = Metrics(Mean())
    for number, value in enumerate(values):
        metrics.update({"value": torch.tensor(float(value))}, Example(f"a/b/{number}", {}, {}))
    return metrics


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, 100)
    found = figures_with_intervals([metrics_of(values)], Mean())["mean"]
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 10
    assert found.low == pytest.approx(values.mean() - half, abs=0.1)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1)
    assert found == figures_with_intervals([metrics_of(values)], Mean())["mean"]


def test_seeds_that_disagree_widen_the_interval() -> None:
    frames = np.random.default_rng(0).normal(5, 0.1, 50)
    alike = figures_with_intervals([metrics_of(frames), metrics_of(frames)], Mean())["mean"]
    apart = figures_with_intervals([metrics_of(frames - 1), metrics_of(frames + 1)], Mean())["mean"]
    assert apart.value == pytest.approx(alike.value)
    assert apart.high - apart.low > 5 * (alike.high - alike.low)


def test_what_two_rows_have_in_common_does_not_widen_their_difference() -> None:
    frames = np.random.default_rng(0).normal(5, 2, 40)
    better = frames - 0.5 + np.random.default_rng(1).normal(0, 0.05, 40)
    found = differences_with_intervals([metrics_of(frames)], [metrics_of(better)], Mean())["mean"]
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert 0.4 < found.low < found.value < found.high < 0.6


def test_nothing_known_is_null_in_json() -> None:
    assert as_json({"a": Interval(1.0, math.nan, 2.0)}) == {"a": {"value": 1.0, "low": None, "high": 2.0}}
