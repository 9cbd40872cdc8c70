"""Normals: their battery, and figures of normals that are off by known angles."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from depthforge.tasks.base import Metrics
from depthforge.tasks.normals import Normals, NormalsConfig, true_normals
from depthforge.testing.tasks import TaskTests, wall_view


class TestSmall(TaskTests):
    @pytest.fixture
    def task(self) -> Normals:
        return Normals(NormalsConfig(setting="small", width=8, batch_size=2))


class TestPublished(TaskTests):
    @pytest.fixture
    def task(self) -> Normals:
        return Normals(NormalsConfig(width=8, trunk_layers=2, crop_px=48, batch_size=2))


def test_truth_is_the_label_where_there_is_one_and_else_of_clean_depth() -> None:
    view = wall_view(60, 80)
    implied = true_normals(view)
    lengths = implied.norm(dim=0)
    assert set(lengths.round(decimals=3).unique().tolist()) == {0.0, 1.0}
    # The wall is z = 1.5 + x / width + ...: its normal looks back, and to the side that is nearer.
    assert float(implied[2, 50, 10]) < 0
    assert float(implied[0, 50, 10]) > 0
    label = torch.zeros(3, 60, 80)
    label[2] = -1
    torch.testing.assert_close(true_normals(replace(view, labels={"normals": label})), label)


def test_figures_are_over_the_pixels_of_all_frames() -> None:
    task = Normals()
    label = torch.zeros(3, 60, 80)
    label[2] = -1
    metrics = Metrics(task)
    for number, angle_deg in enumerate((5.0, 5.0, 20.0)):
        view = replace(wall_view(60, 80, key=f"test/wall/{number}"), labels={"normals": label})
        (example,) = task.examples(view)
        turned = torch.zeros_like(label)
        turned[0], turned[2] = math.sin(math.radians(angle_deg)), -math.cos(math.radians(angle_deg))
        metrics.update({"normals": turned}, example)
    found = metrics.figures()
    assert found["median_deg"] == pytest.approx(5, abs=0.05)
    assert found["mean_deg"] == pytest.approx(10, abs=1e-3)
    shares = {name: value for name, value in found.items() if name.startswith("within")}
    assert shares == pytest.approx({"within_11.25": 2 / 3, "within_16": 2 / 3, "within_22.5": 1, "within_30": 1})


def test_what_smoothed_depth_implies_is_right_on_a_plane_without_noise() -> None:
    view = wall_view(120, 160)
    clean = replace(view, depth_m=view.truth_m, valid=view.truth_valid)
    task = Normals(NormalsConfig(setting="small"))
    (example,) = task.examples(clean)
    given = task.given(example)
    assert given is not None
    metrics = Metrics(task)
    metrics.update(given, example)
    assert metrics.figures()["median_deg"] < 0.5
