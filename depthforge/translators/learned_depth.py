"""Learned translators of depth: metres to the network's range and back, and what is a hole on either side.

Two departures from the published code, both on by default. **Normalisation**: it divides each depth image by its own
maximum, so one metre means something else in every image and the scale is lost on the way; here one maximum in metres,
kept in the translator's card, holds for all (``per_image`` is there for parity). **Validity**: it has no notion of it;
here holes of the input, and depth beyond the maximum, enter as 0 and stay holes, and an output at or below
``hole_threshold`` is a hole, not a small depth.

Options of ours, off by default: another quantity than planar z (``quantity``), the sensor's steps behind the network
(``networks.ending``), noise and holes on surfaces (``surface_noise``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from depthforge.errors import FrameError
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.networks.ending import Steps
from depthforge.networks.fused import fuse
from depthforge.networks.generator import DepthGenerator, apply_padded
from depthforge.networks.precision import arithmetic
from depthforge.training.scoring import HeldOut, Scorer
from depthforge.training.translator_card import Normalisation, Quantity
from depthforge.translators.adversarial import ObjectiveConfig
from depthforge.translators.base import require_kept
from depthforge.translators.channels import stacked, with_fields, with_frame_noise
from depthforge.translators.learned import Learned, LearnedConfig, device_of, failures_of_the_worker
from depthforge.translators.quantity import DepthSteps, Shares, depth_of, shares_of, steps_of
from depthforge.translators.surface_noise import HoleFields, frame_anchored, frame_hole_field, points_of

__all__ = ["LearnedDepth", "LearnedDepthConfig"]


class LearnedDepthConfig(LearnedConfig):
    """How trained weights are used, and what depth is to the networks."""

    architecture_fields: ClassVar[tuple[str, ...]] = (
        "width",
        "with_rgb",
        "noise_channels",
        "anchored_channels",
        "anchored_m",
        "residual",
        "validity",
        "holes",
        "short_px",
        "long_m",
        "long_share",
    )
    inference_fields: ClassVar[frozenset[str]] = LearnedConfig.inference_fields | {"hole_threshold", "min_kept"}

    normalisation: Literal["fixed", "per_image"] = Field(
        default="fixed", description="what depth is divided by: max_depth_m, or the maximum of each image as published"
    )
    max_depth_m: float = Field(default=10.0, gt=0, description="fixed: the depth that becomes 1; farther is a hole")
    quantity: Quantity = Field(
        default="z",
        description="what the networks work on: planar z; ray, the length of the ray (what published DCL weights "
        "take); disparity, inverse depth",
    )
    min_depth_m: float = Field(
        default=0.3, gt=0, description="fixed, disparity: the depth whose inverse becomes 1; nearer is a hole"
    )
    quantiser: DepthSteps | None = Field(
        default=None,
        description="the sensor's steps, behind the generator in training and conversion: {step_m} of depth, or "
        "{disparity_m_px, steps_per_px} of disparity; default: output is continuous",
    )
    hole_threshold: float = Field(
        default=1 / 255, ge=0, lt=1, description="an output at or below this share of the range is a hole"
    )
    min_kept: float = Field(
        default=0.05, ge=0, le=1, description="refuse a frame of whose valid pixels a smaller share is still valid"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.quantity == "disparity" and self.min_depth_m >= self.max_depth_m:
            raise ValueError("min_depth_m is not below max_depth_m")
        steps_of(self.quantiser, self.scale)
        return self

    @property
    def scale(self) -> Normalisation:
        """The normalisation as the card keeps it."""
        fixed = self.normalisation == "fixed"
        return Normalisation(
            mode=self.normalisation,
            max_depth_m=self.max_depth_m if fixed else None,
            quantity=self.quantity,
            min_depth_m=self.min_depth_m if fixed and self.quantity == "disparity" else None,
        )

    @property
    def steps(self) -> Steps | None:
        """The steps of the quantiser, as shares of the range."""
        return steps_of(self.quantiser, self.scale)

    @property
    def architecture(self) -> dict[str, Any]:
        """What the networks are built from, and the steps behind them."""
        steps = None if self.quantiser is None else self.quantiser.model_dump(mode="json", exclude_none=True)
        return {**super().architecture, "quantiser": steps}


class LearnedDepth(Learned):
    """A learned translator that makes noisy depth of clean depth, conditioned on colour or not.

    A subclass says how it is trained, and, where that is not one ``DepthGenerator``, its networks and ``infer``.
    """

    config: LearnedDepthConfig

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the networks that conversion needs, untrained."""
        assert isinstance(config, LearnedDepthConfig)
        assert isinstance(config, ObjectiveConfig)
        return {"generator": DepthGenerator(**config.generator, steps=config.steps)}

    @classmethod
    def make_scorer(cls, config: LearnedConfig, held_out: HeldOut) -> Scorer | None:
        """Return None: noisy depth is scored by its realism and its geometry, which ``stages`` can measure."""
        return None

    @property
    def wanted(self) -> frozenset[str]:
        """Colour, where the networks take it."""
        return frozenset({"rgb"}) if getattr(self.config, "with_rgb", False) else frozenset()

    @property
    def uses(self) -> frozenset[str]:
        """The pose, by which noise stays on its surface, where there is such noise."""
        return frozenset({"T_world_cam"}) if self._has_fields else frozenset()

    def images(self, frame: Frame) -> dict[str, npt.NDArray[np.float32]]:
        """Return ``depth`` (1, H, W) as a share of the range, 0 for holes, and where wanted ``rgb`` (3, H, W), 0 to 1.

        Where noise lies on surfaces, their ``points`` (3, H, W) too, metres in camera axes. Raise FrameError for a
        frame without the colour that the networks take.
        """
        images = self._seen(frame)[0]
        return {**images, "points": points_of(frame)} if self._has_fields else images

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return the noisy depth of each of ``frames``, which are of one size.

        Raise FrameError as ``outputs`` and ``measured`` do.
        """
        outputs = self.outputs(frames, words)
        return [Capture(self.measured(frame, output)) for frame, output in zip(frames, outputs, strict=True)]

    def outputs(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Shares]:
        """Return what the networks make of each of ``frames``, which are of one size, before holes are told apart.

        Raise FrameError as ``images`` does.
        """
        config = self.config
        planes, units = [], []
        for frame, frame_words in zip(frames, words, strict=True):
            images, unit = self._seen(frame)
            image = stacked({name: torch.from_numpy(image[None]) for name, image in images.items()})
            planes.append(self._with_noise(image, frame, frame_words))
            units.append(unit)
        networks = self.loaded()
        device = device_of(networks)
        with failures_of_the_worker(), torch.inference_mode(), arithmetic(config.precision, device):
            outputs = np.concatenate(
                [
                    self.infer(networks, inputs.to(device))[:, 0].float().cpu().numpy()
                    for inputs in self._passes(planes, device)
                ]
            )[: len(frames)]
        return [Shares(share, unit) for share, unit in zip(outputs, units, strict=True)]

    @property
    def _has_fields(self) -> bool:
        config = self.config
        return isinstance(config, ObjectiveConfig) and (config.anchored_channels > 0 or config.draws_holes)

    def _with_noise(self, image: Tensor, frame: Frame, words: tuple[int, int]) -> Tensor:
        """Return ``image`` (1, C, H, W) with all that the networks are given besides, as the frame's words key it."""
        config = self.config
        if not isinstance(config, ObjectiveConfig):
            return image
        anchored = hole_field = None
        if config.anchored_channels:
            anchored = frame_anchored(frame, words, config.anchored_channels, config.anchored_m)
        if config.draws_holes:
            assert isinstance(config, HoleFields)
            hole_field = frame_hole_field(frame, words, config)[None]
        noisy = with_frame_noise(image, config.noise_channels, words)
        fields = (None if field is None else torch.from_numpy(field[None]) for field in (anchored, hole_field))
        return with_fields(noisy, config.noise_channels, *fields)

    def infer(self, networks: Mapping[str, nn.Module], inputs: Tensor) -> Tensor:
        """Return the depth (B, 1, H, W), as a share of the range, of ``inputs`` (B, C, H, W): depth, noise, colour."""
        return apply_padded(networks["generator"], inputs)

    def _passes(self, planes: list[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Yield what goes through the networks at once, so that a frame's depth does not depend on its company.

        On a CPU each frame alone, which is also the fastest: a batch of four 640x480 took 1.9 times as long as four
        frames. On a GPU a whole batch, the last one filled up, because another batch size can mean other kernels.
        """
        if device.type == "cpu":
            yield from planes
        else:
            yield torch.cat([*planes, *planes[-1:] * (self.batch_size - len(planes))])

    def measured(self, frame: Frame, output: Shares) -> NoisyDepth:
        """Return an output in metres, with what is no measurement as such.

        Raise FrameError for an output that is not a number, and when less than ``min_kept`` of the frame's valid
        pixels is left.
        """
        if not np.isfinite(output.share).all():
            raise FrameError("the translator gave depth that is not a number", where=frame.key)
        valid = frame.valid & (output.share > self.config.hole_threshold)
        depth_m = depth_of(output, valid, frame.camera, self.config.scale)
        require_kept(
            frame,
            valid,
            self.config.min_kept,
            what="the translator leaves",
            remedy="train longer (its curves say whether), check that depth is in metres, or lower min_kept",
        )
        return NoisyDepth(depth_m, valid)

    def prepared(self, network: nn.Module) -> nn.Module:
        """Return what computes the same as ``network`` in evaluation mode, faster where that is known."""
        if not isinstance(network, DepthGenerator):
            return network
        return fuse(network, dtype=torch.bfloat16 if self.config.precision == "bfloat16" else torch.float32)

    def _seen(self, frame: Frame) -> tuple[dict[str, npt.NDArray[np.float32]], float]:
        """Return ``images`` of a frame, and what 1 is of its depth."""
        share, unit = shares_of(frame, self.config.scale)
        images = {"depth": share[None]}
        if "rgb" in self.wanted:
            if frame.rgb is None:
                raise FrameError("the frame has no colour, and the translator takes it", where=frame.key)
            rgb = np.ascontiguousarray(frame.rgb.transpose(2, 0, 1), dtype=np.float32)
            images["rgb"] = rgb / np.float32(255)
        return images, unit
