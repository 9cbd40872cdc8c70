"""The cloud's points are those of the frame."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.labels.catalogue import RGB
from depthforge.report import cloud
from depthforge.report.cloud import choose_cloud, make_cloud
from depthforge.report.frames import data_block
from depthforge.report.statistics import frame_figures
from tests.report.corpora import CAMERA, build_corpus


def test_steps_are_the_depths_that_were_measured(made: Path) -> None:
    reader = CorpusReader(made)
    found = make_cloud(reader, 0)
    assert found is not None
    frame = reader.read(0)
    assert list(found.depths) == ["clean", "noisy", "real"]
    for name, depth_m in (("clean", frame.clean_depth_m), ("noisy", frame.noisy_depth_m)):
        steps = found.depths[name]
        assert np.array_equal(steps > 0, depth_m > 0)
        assert steps * found.scale_m == pytest.approx(depth_m, abs=found.scale_m)
    assert np.array_equal(found.depths["real"] > 0, np.isfinite(frame.labels["depth_raw"]))
    assert (found.fx, found.cx, found.middle_m) == (CAMERA.fx, CAMERA.cx, 2.0)


def test_pixels_are_taken_not_averaged_and_the_camera_follows(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_MOST_ACROSS", 32)
    reader = CorpusReader(made)
    found = make_cloud(reader, 5)
    assert found is not None
    assert found.depths["clean"].shape == (found.height, found.width) == (24, 32)
    assert (found.fx, found.cx) == (CAMERA.fx / 2, CAMERA.cx / 2)
    depths_m = np.unique(np.round(found.depths["clean"] * found.scale_m, 3))
    assert depths_m.tolist() == [0, 1.2, 2.0]


def test_the_frame_is_the_median_of_the_shares_of_holes(made: Path) -> None:
    figures = frame_figures(CorpusReader(made))
    place = choose_cloud(figures)
    assert place is not None
    assert figures.holes[place] == np.sort(figures.holes)[(len(figures.holes) - 1) // 2]


def test_what_the_page_reads_are_little_endian_bytes(made: Path) -> None:
    found = make_cloud(CorpusReader(made), 0)
    assert found is not None
    value = json.loads(json.dumps(found.to_json()))
    steps = np.frombuffer(base64.b64decode(value["depths"]["clean"]), "<u2")
    assert np.array_equal(steps.reshape(48, 64), found.depths["clean"])
    assert len(base64.b64decode(value["rgb"])) == 48 * 64 * 3


def test_without_a_camera_there_is_no_cloud(tmp_path: Path) -> None:
    assert make_cloud(CorpusReader(build_corpus(tmp_path, num_frames=4, fields=(RGB,))), 0) is None


def test_data_cannot_end_its_block_early() -> None:
    value = {"key": "</script><!--<script>&"}
    block = data_block("data", value)
    inner = block.removeprefix('<script type="application/json" id="data">').removesuffix("</script>")
    assert not set("<>&") & set(inner)
    assert json.loads(inner) == value
