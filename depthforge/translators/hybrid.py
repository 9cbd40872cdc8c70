"""``hybrid``: a simulated sensor, and a small network that has learnt where this camera loses depth.

The sensor's physics makes disparity, its steps, its noise and its silhouettes; what it cannot know is which surfaces a
camera loses (dark, glossy, slanted ones) and how wide its shadows are in practice. That is learnt from pairs: scans
with poses, and the truth that is fused from them; or scans alone, whose clean guess stands for the truth. Of every
pixel the network gives the probability of a hole (``hybrid_network``): that of the physics, and what it adds from what
is relative only (``hybrid_inputs``). Holes are drawn by a copula (``hole_sampling``), so that they are as large, and as
steady from frame to frame, as the sensor's; where this drawing of the physics has one, whole shadows stay or go. A
second head, off by default, adds to the sensor's errors where a surface is noisier than the physics says
(``hybrid_residual``), before the sensor rounds.

Where a pixel is kept that this drawing of the physics lost, depth comes from the same sensor without what makes it lose
surfaces; what even that does not measure (range, borders) is a hole. What is lost near the camera to too much light is
a matter of distance, which the network does not see: it has the sensor's own probability (``Sensor.near_loss``), is not
learnt from, and is drawn by the same copula.

Kin: Manivasagam et al., "LiDARsim", CVPR 2020 (ray casting, and a network for dropped rays); Abdelhamed et al., "Noise
Flow", ICCV 2019 (parametric layers within a flow); Shrivastava et al., CVPR 2017 (SimGAN); Monteiro et al., NeurIPS
2020 (correlated sampling of masks). Cost at 640x480: the sensor ``physics_draws`` + 1 times, + 2 with
``residual``, and the network's 50 ms on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import nn

from depthforge.errors import FrameError
from depthforge.frame import BoolImage, Capture, Frame, NoisyDepth
from depthforge.identity import Identity, changed_fields
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.networks.precision import arithmetic
from depthforge.registry import translators
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.sensors.preset import AnySensor, parse_sensor
from depthforge.sensors.residual_errors import ResidualSensor
from depthforge.training.scoring import HeldOut, Scorer
from depthforge.translators.base import require_kept
from depthforge.translators.hole_fields import Correlation, CorrelationSettings, hole_field
from depthforge.translators.hole_sampling import LEVELS, fixed_point, sampled_holes
from depthforge.translators.hybrid_inputs import (
    COLOUR_CHANNELS,
    GEOMETRY_CHANNELS,
    hole_frequency,
    inputs_of,
    well_known,
)
from depthforge.translators.hybrid_network import FREQUENCY, WIDE_PX, HybridNetwork
from depthforge.translators.hybrid_objective import HybridObjective, HybridTraining
from depthforge.translators.hybrid_residual import drawn_error, on_steps, target_of
from depthforge.translators.learned import Learned, LearnedConfig, device_of, failures_of_the_worker

__all__ = ["Hybrid"]

_MADE_UP = ("preset", "patch_share", "blob_dropout")
_NEAR = ("saturated_m", "saturated_spread")
_LIKELY_NEAR = 0.02
_MAY_CHANGE = (
    *("min_depth_m", "max_depth_m", "device_seed", "device_map_px", "device_map_m"),
    *("focal_length_px", "blank_band", "aligned_offset_m"),
)
_BASELINE_M = 0.075  # of a sensor that has none: it only scales slopes


@translators.register("hybrid")
class Hybrid(Learned):
    """A simulated sensor with learned holes."""

    class Config(HybridTraining, CorrelationSettings, LearnedConfig):
        """The physics, what the network is trained with, and how holes are drawn."""

        architecture_fields: ClassVar[tuple[str, ...]] = ("colour", "physics_draws", "residual")
        inference_fields: ClassVar[frozenset[str]] = LearnedConfig.inference_fields | {
            "min_kept",
            *CorrelationSettings.model_fields,
        }

        sensor: AnySensor = Field(
            default_factory=lambda: parse_sensor("kinect_v1"),
            description="the physics, as of the translator `simulation`; its made-up patches are left out",
        )
        physics_draws: int = Field(
            default=2,
            ge=1,
            le=32,
            description="drawings of the sensor that tell the network how often it loses a pixel",
        )
        residual: bool = Field(
            default=False,
            description="a second head adds to the sensor's errors where scans are noisier than its physics, which "
            "costs one more drawing of the sensor",
        )
        min_kept: float = Field(
            default=0.05, ge=0, le=1, description="refuse a frame of whose valid pixels a smaller share is still valid"
        )

        @model_validator(mode="after")
        def _errors_can_be_added(self) -> Hybrid.Config:
            if self.residual and not isinstance(self.sensor, ResidualSensor):
                raise ValueError(f"nothing can be added to the errors of {self.sensor.name}: set `residual: false`")
            return self

        @property
        def architecture(self) -> dict[str, Any]:
            """What the network is built from, and the physics that it was trained with.

            The range that is reported, the one camera of its kind and its stream (focal length of its images, whether
            they are aligned to colour, the blank band) may be others afterwards: the network sees what is relative.
            """
            return {**super().architecture, "sensor": _without(self.physics, _MAY_CHANGE).identity.to_json()}

        @property
        def physics(self) -> Sensor:
            """The sensor without made-up patches, since the network says which surfaces are lost, and without what it
            loses near the camera, which has a probability of its own.
            """
            return _without(self.sensor, _MADE_UP + _NEAR)

        @classmethod
        def training_fields(cls) -> frozenset[str]:
            """Names of the options that only training reads."""
            return frozenset(HybridTraining.model_fields) - set(cls.architecture_fields)

    config: Config
    version = 4
    paired: ClassVar[bool] = True

    def __init__(self, config: LearnedConfig) -> None:
        super().__init__(config)
        assert isinstance(config, Hybrid.Config)
        self._physics = config.physics
        self._dense = self._physics.without_holes()

    @classmethod
    def make_objective(
        cls, config: LearnedConfig, random: torch.Generator, device: torch.device | str = "cpu"
    ) -> HybridObjective:
        """Return the network and optimiser to train, initialised from ``random``."""
        assert isinstance(config, Hybrid.Config)
        return HybridObjective(cls._network(config), config, random, device)

    @classmethod
    def make_networks(cls, config: LearnedConfig) -> dict[str, nn.Module]:
        """Return the network that conversion needs, untrained."""
        assert isinstance(config, Hybrid.Config)
        return {"holes": cls._network(config)}

    @staticmethod
    def _network(config: Hybrid.Config) -> HybridNetwork:
        channels = len(GEOMETRY_CHANNELS) + (len(COLOUR_CHANNELS) if config.colour else 0)
        return HybridNetwork(channels=channels, residual=config.residual)

    @classmethod
    def make_scorer(cls, config: LearnedConfig, held_out: HeldOut) -> Scorer | None:
        """Return None: probabilities of holes are held to the scans' own, which ``stages`` can measure."""
        return None

    @property
    def wanted(self) -> frozenset[str]:
        """Colour, where the network takes it."""
        return frozenset({"rgb"}) if self.config.colour else frozenset()

    @property
    def uses(self) -> frozenset[str]:
        """The pose, by which lost surfaces stay lost, and what the sensor reads where a frame has it."""
        return self.config.sensor.uses | {"T_world_cam"}

    @property
    def identity(self) -> Identity:
        """As of every learned translator; the sensor by its own identity."""
        if self._weights_sha256 is None:
            self._weights_sha256 = self._require_card().weights_sha256
        fields = changed_fields(self.config, without=self.config.training_fields() | {"sensor"})
        sensor = _without(self.config.sensor, _MADE_UP).identity.to_json()
        return Identity(self.name, self.version, {**fields, "sensor": sensor, "weights_sha256": self._weights_sha256})

    def prepared(self, network: nn.Module) -> nn.Module:
        """Return the network with its channels innermost: half of the time on a CPU, too."""
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    def files(self) -> dict[str, bytes]:
        """Return weights and card, and the files of the sensor."""
        return {**super().files(), **self.config.sensor.files()}

    def relocated(self, folder: Path) -> LearnedConfig:
        """Return the configuration with weights and the sensor's files in ``folder``."""
        sensor = self.config.sensor.relocated(folder)
        return self.config.model_copy(update={"weights": folder, "sensor": sensor})

    def working_bytes(self, height: int, width: int) -> int:
        """Return a bound on the memory of torch, the network and the sensor at work."""
        return super().working_bytes(height, width) + self._physics.working_bytes(height, width)

    def images(self, frame: Frame) -> dict[str, npt.NDArray[np.float32]]:
        """Return what training's batches hold of a whole frame: ``inputs``, and of a pair what is to be learnt.

        ``inputs`` (C, H, W); where the frame has a scan beside its truth (``depth_raw``) ``hole`` (1, H, W), 1 where
        the scan measures nothing, and ``known`` (1, H, W), 1 where the truth is whole, within the sensor's range, and
        too far to be lost for its distance; with ``residual`` the images of ``hybrid_residual.Target``, (1, H, W) each.
        FrameError for a frame without the colour that the network takes.
        """
        words = [frame_words(draw, frame.key, "hybrid") for draw in range(self.config.physics_draws)]
        drawings = [self._physics.measure(frame, each) for each in words]
        seen = {"inputs": self._inputs(frame, drawings)}
        raw = frame.labels.get(DEPTH_RAW.name)
        if raw is not None:
            scan_m = np.nan_to_num(np.asarray(raw, np.float32).reshape(frame.camera.size), posinf=0.0, neginf=0.0)
            reached = self._dense.measure(frame, words[0]).valid
            seen["hole"] = (scan_m <= 0).astype(np.float32)[None]
            known = well_known(frame.valid) & reached
            near = self.config.sensor.near_loss(frame.depth_m)
            seen["known"] = (known if near is None else known & (near < _LIKELY_NEAR)).astype(np.float32)[None]
            if self.config.residual:
                assert isinstance(self._physics, ResidualSensor)
                target = target_of(frame, scan_m, drawings, self._physics)
                seen |= {name: image[None] for name, image in target._asdict().items()}
        return seen

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return the noisy depth of each of ``frames``; FrameError as of ``images``, and where too little is left."""
        return [Capture(self._drawn(frame, each)) for frame, each in zip(frames, words, strict=True)]

    def hole_levels(self, frame: Frame, words: tuple[int, int]) -> npt.NDArray[np.int32]:
        """Return the probability of a hole at each pixel (H, W), in ``hole_sampling``'s fixed point.

        It is 1 beyond the sensor's range, and where there is no truth.
        """
        return self._measured(frame, words).levels

    def _inputs(self, frame: Frame, drawings: Sequence[NoisyDepth]) -> npt.NDArray[np.float32]:
        if self.config.colour and frame.rgb is None:
            raise FrameError(
                "the frame has no colour, and the translator takes it",
                where=frame.key,
                remedy="train one with `colour: false`, or convert frames that have colour",
            )
        baseline_m = float(getattr(self._physics, "baseline_m", _BASELINE_M))
        return inputs_of(frame, hole_frequency(drawings), frame.camera.fx * baseline_m, colour=self.config.colour)

    def _maps(
        self, frame: Frame, drawings: Sequence[NoisyDepth]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Return the probability of a hole by what is learnt and by the physics, (H, W) each, and (4, H, W) bias and
        variances where there is a second head.
        """
        networks = self.loaded()
        network, device = networks["holes"], device_of(networks)
        assert isinstance(network, HybridNetwork)
        seen = self._inputs(frame, drawings)
        # Of rows with channels innermost, so that nothing is copied: a numpy axis of length 1 has no stride of use.
        inputs = torch.from_numpy(seen.transpose(1, 2, 0))[None].permute(0, 3, 1, 2)
        # A frame alone, whatever its company: another size of the batch may mean other rounding.
        with failures_of_the_worker(), torch.inference_mode(), arithmetic(self.config.precision, device):
            learnt, residual = network.maps(inputs.to(device, memory_format=torch.channels_last))
            found = learnt[0, 0].float().cpu().numpy()
            maps = None if residual is None else torch.cat(residual, dim=1)[0].float().cpu().numpy()
        if not np.isfinite(found).all() or (maps is not None and not np.isfinite(maps).all()):
            raise FrameError("the translator gave numbers that are none", where=frame.key)
        near = self.config.sensor.near_loss(frame.depth_m)
        if near is not None:
            found = 1 - (1 - found) * (1 - near)
        return found, network.physics_of(seen[FREQUENCY]), maps

    def _measured(self, frame: Frame, words: tuple[int, int]) -> _Measured:
        # The frame's own drawing is one of those that tell how often a pixel is lost, unless it is to be drawn again.
        first = 1 if self.config.residual else 0
        aside = [_aside(words, draw) for draw in range(first, first + self.config.physics_draws)]
        drawings = [self._physics.measure(frame, each) for each in aside]
        learnt, by_physics, maps = self._maps(frame, drawings)
        physics, dense = self._physics, self._dense
        if maps is not None:
            assert isinstance(physics, ResidualSensor)
            assert isinstance(dense, ResidualSensor)
            error = drawn_error(on_steps(maps), words, physics)
            physics, dense = physics.with_added(error), dense.with_added(error)
        own = physics.measure(frame, words) if maps is not None else drawings[0]
        kept = dense.measure(frame, words)
        reached = frame.valid & (own.valid | kept.valid)
        depth_m = np.where(own.valid, own.depth_m, kept.depth_m)
        of_physics = frame.valid & ~own.valid
        drawn = 1 - (1 - learnt) * (1 - self._believed(of_physics))
        return _Measured(
            levels=np.where(reached, fixed_point(1 - (1 - learnt) * (1 - by_physics)), np.int32(LEVELS)),
            drawn=np.where(reached, fixed_point(drawn), np.int32(LEVELS)),
            of_physics=of_physics,
            depth_m=depth_m,
        )

    def _believed(self, holes: BoolImage) -> npt.NDArray[np.float32]:
        """Return how often each of the physics' ``holes`` (H, W) is a real one, 0 elsewhere."""
        network = self.loaded()["holes"]
        assert isinstance(network, HybridNetwork)
        thin, wide = (float(torch.sigmoid(share.detach())) for share in (network.thin, network.wide))
        square = np.ones((WIDE_PX, WIDE_PX), np.uint8)
        is_wide = cv2.dilate(cv2.erode(holes.view(np.uint8), square), square)
        return np.where(holes, np.where(is_wide > 0, np.float32(wide), np.float32(thin)), np.float32(0))

    def _correlation(self) -> Correlation:
        network = self.loaded()["holes"]
        assert isinstance(network, HybridNetwork)
        return self.config.over(network.correlation)

    def _drawn(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        measured = self._measured(frame, words)
        field = hole_field(frame, words, self._correlation())
        lost = sampled_holes(measured.drawn, np.where(measured.of_physics, field.long, field.whole))
        valid = ~lost
        require_kept(
            frame,
            valid,
            self.config.min_kept,
            what="the translator leaves",
            remedy="check that depth is in metres and within the sensor's range, or lower min_kept",
        )
        return NoisyDepth(np.where(valid, measured.depth_m, np.float32(0)), valid)


def _without(sensor: Sensor, names: Sequence[str]) -> Sensor:
    """Return ``sensor`` with the defaults of those of its fields that are among ``names``."""
    fields = type(sensor).model_fields
    return sensor.model_copy(update={name: fields[name].default for name in names if name in fields})


class _Measured(NamedTuple):
    """Of one frame (H, W): the probability of a hole in fixed point, 1 out of reach; the same given this drawing of the
    physics; the holes of that drawing; and depth wherever the first is less than 1.
    """

    levels: npt.NDArray[np.int32]
    drawn: npt.NDArray[np.int32]
    of_physics: BoolImage
    depth_m: npt.NDArray[np.float32]


def _aside(words: tuple[int, int], draw: int) -> tuple[int, int]:
    """Return the words of another drawing of the same frame."""
    return words[0], words[1] ^ (draw * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
