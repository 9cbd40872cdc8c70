"""The translator of a corpus, built again from the corpus alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.frame import Camera
from depthforge.labels.catalogue import INTRINSICS
from depthforge.manifest import Manifest
from depthforge.stages.prepare import make_translator
from depthforge.stages.redrawing import HoleFrequency, baseline_of, translator_of
from tests.stages.learned import write_weights
from tests.stages.runs import TINY, run

DRAWS = 4


def made(root: Path, translator: dict[str, Any], name: str = "made") -> tuple[Manifest, CorpusReader]:
    block = {**TINY, "translator": translator, "corpus": {"out": str(root / name)}}
    manifest = Manifest.model_validate(block)
    run(manifest)
    return manifest, CorpusReader(root / name)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, CorpusReader]:
    sensor = {"preset": "kinect_v1", "baseline_m": 0.08}
    return made(tmp_path_factory.mktemp("redrawing"), {"name": "simulation", "sensor": sensor})


def camera_of(K: np.ndarray, size: tuple[int, ...]) -> Camera:
    return Camera(K[0, 0], K[1, 1], K[0, 2], K[1, 2], size[1], size[0])


def test_it_is_the_translator_of_the_corpus_but_refuses_no_frame(corpus: tuple[Manifest, CorpusReader]) -> None:
    manifest, reader = corpus
    again = translator_of(reader)
    assert again.fingerprint == make_translator(manifest.translator).fingerprint
    assert again.config.min_kept == 0  # type: ignore[attr-defined]


def test_the_frequency_counts_holes_over_other_drawings(corpus: tuple[Manifest, CorpusReader]) -> None:
    _, reader = corpus
    frame = reader.read(0)
    camera = camera_of(frame.labels[INTRINSICS.name], frame.clean_valid.shape)
    probability = HoleFrequency(translator_of(reader), 0, DRAWS)(frame, camera)
    assert set(np.unique(probability * (DRAWS + 1) - 0.5).round(4).tolist()) <= set(range(DRAWS + 1))
    # What has no depth is a hole in every drawing, and most holes of the corpus are likely ones.
    assert (probability[~frame.clean_valid] == np.float32((DRAWS + 0.5) / (DRAWS + 1))).all()
    holes = ~frame.noisy_valid & frame.clean_valid
    assert probability[holes].mean() > 2 * probability[frame.noisy_valid].mean()
    again = HoleFrequency(translator_of(reader), 0, DRAWS)(frame, camera)
    assert np.array_equal(again, probability)
    other = HoleFrequency(translator_of(reader), 100, DRAWS)(frame, camera)
    assert not np.array_equal(other, probability)


def test_a_learned_translator_comes_from_the_weights_that_the_corpus_keeps(tmp_path: Path) -> None:
    manifest, reader = made(tmp_path, write_weights(tmp_path / "weights"))
    fingerprint = make_translator(manifest.translator).fingerprint
    shutil.rmtree(tmp_path / "weights")
    again = translator_of(reader)
    assert again.fingerprint == fingerprint
    frame = reader.read(0)
    camera = camera_of(frame.labels[INTRINSICS.name], frame.clean_valid.shape)
    assert HoleFrequency(again, 0, DRAWS)(frame, camera).shape == camera.size


def test_the_baseline_is_the_sensor_s(corpus: tuple[Manifest, CorpusReader], tmp_path: Path) -> None:
    assert baseline_of(corpus[1]) == 0.08
    assert baseline_of(made(tmp_path, {"name": "identity"})[1]) is None
    stated = corpus[1]
    source = {"name": "fused", "of": {"name": "rgbd_folder", "camera": {"fx": 500.0, "baseline_m": 0.055}}}
    manifest = {**stated.info.manifest, "source": source}
    reader = CorpusReader(stated.storage)
    reader.info = stated.info.model_copy(update={"manifest": manifest})
    assert baseline_of(reader) == 0.055
