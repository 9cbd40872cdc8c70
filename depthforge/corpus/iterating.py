"""Frames of a corpus one after the other as NumPy arrays: what reads a corpus without torch and without Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, decode_depth
from depthforge.storage import Place

__all__ = ["frame_arrays", "iter_frames"]


def iter_frames(
    root: Place, split: str | None = None, fields: Sequence[str] | None = None, *, allow_unfinished: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the frames of a split (None: all) in the order of the corpus: ``key`` and :func:`frame_arrays` of each.

    ``fields`` None are all that are stored. Holds one frame. Raises what :class:`CorpusReader` raises, at once.
    """
    reader = CorpusReader(root, split, allow_unfinished=allow_unfinished)
    names = (
        [reader.spec(name).name for name in fields] if fields is not None else [s.name for s in reader.schema.stored]
    )
    return ({"key": reader.key(at), **frame_arrays(reader, at, names)} for at in range(len(reader)))


def frame_arrays(reader: CorpusReader, position: int, fields: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Return some fields of a frame, those that it has: depth as float32 metres, NaN where nothing was measured.

    Every other field is as the corpus stores it.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in fields:
        if name in (DEPTH_CLEAN, DEPTH_NOISY):
            depth_m, valid = decode_depth(reader.stored(name, position), reader.encoding(name, position))
            depth_m[~valid] = np.nan
            arrays[name] = depth_m
        elif reader.has(name, position):
            arrays[name] = reader.stored(name, position)
    return arrays
