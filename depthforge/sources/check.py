"""Is a data set on disk complete and readable? Asked before any conversion time is spent.

Lists everything, reads all frames or an evenly spaced sample with every label, and counts what is wrong: what the
listing found, frames that cannot be read, empty ones, labels that are not there, and what ``soundness`` finds
implausible. Costs two listings and the reads (15 to 25 ms a frame with all
labels of InteriorNet), and memory of 8 bytes a frame; 500 frames tell a wrong unit as well as all do.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from depthforge.errors import DepthforgeError, InputError
from depthforge.frame import Finding, Frame, FrameRef, require_key
from depthforge.sources.base import Note, Source, say_nothing
from depthforge.sources.soundness import RunSampler, examine, fitting_labels, require_sound

__all__ = ["CheckReport", "Issue", "Range", "check_source"]

_EXAMPLES_KEPT = 3


@dataclass(slots=True)
class Issue:
    """One thing that is wrong, in how many places, with the first of them."""

    severity: Literal["error", "warning"]
    message: str
    count: int = 0
    examples: list[str] = field(default_factory=list)
    remedy: str | None = None
    is_partial: bool = True
    """Whether a run goes on without what is wrong here."""


@dataclass(frozen=True, slots=True)
class Range:
    """The least, median and greatest value over the frames that were read."""

    least: float
    median: float
    greatest: float


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check_source`` found. ``labels`` counts the frames, of those read, that carry each label.

    ``depth_m`` ranges over single pixels, its median over frame medians; ``hole_fraction`` over frames.
    """

    source: str
    num_scenes: int
    num_frames: int
    num_read: int
    num_unreadable: int
    num_empty: int
    labels: dict[str, int]
    depth_m: Range | None
    hole_fraction: Range | None
    pose_error: float | None
    issues: list[Issue]
    max_reject_fraction: float = 0.0

    @property
    def ok(self) -> bool:
        """True when there are frames, and nothing makes any of them unusable; warnings are allowed."""
        return self.num_frames > 0 and not any(issue.severity == "error" for issue in self.issues)

    @property
    def exit_code(self) -> int:
        """What a run of these frames would end with: 0; 4 where it goes on without some of them; 3."""
        if self.ok:
            return 0
        rejects = self.num_unreadable + self.num_empty
        spares = rejects <= self.max_reject_fraction * self.num_read
        is_partial = all(issue.is_partial for issue in self.issues if issue.severity == "error")
        return 4 if self.num_frames and spares and is_partial else 3

    def to_json(self) -> dict[str, Any]:
        """Return the report as a mapping that json.dumps takes, with ``ok``."""
        return {"ok": self.ok, "exit_code": self.exit_code, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Yield the report for a reader, errors first."""
        yield f"{self.source}: {self.num_frames} frames in {self.num_scenes} scenes; {self.num_read} read"
        if self.depth_m:
            low, middle, high = self.depth_m.least, self.depth_m.median, self.depth_m.greatest
            yield f"  depth  {low:.3f} to {high:.3f} m, median {middle:.3f} m"
        if self.hole_fraction:
            low, middle, high = self.hole_fraction.least, self.hole_fraction.median, self.hole_fraction.greatest
            yield f"  holes  {low:.1%} to {high:.1%} of a frame, median {middle:.1%}"
        if self.pose_error is not None:
            yield f"  poses  re-projected into the next frame: off by {self.pose_error:.2%} of depth (median)"
        for name, count in self.labels.items():
            yield f"  label  {name}: {count} of {self.num_read - self.num_unreadable} frames"
        for issue in sorted(self.issues, key=lambda issue: issue.severity):
            times = f" ({issue.count} times)" if issue.count > 1 else ""
            yield f"  {issue.severity}: {issue.message}{times}"
            more = ", ..." if issue.count > len(issue.examples) else ""
            yield f"      where: {', '.join(issue.examples)}{more}"
            if issue.remedy:
                yield f"      try:   {issue.remedy}"
        if self.exit_code == 4:
            yield "  usable without what is named above: a run ends with 4"
        else:
            yield "  ok" if self.ok else "  not usable as it is"


def check_source(
    source: Source,
    *,
    wanted: frozenset[str] | None = None,
    accept: Callable[[Frame], Mapping[str, int]] = lambda frame: {},
    needs_depth: bool = True,
    max_reject_fraction: float = 0.01,
    max_frames: int | None = None,
    progress: Callable[[int], None] | None = None,
    note: Note = say_nothing,
) -> CheckReport:
    """Check a source: list all of it, read all frames or ``max_frames`` evenly spaced ones, and count.

    ``wanted`` labels are read, all by default. ``accept`` raises FrameError for a frame that the run in question would
    reject, of which it bears ``max_reject_fraction``, and returns what single values of others it would drop; it
    ``needs_depth`` or rejects no empty frame.

    ``progress`` is called with 1 after each frame that was read, ``note`` with what had to be made before. Raises
    MissingDataError, from the source, when there is nothing to read at all; whatever is wrong with a single frame
    becomes an issue.
    """
    source.prepare(note)
    wanted = frozenset(source.labels) if wanted is None else wanted & set(source.labels)
    issues = _Issues()
    sampler = RunSampler()
    num_scenes, num_frames = _count(source, issues, sampler)
    examined = examine(source, sampler.runs, wanted, accept)
    # Where all of them would be rejected, so will those be that are read below, each with its reason.
    for finding in examined.findings if len(examined.refused) < examined.num_frames else ():
        issues.add_finding(finding, is_partial=False)
    tally = _Tally(source, issues, wanted, accept, needs_depth=needs_depth)
    for ref in _evenly_spaced(source.frames(), num_frames, max_frames):
        tally.read(ref)
        if progress is not None:
            progress(1)
    source.close()
    return tally.report(num_scenes, num_frames, examined.pose_error, max_reject_fraction)


def _count(source: Source, issues: _Issues, sampler: RunSampler) -> tuple[int, int]:
    num_scenes = num_frames = 0
    scene = key = ""
    for ref in sampler.watch(source.frames(issues.add_finding)):
        num_frames += 1
        try:
            require_key(ref.key, key)
        except InputError as error:
            issues.add("error", error.message, str(error.where), error.remedy, is_partial=False)
        if ref.scene != scene:
            num_scenes += 1
        scene, key = ref.scene, ref.key
    return num_scenes, num_frames


def _evenly_spaced(refs: Iterator[FrameRef], total: int, wanted: int | None) -> Iterator[FrameRef]:
    """Yield ``wanted`` of ``total`` references (all when None): the one at the middle of each of equal stretches."""
    count = total if wanted is None else min(wanted, total)
    taken = 0
    for index, ref in enumerate(refs):
        if taken < count and index == (2 * taken + 1) * total // (2 * count):
            taken += 1
            yield ref


class _Issues:
    """Findings that say the same, counted once each in order of appearance."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Issue] = {}

    def add_finding(self, finding: Finding, *, is_partial: bool = True) -> None:
        self.add(finding.severity, finding.message, finding.path, finding.remedy, is_partial=is_partial)

    def add(
        self,
        severity: Literal["error", "warning"],
        message: str,
        where: str,
        remedy: str | None = None,
        *,
        is_partial: bool = True,
        times: int = 1,
    ) -> None:
        issue = self._found.setdefault((severity, message), Issue(severity, message, remedy=remedy))
        issue.is_partial &= is_partial
        issue.count += times
        if len(issue.examples) < _EXAMPLES_KEPT:
            issue.examples.append(where)

    def all(self) -> list[Issue]:
        return list(self._found.values())


class _Tally:
    """Running counts over the frames that are read."""

    def __init__(
        self,
        source: Source,
        issues: _Issues,
        wanted: frozenset[str],
        accept: Callable[[Frame], Mapping[str, int]],
        *,
        needs_depth: bool,
    ) -> None:
        self._source = source
        self._issues = issues
        self._wanted = wanted
        self._accept, self._needs_depth = accept, needs_depth
        self._labels = dict.fromkeys((name for name in source.labels if name in wanted), 0)
        self._num_read = self._num_unreadable = self._num_empty = 0
        self._least_m, self._greatest_m = float("inf"), 0.0
        self._medians_m, self._holes = array("f"), array("f")

    def read(self, ref: FrameRef) -> None:
        self._num_read += 1
        try:
            frame = require_sound(self._source.read(ref, self._wanted))
            self._add_dropped(frame.dropped, ref.key)
            present = fitting_labels(frame, self._source.labels)
            if frame.valid.any():
                self._add_dropped(self._accept(frame), ref.key)
        except DepthforgeError as error:
            where = ref.key if error.where is None else f"{ref.key} ({error.where})"
            self._unreadable(error.message, where, error.remedy)
            return
        except OSError as error:
            self._unreadable(error.strerror or type(error).__name__, ref.key, None)
            return
        for name in present:
            self._labels[name] += 1
        self._measure(frame)

    def _add_dropped(self, dropped: Mapping[str, int], key: str) -> None:
        for what, count in dropped.items():
            self._issues.add("warning", f"left out: {what}", key, times=count)

    def _unreadable(self, message: str, where: str, remedy: str | None) -> None:
        self._num_unreadable += 1
        self._issues.add("error", f"unreadable: {message}", where, remedy)

    def _measure(self, frame: Frame) -> None:
        measured = frame.depth_m[frame.valid]
        self._holes.append(1.0 - measured.size / frame.valid.size)
        if measured.size == 0:
            self._num_empty += self._needs_depth
            severity: Literal["error", "warning"] = "error" if self._needs_depth else "warning"
            self._issues.add(severity, "no pixel has depth", frame.key, "such frames become rejects")
            return
        self._least_m = min(self._least_m, float(measured.min()))
        self._greatest_m = max(self._greatest_m, float(measured.max()))
        self._medians_m.append(float(np.median(measured)))

    def report(
        self, num_scenes: int, num_frames: int, pose_error: float | None, max_reject_fraction: float
    ) -> CheckReport:
        depth_m = None
        if self._medians_m:
            depth_m = Range(self._least_m, float(np.median(self._medians_m)), self._greatest_m)
        holes = Range(*np.quantile(self._holes, (0.0, 0.5, 1.0)).tolist()) if self._holes else None
        return CheckReport(
            source=self._source.name,
            num_scenes=num_scenes,
            num_frames=num_frames,
            num_read=self._num_read,
            num_unreadable=self._num_unreadable,
            num_empty=self._num_empty,
            labels=self._labels,
            depth_m=depth_m,
            hole_fraction=holes,
            pose_error=pose_error,
            issues=self._issues.all(),
            max_reject_fraction=max_reject_fraction,
        )
