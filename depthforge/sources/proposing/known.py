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

__all__ = ["Known", "known_below", "known_layouts"]

_NOT_ASKED: Final = frozenset({"procedural", "fused", "rgbd_folder"})
#: The parts of KITTI lie in folders of their own below what people call its root.
_BELOW_KITTI: Final = ("", "raw", "depth_completion", "object", "odometry")
_SPLITS_OF_KITTI: Final = ("train", "val", "val_selection_cropped")
_MOST_FOLDERS: Final = 16


class Known(NamedTuple):
    """A layout that lists frames. ``problem`` is why it cannot be used as it is, None where it can."""

    name: str
    root: Path
    num_frames: int
    labels: tuple[str, ...]
    problem: str | None
    options: Mapping[str, Any] = {}
    greatest_m: float = 0.0


def known_layouts(root: Path) -> list[Known]:
    """Return the layouts that list frames under ``root``: those that read well first, most frames first."""
    found = [
        known
        for name in sources.names()
        if name not in _NOT_ASKED
        for place, options in _places(name, root)
        if place.exists() and (known := _asked(name, place, options)) is not None
    ]
    return sorted(found, key=lambda known: (known.problem is not None, -known.num_frames, known.name))


def known_below(root: Path) -> list[Known]:
    """Return the layouts in the folders of ``root``, for one that lies a level above: as :func:`known_layouts`."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if root.is_dir() else []
    found = [known for folder in folders[:_MOST_FOLDERS] for known in known_layouts(folder)]
    return sorted(found, key=lambda known: (known.problem is not None, -known.num_frames, known.name))


def _places(name: str, root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the roots that a source is asked for, with options: what lies below its root may have been pointed at."""
    if name != "kitti":
        yield from ((root, options) for options in _options(name, root))
        return
    for place, options in _places_of_kitti(root):
        yield place, options
        yield place, {**options, "camera": 0}  # where the grey images alone were unpacked


def _places_of_kitti(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    yield from ((root / below, {}) for below in _BELOW_KITTI)
    if root.name in _SPLITS_OF_KITTI:
        yield root.parent, {"split": root.name}
    elif root.name == "sequences":
        yield root.parent, {}
    elif root.parent.name == "sequences":
        yield root.parent.parent, {"include": [f"sequence-{root.name}"]}
    elif root.name.endswith("_sync"):
        split = {"split": root.parent.name} if root.parent.name in _SPLITS_OF_KITTI else {}
        yield root.parent.parent if split else root.parent, {"include": [root.name], **split}


def _options(name: str, root: Path) -> list[dict[str, str]]:
    """Return the options besides the root with which a source is asked: of BOP, the splits that are there."""
    if name == "tartanair":
        return [{}, {"version": "v2"}]
    if name != "bop" or not root.is_dir():
        return [{}]
    splits = sorted(path.parent.parent.name for path in root.glob("*/*/scene_camera.json"))
    return [{} if split == "test" else {"split": split} for split in dict.fromkeys(splits)]


def _asked(name: str, root: Path, options: Mapping[str, Any]) -> Known | None:
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
