"""What a dataset reader promises.

A source lists frames without opening them, then reads one at a time, anywhere, in any process: it is built from
its typed configuration alone and pickled as that. It converts everything at the door (see ``depthforge.frame``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from depthforge.addresses import address_of, local_folder
from depthforge.errors import ManifestError
from depthforge.frame import Finding, Frame, FrameRef, Licence
from depthforge.identity import Identity, changed_fields
from depthforge.labels.spec import LabelSpec
from depthforge.pinhole import PinholeBlock
from depthforge.sensors.preset import preset_camera

__all__ = ["ImageSize", "Note", "Preparation", "Report", "Source", "SourceConfig", "ignore_findings", "say_nothing"]

Report = Callable[[Finding], None]
Note = Callable[[str], None]


def say_nothing(line: str) -> None:
    """The note of a caller who does not want to be told."""


def ignore_findings(finding: Finding) -> None:
    """The report of a caller who does not want one."""


class Preparation(NamedTuple):
    """What ``Source.prepare`` would make: ``task`` in words ("fuse ..."), and whether it may leave frames out."""

    task: str
    drops_frames: bool


class ImageSize(BaseModel):
    """A size in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    width: int = Field(ge=1, le=16384, description="pixels")
    height: int = Field(ge=1, le=16384, description="pixels")


def _or_a_preset(schema: dict[str, Any]) -> None:
    schema["anyOf"] = [{"type": "string", "description": "a preset or its file"}, *schema["anyOf"]]


class SourceConfig(BaseModel):
    """Base of every source's configuration: the fields under ``source:`` in a manifest, besides ``name``.

    Fields that say where the data lies on *this* machine are named in ``local_fields``: they enter neither an
    identity nor a corpus.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    local_fields: ClassVar[frozenset[str]] = frozenset({"root", "trust"})
    # Those of them that may be the URL of a place in an object store.
    places: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _no_url(cls, value: Any, info: ValidationInfo) -> Any:
        is_place = info.field_name in cls.local_fields and isinstance(value, str | Path)
        if not is_place:
            return value
        return (address_of if info.field_name in cls.places else local_folder)(value, where=info.field_name)

    trust: tuple[Literal["unit", "background", "camera", "normals", "poses", "grid"], ...] = Field(
        default=(),
        description="checks of plausibility whose findings you have looked at and know better: they are left out",
    )
    resize: ImageSize | None = Field(
        default=None,
        description="give every frame this size: depth and ids by the nearest pixel, colour averaged, camera, normals, "
        "boxes and grasps with them",
    )
    reframe: PinholeBlock | None = Field(
        default=None,
        description="the camera to crop and scale every frame to, labels as with `resize`: a sensor preset, or its "
        "file, for the camera that it is of (`kinect_v1`: 640x480 at f = 585), or a camera; beyond a frame's view "
        "there is no depth",
        json_schema_extra=_or_a_preset,
    )

    @field_validator("reframe", mode="before")
    @classmethod
    def _camera_of_a_preset(cls, value: Any) -> Any:
        return preset_camera(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _resize_or_reframe(self) -> Self:
        if self.resize is not None and self.reframe is not None:
            raise ManifestError(
                "`resize` and `reframe` both say which pixels a frame has",
                where="source",
                expected="one of them",
                found="both",
                remedy="leave `resize` out: the camera of `reframe` has a size",
            )
        return self

    @property
    def is_resampled(self) -> bool:
        """Whether frames are brought to one size after they are read, so that stored ones may differ."""
        return self.resize is not None or self.reframe is not None


class Source(ABC):
    """A dataset on disk (or made up from a seed) as a stream of Frames.

    A subclass declares ``Config``, ``adapter_version`` (raised whenever the same files would give other frames)
    and ``licence``, and is registered with ``@sources.register("name")`` in the module of that name.
    """

    name: ClassVar[str]
    Config: ClassVar[type[SourceConfig]]
    adapter_version: ClassVar[int] = 1
    typical_depth_m: ClassVar[tuple[float, float]] = (0.05, 100.0)
    """Between which the median depth of a data set must lie; outside, `check` says that its unit is wrong."""
    ships_colour_files: ClassVar[bool] = False
    """Whether ``read`` knows ``RGB_FILE``: colour may lie in such a data set as JPEG files."""
    licence: Licence
    config: SourceConfig
    """What it was built from; a subclass declares it with its own type."""

    @abstractmethod
    def __init__(self, config: SourceConfig) -> None:
        """Keep the configuration as ``config``; touch no file."""

    def __reduce__(self) -> tuple[object, ...]:
        # What is open or kept in this process stays here.
        return type(self), (self.config,)

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, LabelSpec]:
        """Every label that some frame may carry, ``rgb`` and ``T_world_cam`` among them, by name."""

    @abstractmethod
    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield a reference to every frame in strictly increasing key order, opening no image.

        Whatever is skipped or odd goes to ``report``. Raises MissingDataError, saying where it looked and how to
        try without data, when there is nothing to read at all.
        """

    @abstractmethod
    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame with those of the ``wanted`` labels that exist for it (``rgb``, ``T_world_cam`` and names
        of ``labels``). Depth is always read. A label whose file does not exist is left out of the frame; a file
        that exists and cannot be decoded raises DecodeError naming it; wrong sizes raise FrameError. Where ``wanted``
        has ``RGB_FILE`` and colour lies in the data set as a JPEG file of the frame's size, ``rgb_file`` is that file;
        asked only where ``ships_colour_files``. See :func:`depthforge.sources.images.read_colour`.
        """

    @property
    def identity(self) -> Identity:
        """What decides the frames: name, ``adapter_version`` and the fields of the configuration off their defaults."""
        return Identity(self.name, self.adapter_version, changed_fields(self.config))

    def world_of(self, ref: FrameRef) -> str:
        """Return the name of the world that a frame's pose is in, as ``dataset/scene[/recording]``: its scene, unless
        a scene holds recordings with worlds of their own. Frames of one world follow each other and can be fused.
        """
        return ref.scene

    def mesh_of(self, ref: FrameRef) -> Path | None:
        """Return the file of the mesh of a frame's world, in its axes and metres; None when the data set ships none."""
        return None

    def prepare(self, note: Note = say_nothing) -> None:  # noqa: B027 (most need nothing)
        """Make once, on disk, what reading needs and the data set does not ship: fused meshes, compacted grasps.

        Called before ``frames`` in every run but a dry one; what is there already and still fits is left alone, so a
        second call costs next to nothing. A run that is killed in it leaves nothing half made. ``note`` is told what
        was made, a line each.
        """

    def to_prepare(self) -> Preparation | None:
        """Return what ``prepare`` would make now, None when all of it is there; a dry run asks. Writes nothing.

        Raises what ``prepare`` would before it begins: raw files that are missing, say.
        """
        return None

    def candidates(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield, before ``prepare``, the frames that ``frames`` may yield after it: all of those and, where what it
        makes ``drops_frames``, others.
        """
        return self.frames(report)

    def working_bytes(self) -> int:
        """Return what a worker's resident memory grows by, at most, to hold what reads frames: models, meshes.

        Asked after ``prepare``; the pixels of a frame are not meant, the rows of a ragged label are where there may be
        thousands.
        """
        return 0

    def close(self) -> None:  # noqa: B027
        """Release open archives; a source may be read again afterwards."""
