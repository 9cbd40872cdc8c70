"""Enhancement: its battery, its figures on images whose figures are known, and its losses by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from depthforge.tasks.base import Example, Metrics, View
from depthforge.tasks.enhancement import Enhancement, EnhancementConfig
from depthforge.tasks.enhancement_losses import charbonnier, discontinuity_loss, gradient_loss, masked_mean
from depthforge.testing.tasks import TaskTests, wall_view


class TestSmall(TaskTests):
    @pytest.fixture
    def task(self) -> Enhancement:
        return Enhancement(EnhancementConfig(setting="small", width=8, batch_size=2))


class TestPublished(TaskTests):
    @pytest.fixture
    def task(self) -> Enhancement:
        return Enhancement(EnhancementConfig(width=8, trunk_layers=2, crop_px=48, batch_size=2))


def example_of(view: View) -> Example:
    (example,) = Enhancement(EnhancementConfig(median_px=0)).examples(view)
    return example


def figures(prediction_m: torch.Tensor, view: View, **config: object) -> dict[str, float]:
    task = Enhancement(EnhancementConfig.model_validate({"median_px": 0, **config}))
    metrics = Metrics(task)
    metrics.update({"depth_m": prediction_m}, example_of(view))
    return metrics.figures()


def test_a_constant_error_shows_in_rmse_and_not_in_what_is_local() -> None:
    view = wall_view(120, 160)
    found = figures(view.truth_m + 0.1, view)
    assert found["rmse_m"] == pytest.approx(0.1, rel=1e-4)
    assert found["mae_m"] == pytest.approx(0.1, rel=1e-4)
    assert found["psnr_db"] == pytest.approx(40.0, abs=1e-3)  # 20 log10(10 m / 0.1 m)
    assert found["psnr_ln"] == pytest.approx(20 * math.log(10), abs=1e-3)
    assert found["hole_median_mm"] == pytest.approx(100, abs=1)
    assert found["local_rmse_mm"] < 0.01
    assert found["ssim"] > 0.99


def test_the_peak_of_psnr_is_the_range_that_was_stated() -> None:
    view = wall_view(60, 80)
    found = figures(view.truth_m + 0.1, view, data_range_m=1.0)
    assert found["psnr_db"] == pytest.approx(20.0, abs=1e-3)


def test_the_truth_is_perfect_and_noise_turns_normals() -> None:
    view = wall_view(120, 160)
    perfect = figures(view.truth_m, view)
    assert perfect["normals_median_deg"] < 0.1
    assert perfect["rmse_m"] == 0
    given = Enhancement().given(example_of(view))
    assert given is not None
    noisy = figures(given["depth_m"], view)
    assert noisy["normals_median_deg"] > 2
    assert noisy["local_rmse_mm"] == pytest.approx(3, rel=0.1)  # the noise that the view was made with


def test_figures_are_means_over_images_and_medians_over_pixels() -> None:
    task = Enhancement(EnhancementConfig(median_px=0))
    views = [wall_view(60, 80), wall_view(60, 80, key="test/wall/0001")]
    metrics = Metrics(task)
    for view, error_m in zip(views, (0.1, 0.3), strict=True):
        metrics.update({"depth_m": view.truth_m + error_m}, example_of(view))
    found = metrics.figures()
    assert found["rmse_m"] == pytest.approx(0.2, rel=1e-4)
    assert found["psnr_ln"] == pytest.approx(10 * (math.log(10) + math.log(1 / 0.3)), rel=1e-4)


def test_the_untrained_small_network_gives_back_what_it_is_given() -> None:
    task = Enhancement(EnhancementConfig(setting="small"))
    network = task.network()
    task.initialise(network, torch.Generator().manual_seed(0))
    (example,) = task.examples(wall_view(40, 48))
    with torch.no_grad():
        found = task.predict(network, {name: value[None] for name, value in example.inputs.items()})["depth_m"][0]
    valid = example.truth["valid"]
    torch.testing.assert_close(found[valid], example.truth["depth_m"][valid], rtol=1e-4, atol=1e-4)


def test_charbonnier_and_the_masked_mean() -> None:
    error = torch.tensor([0.0, 3.0, -4.0])
    torch.testing.assert_close(charbonnier(error), torch.tensor([1e-3, 3.0, 4.0]))
    assert float(masked_mean(error, torch.tensor([True, True, False]))) == 1.5
    assert float(masked_mean(error, torch.zeros(3, dtype=torch.bool))) == 0.0


def test_gradients_count_only_between_known_pixels() -> None:
    truth = torch.zeros(1, 1, 2, 4)
    predicted = torch.tensor([[[[0.0, 1.0, 1.0, 9.0], [0.0, 1.0, 1.0, 9.0]]]])
    known = torch.tensor([[[[True, True, True, False]] * 2]])
    # Along rows the steps are 1 and 0, of two pairs each; along columns all are 0.
    expected = ((1.0 + 1e-3) / 2 + 1e-3) / 2
    assert float(gradient_loss(predicted, truth, known)) == pytest.approx(expected, rel=1e-4)


def test_an_edge_a_pixel_off_costs_nothing_and_a_blurred_one_does() -> None:
    truth = torch.ones(1, 1, 9, 16)
    truth[..., 8:] = 2.0
    known = torch.ones_like(truth, dtype=torch.bool)
    shifted = torch.ones_like(truth)
    shifted[..., 9:] = 2.0
    assert float(discontinuity_loss(shifted, truth, known)) == pytest.approx(0, abs=1e-9)
    blurred = truth.clone()
    blurred[..., 7], blurred[..., 8] = 1.25, 1.75
    # The largest step is 0.5 where it should be 1: along rows (0.5)^2, along columns there is no edge.
    assert float(discontinuity_loss(blurred, truth, known)) == pytest.approx(0.125)


def test_a_view_with_hardly_any_depth_is_no_example() -> None:
    view = wall_view(40, 48)
    view.valid.fill_(False)
    assert Enhancement().examples(view) == []
    assert not np.any(view.valid.numpy())
