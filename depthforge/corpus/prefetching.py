"""Frames of a corpus that lies far away, fetched by threads before and while they are decoded.

What an object store costs is waiting: 20 to 100 ms a request, however small. The frames of a batch wait side by side,
and those of the next batches, which an order that is known in advance names, wait while this one is used.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from depthforge.corpus.combined import CombinedReader
from depthforge.corpus.reader import CorpusReader

__all__ = ["Prefetcher"]

_THREADS = 8


class Prefetcher:
    """Fetches ``fields`` of frames in threads of its own, in each process anew; pickles without them."""

    def __init__(self, reader: CorpusReader | CombinedReader, fields: Sequence[str]) -> None:
        self._reader, self._fields = reader, tuple(fields)
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __reduce__(self) -> tuple[Callable[..., Prefetcher], tuple[CorpusReader | CombinedReader, tuple[str, ...]]]:
        return (Prefetcher, (self._reader, self._fields))

    def begin(self, positions: Iterable[int]) -> deque[Future[None]]:
        """Begin to fetch frames; what cannot be fetched is left for the read that follows, which says why."""
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
            self._pool = (os.getpid(), ThreadPoolExecutor(_THREADS, thread_name_prefix="depthforge-prefetch"))
        pool = self._pool[1]
        return deque(pool.submit(self._reader.prepare, name, at) for at in positions for name in self._fields)

    def fetch(self, positions: Sequence[int]) -> None:
        """Fetch frames and wait for them."""
        if len(positions) * len(self._fields) > 1:
            for future in self.begin(positions):
                future.exception()
