"""A finished corpus with rejects, and one of which every name is hostile; neither is to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.corpora import EVIL, build_corpus


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of four scenes in two splits, two of them rejected."""
    return build_corpus(tmp_path_factory.mktemp("made"), rejected=(3, 4))


@pytest.fixture(scope="session")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with markup in every name and text."""
    return build_corpus(tmp_path_factory.mktemp("evil"), evil=EVIL, rejected=(3, 4))
