"""What a task is: a network on depth that is trained on one corpus and tested on another.

A corpus is only as good as what is learnt from it. A task takes frames through the torch datasets of a corpus and
nothing else, turns each into examples (what the network is given, and what it is held to), says what the loss is, and
measures predictions. Everything here is a pure function of its arguments; training is ``tasks.learning``, testing
``tasks.judging``.

What a task measures of a frame adds up: sums, counts, histograms, confusion matrices. A figure is a function of such
sums over frames. So one rule serves pooling over pixels, means over images and error rates, and the figures of any
resample of the frames, as a bootstrap wants them, come from one matrix product.

One frame may give one example (an image), several (a crop around each object), or none. Examples are batched, so the
tensors that a network and its loss see have one size; what varies from frame to frame, such as rows of grasps, goes
into ``Example.truth``, which only ``measure`` sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from depthforge.identity import Identity, changed_fields
from depthforge.labels.spec import LabelSpec

__all__ = ["Example", "Figure", "Float64", "InputDepth", "Metrics", "Sums", "Task", "TaskConfig", "Tensors", "View"]

Float64 = npt.NDArray[np.float64]
Tensors: TypeAlias = Mapping[str, Tensor]
Sums: TypeAlias = Mapping[str, Float64]
"""What was measured, by name, of one frame or of many added up: float64 arrays whose shapes never vary."""

InputDepth: TypeAlias = Literal["depth_noisy", "depth_raw", "depth_clean"]
"""Where a corpus keeps what a task is given: what a translator made, what a real sensor measured, or the truth."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame of a corpus as tasks see it, wherever its depth was read from.

    ``depth_m`` (1, H, W) float32, planar z in metres, 0 where not ``valid`` (1, H, W) bool; ``truth_m`` and
    ``truth_valid`` likewise are the clean depth. ``K`` (3, 3) float64, pixels. ``labels`` are those that the frame has,
    as the datasets give them; those named in ``images`` end in (H, W).
    """

    key: str
    depth_m: Tensor
    valid: Tensor
    truth_m: Tensor
    truth_valid: Tensor
    K: Tensor
    labels: Tensors = field(default_factory=dict)
    images: frozenset[str] = frozenset()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.depth_m.shape[-2]), int(self.depth_m.shape[-1])

    def window(self, top: int, left: int, height: int, width: int) -> View:
        """Return the part of the view that begins at a pixel; its ``K`` is that of the part.

        Labels that hold pixel coordinates are left as they are.
        """
        rows, columns = slice(top, top + height), slice(left, left + width)
        K = self.K.clone()
        K[0, 2] -= left
        K[1, 2] -= top
        return replace(
            self,
            depth_m=self.depth_m[..., rows, columns],
            valid=self.valid[..., rows, columns],
            truth_m=self.truth_m[..., rows, columns],
            truth_valid=self.truth_valid[..., rows, columns],
            K=K,
            labels={
                name: value[..., rows, columns] if name in self.images else value for name, value in self.labels.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Example:
    """What a network is given of a frame and what it is held to.

    ``inputs`` and ``targets`` are tensors without a batch dimension, of the same sizes in every example that shares a
    batch, and of different names; ``truth`` is what only ``measure`` sees, of any size. ``key`` is the frame's:
    examples of one frame share it.
    """

    key: str
    inputs: Tensors
    targets: Tensors
    truth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a task is judged by: its ``id``, what it is, its unit, and which way is better."""

    id: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    decimals: int = 2


