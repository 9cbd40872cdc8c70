"""Translators that hold a model which is none: to be seen is when one loads, how long it takes, and where.

They ask for GPUs that a cluster may declare without having any.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from depthforge.errors import IntegrityError
from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.registry import translators
from depthforge.translators.base import GpuUse, Translator, TranslatorConfig


class HeavyConfig(TranslatorConfig):
    """``trace``: a folder in which each worker leaves a file named after its process and the GPU that it was given.

    ``together``: so many workers have to have loaded before any of them makes a frame (at most ``WAIT_S`` long).
    """

    gpu: Literal["never", "if_present", "required"] = "never"
    frame_s: float = 0.0
    damaged: bool = False
    together: int = 0
    trace: Path | None = None


#: How long workers wait for each other, in seconds: far longer than a loaded machine takes to start one.
WAIT_S = 120.0


@translators.register("heavy_for_tests")
class Heavy(Translator):
    """Clean depth, unchanged, as slowly as told."""

    Config = HeavyConfig
    heavy = True
    config: HeavyConfig

    @property
    def fingerprint(self) -> str:
        return "heavy"

    @property
    def gpu_use(self) -> GpuUse:
        return self.config.gpu

    def load(self) -> None:
        if self.config.trace is not None:
            (self.config.trace / f"{os.getpid()}-{os.environ.get('CUDA_VISIBLE_DEVICES', '')}").touch()
        if self.config.damaged:
            raise IntegrityError("the weights are not those of the card", where="weights")

    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        return self.translate_batch([frame], [words])[0]

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        self._wait_for_the_others()
        time.sleep(self.config.frame_s * len(frames))
        return [Capture(NoisyDepth(frame.depth_m, frame.valid)) for frame in frames]

    def _wait_for_the_others(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.config.trace is not None and time.monotonic() < deadline:
            if len(list(self.config.trace.iterdir())) >= self.config.together:
                return
            time.sleep(0.05)
