"""Any source through other pixels: what ``resize`` and ``reframe`` of a source block ask for, and the one place that
builds a source.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np

from depthforge.frame import RGB_FILE, Frame, FrameRef
from depthforge.identity import Identity
from depthforge.labels.resize import reframe_frame, resize_frame
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import (
    Note,
    Preparation,
    Report,
    Source,
    SourceConfig,
    ignore_findings,
    say_nothing,
)

__all__ = ["Resampled", "build_source"]

# Images of float32 that a frame of the size in which it is read needs, besides its fields.
_READING_IMAGES = 12


def build_source(name: str, config: SourceConfig) -> Source:
    """Return the source registered as ``name``, its frames in the size or camera that ``config`` asks for."""
    source = cast(Source, sources.get(name)(config))
    return Resampled(source) if config.is_resampled else source


class Resampled(Source):
    """The frames of another source in the size or camera that its configuration asks for (``labels.resize``)."""

    def __init__(self, source: Source) -> None:
        self.licence, self.config = source.licence, source.config
        self.typical_depth_m = source.typical_depth_m  # type: ignore[misc]
        self._source = source

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._source,)

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name of the source that it resamples."""
        return self._source.name

    @property
    def adapter_version(self) -> int:  # type: ignore[override]
        """Of the source that it resamples."""
        return self._source.adapter_version

    @property
    def identity(self) -> Identity:
        """Of the source that it resamples, whose configuration holds the size or the camera."""
        return self._source.identity

    @property
    def size(self) -> tuple[int, int]:
        size = self.config.resize or self.config.reframe
        assert size is not None
        return size.height, size.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return self._source.labels

    def world_of(self, ref: FrameRef) -> str:
        return self._source.world_of(ref)

    def mesh_of(self, ref: FrameRef) -> Path | None:
        return self._source.mesh_of(ref)

    def prepare(self, note: Note = say_nothing) -> None:
        self._source.prepare(note)

    def to_prepare(self) -> Preparation | None:
        return self._source.to_prepare()

    def candidates(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        yield from self._source.candidates(report)

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        yield from self._source.frames(report)

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = self._source.read(ref, wanted - {RGB_FILE})
        if self.config.reframe is not None:
            return reframe_frame(frame, self.labels, self.config.reframe.camera())
        assert self.config.resize is not None
        return resize_frame(frame, self.labels, self.config.resize.width, self.config.resize.height)

    def working_bytes(self) -> int:
        """As of the source, and a frame in the size in which it is read: its fields twice, and images between."""
        height, width = self._source.size
        shapes = ((spec.shape(height, width, 0), np.dtype(spec.dtype).itemsize) for spec in self.labels.values())
        field_bytes = sum(math.prod(shape) * itemsize for shape, itemsize in shapes)
        return self._source.working_bytes() + 2 * field_bytes + _READING_IMAGES * height * width * 4

    def close(self) -> None:
        self._source.close()
