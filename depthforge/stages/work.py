"""What runners run, whatever it is: pieces of work that a job's worker makes one after the other, each with a receipt.

Converting the shards of a corpus is one kind (``shards``). Writing the parts of an export and copying shards are others
(``exporting``, ``selecting``): their workers know nothing of runners and say only when a frame has ended (``Counted``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from depthforge.stages.mailbox import FramePlace, Pulse
from depthforge.translators.base import GpuUse

__all__ = ["COMMIT", "Counted", "Hung", "Job", "Piece", "Receipt", "Worker"]

COMMIT: Final = "commit"
"""The stage of a piece that is of no frame: after its last one, or where frames are not told apart."""

Hung = Mapping[str, str]
"""Frames of a piece that ended its workers by never ending, by key: the stage in which they were."""


class Piece(Protocol):
    """A piece of work: small, and pure data."""

    @property
    def shard(self) -> str:
        """Its name."""


class Receipt(Protocol):
    """What making a piece did."""

    @property
    def shard(self) -> str:
        """The name of the piece."""


class Worker(Protocol):
    """Makes pieces of one job; whoever opened it closes it."""

    def load(self) -> None:
        """Load everything that the first piece needs."""

    def convert(self, item: Any, pulse: Pulse | None = None, hung: Hung | None = None, /) -> Any:
        """Make a piece of the job's kind and return its receipt.

        ``pulse`` is told where the worker is as it goes on. ``hung`` is not None where the piece hung before.
        """

    def close(self) -> None:
        """Release what is held."""


class Job(Protocol):
    """What a worker needs besides its pieces: a few kilobytes, sent once."""

    @property
    def gpu_use(self) -> GpuUse:
        """Whether a worker uses a GPU."""

    def open(self) -> Worker:
        """Return a worker."""


class _SimpleWorker(Protocol):
    def load(self) -> None: ...

    def convert(self, item: Any, /) -> Any: ...

    def close(self) -> None: ...


class _SimpleJob(Protocol):
    @property
    def gpu_use(self) -> GpuUse: ...

    def open(self, frame_ended: Callable[[], None], /) -> _SimpleWorker: ...


@dataclass(frozen=True)
class Counted:
    """A job whose workers call a function as frames end, and cannot leave one out: a piece that hangs twice fails."""

    job: _SimpleJob

    @property
    def gpu_use(self) -> GpuUse:
        """Whether a worker uses a GPU."""
        return self.job.gpu_use

    def open(self) -> Worker:
        """Return a worker."""
        return _CountedWorker(self.job)


class _CountedWorker:
    def __init__(self, job: _SimpleJob) -> None:
        self._ended, self._tell = 0, _say_nothing
        self._worker = job.open(self._frame_ended)

    def load(self) -> None:
        self._worker.load()

    def convert(self, item: Piece, pulse: Pulse | None = None, hung: Hung | None = None, /) -> Any:
        self._ended = 0

        def tell(ended: int) -> None:
            if pulse is not None:
                pulse(item.shard, FramePlace(ended, COMMIT, item.shard))

        self._tell = tell
        return self._worker.convert(item)

    def close(self) -> None:
        self._worker.close()

    def _frame_ended(self) -> None:
        self._ended += 1
        self._tell(self._ended)


def _say_nothing(ended: int) -> None:
    pass
