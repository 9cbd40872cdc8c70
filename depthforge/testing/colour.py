"""Translators of colour: the smallest plug-ins that make an image which is no depth, for tests of that contract.

``swap_channels`` needs no training. ``channel_gains`` learns a gain and an offset for each channel of colour from
unpaired frames, so that mean and spread of the channels become those of the real side; it reads no depth on either
side, and brings its own scorer. Both are registered when this module is imported, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from depthforge.errors import FrameError
from depthforge.frame import Capture, Frame
from depthforge.labels.catalogue import RGB_NOISY
from depthforge.labels.spec import LabelSpec
from depthforge.registry import translators
from depthforge.training.objective import Batch, Objective, descend
from depthforge.training.scoring import HeldOut, Scored
from depthforge.translators.base import Translator, TranslatorConfig
from depthforge.translators.learned import Learned, LearnedConfig, device_of

__all__ = ["ChannelGains", "SwapChannels"]

Rgb = npt.NDArray[np.uint8]


def _colour(frame: Frame) -> Rgb:
    if frame.rgb is None:
        raise FrameError("the frame has no colour", where=frame.key)
    return frame.rgb


@translators.register("swap_channels")
class SwapChannels(Translator):
    """Colour with two of its channels exchanged."""

    class Config(TranslatorConfig):
        """Which two."""

        channels: tuple[int, int] = Field(default=(0, 2), description="the two channels: 0 red, 1 green, 2 blue")

    config: Config

    @property
    def produces(self) -> tuple[LabelSpec, ...]:
        """Colour, and no depth."""
        return (RGB_NOISY,)

    @property
    def wanted(self) -> frozenset[str]:
        """Colour."""
        return frozenset({"rgb"})

    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        """Return the colour of ``frame`` with the two channels exchanged; FrameError without colour."""
        swapped = _colour(frame).copy()
        first, second = self.config.channels
        swapped[..., [first, second]] = swapped[..., [second, first]]
        return Capture(images={RGB_NOISY.name: swapped})


class _Gains(nn.Module):
    """Colour (B, 3, H, W) times a gain plus an offset, one of each for every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 1, 1))
        self.offset = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, rgb: Tensor) -> Tensor:
        return self.gain * rgb + self.offset


class _GainsObjective(Objective):
    """Mean and spread of every channel, as they are on the real side."""

    exported = ("gains",)

    def __init__(self, learning_rate: float, random: torch.Generator, device: torch.device | str) -> None:
        super().__init__({"gains": _Gains()}, random, device)
        self.optimisers = {"gains": torch.optim.Adam(self.networks["gains"].parameters(), lr=learning_rate)}

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Update the gains; return ``mean``, ``spread`` and their sum ``generator``."""
        made, real = self.networks["gains"](batch.clean["rgb"]), batch.real["rgb"]
        terms = {
            "mean": (made.mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().sum(),
            "spread": (made.std((0, 2, 3)) - real.std((0, 2, 3))).abs().sum(),
        }
        total = terms["mean"] + terms["spread"]
        descend(total, *self.optimisers.values())
        return {name: loss.detach() for name, loss in (terms | {"generator": total}).items()}


@translators.register("channel_gains")
class ChannelGains(Learned):
    """Colour with the gains and offsets that bring its channels to the real side's mean and spread."""

    class Config(LearnedConfig):
        """How it is trained."""

        architecture_fields: ClassVar[tuple[str, ...]] = ()

        learning_rate: float = Field(default=0.02, gt=0, description="Adam's step size")

    config: Config

    @property
    def produces(self) -> tuple[LabelSpec, ...]:
        """Colour, and no depth."""
        return (RGB_NOISY,)

    @property
    def wanted(self) -> frozenset[str]:
        """Colour."""
        return frozenset({"rgb"})

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return gains that change nothing."""
        return {"gains": _Gains()}

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> Objective:
        """Return the gains to train."""
        assert isinstance(config, cls.Config)
        return _GainsObjective(config.learning_rate, random, device)

    @classmethod
    def make_scorer(cls, config: LearnedConfig, held_out: HeldOut) -> _ColourScorer:
        """Return what compares the channels of held-out frames."""
        return _ColourScorer(cls, config, held_out)

    def images(self, frame: Frame) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return ``rgb`` (3, H, W), 0 to 1; FrameError without colour."""
        rgb = np.ascontiguousarray(_colour(frame).transpose(2, 0, 1), dtype=np.float32)
        return {"rgb": rgb / np.float32(255)}

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return the colour of each of ``frames`` through the gains; FrameError without colour."""
        networks = self.loaded()
        device = device_of(networks)
        captures = []
        with torch.inference_mode():
            for frame in frames:
                made = networks["gains"](torch.from_numpy(self.images(frame)["rgb"]).to(device))
                steps = (made * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
                captures.append(Capture(images={RGB_NOISY.name: np.ascontiguousarray(steps.transpose(1, 2, 0))}))
        return captures


class _ColourScorer:
    """Scores by how far mean and spread of the channels are from those of real frames, in steps of 255."""

    def __init__(self, translator: type[Learned], config: LearnedConfig, held_out: HeldOut) -> None:
        self._translator, self._config, self._held_out = translator, config, held_out

    def score(self, step: int, objective: Objective, losses: Mapping[str, float]) -> Scored:
        """Translate the held-out clean frames and compare them with the real ones."""
        translator = self._translator.of_networks(self._config, objective.networks)
        clean = self._held_out.clean
        made = [capture.images[RGB_NOISY.name] for capture in translator.translate_batch(clean, [(0, 0)] * len(clean))]
        real = [_colour(frame) for frame in self._held_out.real]
        terms = {
            "mean": float(np.abs(_channels(made).mean(0) - _channels(real).mean(0)).sum()),
            "spread": float(np.abs(_channels(made).std(0) - _channels(real).std(0)).sum()),
        }
        total = round(sum(terms.values()), 3)
        columns = [np.hstack([_colour(clean[0]), made[0]]), real[0]]
        _, png = cv2.imencode(".png", np.hstack([image[: len(real[0]), :, ::-1] for image in columns]))
        return Scored(
            total,
            {"colour off, steps": total},
            terms=terms,
            summary=f"on {len(made)} held-out frames",
            pictures={"samples.png": png.tobytes()},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: each checkpoint is scored for itself."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""


def _channels(images: Sequence[Rgb]) -> npt.NDArray[np.float64]:
    return np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
