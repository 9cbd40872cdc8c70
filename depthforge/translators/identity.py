"""The translator that changes nothing: the baseline row of every comparison, and the fastest path for tests."""

from __future__ import annotations

from depthforge.frame import Capture, Frame, NoisyDepth
from depthforge.registry import translators
from depthforge.translators.base import Translator, TranslatorConfig

__all__ = ["Identity"]


@translators.register("identity")
class Identity(Translator):
    """Clean depth, unchanged."""

    class Config(TranslatorConfig):
        """No parameters."""

    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        """Return depth and validity of ``frame`` as they are, not copied."""
        return Capture(NoisyDepth(frame.depth_m, frame.valid))
