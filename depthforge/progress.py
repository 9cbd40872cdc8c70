"""What watches long work: one protocol for conversion, verification, training and whatever runs next.

Work calls it; who shows it (a bar, lines, a log) or ignores it is the caller's business.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Is told of the progress of one job. Every method returns at once and raises nothing."""

    def start(self, *, num_frames: int, done_frames: int) -> None:
        """Called once where frames are counted, with those of the whole job and those that an earlier run has done."""

    def advance(self, *, frames: int, rejects: int) -> None:
        """Called as each piece of counted work ends."""

    def note(self, line: str) -> None:
        """A line of a job that words its own progress."""

    def warn(self, message: str) -> None:
        """Something is slow or odd; the job goes on."""

    def stop(self) -> None:
        """Called once after ``start``, at the end, whatever happened."""


class Silent:
    """A progress that shows nothing."""

    def start(self, *, num_frames: int, done_frames: int) -> None: ...

    def advance(self, *, frames: int, rejects: int) -> None: ...

    def note(self, line: str) -> None: ...

    def warn(self, message: str) -> None: ...

    def stop(self) -> None: ...
