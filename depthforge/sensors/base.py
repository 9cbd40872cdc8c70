"""What a simulated sensor promises: a clean Frame in, what the sensor would have measured out.

A sensor *is* its parameters: a frozen model whose fields a manifest and a preset file name. It reads the frame's
camera for geometry, may read colour and pose when the frame has them, and draws random numbers only from the words of
the frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from depthforge.frame import DepthImage, Frame, NoisyDepth
from depthforge.identity import Identity, changed_fields

__all__ = ["Sensor"]


class Sensor(BaseModel, ABC):
    """A physical noise model and its parameters.

    A subclass declares ``version`` (raised whenever the same frame would give other noise) and, when it can use
    colour or the pose, ``uses``; it is registered with ``@sensors.register("name")`` in the module of that name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: ClassVar[str]
    version: ClassVar[int] = 1
    uses: ClassVar[frozenset[str]] = frozenset()
    """Labels that it reads where a frame has them; without them it simulates less."""
    sampled_share: ClassVar[float] = 1.0
    """The least share of an image's pixels that it looks at: 1 for a camera, a few per cent for a scanner. What a
    frame must keep (``min_kept`` of the translator) is meant of these pixels."""

    working_images: ClassVar[float] = 12.0
    """Float32 images of the frame's size that ``measure`` holds at its peak, with what it keeps for later frames."""

    keeping: ClassVar[Mapping[str, Any]] = {}
    """Values of its fields with which it loses as little as its model allows, range and borders aside."""

    preset: str | None = Field(
        default=None, description="the preset to start from, by name or file; the other fields change it"
    )

    @abstractmethod
    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``; ``words`` (``seeding.frame_words``) key its random stream.

        What is to be the same in all frames of a scene is drawn by ``seeding.scene_words(words)`` instead, and placed
        by ``frame.T_world_cam``, which is then one of ``uses``.

        Pure: the same arguments give the same bytes. What is not ``frame.valid`` is a hole and stays one.
        """

    def without_holes(self) -> Sensor:
        """Return the same sensor, which measures all that its range and its borders allow."""
        return self.model_copy(update={**self.keeping, "preset": None})

    def near_loss(self, depth_m: DepthImage) -> npt.NDArray[np.float32] | None:
        """Return how likely each pixel of ``depth_m`` (H, W) is to be lost to too much light near the camera, (H, W).

        None where the sensor loses nothing by that; drawings of it do so with this probability.
        """
        return None

    def working_bytes(self, height: int, width: int) -> int:
        """Return what a process's resident memory grows by, at most, to measure frames of (height, width)."""
        return round(self.working_images * height * width * 4)

    def files(self) -> Mapping[str, bytes]:
        """Return, by name, the user's files that make the noise, read and checked; a corpus keeps them.

        Their bytes are part of the fingerprint. Where they lie is of this machine: a field that holds a path writes
        its name alone.
        """
        return {}

    def relocated(self, folder: Path) -> Sensor:
        """Return the same sensor whose ``files`` lie in ``folder``."""
        return self

    @property
    def identity(self) -> Identity:
        """Its name, its version and its parameters off their defaults; the name of a preset is no parameter."""
        return Identity(self.name, self.version, changed_fields(self, without=frozenset({"preset"})))

    @model_serializer(mode="wrap")
    def _with_name(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"name": self.name, **handler(self)}
