"""How long work shows itself: a bar on a terminal, a plain line every 30 seconds elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

__all__ = ["FrameProgress", "frame_progress"]

PLAIN_INTERVAL_S = 30.0


class FrameProgress:
    """Counts frames and rejects; shows rate and time left as a bar, or as plain lines without a terminal."""

    def __init__(self, what: str = "converting", *, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._what = what
        self._bar: Progress | None = None
        self._total = self._done = self._before = self._rejects = 0
        self._start = self._last_line = time.monotonic()

    def start(self, *, num_frames: int, done_frames: int) -> None:
        self._total, self._done, self._before = num_frames, done_frames, done_frames
        self._start = self._last_line = time.monotonic()
        if done_frames:
            self._console.print(f"resuming: {done_frames} of {num_frames} frames are committed")
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn(self._what),
                BarColumn(),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._bar.add_task(self._what, total=num_frames, completed=done_frames, rate="")

    def advance(self, *, frames: int, rejects: int) -> None:
        self._done += frames + rejects
        self._rejects += rejects
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, rate=self._rate())
        elif time.monotonic() - self._last_line >= PLAIN_INTERVAL_S:
            self._last_line = time.monotonic()
            line = f"{self._what}: {self._done} frames, {self._rate()}"
            if self._total:
                left = (self._total - self._done) / max(self._frames_per_second(), 1e-9)
                line = f"{self._what}: {self._done}/{self._total} frames, {self._rate()}, {left:.0f} s left"
            self._console.print(line)

    def __call__(self, count: int) -> None:
        """Count frames of a job whose length is not known before."""
        self.advance(frames=count, rejects=0)

    def note(self, line: str) -> None:
        """Show one line of a job that words its own progress."""
        self._console.print(line, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        self._console.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _frames_per_second(self) -> float:
        return (self._done - self._before) / max(time.monotonic() - self._start, 1e-9)

    def _rate(self) -> str:
        rejects = f", {self._rejects} rejects" if self._rejects else ""
        return f"{self._frames_per_second():.1f} frames/s{rejects}"


def frame_progress(what: str) -> FrameProgress:
    """Return a progress for this process's stderr."""
    return FrameProgress(what, console=Console(file=sys.stderr, highlight=False))
