"""Is a data set on disk complete and readable? Asked before any conversion time is spent.

Lists everything, reads all frames or an evenly spaced sample with every label, and counts what is wrong: what the
listing found, frames that cannot be read, empty ones, depth in a unit that cannot be right, labels that are not
there, normals that point away from the camera. Costs two listings and the reads (15 to 25 ms a frame with all
labels of InteriorNet), and memory of 8 bytes a frame; 500 frames tell a wrong unit as well as all do.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from depthforge.errors import DepthforgeError
from depthforge.frame import Finding, Frame, FrameRef
from depthforge.geometry import decode_normals, pixel_rays
from depthforge.sources.base import Note, Source, say_nothing

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
    issues: list[Issue]

    @property
    def ok(self) -> bool:
        """True when there are frames, and nothing makes any of them unusable; warnings are allowed."""
        return self.num_frames > 0 and not any(issue.severity == "error" for issue in self.issues)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a mapping that json.dumps takes, with ``ok``."""
        return {"ok": self.ok, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """Yield the report for a reader, errors first."""
        yield f"{self.source}: {self.num_frames} frames in {self.num_scenes} scenes; {self.num_read} read"
        if self.depth_m:
            low, middle, high = self.depth_m.least, self.depth_m.median, self.depth_m.greatest
            yield f"  depth  {low:.3f} to {high:.3f} m, median {middle:.3f} m"
        if self.hole_fraction:
            low, middle, high = self.hole_fraction.least, self.hole_fraction.median, self.hole_fraction.greatest
            yield f"  holes  {low:.1%} to {high:.1%} of a frame, median {middle:.1%}"
        for name, count in self.labels.items():
            yield f"  label  {name}: {count} of {self.num_read - self.num_unreadable} frames"
        for issue in sorted(self.issues, key=lambda issue: issue.severity):
            times = f" ({issue.count} times)" if issue.count > 1 else ""
            yield f"  {issue.severity}: {issue.message}{times}"
            more = ", ..." if issue.count > len(issue.examples) else ""
            yield f"      where: {', '.join(issue.examples)}{more}"
            if issue.remedy:
                yield f"      try:   {issue.remedy}"
        yield "  ok" if self.ok else "  not usable as it is"


def check_source(
    source: Source,
    *,
    max_frames: int | None = None,
    progress: Callable[[int], None] | None = None,
    note: Note = say_nothing,
) -> CheckReport:
    """Check a source: list all of it, read all frames or ``max_frames`` evenly spaced ones, and count.

    ``progress`` is called with 1 after each frame that was read, ``note`` with what had to be made before. Raises
    MissingDataError, from the source, when there is nothing to read at all; whatever is wrong with a single frame
    becomes an issue.
    """
    source.prepare(note)
    issues = _Issues()
    num_scenes, num_frames = _count(source, issues)
    tally = _Tally(source, issues)
    for ref in _evenly_spaced(source.frames(), num_frames, max_frames):
        tally.read(ref)
        if progress is not None:
            progress(1)
    source.close()
    return tally.report(num_scenes, num_frames)


def _count(source: Source, issues: _Issues) -> tuple[int, int]:
    num_scenes = num_frames = 0
    scene = key = ""
    for ref in source.frames(issues.add_finding):
        num_frames += 1
        if ref.key <= key:
            issues.add("error", "frame keys are not unique and in order", ref.key)
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

    def add_finding(self, finding: Finding) -> None:
        self.add(finding.severity, finding.message, finding.path, finding.remedy)

    def add(self, severity: Literal["error", "warning"], message: str, where: str, remedy: str | None = None) -> None:
        issue = self._found.setdefault((severity, message), Issue(severity, message, remedy=remedy))
        issue.count += 1
        if len(issue.examples) < _EXAMPLES_KEPT:
            issue.examples.append(where)

    def all(self) -> list[Issue]:
        return list(self._found.values())


class _Tally:
    """Running counts over the frames that are read."""

    def __init__(self, source: Source, issues: _Issues) -> None:
        self._source = source
        self._issues = issues
        self._wanted = frozenset(source.labels)
        self._labels = dict.fromkeys(source.labels, 0)
        self._num_read = self._num_unreadable = self._num_empty = 0
        self._least_m, self._greatest_m = float("inf"), 0.0
        self._medians_m, self._holes = array("f"), array("f")

    def read(self, ref: FrameRef) -> None:
        self._num_read += 1
        try:
            frame = self._source.read(ref, self._wanted).require_sound()
            present = self._present(frame)
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

    def _unreadable(self, message: str, where: str, remedy: str | None) -> None:
        self._num_unreadable += 1
        self._issues.add("error", f"unreadable: {message}", where, remedy)

    def _present(self, frame: Frame) -> list[str]:
        """Return the labels that a frame carries; raise FrameError for one that does not fit its LabelSpec."""
        arrays = {"rgb": frame.rgb, "T_world_cam": frame.T_world_cam, **frame.labels}
        height, width = frame.camera.size
        present = {name: value for name, value in arrays.items() if value is not None}
        for name, value in present.items():
            self._source.labels[name].require_fits(value, height, width, where=frame.key)
        return list(present)

    def _measure(self, frame: Frame) -> None:
        measured = frame.depth_m[frame.valid]
        self._holes.append(1.0 - measured.size / frame.valid.size)
        if measured.size == 0:
            self._num_empty += 1
            self._issues.add("warning", "no pixel has depth", frame.key, "such frames become rejects")
            return
        self._least_m = min(self._least_m, float(measured.min()))
        self._greatest_m = max(self._greatest_m, float(measured.max()))
        self._medians_m.append(float(np.median(measured)))
        if "normals" in frame.labels and not _face_the_camera(frame):
            self._issues.add(
                "error",
                "normals point away from the camera: they are in other axes",
                frame.key,
                "state the axes of the stored normals in the source block (`normals_frame: world`)",
            )

    def report(self, num_scenes: int, num_frames: int) -> CheckReport:
        depth_m = None
        if self._medians_m:
            median_m = float(np.median(self._medians_m))
            depth_m = Range(self._least_m, median_m, self._greatest_m)
            low, high = self._source.typical_depth_m
            if not low <= median_m <= high:
                self._issues.add(
                    "error",
                    f"the unit of depth looks wrong: the median depth is {median_m:.4g} m",
                    self._source.name,
                    f"typical depths of {self._source.name} lie between {low:g} and {high:g} m; check how the files "
                    "were exported, and the scale of depth in the source block",
                )
        if self._num_empty and self._num_empty == self._num_read:
            self._issues.add("error", "no frame that was read has any depth", self._source.name)
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
            issues=self._issues.all(),
        )


def _face_the_camera(frame: Frame) -> bool:
    """Return whether normals point against the viewing rays on average, as every visible surface does."""
    normals = decode_normals(frame.labels["normals"].astype(np.int16, copy=False))
    x, y = pixel_rays(frame.camera)
    along = normals[..., 0] * x[None, :] + normals[..., 1] * y[:, None] + normals[..., 2]
    return bool(along.mean() <= 0.0)
