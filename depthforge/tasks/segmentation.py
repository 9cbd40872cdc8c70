"""A class for each pixel of depth alone: DeepLabv3+ on fifteen indoor classes.

Depth up to 10 m and its validity, the whole frame or crops of it, flipped left to right at random: zooming would
change what depth means. Figures are of one confusion matrix over the whole test: the mean intersection over union of
all classes, of all but ``left_out`` (the paper's mIoU-12 by default), and of each. A class that neither truth nor
prediction has is in no mean.

Source: Shen et al., DCL, section IV-C and Table V. Its trunk and the start of its weights are not published; here they
are ResNet-50 and random numbers. "Others" is every class that is none of the fourteen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from depthforge.errors import InputError, told
from depthforge.geometry import Float64
from depthforge.labels.catalogue import SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.labels.vocabularies import class_names
from depthforge.networks.deeplab import DeepLab
from depthforge.registry import tasks
from depthforge.tasks.base import Example, Figure, Sums, Task, TaskConfig, Tensors, View
from depthforge.tasks.class_lists import INDOOR, UNLABELLED, class_lookup, class_overlaps, confusion

__all__ = ["RARE", "Segmentation", "SegmentationConfig", "figures_of_classes"]

RARE: Final = ("chair", "refrigerator", "television")
"""Those of the fifteen classes that mIoU-12 leaves out."""

_SEMANTIC: Final = SEMANTIC_NYU40.name
_FARTHEST_M: Final = 10.0


class SegmentationConfig(TaskConfig):
    """How segmentation is trained; the defaults are the published settings, and ours where none is published."""

    small: ClassVar[Mapping[str, Any]] = {
        "layers": 18,
        "width": 32,
        "decoder_width": 128,
        "near_width": 24,
        "crop_px": 96,
        "batch_size": 8,
        "steps": 600,
        "learning_rate": 1e-3,
        "decay": 0.5,
    }
    measuring_fields: ClassVar[frozenset[str]] = TaskConfig.measuring_fields | {"left_out"}

    vocabulary: str = Field(default="nyu40", description="the vocabulary of the corpus' label `semantic`")
    classes: tuple[str, ...] = Field(
        default=INDOOR, description="names of the vocabulary; `others` is every id but 0 that no other class has"
    )
    left_out: tuple[str, ...] = Field(default=RARE, description="classes that the second mean leaves out")
    layers: Literal[18, 50] = Field(default=50, description="layers of the residual network")
    width: int = Field(default=64, ge=4, description="channels of its first stage")
    decoder_width: int = Field(default=256, ge=4, description="channels of pyramid and decoder")
    near_width: int = Field(default=48, ge=1, description="channels that fine features are narrowed to")

    @model_validator(mode="after")
    def _fits(self) -> SegmentationConfig:
        class_lookup(self.vocabulary, self.classes)
        if self.batch_size < 2:
            raise ValueError("batch norm wants batches of at least 2")
        return self


def figures_of_classes(classes: Sequence[str], left_out: Sequence[str]) -> tuple[Figure, ...]:
    """Return the figures of a segmentation into ``classes``, with a second mean where some of them are left out."""
    out = [name for name in classes if name in left_out]
    means = {f"miou_{len(classes)}": ""}
    if out:
        means[f"miou_{len(classes) - len(out)}"] = f" without {told(out)}"
    return (
        *(Figure(name, f"mean IoU{without}", "%", "higher") for name, without in means.items()),
        Figure("accuracy", "pixels of the right class", "%", "higher"),
        *(Figure(_figure_of(name), f"IoU of {name}", "%", "higher") for name in classes),
    )


def _figure_of(name: str) -> str:
    return f"iou_{name.replace(' ', '_')}"


@tasks.register("segmentation")
class Segmentation(Task):
    """Semantic classes from depth."""

    Config = SegmentationConfig
    config: SegmentationConfig
    required = frozenset({_SEMANTIC})
    figures = figures_of_classes(INDOOR, RARE)

    def __init__(self, config: TaskConfig | None = None) -> None:
        super().__init__(config)
        classes = self.config.classes
        self._lookup = torch.from_numpy(class_lookup(self.config.vocabulary, classes).astype(np.int64))
        self._kept = np.array([name not in self.config.left_out for name in classes])
        self.figures = figures_of_classes(classes, self.config.left_out)

    def require_labels(self, specs: Mapping[str, LabelSpec], *, where: object) -> None:
        """Raise InputError unless the corpus' classes are those of the vocabulary."""
        found = specs[_SEMANTIC].vocabulary
        if found == self.config.vocabulary:
            return
        names = told(class_names(found)[1:]) if found is not None else specs[_SEMANTIC].description
        raise InputError(
            "the corpus' classes are not those that the task is told",
            where=where,
            expected=f"{self.config.vocabulary}, of which: {told(self.config.classes)}",
            found=f"{found or 'ids of no known vocabulary'}: {names}",
            remedy=f"vocabulary: {found}, and classes of it"
            if found is not None
            else "a source that gives classes of a known vocabulary (`semantic: nyu40` of scannet)",
        )

    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn."""
        config = self.config
        return DeepLab(
            num_classes=len(config.classes),
            layers=config.layers,
            width=config.width,
            decoder_width=config.decoder_width,
            near_width=config.near_width,
        )

    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        """Draw every weight."""
        assert isinstance(network, DeepLab)
        network.initialise(random)

    def examples(self, view: View) -> list[Example]:
        """Return the view as one example; none where nothing is measured or labelled."""
        if _SEMANTIC not in view.labels:
            return []
        ids = view.labels[_SEMANTIC].long()
        if int(ids.max()) >= len(self._lookup):
            ids = torch.where(ids < len(self._lookup), ids, 0)
        classes = self._lookup[ids]
        if not (view.valid.any() and (classes != UNLABELLED).any()):
            return []
        return [Example(view.key, {"image": channels(view)}, {"classes": classes})]

    def draw(self, view: View, random: np.random.Generator) -> Example | None:
        """Return a random crop, or the view, flipped left to right every other time."""
        example = super().draw(view, random)
        if example is None or random.random() < 0.5:
            return example
        flipped = [{name: value.flip(-1) for name, value in each.items()} for each in (example.inputs, example.targets)]
        return Example(example.key, *flipped)

    def draw_unlabelled(self, view: View, random: np.random.Generator) -> Tensors | None:
        """Return a crop as ``draw`` does, of a view without classes."""
        view = self.crop(view, random)
        if not view.valid.any():
            return None
        image = channels(view)
        return {"image": image if random.random() < 0.5 else image.flip(-1)}

    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return ``scores`` (B, classes, H, W)."""
        return {"scores": network(inputs["image"])}

    def depth_of(self, inputs: Tensors) -> Tensor:
        """Return the depth of inputs as a share of 10 m, 0 where nothing is measured."""
        image = inputs["image"]
        return (image[:, :1] + 1) / 2 * image[:, 1:]

    def inputs_of(self, depth: Tensor) -> dict[str, Tensor]:
        """Return the inputs of such depth; 0 is no measurement."""
        return {"image": torch.cat([2 * depth - 1, (depth > 0).to(depth)], dim=1)}

    def predict_with_features(self, network: nn.Module, inputs: Tensors) -> tuple[dict[str, Tensor], Tensor]:
        """Return the scores, which are also the features that domains are told apart by."""
        scores = network(inputs["image"])
        return {"scores": scores}, scores

    def num_map_features(self) -> int:
        """Return the number of classes."""
        return len(self.config.classes)

    def targets_said(self, prediction: Tensors) -> dict[str, Tensor]:
        """Return the class of the highest score."""
        return {"classes": prediction["scores"].detach().argmax(dim=1)}

    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the cross-entropy, mean over labelled pixels; 0 where there is none."""
        classes = targets["classes"]
        total = functional.cross_entropy(prediction["scores"], classes, ignore_index=UNLABELLED, reduction="sum")
        return {"classes": total / (classes != UNLABELLED).sum().clamp(min=1)}

    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return the confusion matrix of the frame."""
        truth, said = example.targets["classes"].numpy(), prediction["scores"].argmax(0).numpy()
        return {"confusion": confusion(truth, said, len(self.config.classes))}

    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return the figures of a confusion matrix, in percent."""
        counts = sums["confusion"]
        overlap = 100 * class_overlaps(counts)
        labelled = counts.sum()
        found = {
            f"miou_{len(overlap)}": _mean(overlap),
            f"miou_{int(self._kept.sum())}": _mean(overlap[self._kept]),
            "accuracy": 100 * float(np.trace(counts) / labelled) if labelled else float("nan"),
        }
        each = zip(self.config.classes, overlap.tolist(), strict=True)
        return found | {_figure_of(name): value for name, value in each}


def channels(view: View) -> Tensor:
    """Return depth from -1 at 0 m, and where nothing is measured, to 1 at 10 m and beyond, and validity: (2, H, W)."""
    near = view.depth_m.clamp(max=_FARTHEST_M) / (_FARTHEST_M / 2) - 1
    return torch.cat([near, view.valid.float()])


def _mean(values: Float64) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
