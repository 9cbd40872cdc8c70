"""The corpus format: zarr shards, parquet index, writer, readers, verification. Read docs/corpus-format.md first.

What reads a corpus is offered here, and loaded when it is asked for: ``CorpusReader`` and ``iter_frames`` need numpy,
numcodecs, google-crc32c, pyarrow and pydantic alone, ``CorpusDataset``, ``CorpusStream`` and ``to_torch``
torch besides.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from depthforge.corpus.datasets import CorpusDataset, CorpusStream, to_torch
    from depthforge.corpus.iterating import iter_frames
    from depthforge.corpus.reader import CorpusFrame, CorpusReader

__all__ = ["CorpusDataset", "CorpusFrame", "CorpusReader", "CorpusStream", "iter_frames", "to_torch"]

_HOMES: Final = {
    "CorpusDataset": "datasets",
    "CorpusFrame": "reader",
    "CorpusReader": "reader",
    "CorpusStream": "datasets",
    "iter_frames": "iterating",
    "to_torch": "datasets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
