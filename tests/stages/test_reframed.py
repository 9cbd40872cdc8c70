"""A manifest that asks for a sensor's own camera: the corpus holds its frames, however the source saw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.manifest import parse_manifest
from depthforge.stages.prepare import make_source, prepare
from depthforge.stages.sides import difference_of_scale
from tests.stages.runs import TINY, run

WIDE = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 1, "width": 1200, "height": 680, "focal_px": 600.0}
RUN = {**TINY, "source": WIDE, "splits": {"train": 1.0}, "translator": {"name": "simulation", "sensor": "kinect_v1"}}


def test_a_wide_rendering_becomes_a_kinects_frames(tmp_path: Path) -> None:
    source = {**WIDE, "reframe": "kinect_v1"}
    manifest = parse_manifest({**RUN, "source": source, "corpus": {"out": tmp_path / "corpus"}}, where="test")
    assert run(manifest).num_frames == 1
    reader = CorpusReader(manifest.corpus.out)
    assert (reader.schema.height, reader.schema.width) == (480, 640)
    frame = reader.read(0)
    np.testing.assert_array_equal(frame.labels["K"], [[585, 0, 319.5], [0, 585, 239.5], [0, 0, 1]])
    assert frame.clean_depth_m.shape == frame.labels["instance"].shape == (480, 640)
    assert 0 < np.isfinite(frame.noisy_depth_m).mean() <= 1
    whole = make_source(parse_manifest({**RUN, "corpus": {"out": tmp_path / "other"}}, where="test").source)
    before = whole.read(next(iter(whole.frames())), frozenset({"instance"}))
    # The ray of the target's pixel (100, 200) through the source's camera, whose centre is (600, 340).
    column, row = round((200 - 319.5) / 585 * 600 + 600), round((100 - 239.5) / 585 * 600 + 340)
    assert frame.labels["instance"][100, 200] == before.labels["instance"][row, column]
    assert verify_corpus(manifest.corpus.out, source=make_source(manifest.source)).ok


def test_another_camera_is_another_corpus_and_none_is_the_same_as_ever(tmp_path: Path) -> None:
    identities = []
    for reframe in (None, "kinect_v1", "primesense"):
        source = {**WIDE, "reframe": reframe}
        manifest = parse_manifest({**RUN, "source": source, "corpus": {"out": tmp_path / "corpus"}}, where="test")
        identities.append(make_source(manifest.source).identity.to_json()["fields"].get("reframe"))
    assert identities[0] is None
    assert [each["fx"] for each in identities[1:]] == [585, 571.55]


def test_a_run_of_frames_that_are_too_narrow_ends_before_it_begins(tmp_path: Path) -> None:
    source = {**WIDE, "width": 320, "height": 240, "reframe": "kinect_v1"}
    manifest = parse_manifest({**RUN, "source": source, "corpus": {"out": tmp_path / "corpus"}}, where="test")
    with pytest.raises(InputError, match="too narrow for the camera of `reframe`") as raised, prepare(manifest):
        pass
    assert "wider field of view" in str(raised.value.remedy)
    assert not (tmp_path / "corpus").exists()


def test_sides_of_other_scales_are_told_the_camera_to_ask_for(tmp_path: Path) -> None:
    clean, real = Camera(600, 600, 599.5, 339.5, 1200, 680), Camera(365.5, 365.5, 255.5, 211.5, 512, 424)
    told = difference_of_scale(clean, real)
    assert told is not None
    assert "focal lengths of 600 px (clean) and 365.5 px (real)" in told
    asked = yaml.safe_load(told[told.index("reframe:") :])
    source = {**WIDE, **asked}
    manifest = parse_manifest({**RUN, "source": source, "corpus": {"out": tmp_path / "corpus"}}, where="test")
    reframed = make_source(manifest.source)
    frame = reframed.read(next(iter(reframed.frames())), frozenset())
    assert frame.camera == real
    assert difference_of_scale(frame.camera, real) is None