class TaskConfig(BaseModel):
    """How a task is trained; defaults are the published settings (DCL: Adam at 2e-4, 50 epochs) of every task.

    ``setting: small`` takes what the class names in ``small`` for every field that is not given: what a laptop trains
    in a minute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    small: ClassVar[Mapping[str, Any]] = {}
    local_fields: ClassVar[frozenset[str]] = frozenset({"setting", "device", "loader_workers"})
    measuring_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that change figures and no weight: another value trains nothing anew."""

    setting: Literal["published", "small"] = Field(
        default="published", description="small: a small network, crops and few steps, for a small machine"
    )
    epochs: int = Field(default=50, ge=1, description="passes over the training frames, where `steps` is not given")
    steps: int | None = Field(default=None, ge=1, description="steps of training, in place of `epochs`")
    batch_size: int = Field(default=16, ge=1, description="examples in a step")
    crop_px: int | None = Field(default=None, ge=16, multiple_of=4, description="side of random crops; null: whole")
    learning_rate: float = Field(default=2e-4, gt=0, description="of Adam")
    decay: float = Field(
        default=0.0, ge=0, le=1, description="share of the steps, the last ones, in which the learning rate falls to 0"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is a GPU")
    loader_workers: int = Field(default=0, ge=0, description="processes that read frames; 0: a thread of this one")

    @model_validator(mode="before")
    @classmethod
    def _setting(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("setting") == "small":
            return {**cls.small, **value}
        return value


class Task(ABC):
    """One task with its configuration. A subclass is registered by ``depthforge.registry.tasks.register``.

    ``required`` and ``optional`` name the labels that it reads besides depth and ``K``, ``unlabelled`` those that its
    inputs alone take (``draw_unlabelled``), such as the masks that crops are cut by. ``figures`` are the same for all
    of a class, or made from the configuration. A raised ``version`` says that the same settings train or measure
    differently.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    Config: ClassVar[type[TaskConfig]] = TaskConfig
    required: ClassVar[frozenset[str]] = frozenset()
    optional: ClassVar[frozenset[str]] = frozenset()
    unlabelled: ClassVar[frozenset[str]] = frozenset()
    figures: tuple[Figure, ...]

    def __init__(self, config: TaskConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @property
    def identity(self) -> Identity:
        """What decides how it trains and measures."""
        return Identity(self.name, self.version, changed_fields(self.config))

    @property
    def training_identity(self) -> Identity:
        """What decides the weights that it trains."""
        return Identity(self.name, self.version, changed_fields(self.config, without=self.config.measuring_fields))

    @property
    def headline(self) -> Figure:
        """The figure by which rows are compared, and the checkpoint of a training is chosen: the first."""
        return self.figures[0]

    def require_labels(self, specs: Mapping[str, LabelSpec], *, where: object) -> None:
        """Raise InputError where a label of a corpus, by name, does not mean what the task takes it to mean."""
        return

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network, its weights not yet drawn, on the CPU."""

    @abstractmethod
    def initialise(self, network: nn.Module, random: torch.Generator) -> None:
        """Draw every weight of the network from ``random``, a CPU generator, and nothing from anywhere else."""

    @abstractmethod
    def examples(self, view: View) -> list[Example]:
        """Return the examples of a view or of a window of it: one, several, or none where it holds nothing to learn.

        The same view gives the same examples. Raises FrameError for a view that the task cannot take.
        """

    def draw(self, view: View, random: np.random.Generator) -> Example | None:
        """Return an example of a random crop of ``crop_px`` (of the whole view without), None where there is none.

        Whatever augments training goes here.
        """
        examples = self.examples(self.crop(view, random))
        return examples[int(random.integers(len(examples)))] if examples else None

    def crop(self, view: View, random: np.random.Generator) -> View:
        """Return a random window of ``crop_px``, the view itself where none is asked for."""
        crop_px = self.config.crop_px
        if crop_px is None:
            return view
        height, width = view.size
        top = int(random.integers(height - crop_px + 1))
        left = int(random.integers(width - crop_px + 1))
        return view.window(top, left, crop_px, crop_px)

    def draw_unlabelled(self, view: View, random: np.random.Generator) -> Tensors | None:
        """Return inputs as ``draw`` makes them, of a view that has the labels ``unlabelled`` and perhaps no others."""
        example = self.draw(view, random)
        return None if example is None else example.inputs

    @abstractmethod
    def predict(self, network: nn.Module, inputs: Tensors) -> dict[str, Tensor]:
        """Return what the network makes of a batch of inputs, by name, each (B, ...)."""

    @abstractmethod
    def loss(self, prediction: Tensors, targets: Tensors) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch, weighted: scalars whose sum is minimised."""

    @abstractmethod
    def measure(self, prediction: Tensors, example: Example) -> dict[str, Float64]:
        """Return what is measured of one example's prediction (without batch dimension, on the CPU): see ``Sums``."""

    @abstractmethod
    def figures_of(self, sums: Sums) -> dict[str, float]:
        """Return every figure by id from what was measured of some frames, added up; NaN where nothing says it."""

    def given(self, example: Example) -> dict[str, Tensor] | None:
        """Return what the input itself says, as if it were a prediction; None for a task where it says nothing."""
        return None

    def optimiser(self, network: nn.Module, learning_rate: float | None = None) -> torch.optim.Optimizer:
        """Return the optimiser: Adam with betas 0.5 and 0.999, as published for every task of DCL."""
        rate = self.config.learning_rate if learning_rate is None else learning_rate
        return torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.999))


class Metrics:
    """What a task measured of a test, a row for each frame; figures of all frames, of each, and of any resample."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._rows: dict[str, dict[str, Float64]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def keys(self) -> list[str]:
        """The keys of the frames, in the order in which they came."""
        return list(self._rows)

    def update(self, prediction: Tensors, example: Example) -> None:
        """Add what one example shows, to the others of its frame."""
        measured = self._task.measure(prediction, example)
        row = self._rows.setdefault(example.key, {})
        for name, value in measured.items():
            row[name] = row[name] + value if name in row else np.asarray(value, np.float64)

    def figures(self) -> dict[str, float]:
        """Return the figures over all frames by id; every one NaN before the first frame."""
        if not self._rows:
            return {figure.id: float("nan") for figure in self._task.figures}
        return self._task.figures_of(self.sums(np.ones(len(self))))

    def per_frame(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Yield the key and the figures of each frame by itself."""
        for key, row in self._rows.items():
            yield key, self._task.figures_of(row)

    def sums(self, weights: Float64) -> dict[str, Float64]:
        """Return what was measured, each frame taken ``weights`` (N,) times, added up; for each row of (draws, N)."""
        rows = list(self._rows.values())
        return {name: np.tensordot(weights, np.stack([row[name] for row in rows]), 1) for name in rows[0]}

    def to_arrays(self) -> dict[str, Float64]:
        """Return what was measured of each frame, by name, (N, ...): what :meth:`from_arrays` reads back."""
        rows = list(self._rows.values())
        return {name: np.stack([row[name] for row in rows]) for name in (rows[0] if rows else {})}

    @classmethod
    def from_arrays(cls, task: Task, keys: list[str], arrays: Sums) -> Metrics:
        """Return the metrics of frames ``keys`` from what :meth:`to_arrays` gave."""
        metrics = cls(task)
        metrics._rows = {key: {name: value[i] for name, value in arrays.items()} for i, key in enumerate(keys)}
        return metrics
