"""Enhancement: from what a sensor measures to the depth of the surfaces, holes filled.

Two networks: the published one (``networks.enhancement``), which takes metres and a mask of holes, and ``small``
(``networks.disparity_unet``), which takes disparity less its local means and learns in a minute on a laptop what tells
good training data from bad. Trained on clean depth a network learns to give back what it is given; that row is the
least that a sensor model must beat.

Figures follow DCL's Table I where it says how: means over images of RMSE, MAE, PSNR and SSIM over pixels with truth.
Its "PSNR" is 20 ln(1 / RMSE), kept here as ``psnr_ln`` beside decibel; the unit of its RMSE and the range of its SSIM
are not known, so its numbers are not ours. Three more say what truth that was fused from scans can tell: normals that
the depth implies, the local RMSE, which leaves out what poses are off by, and the error in holes. Such truth is smooth
and rewards smoothing.

Source: Jeon and Lee, ECCV 2018; Shen et al., "DCL: differential contrastive learning for geometry-aware depth
synthesis", RA-L 2022, section IV-B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from depthforge.networks.disparity_unet import DisparityUNet
from depthforge.networks.enhancement import EnhancementNet
from depthforge.registry import tasks
from depthforge.tasks.base import Example, Figure, Float64, Sums, Tensors, View
from depthforge.tasks.dense import DenseConfig, DenseTask
from depthforge.tasks.disparity_inputs import DISPARITY_CHANNELS, disparity_channels, nearest_filled
from depthforge.tasks.enhancement_losses import (
    charbonnier,
    discontinuity_loss,
    gradient_loss,
    masked_mean,
    nearest_scaled,
)
from depthforge.tasks.histograms import histogram, quantile
from depthforge.tasks.image_figures import away_from_edges, implied_normals, local_rmse_m, psnr_db, psnr_ln, ssim

__all__ = ["Enhancement", "EnhancementConfig"]

# A crop with less truth or less measured depth than this teaches nothing.
_LEAST_VALID: Final = 0.1
_ANGLE_STEP_DEG, _ANGLE_BINS = 0.05, 3600
_HOLE_STEP_M, _HOLE_BINS = 1e-3, 4000
_GRADIENT_REACH_PX: Final = 4
_REACH_PX, _TRUE_REACH_PX = 3, 6
# Inverse depth (1/m) that a small network may say: from 0.1 to 50 m.
_INVERSE_RANGE: Final = (0.02, 10.0)


class EnhancementConfig(DenseConfig):
    """How depth enhancement is trained; the defaults are the published network and schedule."""

    small: ClassVar[Mapping[str, Any]] = {
        "network": "small",
        "steps": 300,
        "batch_size": 6,
        "crop_px": 128,
        "learning_rate": 2e-3,
        "decay": 0.7,
        "median_px": 0,
    }
    measuring_fields: ClassVar[frozenset[str]] = frozenset({"median_px", "data_range_m"})

    median_px: Literal[0, 3, 5] = Field(default=3, description="median filter over the result; published: 3")
    data_range_m: float = Field(default=10.0, gt=0, description="peak of PSNR in decibel and range of SSIM")
    data_weight: float = Field(default=1.0, ge=0, description="of the error of depth; of disparity in `small`")
    gradient_weight: float = Field(default=1.0, ge=0, description="of the error of its differences")
    discontinuity_weight: float = Field(default=1.0, ge=0, description="of steps in 5x5 windows; not in `small`")


@tasks.register("enhancement")
class Enhancement(DenseTask):
    """Depth enhancement: a sensor's depth to that of the surfaces, holes filled."""

    Config = EnhancementConfig
    config: EnhancementConfig
    figures: tuple[Figure, ...] = (
        Figure("normals_median_deg", "normals from the depth, median", "deg", "lower"),
        Figure("local_rmse_mm", "RMSE less the mean over 31 px", "mm", "lower"),
        Figure("hole_median_mm", "error in holes, median", "mm", "lower", 1),
        Figure("rmse_m", "RMSE", "m", "lower", 4),
        Figure("mae_m", "MAE", "m", "lower", 4),
        Figure("psnr_db", "PSNR", "dB", "higher"),
        Figure("psnr_ln", "20 ln(1 m / RMSE)", "", "higher"),
        Figure("ssim", "SSIM", "", "higher", 4),
    )

    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn."""
        config = self.config
        if config.network == "small":
            return DisparityUNet(channels=len(DISPARITY_CHANNELS), width=config.width or 16)
        return EnhancementNet(width=config.width or 64, layers=config.trunk_layers)

    def examples(self, view: View) -> list[Example]:
        """Return the view as one example; none where under a tenth of it is measured or has truth."""
        if min(view.valid.float().mean(), view.truth_valid.float().mean()) < _LEAST_VALID:
            return []
        disparity_m_px = float(view.K[0, 0]) * self.config.baseline_m
        targets = {"truth_m": view.truth_m, "known": view.truth_valid}
        if self.config.network == "small":
            channels = disparity_channels(view.depth_m[0].numpy(), view.valid[0].numpy(), disparity_m_px)
            scale = torch.tensor(disparity_m_px, dtype=torch.float32).reshape(1, 1, 1)
            inputs = {"channels": torch.from_numpy(channels), "disparity_m_px": scale}
            targets["scale"] = scale
        else:
            inputs = {"depth_m": view.depth_m, "hole": (~view.valid).float()}
        truth = {"depth_m": view.depth_m, "valid": view.valid, "K": view.K}
        return [Example(view.key, inputs, targets, truth)]

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return ``depth_m`` (B, 1, H, W); of the published network ``half_m`` and ``quarter_m`` too."""
        if self.config.network == "small":
            channels = inputs["channels"]
            inverse = channels[:, :1] + network(channels) / inputs["disparity_m_px"]
            return {"inverse": inverse, "depth_m": 1 / inverse.clamp(*_INVERSE_RANGE)}
        quarter_m, half_m, depth_m = network(inputs["depth_m"], inputs["hole"])
        return {"quarter_m": quarter_m, "half_m": half_m, "depth_m": depth_m}

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the weighted terms: over three scales in metres, of ``small`` in pixels of disparity."""
        config, known = self.config, targets["known"]
        weights = {"data": config.data_weight, "gradient": config.gradient_weight}
        if config.network == "small":
            truth = torch.where(known, 1 / targets["truth_m"].clamp(min=0.05), 0.0) * targets["scale"]
            disparity_px = prediction["inverse"] * targets["scale"]
            terms = {
                "data": masked_mean((disparity_px - truth).abs(), known),
                "gradient": 2 * gradient_loss(disparity_px, truth, known, _GRADIENT_REACH_PX),
            }
        else:
            weights["discontinuity"] = config.discontinuity_weight
            terms = _published_terms(prediction, targets["truth_m"], known)
        return {name: weights[name] * term for name, term in terms.items()}

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return, of one image, its figures and 1 for each that it has, and histograms of angles and errors."""
        predicted_m = prediction["depth_m"][0].float().numpy()
        if self.config.median_px:
            predicted_m = cv2.medianBlur(np.ascontiguousarray(predicted_m), self.config.median_px)
        return _measured(predicted_m, example, self.config.data_range_m)

    def given(self, example: Example) -> dict[str, Tensor]:
        """Return what the sensor gave as if it were a prediction, holes filled with the nearest value."""
        depth_m, valid = (example.truth[name][0].numpy() for name in ("depth_m", "valid"))
        return {"depth_m": torch.from_numpy(nearest_filled(depth_m, valid))[None]}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return the figures: means over images, and medians over all pixels."""
        means = ("rmse_m", "mae_m", "psnr_db", "psnr_ln", "ssim", "local_rmse_mm")
        found = {name: _ratio(sums[name], sums[f"num_{name}"]) for name in means}
        found["normals_median_deg"] = quantile(sums["angles"], _ANGLE_STEP_DEG)
        found["hole_median_mm"] = 1000 * quantile(sums["hole_errors"], _HOLE_STEP_M)
        return {figure.id: found[figure.id] for figure in self.figures}


def _published_terms(prediction: Tensors, truth_m: Tensor, known: Tensor) -> dict[str, Tensor]:
    data, gradient, discontinuity = [], [], []
    for name in ("quarter_m", "half_m", "depth_m"):
        predicted_m = prediction[name]
        size = (int(predicted_m.shape[-2]), int(predicted_m.shape[-1]))
        truth_here_m, known_here = nearest_scaled(truth_m, size), nearest_scaled(known, size)
        data.append(masked_mean(charbonnier(predicted_m - truth_here_m), known_here))
        gradient.append(gradient_loss(predicted_m, truth_here_m, known_here))
        discontinuity.append(discontinuity_loss(predicted_m, truth_here_m, known_here))
    return {
        "data": torch.stack(data).sum(),
        "gradient": torch.stack(gradient).sum(),
        "discontinuity": torch.stack(discontinuity).sum(),
    }


def _measured(predicted_m: Any, example: Example, data_range_m: float) -> dict[str, Float64]:
    truth_m, known = (example.targets[name][0].numpy() for name in ("truth_m", "known"))
    valid, K = example.truth["valid"][0].numpy(), example.truth["K"].numpy()
    error_m = (predicted_m - truth_m)[known].astype(np.float64)
    rmse_m = float(np.sqrt(np.mean(error_m**2))) if error_m.size else math.nan
    used = away_from_edges(truth_m, known) & valid
    values = {
        "rmse_m": rmse_m,
        "mae_m": float(np.mean(np.abs(error_m))) if error_m.size else math.nan,
        "psnr_db": psnr_db(rmse_m, data_range_m) if error_m.size else math.nan,
        "psnr_ln": psnr_ln(rmse_m) if error_m.size else math.nan,
        "ssim": ssim(predicted_m, truth_m, known, data_range_m),
        "local_rmse_mm": 1000 * local_rmse_m(predicted_m, truth_m, used),
    }
    angles_deg = _angles_deg(
        implied_normals(predicted_m, K, _REACH_PX), implied_normals(truth_m, K, _TRUE_REACH_PX), used
    )
    found: dict[str, Float64] = {}
    for name, value in values.items():
        found[name] = np.array(value if math.isfinite(value) else 0.0)
        found[f"num_{name}"] = np.array(float(math.isfinite(value)))
    found["angles"] = histogram(angles_deg, _ANGLE_STEP_DEG, _ANGLE_BINS)
    found["hole_errors"] = histogram(np.abs(predicted_m - truth_m)[known & ~valid], _HOLE_STEP_M, _HOLE_BINS)
    return found


def _angles_deg(first: Any, second: Any, used: Any) -> Float64:
    inner = np.zeros_like(used)
    inner[_TRUE_REACH_PX:-_TRUE_REACH_PX, _TRUE_REACH_PX:-_TRUE_REACH_PX] = True
    here = used & inner
    cosine = (first[here] * second[here]).sum(-1, dtype=np.float64)
    angles: Float64 = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return angles


def _ratio(total: Float64, count: Float64) -> float:
    return float(total / count) if count > 0 else math.nan
