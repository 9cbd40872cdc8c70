"""Corpora that the tests of tasks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.corpora import make_corpus


@pytest.fixture(scope="package")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of clean and noisy depth."""
    return make_corpus(tmp_path_factory.mktemp("tasks") / "synthetic")


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of truth and of what a sensor measured in its views."""
    return make_corpus(tmp_path_factory.mktemp("tasks") / "real", "scanned_rooms")
