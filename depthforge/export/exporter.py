"""Write one part of an export: what every runner has done, in this process or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from depthforge.corpus.reader import CorpusReader
from depthforge.export.base import ExportFrame, Files, Format, Losses, Options, Part, Receipt
from depthforge.export.output import put_receipt
from depthforge.registry import formats
from depthforge.storage import open_storage

__all__ = ["ExportJob", "Exporter"]


@dataclass(frozen=True)
class ExportJob:
    """What a worker needs besides its part: where the corpus is, where its files go, and as what."""

    corpus: str
    out: str
    format: str
    options: Options
    gpu_use: ClassVar[Literal["never"]] = "never"

    def open(self, frame_ended: Callable[[], None] = lambda: None) -> Exporter:
        """Return what does it; ``frame_ended`` is called as frames are written."""
        return Exporter(self, frame_ended)


class Exporter:
    """The opened corpus and the format of a job, kept between parts."""

    def __init__(self, job: ExportJob, frame_ended: Callable[[], None] = lambda: None) -> None:
        self._job, self._frame_ended = job, frame_ended
        self._storage = open_storage(job.out)
        self._format: Format | None = None

    def load(self) -> None:
        """Open the corpus; raises what ``CorpusReader`` and the format raise."""
        if self._format is None:
            reader = CorpusReader(self._job.corpus, self._job.options.split)
            self._format = formats.get(self._job.format)(reader, self._job.options)

    def convert(self, part: Part) -> Receipt:
        """Write the files of a part, then its receipt; StorageError when they cannot be written."""
        self.load()
        assert self._format is not None
        losses = Losses()
        with Files(self._storage) as files:
            extra = self._format.write(part, self._frames(part, losses), files)
        counts = dict(sorted(losses.counts.items()))
        receipt = Receipt(part.name, part.stop - part.first, files.num_bytes, counts, extra)
        put_receipt(self._storage, receipt)
        return receipt

    def _frames(self, part: Part, losses: Losses) -> Iterator[ExportFrame]:
        assert self._format is not None
        for position in range(part.first, part.stop):
            yield ExportFrame(self._format.reader, position, part, losses)
            self._frame_ended()

    def close(self) -> None:
        """Let go of the corpus."""
        self._format = None
