"""Which object a crop shows, and how it is turned.

Each object of a frame that has a mask and a pose is an example: the square around its mask, from which a residual
network says the object's class and its rotation as a unit quaternion. The error is the mean angle over all crops,
rightly named or not. With ``models`` there are three figures more: the smallest angle over the object's symmetries, and
how often the points of the turned model lie, on average, within a tenth of its diameter of where they should (ADD, and
ADD-S to the nearest point), the translation taken as known.

Source: Shen et al., DCL, section IV-C and Table III. Neither its network, its crops' size nor its form of rotations is
published; here they are ResNet-18, 128 pixels and quaternions. Its ten objects are not named: the default takes the
first ten ids, as GraspNet numbers them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from depthforge.geometry import Float64, quaternion_from_rotation, rotation_from_quaternion
from depthforge.labels.catalogue import INSTANCE, OBJECT_ID, OBJECT_POSE
from depthforge.networks.pose_net import PoseNet
from depthforge.registry import tasks
from depthforge.tasks.base import Example, Figure, Sums, Task, TaskConfig, Tensors, View
from depthforge.tasks.object_crops import Instances, ObjectBox, crop_channels, object_boxes
from depthforge.tasks.object_models import load_object_model
from depthforge.tasks.rotations import (
    add_m,
    adds_m,
    least_error_deg,
    quaternion_loss,
    ray_rotation,
    rotation_error_deg,
)

__all__ = ["Pose", "PoseConfig"]

_MARGIN_PX: Final = 8
_REACH_M: Final = 0.15
_ADD_SHARE: Final = 0.1


class PoseConfig(TaskConfig):
    """How pose is trained; the defaults are the published settings, and ours where none is published."""

    small: ClassVar[Mapping[str, Any]] = {
        "width": 16,
        "side_px": 64,
        "fewest_px": 24,
        "steps": 600,
        "learning_rate": 2e-3,
        "decay": 0.5,
    }
    measuring_fields: ClassVar[frozenset[str]] = TaskConfig.measuring_fields | {"models"}

    objects: tuple[int, ...] = Field(
        default=tuple(range(10)), min_length=2, description="ids of the objects, as object_id has them: the classes"
    )
    layers: Literal[18, 50] = Field(default=18, description="layers of the residual network")
    width: int = Field(default=64, ge=4, description="channels of its first stage; the feature has four times as many")
    side_px: int = Field(default=128, ge=16, le=1024, description="side that crops are brought to")
    fewest_px: int = Field(
        default=64, ge=1, description="boxes of this side, margin included, and smaller are left out"
    )
    most_px: int = Field(default=640, ge=2, description="boxes of this side and larger are left out")
    background: bool = Field(default=True, description="keep what is measured beyond the object")
    rotation: Literal["camera", "allocentric"] = Field(
        default="camera", description="object to camera, or to the ray that the object is seen along, as a crop shows"
    )
    instances: Instances = Field(
        default="auto", description="what `instance` numbers: rows of object_id + 1, ids, ids + 1; auto: what fits"
    )
    models: Path | None = Field(
        default=None, description="folder of the data set's models, for figures of symmetric objects, ADD and ADD-S"
    )

    @model_validator(mode="after")
    def _fits(self) -> PoseConfig:
        if self.crop_px is not None:
            raise ValueError("crops are taken around objects: `side_px` is what they are brought to")
        if len(set(self.objects)) < len(self.objects):
            raise ValueError("`objects` names an id twice")
        if self.fewest_px >= self.most_px:
            raise ValueError("`fewest_px` must be below `most_px`")
        if self.batch_size < 2:
            raise ValueError("batch norm wants batches of at least 2")
        return self


@tasks.register("pose")
class Pose(Task):
    """Class and rotation of objects from crops around them."""

    Config = PoseConfig
    config: PoseConfig
    required = frozenset({INSTANCE.name, OBJECT_ID.name, OBJECT_POSE.name})
    # The masks cut the crops, and the poses say which mask is whose.
    unlabelled = required
    figures = (
        Figure("error_deg", "rotation error, mean over all crops", "deg", "lower"),
        Figure("accuracy", "objects named rightly", "%", "higher"),
        Figure("least_error_deg", "rotation error over the model's symmetries, mean", "deg", "lower"),
        Figure("add", f"ADD within {_ADD_SHARE:.0%} of the diameter", "%", "higher"),
        Figure("adds", f"ADD-S within {_ADD_SHARE:.0%} of the diameter", "%", "higher"),
    )

    def __init__(self, config: TaskConfig | None = None) -> None:
        super().__init__(config)
        self._model = lru_cache(maxsize=len(self.config.objects))(load_object_model)

    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn."""
        config = self.config
        return PoseNet(num_classes=len(config.objects), layers=config.layers, width=config.width)

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        """Draw every weight."""
        assert isinstance(network, PoseNet)
        network.initialise(random)

    def examples(self, view: View) -> list[Example]:
        """Return a crop for each object that is one of ``objects`` and has a mask of the right size."""
        return [self._example(view, box) for box in self._boxes(view)]

    def draw(self, view: View, random: np.random.Generator) -> Example | None:
        """Return the crop of an object that is drawn, None where there is none."""
        boxes = self._boxes(view)
        return self._example(view, boxes[int(random.integers(len(boxes)))]) if boxes else None

    def _boxes(self, view: View) -> list[ObjectBox]:
        config = self.config
        if not self.required <= view.labels.keys():
            return []
        boxes = object_boxes(
            view, config.instances, margin_px=_MARGIN_PX, fewest_px=config.fewest_px, most_px=config.most_px
        )
        ids = view.labels[OBJECT_ID.name].tolist()
        return [box for box in boxes if ids[box.row] in config.objects]

    def _example(self, view: View, box: ObjectBox) -> Example:
        config = self.config
        crop = crop_channels(view, box, config.side_px, reach_m=_REACH_M, background=config.background)
        T_cam_object: Float64 = view.labels[OBJECT_POSE.name][box.row].numpy()
        R = T_cam_object[:3, :3]
        if config.rotation == "allocentric":
            R = ray_rotation(T_cam_object[:3, 3]).T @ R
        object_id = int(view.labels[OBJECT_ID.name][box.row])
        quaternion = quaternion_from_rotation(R)
        return Example(
            view.key,
            {"crop": torch.from_numpy(crop)},
            {
                "object": torch.tensor(config.objects.index(object_id)),
                "quaternion": torch.from_numpy(quaternion.astype(np.float32)),
            },
            {"object_id": object_id},
        )

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return ``logits`` (B, objects) and ``quaternion`` (B, 4), of unit length."""
        return self.read(network, self.features(network, inputs))

    def features(self, network: nn.Module, inputs: Tensors) -> Tensor:
        """Return the feature of each crop, (B, C): what adaptation compares."""
        assert isinstance(network, PoseNet)
        return network.features(inputs["crop"])

    def read(self, network: nn.Module, features: Tensor) -> dict[str, Tensor]:
        """Return what ``predict`` returns, from features."""
        assert isinstance(network, PoseNet)
        return network.read(features)._asdict()

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the cross-entropy of the class and the mean squared difference of quaternions."""
        return {
            "class": functional.cross_entropy(prediction["logits"], targets["object"]),
            "rotation": quaternion_loss(prediction["quaternion"], targets["quaternion"]),
        }

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return the crop's error, whether its object is named rightly, and what its model adds."""
        said, truth = (each["quaternion"].double().numpy() for each in (prediction, example.targets))
        said, truth = said / np.linalg.norm(said), truth / np.linalg.norm(truth)
        measured = {
            "count": 1.0,
            "right": float(prediction["logits"].argmax() == example.targets["object"]),
            "error_deg": float(rotation_error_deg(said, truth)),
            "of_models": 0.0,
            "least_error_deg": 0.0,
            "add": 0.0,
            "adds": 0.0,
        }
        if self.config.models is not None:
            model = self._model(self.config.models.expanduser(), example.truth["object_id"])
            R, R_true = rotation_from_quaternion(said), rotation_from_quaternion(truth)
            near_m = _ADD_SHARE * model.diameter_m
            measured |= {
                "of_models": 1.0,
                "least_error_deg": least_error_deg(said, truth, model.symmetry),
                "add": float(add_m(model.points_m, R, R_true) <= near_m),
                "adds": float(adds_m(model.points_m, R, R_true) <= near_m),
            }
        return {name: np.array(value) for name, value in measured.items()}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return the figures over all crops; those of models NaN without ``models``."""

        def mean(name: str, count: str) -> float:
            return float(sums[name] / sums[count]) if sums[count] else float("nan")

        return {
            "error_deg": mean("error_deg", "count"),
            "accuracy": 100 * mean("right", "count"),
            "least_error_deg": mean("least_error_deg", "of_models"),
            "add": 100 * mean("add", "of_models"),
            "adds": 100 * mean("adds", "of_models"),
        }
