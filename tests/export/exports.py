"""What the tests of exports share: a tiny corpus, and what each of its frames must come out as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.export.base import Options
from depthforge.stages.exporting import ExportReport, export_corpus
from tests.corpus.corpora import clean_mm, noisy_mm


def export(corpus: Path, name: str, out: Path, **options: Any) -> ExportReport:
    """Export in this process."""
    return export_corpus(corpus, name, out, Options(**options), inline=True)


def numbers(corpus: Path, split: str | None = None) -> dict[str, int]:
    """The number of each frame, from which every value of it follows, by key."""
    return {key: int(key.rsplit("/", 1)[1]) for key in CorpusReader(corpus, split).keys.to_pylist()}


def steps(name: str, number: int) -> npt.NDArray[np.uint16]:
    """Depth of a frame in millimetres, 0 where nothing was measured."""
    return (noisy_mm(number) if name == "depth_noisy" else clean_mm(number)).astype(np.uint16)


def files_of(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` by its relative path."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
