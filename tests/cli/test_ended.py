"""How a command ends that something from outside ends: Ctrl-C and SIGTERM, wherever they meet it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from depthforge.cli import check


@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_signal_ends_it_with_its_code(
    depthforge: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int, words: str, compiled: bool
) -> None:
    """Defect: one that met a compiled function, which raises SystemError then, was an internal error."""

    def ended(*arguments: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as interruption:
            if compiled:
                raise SystemError("CPUDispatcher returned a result with an exception set") from interruption
            raise

    monkeypatch.setattr(check, "load_manifest", ended)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        outcome = depthforge("check", "m.yaml")
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert outcome.code == code
    assert outcome.err.strip() == f"{words}; run the same command again to go on where it stopped"
