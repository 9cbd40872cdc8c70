"""One watch for every wait on Ray: named, warned about, then ended. Nothing here waits for ever in silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from depthforge.errors import IncompleteError, InputError

__all__ = ["StallWatch", "Waiting"]

WARN_AFTER_S = 120.0


@dataclass(frozen=True)
class Waiting:
    """What is waited for, what was asked of the cluster for it, what the cluster has.

    ``impossible`` says that no node that is there could give what was asked: only a node that joins can.
    """

    what: str
    asked: str
    has: str
    impossible: bool = False
    remedy: str = "run the same command again: what is committed is kept; --inline shows where it hangs"


class StallWatch:
    """Ends a wait in which nothing has moved for ``limit_s`` seconds; warns after a third of it, or two minutes."""

    def __init__(
        self, limit_s: float, warn: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s, self._warn, self._clock = limit_s, warn, clock
        self._warn_after_s = min(WARN_AFTER_S, limit_s / 3)
        self._last, self._warned = clock(), False

    @property
    def idle_s(self) -> float:
        """Seconds since something moved."""
        return self._clock() - self._last

    def progress(self) -> None:
        """Something has moved: a worker has started, a frame, a shard or a step has ended."""
        self._last, self._warned = self._clock(), False

    def check(self, waiting: Callable[[], Waiting]) -> None:
        """Warn once, and raise when the wait has been too long and was warned of; ``waiting`` is asked only then.

        Raises InputError for what no node could give, IncompleteError for everything else.
        """
        idle_s = self.idle_s
        if idle_s < self._warn_after_s:
            return
        if idle_s >= self._limit_s and self._warned:
            raise _error(waiting(), idle_s)
        if not self._warned:
            self._warned = True
            now = waiting()
            why = f"; no node has {now.asked}" if now.impossible else ""
            self._warn(
                f"nothing has moved for {idle_s:.0f} s, waiting for {now.what}{why}; the cluster has {now.has}; "
                f"the run ends after {self._limit_s:.0f} s of this (--stall-limit)"
            )


def _error(waiting: Waiting, idle_s: float) -> InputError | IncompleteError:
    if waiting.impossible:
        return InputError(
            f"no node that could take a worker came within {idle_s:.0f} s",
            where=waiting.what,
            expected=f"a node with {waiting.asked}",
            found=waiting.has,
            remedy="start such a node, or ask for less (device: auto, fewer frames at once); "
            "--stall-limit says how long to wait",
        )
    return IncompleteError(
        f"nothing has moved for {idle_s:.0f} s",
        where=waiting.what,
        expected=f"progress of workers with {waiting.asked}",
        found=waiting.has,
        remedy=waiting.remedy,
    )
