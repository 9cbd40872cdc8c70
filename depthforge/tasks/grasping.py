"""Where a parallel gripper holds, seen from above: GG-CNN on the rectangle grasps of a corpus.

The central square of a frame, brought to 300x300, its holes filled, less its mean, cut at a metre either way; the
network says four maps of it, of which up to three rectangles are read. A frame is a success where one of them overlaps
a true one by more than half and is turned by at most 30 degrees against it, as DCL counts; the figures of GG-CNN's own
rule (the best alone, a quarter) stand beside. Filling holes hides much of what a sensor does: ``fill: none`` leaves
them at 0 m. Seen, similar and novel objects of GraspNet are three tests, of corpora of its three test splits.

Source: Morrison et al., RSS 2018, and its published code (the loss is the sum of the four maps' means); Shen et al.,
DCL, Table IV; labels are GraspNet's RectGraspGroup, score = 1.1 - friction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from depthforge.geometry import Float64
from depthforge.labels.catalogue import RECT_GRASPS
from depthforge.networks.grasp_net import GRASP_MULTIPLE, GraspNet
from depthforge.registry import tasks
from depthforge.tasks.base import Example, Figure, Sums, Task, TaskConfig, Tensors, View
from depthforge.tasks.grasp_maps import MAPS, SIDE_PX, drawn, read_off
from depthforge.tasks.grasp_rectangles import best_overlap, from_labels, suppress

__all__ = ["Grasping", "GraspingConfig"]

_SCORE_OF_NO_FRICTION: Final = 1.1
_SCORE_SLACK: Final = 1e-4
_APART_PX, _APART_DEG, _MOST_DRAWN = 5.0, 15.0, 200
_REACH_M: Final = 1.0
_TOPS: Final = (1, 3)
_OVERLAPS: Final = (0.25, 0.5)
_FILL_RADIUS_PX: Final = 1.0

Image = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class GraspingConfig(TaskConfig):
    """How grasps are trained; the defaults are GG-CNN's published settings."""

    small: ClassVar[Mapping[str, Any]] = {"side_px": 96, "steps": 1000, "learning_rate": 4e-3, "decay": 0.5}

    steps: int | None = Field(default=50_000, ge=1, description="steps of training, in place of `epochs`")
    batch_size: int = Field(default=8, ge=1, description="examples in a step")
    learning_rate: float = Field(default=1e-3, gt=0, description="of Adam")
    side_px: int = Field(
        default=SIDE_PX, ge=48, le=1200, multiple_of=GRASP_MULTIPLE, description="side that images are brought to"
    )
    width: int = Field(default=32, ge=4, multiple_of=4, description="channels of the first convolution")
    fill: Literal["navier_stokes", "none"] = Field(
        default="navier_stokes", description="fill holes, as published, or leave them at 0 m"
    )
    max_friction: float = Field(default=0.4, gt=0, le=1.1, description="friction that a true grasp may need")
    turns: bool = Field(default=True, description="turn images by multiples of 90 degrees in training")
    least_zoom: float = Field(
        default=0.5, gt=0, le=1, description="the smallest share of the square's side that training magnifies to it"
    )

    @model_validator(mode="after")
    def _fits(self) -> GraspingConfig:
        if self.crop_px is not None:
            raise ValueError("the central square is taken: `side_px` is what it is brought to")
        return self


