"""A finished corpus that tests may read, and one that they may damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.corpus.corpora import build


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished corpus of 22 frames, one rejected; not to be changed."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def own_corpus(corpus: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(corpus, tmp_path / "own"))
