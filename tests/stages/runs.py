"""Tiny runs for tests, and what they leave on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depthforge.manifest import Manifest
from depthforge.stages.convert import ConversionReport, convert
from depthforge.stages.prepare import prepare

TINY: dict[str, Any] = {
    "name": "tiny",
    "source": {
        "name": "procedural",
        "num_scenes": 3,
        "frames_per_scene": 4,
        "width": 96,
        "height": 72,
        "focal_px": 90.0,
    },
    "translator": {"name": "simulation"},
    "splits": {"train": 0.5, "val": 0.5},
    "corpus": {"out": "unset", "shard_frames": 3},
}


def run(manifest: Manifest, **options: Any) -> ConversionReport:
    """Prepare and convert, inline unless told otherwise."""
    options = {"num_workers": 1, "inline": True, **options}
    with prepare(manifest) as prepared:
        return convert(prepared, out=manifest.corpus.out, **options)


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of a corpus by its relative path, the lock aside."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
