"""What a translator promises: clean Frame in, noisy depth out, the same for the same frame wherever it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from depthforge.frame import BoolImage, DepthImage, Frame
from depthforge.seeding import fingerprint_of

__all__ = ["NoisyDepth", "Translator", "TranslatorConfig"]


class NoisyDepth(NamedTuple):
    """What a sensor would have measured: ``depth_m`` (H, W) float32 metres, 0.0 where not ``valid`` (H, W) bool."""

    depth_m: DepthImage
    valid: BoolImage


class TranslatorConfig(BaseModel):
    """Base of every translator's configuration: the fields under ``translator:`` besides ``name``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Translator(ABC):
    """Clean depth to noisy depth.

    A subclass declares ``Config`` and ``version`` (raised whenever the same input would give other noise) and is
    registered with ``@translators.register("name")`` in the module of that name.
    """

    name: ClassVar[str]
    Config: ClassVar[type[TranslatorConfig]]
    version: ClassVar[int] = 1

    def __init__(self, config: TranslatorConfig) -> None:
        self.config = config

    @property
    def wanted(self) -> frozenset[str]:
        """Labels that the translator itself reads from the frame (``rgb`` for a colour-conditioned one)."""
        return frozenset()

    @property
    def fingerprint(self) -> str:
        """32 hex digits over name, version and parameters: it keys the random streams and names the corpus."""
        return fingerprint_of(
            {"name": self.name, "version": self.version, "config": self.config.model_dump(mode="json")}
        )

    @abstractmethod
    def translate(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return the noisy depth of ``frame``; ``words`` keys its random stream (``seeding.frame_words``).

        Pure: the same arguments give the same bytes. Holes of the input stay holes.
        """
