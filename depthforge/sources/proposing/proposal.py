"""From a root to the text of a manifest that `check` passes, or that names what a person has to fill in.

Known layouts are asked first (``known``): the one that reads most frames well is taken. What none of them reads well is
described as ``rgbd_folder`` (``folder``). Nothing is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthforge.errors import DepthforgeError, InputError, MissingDataError
from depthforge.registry import sources
from depthforge.sources.file_tree import ARCHIVE_SUFFIXES
from depthforge.sources.proposing.described import FILL_IN, Described
from depthforge.sources.proposing.folder import describe_folder
from depthforge.sources.proposing.known import Known, known_below, known_layouts
from depthforge.sources.resized import build_source
from depthforge.sources.rosbag.bags import BAG_SUFFIXES

__all__ = ["Proposal", "propose"]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_FARTHEST_M = 65.0
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off"})
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")


@dataclass(frozen=True)
class Proposal:
    """The text of a manifest; the evidence, line by line; what is to fill in before `check` passes; what is unknown."""

    manifest: str
    evidence: tuple[str, ...]
    fill_in: tuple[str, ...]
    unknown: tuple[str, ...]


def propose(root: Path, *, is_real: bool) -> Proposal:
    """Return what the data under ``root`` (a folder, an archive, a bag) seems to be; ``is_real``: scans of a sensor.

    Raises MissingDataError where there is no such place, where it is empty and where nothing in it is depth.
    """
    root = root.expanduser().absolute()
    if not root.exists():
        raise MissingDataError("no such folder", where=root, expected="a folder, an archive or a bag")
    if root.is_dir() and not any(root.iterdir()):
        raise MissingDataError("an empty folder", where=root, expected="depth images, or a layout of a data set")
    name = re.sub(r"[^a-z0-9_.-]+", "-", root.stem.lower() if root.is_file() else root.name.lower()).strip("-._")
    name = name if name and name[0].isalnum() else f"data-{name}".rstrip("-")
    known = known_layouts(root)
    if root.is_file() and root.suffix.lower() not in ARCHIVE_SUFFIXES and not known:
        raise _damaged_bag(root) or _not_read(root)
    if known and known[0].problem is None:
        described = _of_known(known[0], known[1:])
    else:
        described = _of_folder(root, name, known)
    text = _manifest(name, described, is_real=is_real)
    evidence = [f"{field}: {line}" for field in described.block for line in described.comments.get(field, ())]
    return Proposal(text, tuple(evidence), tuple(described.fill_in), tuple(described.unknown))


def _damaged_bag(root: Path) -> DepthforgeError | None:
    """Return what is wrong with a recording, or with those in a folder; None where there is none, or nothing wrong."""
    files = [root] if root.is_file() else sorted(root.iterdir())
    if not any(path.suffix.lower() in BAG_SUFFIXES for path in files):
        return None
    try:
        source = build_source("rosbag", sources.get("rosbag").Config(root=root))
        for _ in source.candidates(lambda finding: None):
            pass
    except DepthforgeError as error:
        return error
    return None


def _not_read(root: Path) -> DepthforgeError:
    """Return why a file is nothing to read from."""
    is_packed = root.name.lower().endswith(_PACKED)
    return InputError(
        "an archive that cannot be read in place" if is_packed else "not a folder, an archive or a bag",
        where=root,
        expected="a folder, a .zip or .tar, or a recording (.bag, .mcap, .db3)",
        found="a compressed archive: its files cannot be read one by one"
        if is_packed
        else f"a {root.suffix or 'file'}",
        remedy="unpack it and point to the folder, or to a .tar of it" if is_packed else "point to the folder it is in",
    )


def _of_known(known: Known, others: Sequence[Known]) -> Described:
    found = Described({"name": known.name, "root": str(known.root), **known.options})
    labels = ", ".join(known.labels) or "none"
    found.greatest_m = known.greatest_m
    found.say("name", f"the layout of {known.name}: {known.num_frames} frames; labels: {labels}")
    for other in others:
        if other.problem is None:
            found.say("name", f"{other.name} would read {other.num_frames} frames")
    return found


def _of_folder(root: Path, name: str, known: Sequence[Known]) -> Described:
    try:
        found = describe_folder(root, name)
    except DepthforgeError as error:
        below = [] if known else known_below(root)
        if below and below[0].problem is None:
            found = _of_known(below[0], ())
            found.say("root", *(f"not used: {each.root}, {each.name}, {each.num_frames} frames" for each in below[1:]))
            return found
        known = known or below
        if not known:
            raise (_damaged_bag(root) or error) from None
        raise InputError(
            f"this looks like the layout of {known[0].name}, which cannot be read as it is",
            where=known[0].root,
            found=known[0].problem,
            remedy=error.remedy,
        ) from None
    for other in known:
        found.say("name", f"lies like {other.name} too, which does not fit: {other.problem}")
    return found


def _manifest(name: str, described: Described, *, is_real: bool) -> str:
    head = [f"# Proposed by `depthforge init` from what lies under {described.block['root']}"]
    if is_real:
        head += [
            "# The real side. It is used as `training.real: (the source block below)` of a manifest, and as this file:",
            "#   depthforge fit SENSOR --real FILE.yaml          depthforge evaluate CORPUS --real FILE.yaml",
        ]
    else:
        head += ["# Next: depthforge check FILE.yaml, then depthforge synthesize FILE.yaml"]
    head += [f"# TO FILL IN: {line}" for line in described.fill_in]
    head += [f"# Not known: {line}" for line in described.unknown]
    lines = [*head, f"name: {_yaml(name)}", "source:"]
    for field, value in described.block.items():
        lines += [f"  # {line}" for line in described.comments.get(field, ())]
        lines.append(f"  {field}: {_yaml(value)}")
    lines += [
        f"  # {line}" for field, more in described.comments.items() if field not in described.block for line in more
    ]
    if is_real:
        lines += ["translator:", "  name: identity"]
    else:
        lines += ["translator:", "  name: simulation", "  sensor: d435  # `depthforge list` names the others"]
    lines += ["corpus:", f"  out: {_yaml(f'corpora/{name}')}"]
    if described.greatest_m > _FARTHEST_M / 2:
        lines += [
            "  # 16 bits hold 655 m in steps of 1 cm; steps of 1 mm, the default, hold 65 m",
            "  depth: {scale_m: 0.01}",
        ]
    printable = (line.encode(errors="backslashreplace").decode() for line in lines)
    return "\n".join(line.replace("\n", " ") for line in printable) + "\n"


def _yaml(value: Any) -> str:
    """Return a value as it stands in a block, mappings and lists in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_yaml(each) for each in value) + "]"
    if isinstance(value, str) and value != FILL_IN and not (_PLAIN.fullmatch(value) and value.lower() not in _WORDS):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)
