"""What runners run, whatever it is: pieces of work that a job's worker makes one after the other, each with a receipt.

Converting the shards of a corpus is one kind (``shards``), writing the parts of an export another (``exporting``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from depthforge.translators.base import GpuUse

__all__ = ["Job", "Piece", "Receipt", "Worker"]


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

    def convert(self, item: Any, /) -> Any:
        """Make a piece of the job's kind and return its receipt."""

    def close(self) -> None:
        """Release what is held."""


class Job(Protocol):
    """What a worker needs besides its pieces: a few kilobytes, sent once."""

    @property
    def gpu_use(self) -> GpuUse:
        """Whether a worker uses a GPU."""

    def open(self, frame_ended: Callable[[], None], /) -> Worker:
        """Return a worker; ``frame_ended`` is called as frames end."""
