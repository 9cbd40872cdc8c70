"""Every error that depthforge raises on purpose.

One hierarchy, so that ``except DepthforgeError`` catches all of it; each class is also the builtin that a
caller would catch without knowing depthforge (``ValueError``, ``FileNotFoundError``, ...). A message says what
went wrong, where, what was expected against what was found, and what to do next; ``exit_code`` is what the
command line returns for it (0 done, 2 usage, 3 input invalid, 4 done without some frames, 5 failed or incomplete,
6 integrity, 7 realism drifted).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar, Self

__all__ = [
    "CorpusBusyError",
    "CorpusError",
    "CorpusMismatchError",
    "DecodeError",
    "DepthforgeError",
    "FrameError",
    "FrameHungError",
    "IncompleteError",
    "InputError",
    "IntegrityError",
    "ManifestError",
    "MissingDataError",
    "MissingDependencyError",
    "MissingLabelError",
    "NotFiniteLossError",
    "RealismDriftError",
    "StorageError",
    "TrainingCollapsedError",
    "UnknownNameError",
    "closest",
    "printable",
    "told",
]


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to ``name`` in spelling, or None when nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def printable(value: object) -> str:
    """Return ``value`` as text that any terminal takes: bytes of a name that are not UTF-8 become ``\\udcXX``."""
    return str(value).encode(errors="backslashreplace").decode()


_MOST_TOLD = 20


def told(things: Iterable[object], *, none: str = "nothing", joint: str = ", ") -> str:
    """Return all of ``things`` in words; of more than 20 one of each kind first, and how many are not named.

    Things that differ in numbers alone are of one kind: what is unlike all others is never the one that is hidden.
    """
    words = [printable(thing) for thing in things]
    if len(words) <= _MOST_TOLD:
        return joint.join(words) or none
    first: dict[str, int] = {}
    for number, word in enumerate(words):
        first.setdefault(re.sub(r"\d+", "#", word), number)
    order = [*first.values(), *sorted(set(range(len(words))) - set(first.values()))]
    return joint.join(words[number] for number in order[:_MOST_TOLD]) + f" and {len(words) - _MOST_TOLD} more"


class DepthforgeError(Exception):
    """Base of every error of this package.

    ``message`` says what went wrong in one sentence; ``where`` names the file, field or frame; ``expected`` and
    ``found`` are set against each other; ``remedy`` is the next thing to do, a command where there is one.
    """

    exit_code: ClassVar[int] = 5

    def __init__(
        self,
        message: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        remedy: str | None = None,
    ) -> None:
        self.message = printable(message)
        self.where = None if where is None else printable(where)
        self.expected = None if expected is None else printable(expected)
        self.found = None if found is None else printable(found)
        self.remedy = None if remedy is None else printable(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.where is not None:
            lines.append(f"  where:    {self.where}")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.found is not None:
            lines.append(f"  found:    {self.found}")
        if self.remedy is not None:
            lines.append(f"  try:      {self.remedy}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Return its class, every part of it and the exit code, as plain data."""
        parts = {name: getattr(self, name) for name in ("message", "where", "expected", "found", "remedy")}
        return {"kind": type(self).__name__, **parts, "exit_code": self.exit_code}

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; the default would call the class with the message alone.
        return (_rebuild, (type(self), self.message, self.where, self.expected, self.found, self.remedy))


def _rebuild(
    kind: type[DepthforgeError],
    message: str,
    where: str | None,
    expected: str | None,
    found: str | None,
    remedy: str | None,
) -> DepthforgeError:
    return kind(message, where=where, expected=expected, found=found, remedy=remedy)


class InputError(DepthforgeError, ValueError):
    """What the user handed over cannot be used as it is."""

    exit_code = 3


class ManifestError(InputError):
    """A manifest that cannot be read or does not validate."""


class UnknownNameError(InputError, LookupError):
    """A plug-in, field or dataset name that nobody registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, where: object = None) -> None:
        names = sorted(known)
        near = closest(name, names)
        self._arguments = (kind, name, names, where)
        super().__init__(
            f"unknown {kind} {name!r}",
            where=where,
            expected=f"one of: {', '.join(names) if names else '(none is registered)'}",
            remedy=f"did you mean {near!r}?" if near else "depthforge list",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_unknown, self._arguments)


def _rebuild_unknown(kind: str, name: str, known: list[str], where: object) -> UnknownNameError:
    return UnknownNameError(kind, name, known, where=where)


class MissingDataError(InputError, FileNotFoundError):
    """A dataset root, file or scene that is not where it was looked for."""


class MissingDependencyError(DepthforgeError, ImportError):
    """An optional package or system library that this operation needs."""


class FrameError(InputError):
    """One frame that cannot be converted; the run goes on and the frame becomes a reject row."""


class DecodeError(FrameError):
    """A file of a frame that is truncated, of the wrong type or of the wrong shape."""


class FrameHungError(FrameError):
    """A frame that did not end, twice: the worker that had it was ended each time."""

    @classmethod
    def at(cls, key: str, stage: str) -> Self:
        """Return the error of the frame ``key`` that hung in ``stage`` (read, translate or write)."""
        return cls(
            f"the frame did not end: its worker hung in {stage}, and so did the next",
            where=key,
            remedy="look at the file system that it lies on, and run again with --retry-rejects; --frame-limit says "
            "how long a frame may take",
        )


class MissingLabelError(FrameError, LookupError):
    """A frame lacks a label that the manifest requires."""


class CorpusError(DepthforgeError):
    """A corpus that cannot be written or read as asked."""


class CorpusMismatchError(CorpusError, ValueError):
    """The output already holds a corpus made from something else."""

    exit_code = 3


class CorpusBusyError(CorpusError, BlockingIOError):
    """Another run is writing the same output right now."""


class StorageError(CorpusError, OSError):
    """The output cannot be written: no room, no permission, not a directory."""


class IntegrityError(CorpusError):
    """The corpus on disk is not what was committed."""

    exit_code = 6


class IncompleteError(CorpusError):
    """The run ended before every shard was committed, or rejected more frames than allowed."""


class RealismDriftError(DepthforgeError):
    """New frames that are farther from the real sensor than the manifest allows; their version is kept, not used."""

    exit_code = 7


class TrainingCollapsedError(DepthforgeError):
    """A training whose networks no longer learn what they are for; checkpoints before that are kept."""

    @classmethod
    def at(cls, step: int, sign: str, *, figure: str, bound: str, remedy: str) -> Self:
        """Return the error for a ``sign`` that was seen at ``step``, the ``figure`` that shows it and its ``bound``."""
        return cls(
            f"the training has collapsed: {sign}", where=f"step {step}", expected=bound, found=figure, remedy=remedy
        )


class NotFiniteLossError(DepthforgeError, FloatingPointError):
    """A training with a loss, or a weight, that is no longer a number."""

    @classmethod
    def at(cls, step: int, loss: str, kept: object = None) -> Self:
        """Return the error for ``loss`` at ``step``; ``kept`` is the last good checkpoint, None when there is none."""
        checkpoint = "no checkpoint was written before it" if kept is None else f"the last good checkpoint is {kept}"
        return cls(
            f"{loss} is not a finite number at step {step}",
            where=f"step {step}",
            expected="finite losses and weights",
            found=f"{loss} is nan or infinite; {checkpoint}",
            remedy="lower translator.learning_rate, set training.precision: float32, and run "
            "`depthforge check MANIFEST` for depth that is not in metres",
        )
