"""Several corpora read as one: their frames one after the other, and the fields that all of them have.

Every corpus keeps its own encoding of depth; fields that are asked for must be the same thing in each. How often frames
of each are drawn is ``sampling``'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusFrame, CorpusReader
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema
from depthforge.encoding import DepthEncoding
from depthforge.errors import InputError, UnknownNameError
from depthforge.identity import fingerprint_of
from depthforge.labels.spec import LabelSpec
from depthforge.storage import Place

__all__ = ["CombinedReader", "Places", "open_corpora"]

Places: TypeAlias = Place | Sequence[Place]
"""A corpus, or several to be read as one."""


class CombinedReader:
    """The frames of several readers as those of one; positions count through them in their order.

    Raises InputError when there is none, or their images differ in size.
    """

    def __init__(self, readers: Sequence[CorpusReader]) -> None:
        if not readers:
            raise InputError("no corpus is named", expected="one or more", found="an empty list")
        self.readers = tuple(readers)
        sizes = {(reader.schema.height, reader.schema.width) for reader in readers}
        if len(sizes) > 1:
            listed = (f"{r.storage.address}: {r.schema.height} x {r.schema.width}" for r in readers)
            raise InputError(
                "images of different sizes make no batch",
                expected="corpora of one image size (height x width)",
                found="; ".join(listed),
                remedy="make one of them again with `source: {resize: ...}`",
            )
        self._ends = np.array(list(accumulate(len(reader) for reader in readers)), np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def is_far(self) -> bool:
        """Whether one of the corpora lies in an object store."""
        return any(reader.is_far for reader in self.readers)

    def prepare(self, name: str, position: int) -> None:
        """Get one field of a frame to where it is read fast, as :meth:`CorpusReader.prepare`."""
        reader, at = self.locate(position)
        reader.prepare(name, at)

    @property
    def counts(self) -> tuple[int, ...]:
        """Frames of each corpus."""
        return tuple(len(reader) for reader in self.readers)

    @property
    def schema(self) -> CorpusSchema:
        """The schema of the first corpus, of which size and whether there is noisy depth hold for all."""
        return self.readers[0].schema

    @property
    def fingerprint(self) -> str:
        """What these corpora, in this order, are told from others by."""
        return fingerprint_of({"corpora": [reader.info.fingerprint for reader in self.readers]})

    @property
    def address(self) -> str:
        """Where they lie, for messages."""
        return ", ".join(reader.storage.address for reader in self.readers)

    @property
    def common_fields(self) -> tuple[str, ...]:
        """Names of the fields that all corpora have and mean the same by."""
        return tuple(spec.name for spec in self.schema.stored if not self._against(spec.name))

    def spec(self, name: str) -> LabelSpec:
        """Return what a field is; UnknownNameError where none has it, InputError where one lacks it or differs."""
        if not any(name == spec.name for reader in self.readers for spec in reader.schema.stored):
            raise UnknownNameError("field", name, self.common_fields, where=self.address)
        against = self._against(name)
        if against:
            raise InputError(
                f"the corpora do not all have the field {name!r}",
                where=self.address,
                expected=f"one of those that they share: {', '.join(self.common_fields)}",
                found="; ".join(against),
                remedy="leave it out of `fields`, or read the corpora apart",
            )
        return next(spec for spec in self.schema.stored if spec.name == name)

    def _against(self, name: str) -> list[str]:
        """Say, corpus by corpus, why a field cannot be read from all."""
        told, first = [], None
        for reader in self.readers:
            spec = next((spec for spec in reader.schema.stored if spec.name == name), None)
            if spec is None:
                told.append(f"{reader.storage.address} has none")
                continue
            first = first or spec
            if name not in (DEPTH_CLEAN, DEPTH_NOISY) and _meaning(spec) != _meaning(first):
                told.append(f"{reader.storage.address} has {spec.dtype} {spec.layout}, {spec.description}")
        return told

    def locate(self, position: int) -> tuple[CorpusReader, int]:
        """Return the reader of a frame and its position there; IndexError when there is none."""
        if not 0 <= position < len(self):
            raise IndexError(f"frame {position} of {len(self)} in {self.address}")
        number = int(np.searchsorted(self._ends, position, side="right"))
        return self.readers[number], position - (int(self._ends[number - 1]) if number else 0)

    def key(self, position: int) -> str:
        """Return the key of a frame; two corpora may hold frames of one key."""
        reader, at = self.locate(position)
        return reader.key(at)

    def has(self, name: str, position: int) -> bool:
        """Say whether a frame has a label."""
        reader, at = self.locate(position)
        return reader.has(name, at)

    def read(self, position: int, labels: Sequence[str] | None = None) -> CorpusFrame:
        """Return a frame with those of ``labels`` (default: all that its corpus has) that it has."""
        reader, at = self.locate(range(len(self))[position])
        return reader.read(at, labels)

    def stored(self, name: str, position: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return one field of a frame as stored, in ``out`` when given."""
        reader, at = self.locate(position)
        return reader.stored(name, at, out)

    def encoding(self, name: str, position: int) -> DepthEncoding:
        """Return how the depth of a frame is encoded."""
        reader, at = self.locate(position)
        return reader.encoding(name, at)


class _Meaning(NamedTuple):
    dtype: str
    layout: str
    trailing: tuple[int, ...]
    scale: float | None
    units: str | None
    vocabulary: str | None


def _meaning(spec: LabelSpec) -> _Meaning:
    return _Meaning(spec.dtype, spec.layout, spec.trailing, spec.scale, spec.units, spec.vocabulary)


def open_corpora(root: Places, split: str | None, **options: Any) -> CorpusReader | CombinedReader:
    """Open a corpus, or a list of them as one; ``options`` are those of :class:`CorpusReader`."""
    if isinstance(root, list | tuple):
        return CombinedReader([CorpusReader(place, split, **options) for place in root])
    assert not isinstance(root, Sequence) or isinstance(root, str)
    return CorpusReader(root, split, **options)
