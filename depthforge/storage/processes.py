"""Which process this is, in words that another process of the machine can ask about: does it still live?

A number alone is no name: the kernel gives it again. With the boot, the namespace that it counts in and the tick at
which the process started it is one. Whoever cannot see that process (another machine, another container) does not know.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Self

__all__ = ["ProcessName"]


class ProcessName:
    """A process by where and when it began; plain data by :meth:`to_json`."""

    def __init__(self, seen_from: str, pid: int, start: str) -> None:
        self.seen_from, self.pid, self.start = seen_from, pid, start

    @classmethod
    def of_this(cls) -> Self:
        """Return the name of this process."""
        return cls(_here(), os.getpid(), _start(os.getpid()) or "")

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """Return the name that :meth:`to_json` gave, None when it is none."""
        match value:
            case {"seen_from": str(seen_from), "pid": int(pid), "start": str(start)}:
                return cls(seen_from, pid, start)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"seen_from": self.seen_from, "pid": self.pid, "start": self.start}

    @property
    def is_dead(self) -> bool:
        """True when the process has ended for sure; False when it lives, or cannot be seen from here."""
        return self.seen_from == _here() and _start(self.pid) != self.start


def _here() -> str:
    """Return what tells machines, boots and containers apart; empty where the kernel does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {os.urandom(8).hex()}"  # nobody's: so no process is taken for dead


def _start(pid: int) -> str | None:
    """Return at which tick of the kernel a process began; None when there is none, or it only waits to be buried."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
