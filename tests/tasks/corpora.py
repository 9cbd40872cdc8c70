"""Tiny corpora for tasks: procedural rooms with simulated noise, and others whose real scans are simulated, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from depthforge.frame import Frame, FrameRef
from depthforge.labels.catalogue import DEPTH_RAW
from depthforge.labels.spec import LabelSpec
from depthforge.manifest import Manifest
from depthforge.registry import sources
from depthforge.seeding import frame_words
from depthforge.sensors.preset import parse_sensor
from depthforge.sources.procedural import Procedural
from tests.stages.runs import run

ROOMS: dict[str, Any] = {"num_scenes": 2, "frames_per_scene": 4, "width": 96, "height": 72, "focal_px": 90.0}


@sources.register("scanned_rooms")
class ScannedRooms(Procedural):
    """Procedural rooms whose exact depth is the truth, and in which a simulated sensor stands for the real one."""

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        return {**super().labels, DEPTH_RAW.name: DEPTH_RAW}

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        frame = super().read(ref, wanted - {DEPTH_RAW.name})
        depth_m, valid = parse_sensor("gaussian_dropout").measure(frame, frame_words(3, ref.key, "scan"))
        raw_m = np.where(valid, depth_m, np.float32(np.nan))
        return replace(frame, labels={**frame.labels, DEPTH_RAW.name: raw_m})


def make_corpus(out: Path, source: str = "procedural", **fields: Any) -> Path:
    """Convert eight tiny frames of two rooms, and return where they are."""
    options: dict[str, Any] = {
        "name": "tiny",
        "source": {"name": source, **ROOMS, "seed": 1 if source == "scanned_rooms" else 0},
        "translator": {"name": "simulation"},
        "corpus": {"out": str(out), "shard_frames": 4},
        **fields,
    }
    run(Manifest.model_validate(options))
    return out
