"""Which of the known layouts lies under a root: each source that needs nothing but a root is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from depthforge.errors import DepthforgeError, InputError, MissingDataError, MissingDependencyError
from depthforge.frame import Finding, FrameRef
from depthforge.registry import sources
from depthforge.sources.base import Source
from depthforge.sources.resized import build_source
from depthforge.sources.soundness import RunSampler, examine

__all__ = ["Known", "known_layouts"]

_NOT_ASKED: Final = frozenset({"procedural", "fused", "rgbd_folder"})


class Known(NamedTuple):
    """A layout that lists frames. ``problem`` is why it cannot be used as it is, None where it can."""

    name: str
    root: Path
    num_frames: int
    labels: tuple[str, ...]
    problem: str | None
    options: Mapping[str, str] = {}
    greatest_m: float = 0.0


def known_layouts(root: Path) -> list[Known]:
    """Return the layouts that list frames under ``root``: those that read well first, most frames first."""
    found = [
        known
        for name in sources.names()
        if name not in _NOT_ASKED
        for options in _options(name, root)
        if (known := _asked(name, root, options)) is not None
    ]
    return sorted(found, key=lambda known: (known.problem is not None, -known.num_frames, known.name))


def _options(name: str, root: Path) -> list[dict[str, str]]:
    """Return the options besides the root with which a source is asked: of BOP, the splits that are there."""
    if name == "tartanair":
        return [{}, {"version": "v2"}]
    if name != "bop" or not root.is_dir():
        return [{}]
    splits = sorted(path.parent.parent.name for path in root.glob("*/*/scene_camera.json"))
    return [{} if split == "test" else {"split": split} for split in dict.fromkeys(splits)]


def _asked(name: str, root: Path, options: Mapping[str, str]) -> Known | None:
    try:
        source = build_source(name, sources.get(name).Config(root=root, **options))
    except (ValidationError, MissingDependencyError):
        return None
    sampler, findings = RunSampler(), list[Finding]()
    refs: Iterator[FrameRef]
    count = 0
    try:
        refs = source.candidates(findings.append)
        for _ in sampler.watch(refs):
            count += 1
        if source.to_prepare() is None and count:
            problem = _problem(source, sampler, findings)
            first = source.read(sampler.runs[0][0], frozenset())
            greatest_m = float(first.depth_m[first.valid].max(initial=0.0))
            return Known(name, root, count, tuple(source.labels), problem, options, greatest_m)
        return Known(name, root, count, tuple(source.labels), None, options) if count else None
    except (MissingDataError, OSError):
        return None
    except MissingDependencyError as error:
        return Known(name, root, max(count, 1), (), f"{error.message}; {error.remedy}")
    except (InputError, DepthforgeError) as error:
        return Known(name, root, count, (), _told(error)) if count else None
    finally:
        source.close()


def _problem(source: Source, sampler: RunSampler, findings: list[Finding]) -> str | None:
    examined = examine(source, sampler.runs[:2], frozenset(source.labels))
    for finding in [*findings, *examined.findings]:
        if finding.severity == "error":
            return f"{finding.message}{f'; {finding.remedy}' if finding.remedy else ''}"
    return None


def _told(error: Any) -> str:
    return f"{error.message}{f'; {error.remedy}' if error.remedy else ''}"
