"""Fixtures for every test: where the real scans and the golden vectors lie, and said aloud when they do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthforge import registry
from tests.heads import Head, ray_head, short_folder

# Ray reads it when it is imported, and a local Ray changes it for those that are joined later.
os.environ["RAY_AUTH_MODE"] = "disabled"

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with Ray first: a process that began the longest file last would keep all others waiting."""
    on_ray = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in on_ray)


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


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A Ray of two cores for all tests of this process: to start one takes eight seconds, to join it one.

    Skips where there is no Jobs API.
    """
    pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
    with short_folder() as folder, ray_head(REPOSITORY, folder) as started:
        yield started
