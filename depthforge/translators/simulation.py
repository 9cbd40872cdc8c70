"""The Kinect v1 simulation as a translator: ``sensors.structured_light`` on a frame.

The "Simulation" row of the DCL tables. Needs no training and no real scans; 5 to 9 ms a frame at 640x480 on one core.
"""

from __future__ import annotations

from pydantic import Field

from depthforge.frame import Frame
from depthforge.registry import translators
from depthforge.sensors.structured_light import StructuredLight, simulate
from depthforge.translators.base import NoisyDepth, Translator, TranslatorConfig, require_kept

__all__ = ["Simulation"]


@translators.register("simulation")
class Simulation(Translator):
    """Kinect v1: lateral shift, disparity steps, dot-pattern matching, disparity noise."""

    class Config(StructuredLight, TranslatorConfig):
        """The sensor's parameters, and the least of a frame that must survive it."""

        min_kept: float = Field(
            default=0.05, ge=0, le=1, description="refuse a frame of whose valid pixels a smaller share is still valid"
        )

    config: Config

    def translate(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return the noisy depth of ``frame``.

        Raise FrameError when less than ``min_kept`` of its valid pixels is left: depth in wrong units, or a sensor
        that cannot see this scene. Frames with under 1 % valid pixels are not judged.
        """
        noisy = NoisyDepth(*simulate(frame.depth_m, frame.valid, words, self.config))
        require_kept(
            frame,
            noisy.valid,
            self.config.min_kept,
            what="the simulated sensor measures",
            remedy="check that depth is in metres and fits focal_length_px and baseline_m, or lower min_kept",
        )
        return noisy
