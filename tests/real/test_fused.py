"""RedKitchen against its own fused truth: the residuals of the README beside the data, on a few of its frames.

There 240 frames give 5.9 / 6.8 / 8.3 / 9.3 / 12.0 mm (5/25/50/75/95 % of frames); fusing 240 here gives 5.6 / 6.2 / 7.1
/ 8.7 / 11.0 over all 400, and the 20 of this test 5.6 / 6.4 / 7.5 / 8.3 / 10.8
(``python -m benchmarks.bench_fused --frames 20 --fused 20``).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from depthforge.frame import Finding
from depthforge.manifest import PluginBlock
from depthforge.registry import sources
from depthforge.sources.fused import Fused

pytest.importorskip("open3d", exc_type=ImportError)

REDKITCHEN = {
    "name": "rgbd_folder",
    "dataset": "7scenes",
    "scene": "redkitchen",
    "depth": "frame-{frame}.depth.png",
    "depth_scale": 1000,
    "invalid": [0, 65535],
    "camera": {"width": 640, "height": 480, "matrix_file": "camera-intrinsics.txt"},
    "pose": {"file": "frame-{frame}.pose.txt"},
}


def test_a_real_sequence_agrees_with_its_fused_truth(shared_data: Path, tmp_path: Path) -> None:
    of = {**REDKITCHEN, "root": str(shared_data / "real/redkitchen_kinect"), "every": 20}
    block = {"name": "fused", "of": of, "prepared": str(tmp_path), "min_weight": 3, "max_residual_m": 0.012}
    source: Fused = sources.get("fused")(PluginBlock.parse(sources, block).config)
    source.prepare()
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    quantiles = re.search(r"truth\| ([\d./]+) mm", findings[-1].message)
    assert quantiles is not None
    residuals_mm = [float(value) for value in quantiles[1].split("/")]
    np.testing.assert_allclose(residuals_mm, [5.9, 6.8, 8.3, 9.3, 12.0], atol=2.0)
    assert len(refs) >= 10

    frame = source.read(refs[len(refs) // 2], frozenset({"depth_raw", "normals"})).require_sound()
    raw = frame.labels["depth_raw"].astype(np.float64)
    both = frame.valid & np.isfinite(raw)
    assert both.mean() > 0.6
    assert abs(np.median(raw[both] - frame.depth_m[both])) < 0.006, "no bias between measurement and truth"
    holes = ~np.isfinite(raw)
    assert 0.02 < (holes & frame.valid).mean() < 0.2, "truth where the Kinect saw nothing"