@tasks.register("grasping")
class Grasping(Task):
    """Rectangle grasps from depth."""

    Config = GraspingConfig
    config: GraspingConfig
    required = frozenset({RECT_GRASPS.name})
    figures = (
        Figure("success_top3_iou50", "frames with one of three grasps right, overlap above 0.5", "%", "higher"),
        Figure("success_top1_iou50", "frames with the best grasp right, overlap above 0.5", "%", "higher"),
        Figure("success_top3_iou25", "frames with one of three grasps right, overlap above 0.25", "%", "higher"),
        Figure("success_top1_iou25", "frames with the best grasp right, overlap above 0.25", "%", "higher"),
    )

    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn."""
        return GraspNet(width=self.config.width)

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        """Draw every weight."""
        assert isinstance(network, GraspNet)
        network.initialise(random)

    def optimiser(self, network: nn.Module, learning_rate: float | None = None) -> torch.optim.Optimizer:
        """Return Adam with the usual betas, as GG-CNN's code has it."""
        return torch.optim.Adam(
            network.parameters(), self.config.learning_rate if learning_rate is None else learning_rate
        )

    def examples(self, view: View) -> list[Example]:
        """Return the view's central square as one example; none where it has no depth or no grasp."""
        example = self._example(view, zoom=1.0, turns=0)
        return [] if example is None else [example]

    def draw(self, view: View, random: np.random.Generator) -> Example | None:
        """Return the central square, magnified about its centre and turned by a multiple of 90 degrees."""
        turns = int(random.integers(4)) if self.config.turns else 0
        zoom = float(random.uniform(self.config.least_zoom, 1.0))
        return self._example(view, zoom=zoom, turns=turns)

    def draw_unlabelled(self, view: View, random: np.random.Generator) -> Tensors | None:
        """Return the square as ``draw`` does, of a view without grasps."""
        turns = int(random.integers(4)) if self.config.turns else 0
        image = self._image(view, zoom=float(random.uniform(self.config.least_zoom, 1.0)), turns=turns)
        return None if image is None else {"depth": image}

    def _example(self, view: View, *, zoom: float, turns: int) -> Example | None:
        side_px = self.config.side_px
        top, left, square = _square(view, zoom)
        rectangles = _seen_in(self._usable(view), top, left, square, side_px)
        image = self._image(view, zoom=zoom, turns=turns) if len(rectangles) else None
        if image is None:
            return None
        rectangles = _turned(rectangles, turns, side_px)
        scale = side_px / SIDE_PX
        kept = suppress(rectangles, distance_px=_APART_PX * scale, angle_deg=_APART_DEG, most=_MOST_DRAWN)
        maps = torch.from_numpy(drawn(rectangles[kept], side_px))
        targets = {name: maps[place : place + 1] for place, name in enumerate(MAPS)}
        return Example(view.key, {"depth": image}, targets, {"rectangles": rectangles})

    def _image(self, view: View, *, zoom: float, turns: int) -> Tensor | None:
        """Return what the network is given, (1, side_px, side_px); None where nothing is measured."""
        side_px = self.config.side_px
        top, left, square = _square(view, zoom)
        at = (np.arange(side_px) + 0.5) * square / side_px
        place = np.ix_((top + at).astype(np.intp), (left + at).astype(np.intp))
        depth_m, valid = view.depth_m[0].numpy()[place], view.valid[0].numpy()[place]
        if not valid.any():
            return None
        image = np.rot90(prepared(depth_m, valid, fill=self.config.fill == "navier_stokes"), turns)
        return torch.from_numpy(np.ascontiguousarray(image))[None]

    def _usable(self, view: View) -> Float64:
        """Return the grasps that need no more friction than allowed, best first, among the view's pixels."""
        rows = view.labels[RECT_GRASPS.name].numpy() if RECT_GRASPS.name in view.labels else np.empty((0, 7))
        rows = rows[rows[:, 5] >= _SCORE_OF_NO_FRICTION - self.config.max_friction - _SCORE_SLACK]
        return from_labels(rows[np.argsort(-rows[:, 5], kind="stable")])

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return the four maps (B, 1, H, W)."""
        maps: dict[str, Tensor] = network(inputs["depth"])._asdict()
        return maps

    def depth_of(self, inputs: Tensors) -> Tensor:
        """Return the depth of inputs from -1 to 1 m about the mean, as a share."""
        return (inputs["depth"] + _REACH_M) / (2 * _REACH_M)

    def inputs_of(self, depth: Tensor) -> dict[str, Tensor]:
        """Return the inputs of such depth."""
        return {"depth": depth * (2 * _REACH_M) - _REACH_M}

    def predict_with_features(self, network: nn.Module, inputs: Tensors) -> tuple[dict[str, Tensor], Tensor]:
        """Return the maps, and the features that their heads see."""
        assert isinstance(network, GraspNet)
        features = network.features(inputs["depth"])
        return network.maps(features)._asdict(), features

    def num_map_features(self) -> int:
        """Return the channels before the heads."""
        return self.config.width

    def targets_said(self, prediction: Tensors) -> dict[str, Tensor]:
        """Return the maps themselves."""
        return {name: prediction[name].detach() for name in MAPS}

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the mean squared difference of each map."""
        return {name: functional.mse_loss(prediction[name], targets[name]) for name in MAPS}

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return whether the frame is a success, by each rule."""
        found = read_off(torch.cat([prediction[name] for name in MAPS]).numpy(), most=max(_TOPS))
        overlap = best_overlap(found, example.truth["rectangles"])
        right = [[(overlap[:top] > least).any() for least in _OVERLAPS] for top in _TOPS]
        return {"frames": np.array(1.0), "right": np.array(right, np.float64)}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return the success rates over all frames."""
        with np.errstate(invalid="ignore"):
            rate = 100 * sums["right"] / np.where(sums["frames"] > 0, sums["frames"], np.nan)
        return {
            f"success_top{top}_iou{100 * least:.0f}": float(rate[i, j])
            for j, least in reversed(list(enumerate(_OVERLAPS)))
            for i, top in reversed(list(enumerate(_TOPS)))
        }


