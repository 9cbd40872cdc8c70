"""A simulated sensor as a translator: the physical model that the manifest names, on each frame.

Needs no training and no real scans; ``benchmarks/bench_sensors.py`` prints what each sensor costs. Its default is the
Kinect v1 as fitted to scans; the "Simulation" row of the DCL tables is the preset `kinect_v1_published`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from depthforge.frame import Capture, Frame
from depthforge.identity import Identity, changed_fields
from depthforge.registry import translators
from depthforge.sensors.preset import AnySensor, parse_sensor
from depthforge.translators.base import Translator, TranslatorConfig, require_kept

__all__ = ["Simulation"]


@translators.register("simulation")
class Simulation(Translator):
    """A simulated sensor: by default the Kinect v1 (disparity steps, dot-pattern matching, disparity noise)."""

    class Config(TranslatorConfig):
        """Which sensor, and the least of a frame that must survive it."""

        sensor: AnySensor = Field(
            default=parse_sensor("kinect_v1"),
            description="a preset by name or file, or a mapping with `preset` or `name` and parameters; see Sensors",
        )
        min_kept: float = Field(
            default=0.05,
            ge=0,
            le=1,
            description="refuse a frame of whose valid pixels a smaller share is still valid (of a scanner: of those "
            "that it looks at)",
        )

    config: Config
    version = 3

    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__(config)
        self._identity: Identity | None = None

    @property
    def uses(self) -> frozenset[str]:
        """What the sensor reads where a frame has it."""
        return self.config.sensor.uses

    @property
    def identity(self) -> Identity:
        """As of any translator, with that of the sensor and the contents of its files, read once."""
        if self._identity is None:
            fields: dict[str, Any] = changed_fields(self.config, without=frozenset({"sensor"}))
            fields["sensor"] = self.config.sensor.identity.to_json()
            files = {name: hashlib.blake2b(content).hexdigest() for name, content in self.files().items()}
            self._identity = Identity(self.name, self.version, {**fields, "files": files} if files else fields)
        return self._identity

    def working_bytes(self, height: int, width: int) -> int:
        """Return what the sensor needs."""
        return self.config.sensor.working_bytes(height, width)

    def files(self) -> Mapping[str, bytes]:
        """Return the files that the sensor reads, checked."""
        return self.config.sensor.files()

    def relocated(self, folder: Path) -> Config:
        """Return the configuration of the same sensor whose files lie in ``folder``."""
        return self.config.model_copy(update={"sensor": self.config.sensor.relocated(folder)})

    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        """Return the noisy depth of ``frame``.

        Raise FrameError when less than ``min_kept`` of its valid pixels, those that the sensor looks at, is left:
        depth in wrong units, or a sensor that cannot see this scene. Frames with under 1 % valid pixels are not judged.
        """
        noisy = self.config.sensor.measure(frame, words)
        require_kept(
            frame,
            noisy.valid,
            self.config.min_kept * self.config.sensor.sampled_share,
            what=f"the simulated sensor ({self.config.sensor.preset or self.config.sensor.name}) measures",
            remedy="check that depth is in metres and within the sensor's range and geometry, or lower min_kept",
        )
        return Capture(noisy)
