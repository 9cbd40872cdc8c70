"""A finished corpus of 22 frames without rejects, in two splits and three scenes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus.corpora import build


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return build(tmp_path_factory.mktemp("exported"), rejected=())
