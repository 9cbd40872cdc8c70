"""Reading the posed plates of ``posed_trees`` as a BOP data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depthforge.frame import Finding, Frame, FrameRef
from depthforge.sources.bop import Bop, BopConfig


def source(root: Path, **fields: Any) -> Bop:
    return Bop(BopConfig(root=root, **fields))


def listed(root: Path, **fields: Any) -> tuple[list[FrameRef], str]:
    findings: list[Finding] = []
    refs = list(source(root, **fields).frames(findings.append))
    return refs, "\n".join(f"{finding.severity} {finding.path}: {finding.message}" for finding in findings)


def read(root: Path, index: int = 0, wanted: frozenset[str] | None = None, **fields: Any) -> Frame:
    reader = source(root, **fields)
    ref = list(reader.frames())[index]
    return reader.read(ref, frozenset(reader.labels) if wanted is None else wanted).require_sound()
