"""What a format promises, what it is asked for, and a frame as it is handed to one.

A format writes a corpus part by part (a shard, or a scene), each part a pure function of corpus, options and part, so
that parts are made anywhere, again after a kill, and always of the same bytes; ``finish`` writes what needs all of
them. What a format cannot hold is a ``Loss``: known before anything is written (``losses``) or counted while it is.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, decode_depth
from depthforge.errors import InputError
from depthforge.labels.catalogue import RGB
from depthforge.labels.spec import LabelSpec
from depthforge.storage import Storage

__all__ = [
    "INVALID_VALUES",
    "DepthKind",
    "ExportFrame",
    "Files",
    "Format",
    "Invalid",
    "Losses",
    "Options",
    "Part",
    "Receipt",
    "depth_kind",
]

DepthKind: TypeAlias = Literal["uint16", "float32"]
Invalid: TypeAlias = Literal["0", "nan", "inf"]

INVALID_VALUES: Final[Mapping[Invalid, float]] = {"0": 0.0, "nan": np.nan, "inf": np.inf}
_MM: Final = 1e-3
_WRITING_THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of an export: one ``split`` (None: all), which stored ``fields`` (None: all), how depth leaves.

    ``invalid`` is what stands where nothing was measured; ``depth`` None is as the corpus stores it, where the format
    and ``invalid`` allow that.
    """

    split: str | None = None
    fields: tuple[str, ...] | None = None
    invalid: Invalid = "0"
    depth: DepthKind | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain data, of which the identity of an export is made."""
        fields = None if self.fields is None else sorted(self.fields)
        return {"split": self.split, "fields": fields, "invalid": self.invalid, "depth": self.depth}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work: positions ``first`` to ``stop`` of a reader, which are a shard of a split or a scene of it.

    ``number`` counts the parts of its split, of which there are ``num_parts``; ``serial`` counts all parts.
    """

    name: str
    split: str
    number: int
    num_parts: int
    serial: int
    first: int
    stop: int
    scene: str | None = None

    @property
    def shard(self) -> str:
        """What runners call a piece of work."""
        return self.name


class Losses:
    """Counts, in words, of what could not be carried as it is."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, what: str, count: int = 1) -> None:
        """Count ``what``, unless ``count`` is 0."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count


@dataclass(frozen=True, slots=True)
class Receipt:
    """What writing a part did: frames, bytes, losses, and in ``extra`` what the format's ``finish`` needs of it."""

    shard: str
    num_frames: int
    stored_bytes: int
    losses: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    num_rejects: int = 0


