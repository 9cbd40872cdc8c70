"""Learned translators of depth: metres to the network's range and back, and what is a hole on either side.

Two departures from the published code, both on by default. **Normalisation**: it divides each depth image by its own
maximum, so one metre means something else in every image and the scale is lost on the way; here one maximum in metres,
kept in the translator's card, holds for all (``per_image`` is there for parity). **Validity**: it has no notion of it;
here holes of the input, and depth beyond the maximum, enter as 0 and stay holes, and an output at or below
``hole_threshold`` is a hole, not a small depth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from depthforge.errors import FrameError
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.networks.fused import fuse
from depthforge.networks.generator import DepthGenerator, apply_padded
from depthforge.networks.precision import arithmetic
from depthforge.training.scoring import HeldOut, Scorer
from depthforge.training.translator_card import Normalisation
from depthforge.translators.base import require_kept
from depthforge.translators.channels import stacked, with_frame_noise
from depthforge.translators.learned import Learned, LearnedConfig, device_of, failures_of_the_worker

__all__ = ["LearnedDepth", "LearnedDepthConfig", "Output", "depth_share"]


class Output(NamedTuple):
    """What networks make of a frame: depth (H, W) float32 as a share of the range, and how many metres 1 is."""

    share: npt.NDArray[np.float32]
    scale_m: float


class LearnedDepthConfig(LearnedConfig):
    """How trained weights are used, and what depth is to the networks."""

    architecture_fields: ClassVar[tuple[str, ...]] = ("width", "with_rgb", "noise_channels", "residual", "validity")
    inference_fields: ClassVar[frozenset[str]] = LearnedConfig.inference_fields | {"hole_threshold", "min_kept"}

    normalisation: Literal["fixed", "per_image"] = Field(
        default="fixed", description="what depth is divided by: max_depth_m, or the maximum of each image as published"
    )
    max_depth_m: float = Field(default=10.0, gt=0, description="fixed: the depth that becomes 1; farther is a hole")
    hole_threshold: float = Field(
        default=1 / 255, ge=0, lt=1, description="an output at or below this share of the range is a hole"
    )
    min_kept: float = Field(
        default=0.05, ge=0, le=1, description="refuse a frame of whose valid pixels a smaller share is still valid"
    )

    @property
    def scale(self) -> Normalisation:
        """The normalisation as the card keeps it."""
        return Normalisation(
            mode=self.normalisation, max_depth_m=self.max_depth_m if self.normalisation == "fixed" else None
        )


class LearnedDepth(Learned):
    """A learned translator that makes noisy depth of clean depth, conditioned on colour or not.

    A subclass says how it is trained, and, where that is not one ``DepthGenerator``, its networks and ``infer``.
    """

    config: LearnedDepthConfig

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the networks that conversion needs, untrained."""
        return {"generator": DepthGenerator(**config.architecture)}

    @classmethod
    def make_scorer(cls, config: LearnedConfig, held_out: HeldOut) -> Scorer | None:
        """Return None: noisy depth is scored by its realism and its geometry, which ``stages`` can measure."""
        return None

    @property
    def wanted(self) -> frozenset[str]:
        """Colour, where the networks take it."""
        return frozenset({"rgb"}) if getattr(self.config, "with_rgb", False) else frozenset()

    def images(self, frame: Frame) -> dict[str, npt.NDArray[np.float32]]:
        """Return ``depth`` (1, H, W) as a share of the range, 0 for holes, and where wanted ``rgb`` (3, H, W), 0 to 1.

        Raise FrameError for a frame without the colour that the networks take.
        """
        return self._seen(frame)[0]

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return the noisy depth of each of ``frames``, which are of one size.

        Raise FrameError as ``outputs`` and ``measured`` do.
        """
        outputs = self.outputs(frames, words)
        return [Capture(self.measured(frame, output)) for frame, output in zip(frames, outputs, strict=True)]

    def outputs(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Output]:
        """Return what the networks make of each of ``frames``, which are of one size, before holes are told apart.

        Raise FrameError as ``images`` does.
        """
        config = self.config
        channels = getattr(config, "noise_channels", 0)
        planes, scales_m = [], []
        for frame, frame_words in zip(frames, words, strict=True):
            images, scale_m = self._seen(frame)
            image = stacked({name: torch.from_numpy(image[None]) for name, image in images.items()})
            planes.append(with_frame_noise(image, channels, frame_words))
            scales_m.append(scale_m)
        networks = self.loaded()
        device = device_of(networks)
        with failures_of_the_worker(), torch.inference_mode(), arithmetic(config.precision, device):
            outputs = np.concatenate(
                [
                    self.infer(networks, inputs.to(device))[:, 0].float().cpu().numpy()
                    for inputs in self._passes(planes, device)
                ]
            )[: len(frames)]
        return [Output(share, scale_m) for share, scale_m in zip(outputs, scales_m, strict=True)]

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

    def measured(self, frame: Frame, output: Output) -> NoisyDepth:
        """Return an output in metres, with what is no measurement as such.

        Raise FrameError for an output that is not a number, and when less than ``min_kept`` of the frame's valid
        pixels is left.
        """
        share, scale_m = output
        if not np.isfinite(share).all():
            raise FrameError("the translator gave depth that is not a number", where=frame.key)
        valid = frame.valid & (share > self.config.hole_threshold)
        depth_m = np.where(valid, share * np.float32(scale_m), np.float32(0))
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
        """Return ``images`` of a frame, and how many metres 1 is."""
        depth, scale_m = depth_share(frame, self.config)
        images = {"depth": depth}
        if "rgb" in self.wanted:
            if frame.rgb is None:
                raise FrameError("the frame has no colour, and the translator takes it", where=frame.key)
            rgb = np.ascontiguousarray(frame.rgb.transpose(2, 0, 1), dtype=np.float32)
            images["rgb"] = rgb / np.float32(255)
        return images, scale_m


def depth_share(frame: Frame, config: LearnedDepthConfig) -> tuple[npt.NDArray[np.float32], float]:
    """Return a frame's depth (1, H, W) float32 as a share of the range, 0 for holes, and how many metres 1 is."""
    valid = frame.valid
    if config.normalisation == "fixed":
        scale_m = config.max_depth_m
        valid = valid & (frame.depth_m <= scale_m)
    else:
        scale_m = float(frame.depth_m.max(where=valid, initial=0.0)) or 1.0
    return np.where(valid, frame.depth_m / np.float32(scale_m), np.float32(0))[None], scale_m