def prepared(depth_m: Image, valid: Bools, *, fill: bool) -> Image:
    """Return depth (H, W) as GG-CNN is given it: less its mean, in [-1, 1] m.

    Holes are filled from their borders (Bertalmio et al., CVPR 2001) or left at 0 m; the mean is that of all pixels
    when filled, of the measured ones otherwise.
    """
    if fill and not valid.all():
        # Where a hole meets the image's border there is nothing to fill from: repeat the outermost pixels.
        framed = cv2.copyMakeBorder(depth_m, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        holes = cv2.copyMakeBorder((~valid).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        scale = float(depth_m.max())
        filled = cv2.inpaint(framed / scale, holes, _FILL_RADIUS_PX, cv2.INPAINT_NS)[1:-1, 1:-1] * scale
        depth_m = np.where(valid, depth_m, filled)
    mean_m = depth_m.mean() if fill else depth_m[valid].mean()
    return np.asarray(np.clip(depth_m - mean_m, -_REACH_M, _REACH_M), np.float32)


def _square(view: View, zoom: float) -> tuple[float, float, float]:
    """Return top, left and side, in pixels, of the central square of which ``zoom`` is taken."""
    height, width = view.size
    side = min(height, width) * zoom
    return (height - side) / 2, (width - side) / 2, side


def _seen_in(rectangles: Float64, top: float, left: float, square: float, side_px: int) -> Float64:
    """Return those whose centre lies in a square of the view, in the pixels of its image of ``side_px``."""
    scale = side_px / square
    moved = rectangles * (scale, scale, 1.0, scale, scale)
    moved[:, :2] = (rectangles[:, :2] + 0.5 - (left, top)) * scale - 0.5
    inside = ((moved[:, :2] >= -0.5) & (moved[:, :2] < side_px - 0.5)).all(axis=1)
    return moved[inside]


def _turned(rectangles: Float64, turns: int, side_px: int) -> Float64:
    """Return rectangles of an image of ``side_px`` for ``numpy.rot90`` of it."""
    for _ in range(turns):
        x, y, angle, opening, jaw = rectangles.T
        rectangles = np.column_stack([y, side_px - 1 - x, angle - np.pi / 2, opening, jaw])
    return rectangles