class Files:
    """The files of an export, under relative names; ``num_bytes`` adds up what was written.

    Whole files are put by threads, at most 16 at once: most of putting one is to wait for the disk, or for a store.
    A context manager: when its block ends without an error, every file is durable.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.num_bytes = 0
        self._pool = ThreadPoolExecutor(_WRITING_THREADS)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def write(self, name: str, content: bytes) -> None:
        """Put a file, whole or not at all; StorageError when it, or one before it, cannot be."""
        while len(self._waiting) >= 2 * _WRITING_THREADS or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self.storage.write, name, content))
        self.num_bytes += len(content)

    @contextmanager
    def stream(self, name: str) -> Iterator[io.RawIOBase]:
        """Yield a file to write from its start to its end, which is there when the block ends without an error."""
        writer = self.storage.create(name)
        try:
            file = writer.file()
            yield file
            self.num_bytes += file.tell()
            writer.finish()
        finally:
            writer.abandon()


class ExportFrame:
    """A frame of a corpus as a format sees it; ``index`` is its number in the part, ``losses`` counts for the part."""

    def __init__(self, reader: CorpusReader, position: int, part: Part, losses: Losses) -> None:
        self.reader, self.position, self.part, self.losses = reader, position, part, losses
        self.index = position - part.first
        self.key = reader.key(position)
        self.dataset, self.scene, self.name = self.key.split("/")

    def label(self, name: str) -> npt.NDArray[Any] | None:
        """Return a field of the frame as the corpus stores it, None where the frame has none."""
        return self.reader.stored(name, self.position) if self.reader.has(name, self.position) else None

    def jpeg(self) -> bytes | None:
        """Return the JPEG file of the colour, None where the corpus holds pixels or the frame has no colour."""
        if not (self.reader.schema.is_jpeg(RGB.name) and self.reader.has(RGB.name, self.position)):
            return None
        return self.reader.jpeg_file(RGB.name, self.position)

    def depth_float(self, name: str, invalid: Invalid) -> npt.NDArray[np.float32]:
        """Return depth (H, W) float32 in metres, with the value of ``invalid`` where there is no measurement."""
        depth_m, valid = decode_depth(
            self.reader.stored(name, self.position), self.reader.encoding(name, self.position)
        )
        if invalid != "0":
            depth_m[~valid] = INVALID_VALUES[invalid]
        return depth_m

    def depth_steps(self, name: str, step_m: float) -> npt.NDArray[np.uint16]:
        """Return depth (H, W) uint16 in steps of ``step_m``, rounded, 0 where there is no measurement.

        What no step reaches is no measurement either, and counted in ``losses``.
        """
        encoding = self.reader.encoding(name, self.position)
        stored = self.reader.stored(name, self.position)
        if encoding.dtype == "uint16" and encoding.scale_m == step_m:
            steps: npt.NDArray[np.uint16] = stored
            return steps
        depth_m, valid = decode_depth(stored, encoding)
        rounded = np.rint(depth_m.astype(np.float64) / step_m)
        fits = (rounded >= 1) & (rounded <= 65535)
        lost = int(np.count_nonzero(valid & ~fits))
        self.losses.add(f"depths of {name} that 16 bits in steps of {step_m:g} m cannot hold, now no measurement", lost)
        return np.where(valid & fits, rounded, 0).astype(np.uint16)


class Format(ABC):
    """A format that a corpus can be written in; registered with ``@formats.register("name")`` in a module of that name.

    ``depth_kinds`` are the numbers that it holds depth in, the preferred one first; ``works_by`` says what a part is.
    """

    name: ClassVar[str]
    depth_kinds: ClassVar[tuple[DepthKind, ...]]
    works_by: ClassVar[Literal["shard", "scene"]] = "shard"

    def __init__(self, reader: CorpusReader, options: Options) -> None:
        self.reader, self.options = reader, options
        self.invalid: Invalid = options.invalid
        names = [spec.name for spec in reader.schema.stored]
        wanted = names if options.fields is None else [reader.spec(name).name for name in options.fields]
        self.specs: tuple[LabelSpec, ...] = tuple(reader.spec(name) for name in names if name in wanted)
        self.depth = depth_kind(self.name, self.depth_kinds, reader, options)

    @property
    def depths(self) -> tuple[str, ...]:
        """Names of the depths that go out: noisy before clean."""
        return tuple(name for name in (DEPTH_NOISY, DEPTH_CLEAN) if self.has(name))

    @property
    def labels(self) -> tuple[LabelSpec, ...]:
        """What goes out besides depth."""
        return tuple(spec for spec in self.specs if spec.name not in (DEPTH_NOISY, DEPTH_CLEAN))

    @property
    def step_m(self) -> float:
        """Metres of a step of 16-bit depth: those of the corpus, or millimetres where it stores floats."""
        encoding = self.reader.schema.depth
        return encoding.scale_m if encoding.dtype == "uint16" else _MM

    def has(self, name: str) -> bool:
        """Say whether a field goes out."""
        return any(spec.name == name for spec in self.specs)

    def losses(self) -> list[str]:
        """Say, a sentence each, what this format cannot carry of this corpus; InputError when it can carry nothing."""
        return self.rounding(self.step_m) if self.depth == "uint16" else []

    def rounding(self, step_m: float) -> list[str]:
        """Return a sentence where depth in steps of ``step_m`` is not what the corpus stores."""
        encoding = self.reader.schema.depth
        if encoding.dtype == "uint16" and encoding.scale_m == step_m:
            return []
        stored = "float32" if encoding.dtype == "float32" else f"steps of {encoding.scale_m:g} m"
        return [f"depth is rounded to steps of {step_m:g} m; the corpus stores {stored}"]

    @abstractmethod
    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        """Write the files of a part, each whole or not at all, and return what ``finish`` needs of it, as plain data.

        Holds a bounded number of frames, whatever the size of the part. Raises StorageError when ``out`` is full.
        """

    def finish(  # noqa: B027 (most need nothing)
        self, parts: Sequence[Part], receipts: Iterator[Receipt], out: Files
    ) -> None:
        """Write what needs all parts; ``receipts`` come in the order of ``parts``."""

    def describe(self) -> dict[str, Any]:
        """Return what a reader of the export must know, as plain data for ``export.json``."""
        about: dict[str, Any] = {"invalid": self.invalid, "units": "m", "stored_as": self.depth}
        if self.depth == "uint16":
            about["metres_per_step"] = self.step_m
        fields = {spec.name: {"dtype": spec.dtype, "meaning": spec.description} for spec in self.labels}
        return {"depth": about, "fields": fields}


def depth_kind(name: str, kinds: Sequence[DepthKind], reader: CorpusReader, options: Options) -> DepthKind:
    """Return the numbers that depth leaves in; InputError where the format cannot hold what is asked."""
    needs_float = options.invalid != "0"
    if options.depth is not None and options.depth not in kinds:
        raise InputError(
            f"the format {name} holds no depth of this type",
            where="--depth",
            expected=" or ".join(kinds),
            found=options.depth,
        )
    if needs_float and (options.depth == "uint16" or "float32" not in kinds):
        raise InputError(
            f"16-bit integers cannot hold {options.invalid}",
            where="--invalid",
            expected="0, which is no depth in every export",
            found=options.invalid,
            remedy="--depth float32" if "float32" in kinds else "a format with float depth: webdataset, npz, hdf5",
        )
    if options.depth is not None:
        return options.depth
    preferred: DepthKind = "float32" if needs_float else reader.schema.depth.dtype
    return preferred if preferred in kinds else kinds[0]
