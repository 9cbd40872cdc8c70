"""One frame as ordinary files: the stored numbers, and what they mean."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.corpus.extract import extract
from depthforge.corpus.picture import picture
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import InputError, MissingDataError
from tests.corpus.corpora import SCHEMA, build, clean_mm, noisy_mm, ref


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return build(tmp_path / "corpus", 5, SCHEMA, rejected=())


def test_every_field_is_a_file_that_says_what_it_is(corpus: Path, tmp_path: Path) -> None:
    key, folder = ref(2).key, tmp_path / "frame"
    written = extract(corpus, key, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)
    np.testing.assert_array_equal(cv2.imread(str(folder / "depth_clean.png"), cv2.IMREAD_UNCHANGED), clean_mm(2))
    np.testing.assert_array_equal(cv2.imread(str(folder / "depth_noisy.png"), cv2.IMREAD_UNCHANGED), noisy_mm(2))
    frame = CorpusReader(corpus).read(key)
    np.testing.assert_array_equal(cv2.imread(str(folder / "rgb.png"))[..., ::-1], frame.labels["rgb"])
    np.testing.assert_array_equal(np.load(folder / "normals.npy"), frame.labels["normals"])
    np.testing.assert_array_equal(np.loadtxt(folder / "K.txt"), frame.labels["K"])
    said = json.loads((folder / "frame.json").read_text())
    assert said["key"] == key
    assert said["files"]["depth_noisy.png"]["metres_per_step"] == 0.001
    assert said["files"]["depth_noisy.png"]["units"] == "m"
    assert set(said["files"]) == {path.name for path in written} - {"frame.json"}


def test_nothing_is_overwritten_and_an_unknown_key_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="holds files already"):
        extract(corpus, ref(0).key, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(MissingDataError):
        extract(corpus, "tiny/scene-99/0000", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_points_stand_beside_depth_in_a_picture(corpus: Path, tmp_path: Path) -> None:
    picture(corpus, tmp_path / "sheet.png", keys=[ref(1).key])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    column = sheet[60:-50, 3 * 240 : 4 * 240]
    assert (column > 0).any()
