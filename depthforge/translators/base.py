"""What a translator promises: clean Frame in, what a sensor would give out, the same for a frame wherever it runs.

A translator *declares* what it makes (``produces``: depth, images by name, or both) and what it needs (``wanted``,
``needs_depth``). Everything else follows from that: which arrays a corpus has and how they are described, which frames
can be converted, what a worker needs of memory. ``testing.translators.TranslatorTests`` holds a translator to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from depthforge.errors import FrameError
from depthforge.frame import BoolImage, Capture, Frame
from depthforge.identity import Identity, changed_fields
from depthforge.labels.catalogue import DEPTH_NOISY
from depthforge.labels.spec import LabelSpec

__all__ = ["GpuUse", "Translator", "TranslatorConfig", "require_kept", "require_produced"]

GpuUse = Literal["never", "if_present", "required"]


class TranslatorConfig(BaseModel):
    """Base of every translator's configuration: the fields under ``translator:`` besides ``name``.

    ``local_fields`` say where things lie and run on this machine; ``rejecting_fields`` only decide whether a frame is
    refused: they key the corpus and not the noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    local_fields: ClassVar[frozenset[str]] = frozenset()
    rejecting_fields: ClassVar[frozenset[str]] = frozenset({"min_kept"})


class Translator(ABC):
    """A clean frame to what a sensor would have given for it.

    A subclass declares ``Config`` and ``version`` (raised whenever the same input would give other noise) and is
    registered with ``@translators.register("name")`` in the module of that name. A ``heavy`` one holds a model: it is
    loaded once and kept, and given batches, while others read and write around it.
    """

    name: ClassVar[str]
    Config: ClassVar[type[TranslatorConfig]]
    version: ClassVar[int] = 1
    heavy: ClassVar[bool] = False

    def __init__(self, config: TranslatorConfig) -> None:
        self.config = config

    @property
    def produces(self) -> tuple[LabelSpec, ...]:
        """What ``translate`` returns for every frame: ``DEPTH_NOISY`` for noisy depth, and a spec for each image.

        An image has the layout ``image``, and a name that no label of a source has.
        """
        return (DEPTH_NOISY,)

    @property
    def produces_depth(self) -> bool:
        """Whether noisy depth is among what it produces."""
        return any(spec.name == DEPTH_NOISY.name for spec in self.produces)

    @property
    def produced_images(self) -> tuple[LabelSpec, ...]:
        """What it produces besides noisy depth."""
        return tuple(spec for spec in self.produces if spec.name != DEPTH_NOISY.name)

    @property
    def needs_depth(self) -> bool:
        """Whether a frame without a valid pixel is of no use: by default, whether noisy depth is produced."""
        return self.produces_depth

    @property
    def wanted(self) -> frozenset[str]:
        """Labels without which the translator cannot work (``rgb`` for a colour-conditioned one)."""
        return frozenset()

    @property
    def uses(self) -> frozenset[str]:
        """Labels that the translator reads where a frame has them, carried or not."""
        return frozenset()

    @property
    def identity(self) -> Identity:
        """What made the frames of a corpus: name, version and the fields of the configuration off their defaults."""
        return Identity(self.name, self.version, changed_fields(self.config))

    @property
    def fingerprint(self) -> str:
        """32 hex digits over what decides the noise, and nothing else: it keys the random streams."""
        identity = self.identity
        fields = {k: value for k, value in identity.fields.items() if k not in self.config.rejecting_fields}
        return replace(identity, fields=fields).fingerprint

    @property
    def batch_size(self) -> int:
        """Frames that one call of ``translate_batch`` should get on this machine; it changes no byte on a CPU."""
        return 1

    @property
    def gpu_use(self) -> GpuUse:
        """Whether workers of this translator are to be given a GPU each."""
        return "never"

    def local_gpus(self) -> int:
        """Return how many GPUs of this machine it can use; InputError when it requires one and there is none."""
        return 0

    def load(self) -> None:  # noqa: B027 (most have nothing to load)
        """Load what the first frame needs: what fails here is wrong with the translator, never with a frame."""

    def working_bytes(self, height: int, width: int) -> int:
        """Return what a worker's resident memory grows by, at most, to load it and translate one batch."""
        return 0

    def files(self) -> Mapping[str, bytes]:
        """Return, by name, the files that made the noise (weights, card), checked; a corpus keeps them."""
        return {}

    def relocated(self, folder: Path) -> TranslatorConfig:
        """Return the configuration of the same translator whose ``files`` lie in ``folder``."""
        return self.config

    def translate_batch(self, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[Capture]:
        """Return what ``translate`` gives for each of ``frames`` alone.

        Of a heavy translator two threads may call it at once, after ``load``.
        """
        return [self.translate(frame, word) for frame, word in zip(frames, words, strict=True)]

    @abstractmethod
    def translate(self, frame: Frame, words: tuple[int, int]) -> Capture:
        """Return what ``produces`` says, of ``frame``; ``words`` keys its random stream (``seeding.frame_words``).

        Pure: the same arguments give the same bytes. Holes of the input's depth stay holes.
        """


def require_produced(translator: Translator, frame: Frame, capture: Capture) -> None:
    """Raise FrameError unless ``capture``, made of ``frame``, is what ``translator`` says that it produces."""
    promised = sorted(spec.name for spec in translator.produces)
    given = sorted([*capture.images, *([DEPTH_NOISY.name] if capture.depth is not None else [])])
    if given != promised:
        raise FrameError(
            "the translator did not return what it says that it produces",
            where=frame.key,
            expected=", ".join(promised) or "nothing",
            found=", ".join(given) or "nothing",
            remedy="mend the translator: `produces`, or the Capture that `translate` returns",
        )
    if capture.depth is not None:
        DEPTH_NOISY.require_fits(capture.depth.depth_m, *frame.camera.size, where=frame.key)
        if capture.depth.valid.shape != frame.camera.size or capture.depth.valid.dtype != np.bool_:
            raise FrameError(
                "the validity of the noisy depth has the wrong shape or type",
                where=frame.key,
                expected=f"{frame.camera.size} bool",
                found=f"{capture.depth.valid.shape} {capture.depth.valid.dtype}",
            )
    for spec in translator.produced_images:
        spec.require_fits(capture.images[spec.name], *frame.camera.size, where=frame.key)


# A frame with less than this measured before the noise is too empty for its loss to mean anything.
_JUDGED_FROM = 0.01


def require_kept(frame: Frame, valid: BoolImage, min_kept: float, *, what: str, remedy: str) -> None:
    """Raise FrameError, saying that ``what`` leaves almost nothing, unless a share of valid pixels is still valid.

    Frames with under 1 % valid pixels are not judged.
    """
    before, after = int(frame.valid.sum()), int(valid.sum())
    if before >= _JUDGED_FROM * frame.valid.size and after < min_kept * before:
        raise FrameError(
            f"{what} almost nothing of this frame",
            where=frame.key,
            expected=f"at least {min_kept:.3%} of {before} valid pixels",
            found=after,
            remedy=remedy,
        )
