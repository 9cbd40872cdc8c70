"""Fixtures for every test: where the real scans and the golden vectors lie, and said aloud when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from depthforge import registry

REPOSITORY = Path(__file__).resolve().parent.parent


def _shared(*parts: str) -> Path:
    root = Path(os.environ.get("DEPTHFORGE_SHARED", REPOSITORY.parent / "shared"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)} beside the checkout; set DEPTHFORGE_SHARED to the folder that holds it")
    return path


@pytest.fixture
def shared_data() -> Path:
    """The folder of real sensor scans and clean frames; skips where it is absent."""
    return _shared("data")


@pytest.fixture
def golden() -> Path:
    """The folder of reference inputs and outputs; skips where it is absent."""
    return _shared("golden")


@pytest.fixture
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture
def built_in_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the test the plug-ins that depthforge brings alone: other tests of the process may have registered more."""
    for known in (registry.sources, registry.sensors, registry.translators, registry.layouts):
        monkeypatch.setattr(known, "names", lambda known=known: sorted(known.built_in()))
