"""Surface normals from a sensor's depth.

The published network is that of enhancement without the input added to its outputs, which normals could not be: three
heads of three channels, of which the finest is held to the truth. ``small`` corrects the normals that smoothed
disparity implies. Truth is the label ``normals`` (of the data set, or of the mesh that scans were fused to) where the
frame has it, else what clean depth implies.

Figures are over the pixels of all frames together, where there is a true normal. The published table's first share is
headed 16 degrees where others have 11.25: both are here.

Source: Shen et al., "DCL: differential contrastive learning for geometry-aware depth synthesis", RA-L 2022, section
IV-C; axes are the camera's (OpenCV), towards the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.geometry import normals_from_depth
from depthforge.labels.catalogue import NORMALS
from depthforge.networks.disparity_unet import DisparityUNet
from depthforge.networks.enhancement import EnhancementNet
from depthforge.registry import tasks
from depthforge.tasks.base import Example, Figure, Float64, Sums, Tensors, View
from depthforge.tasks.dense import DenseConfig, DenseTask
from depthforge.tasks.disparity_inputs import DISPARITY_CHANNELS, disparity_channels
from depthforge.tasks.enhancement_losses import masked_mean
from depthforge.tasks.histograms import histogram, quantile
from depthforge.tasks.image_figures import implied_normals

__all__ = ["Normals", "NormalsConfig"]

_LEAST_VALID: Final = 0.1
_STEP_DEG, _BINS = 0.05, 3600
_SHARES_DEG: Final = (11.25, 16.0, 22.5, 30.0)
_REACH_PX: Final = 5
_AXES: Final = 3
_RANGE_M: Final = 10.0


class NormalsConfig(DenseConfig):
    """How normals are trained; the defaults are the published network and schedule."""

    small: ClassVar[Mapping[str, Any]] = {
        "network": "small",
        "steps": 300,
        "batch_size": 6,
        "crop_px": 128,
        "learning_rate": 2e-3,
        "decay": 0.7,
    }


@tasks.register("normals")
class Normals(DenseTask):
    """Surface normals from a sensor's depth."""

    Config = NormalsConfig
    config: NormalsConfig
    optional = frozenset({NORMALS.name})
    figures: tuple[Figure, ...] = (
        Figure("median_deg", "angle, median", "deg", "lower"),
        Figure("mean_deg", "angle, mean", "deg", "lower"),
        *(Figure(f"within_{share:g}", f"within {share:g} deg", "", "higher", 3) for share in _SHARES_DEG),
    )

    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn."""
        config = self.config
        if config.network == "small":
            return DisparityUNet(channels=len(DISPARITY_CHANNELS) + _AXES, outputs=_AXES, width=config.width or 16)
        return EnhancementNet(outputs=_AXES, adds_input=False, width=config.width or 64, layers=config.trunk_layers)

    def examples(self, view: View) -> list[Example]:
        """Return the view as one example; none where under a tenth of it is measured or has a true normal."""
        normals = true_normals(view)
        known = (normals != 0).any(0, keepdim=True)
        if min(view.valid.float().mean(), known.float().mean()) < _LEAST_VALID:
            return []
        return [Example(view.key, self._inputs(view), {"normals": normals, "known": known})]

    def draw_unlabelled(self, view: View, random: np.random.Generator) -> Tensors | None:
        """Return inputs of a random crop, whose truth is not looked at; None where under a tenth of it is measured."""
        window = self.crop(view, random)
        return None if window.valid.float().mean() < _LEAST_VALID else self._inputs(window)

    def _inputs(self, view: View) -> dict[str, Tensor]:
        if self.config.network == "small":
            return {"channels": torch.from_numpy(self._channels(view))}
        return {"depth_m": view.depth_m, "hole": (~view.valid).float()}

    def _channels(self, view: View) -> npt.NDArray[np.float32]:
        K = view.K.numpy()
        channels = disparity_channels(
            view.depth_m[0].numpy(), view.valid[0].numpy(), float(K[0, 0]) * self.config.baseline_m
        )
        filled_m = 1 / np.maximum(channels[0], 0.02)
        implied = implied_normals(filled_m, K, _REACH_PX)
        return np.concatenate([np.ascontiguousarray(implied.transpose(2, 0, 1)), channels])

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return ``normals`` (B, 3, H, W) of unit length."""
        if self.config.network == "small":
            channels = inputs["channels"]
            raw = channels[:, :_AXES] + network(channels)
        else:
            _, _, raw = network(inputs["depth_m"], inputs["hole"])
        return {"normals": _unit(raw)}

    def depth_of(self, inputs: Tensors) -> Tensor:
        """Return the depth of inputs of the published network as a share of 10 m, 0 where nothing is measured."""
        measured = inputs["depth_m"] * (1 - inputs["hole"])
        return (measured / _RANGE_M).clamp(max=1)

    def inputs_of(self, depth: Tensor) -> dict[str, Tensor]:
        """Return the inputs of such depth; 0 is no measurement."""
        return {"depth_m": depth * _RANGE_M, "hole": (depth <= 0).to(depth)}

    def predict_with_features(self, network: nn.Module, inputs: Tensors) -> tuple[dict[str, Tensor], Tensor]:
        """Return the normals, and the features that the last convolution makes them of."""
        assert isinstance(network, EnhancementNet)
        (_, _, raw), features = network.forward_with_features(inputs["depth_m"], inputs["hole"])
        return {"normals": _unit(raw)}, features

    def num_map_features(self) -> int:
        """Return the width of the published network; InputError for `small`, to which depth comes as disparity."""
        if self.config.network == "small":
            raise InputError(
                "the small network of normals cannot be brought to another sensor by cycada",
                where="task.network",
                expected="published, which is given depth itself",
                found="small, which is given disparity and the normals that it implies",
                remedy="task: {name: normals, setting: small, network: published, width: 16, trunk_layers: 2}",
            )
        return self.config.width or 64

    def targets_said(self, prediction: Tensors) -> dict[str, Tensor]:
        """Return the normals of a prediction, known everywhere."""
        normals = prediction["normals"].detach()
        return {"normals": normals, "known": torch.ones_like(normals[:, :1], dtype=torch.bool)}

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the mean absolute difference of unit vectors over pixels with a normal."""
        difference = (prediction["normals"] - targets["normals"]).abs().mean(1, keepdim=True)
        return {"normals": masked_mean(difference, targets["known"])}

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return the histogram of angles, their sum, and how many lie within each bound."""
        known = example.targets["known"][0]
        first, second = (normals[:, known].double() for normals in (prediction["normals"], example.targets["normals"]))
        # The chord stays exact for small angles, where the arc cosine is not.
        chord = (first - second / second.norm(dim=0).clamp(min=1e-6)).norm(dim=0)
        angles_deg = torch.rad2deg(2 * torch.arcsin((chord / 2).clamp(max=1))).numpy()
        return {
            "angles": histogram(angles_deg, _STEP_DEG, _BINS),
            "sum_deg": np.array(angles_deg.sum()),
            "within": np.array([(angles_deg < share).sum() for share in _SHARES_DEG], np.float64),
        }

    def given(self, example: Example) -> dict[str, Tensor] | None:
        """Return the normals that smoothed depth implies: what ``small`` corrects; None for the published network."""
        if "channels" not in example.inputs:
            return None
        return {"normals": example.inputs["channels"][:_AXES]}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return the figures over all pixels that were measured."""
        count = float(sums["angles"].sum())
        if not count:
            return {figure.id: float("nan") for figure in self.figures}
        found = {"median_deg": quantile(sums["angles"], _STEP_DEG), "mean_deg": float(sums["sum_deg"]) / count}
        shares = zip(_SHARES_DEG, sums["within"], strict=True)
        return found | {f"within_{share:g}": float(within) / count for share, within in shares}


def _unit(raw: Tensor) -> Tensor:
    unit: Tensor = raw / raw.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return unit


def true_normals(view: View) -> Tensor:
    """Return the true normals of a view, (3, H, W) float32, 0 where there is none.

    Those of the label where the frame has it, else of clean depth; towards the camera.
    """
    if NORMALS.name in view.labels:
        return view.labels[NORMALS.name].contiguous()
    height, width = view.size
    K = view.K.numpy()
    camera = Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height)
    truth_m, valid = view.truth_m[0].contiguous().numpy(), view.truth_valid[0].contiguous().numpy()
    return torch.from_numpy(normals_from_depth(truth_m, valid, camera)).permute(2, 0, 1).contiguous()
