"""What workers tell the driver while they work: that they do, lines to show, and how a training ended.

The mailbox is an actor beside the driver. Workers write and go on without an answer; the driver looks when it has
nothing better to do. A worker writes at most once in an interval, however short its frames are, so that a thousand
workers are a few hundred small messages a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["FramePlace", "Heartbeat", "Mail", "Mailbox", "Pulse", "look"]

# As often as a worker tells that it works, unless the wait is to end sooner.
HEARTBEAT_S = 5.0


class FramePlace(NamedTuple):
    """Where in a shard a worker is: how many of its frames have ended, and the stage and key of what it has begun."""

    ended: int
    stage: str
    key: str


Pulse = Callable[[str, FramePlace], None]
"""Told the name of a shard and a place in it whenever a frame is begun, or a stage of one."""


@dataclass(frozen=True)
class Mail:
    """What has come: signs of life since the mailbox was started, lines since the last look, how workers ended.

    ``places`` is the last that was told of each shard.
    """

    signs: int = 0
    lines: list[str] = field(default_factory=list)
    outcomes: dict[int, Any] = field(default_factory=dict)
    places: dict[str, FramePlace] = field(default_factory=dict)


class Mailbox:
    """The actor."""

    def __init__(self) -> None:
        self._signs, self._lines = 0, list[str]()
        self._outcomes: dict[int, Any] = {}
        self._places: dict[str, FramePlace] = {}

    def sign(self) -> None:
        """Work goes on."""
        self._signs += 1

    def at(self, shard: str, place: FramePlace) -> None:
        """A worker is at ``place`` in ``shard``."""
        self._places[shard] = place

    def leave(self, shard: str) -> None:
        """Nobody works on ``shard`` any more."""
        self._places.pop(shard, None)

    def note(self, line: str) -> None:
        """Work goes on, and this is to be shown."""
        self._signs += 1
        self._lines.append(line)

    def end(self, rank: int, outcome: Any) -> None:
        """Worker ``rank`` has ended: with its result, or with one of our errors."""
        self._outcomes[rank] = outcome

    def take(self) -> Mail:
        """Return what there is; lines are returned once."""
        lines, self._lines = self._lines, []
        return Mail(self._signs, lines, dict(self._outcomes), dict(self._places))


def look(ray: Any, mailbox: Any, *, timeout_s: float = 5.0) -> Mail | None:
    """Return what has come to ``mailbox``; None while it does not answer (it starts, or starts anew)."""
    try:
        mail: Mail = ray.get(mailbox.take.remote(), timeout=timeout_s)
    except (ray.exceptions.GetTimeoutError, ray.exceptions.RayActorError):
        return None
    return mail


class Heartbeat:
    """Called by a worker whenever a frame or a step has ended; tells ``mailbox`` so at most once in ``interval_s``."""

    def __init__(self, mailbox: Any, interval_s: float) -> None:
        self._mailbox, self._interval_s = mailbox, interval_s
        self._last = -interval_s

    @staticmethod
    def interval_of(stall_limit_s: float) -> float:
        """Return an interval in which a wait that ends after ``stall_limit_s`` sees signs often enough."""
        return min(HEARTBEAT_S, stall_limit_s / 6)

    def pulse(self, *, always: bool = False) -> Pulse:
        """Return what tells places of one shard: at most once in ``interval_s``, or whenever there is one."""
        last = -self._interval_s

        def tell(shard: str, place: FramePlace) -> None:
            nonlocal last
            now = time.monotonic()
            if always or now - last >= self._interval_s:
                last = now
                self._mailbox.at.remote(shard, place)

        return tell

    def __call__(self) -> None:
        """Send a sign of life if it is time; waits for nothing."""
        now = time.monotonic()
        if now - self._last >= self._interval_s:
            self._last = now
            self._mailbox.sign.remote()
