from __future__ import annotations

import io

import pytest
from rich.console import Console

from depthforge.cli import progress as module
from depthforge.cli.progress import FrameProgress


def test_without_a_terminal_a_plain_line_tells_count_rejects_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0.0)
    text = io.StringIO()
    progress = FrameProgress("converting", console=Console(file=text, width=200))
    progress.start(num_frames=100, done_frames=40)
    progress.advance(frames=18, rejects=2)
    progress.warn("something is slow")
    progress.stop()
    resumed, line, warning = text.getvalue().splitlines()
    assert resumed == "resuming: 40 of 100 frames are committed"
    assert line.startswith("converting: 60/100 frames, ")
    assert "2 rejects" in line
    assert line.endswith(" s left")
    assert warning == "warning: something is slow"


def test_a_job_of_unknown_length_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0.0)
    text = io.StringIO()
    count = FrameProgress("checking", console=Console(file=text, width=200))
    count(1)
    count(1)
    assert text.getvalue().splitlines()[-1].startswith("checking: 2 frames, ")


def test_plain_lines_are_rare() -> None:
    text = io.StringIO()
    progress = FrameProgress(console=Console(file=text))
    progress.start(num_frames=1000, done_frames=0)
    for _ in range(1000):
        progress.advance(frames=1, rejects=0)
    assert text.getvalue() == ""


def test_on_a_terminal_there_is_a_bar() -> None:
    text = io.StringIO()
    progress = FrameProgress("converting", console=Console(file=text, force_terminal=True, width=120))
    progress.start(num_frames=10, done_frames=2)
    progress.advance(frames=5, rejects=1)
    progress.stop()
    progress.stop()
    assert "8/10" in text.getvalue()
    assert "1 rejects" in text.getvalue()
