"""Fixtures for every test: where the real scans and the golden vectors lie, and said aloud when they do not."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from depthforge import registry
from tests.heads import Head, ray_head, short_folder
from tests.storage.object_server import ObjectServer, running_server

# Ray reads it when it is imported, and a local Ray changes it for those that are joined later.
os.environ["RAY_AUTH_MODE"] = "disabled"
# Ray lets its workers yield to everything else; beside other tests they would hardly move.
os.environ.update(RAY_worker_niceness="0")

# No test asks an object store that is not its own: a URL without the fixture `bucket` leads nowhere.
os.environ.update(AWS_ENDPOINT_URL="http://127.0.0.1:1", AWS_ALLOW_HTTP="true")
os.environ.update(AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="nothing")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what wants a GPU where there is none, and spread the files that start a Ray over all others.

    The first mostly wait, the others compute.
    """
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if any(item.get_closest_marker("ray") for item in files[path])]
    place = {path: (index + 0.5) / len(waiting) for index, path in enumerate(waiting)}
    computing = [path for path in files if path not in place]
    place |= {path: index / len(computing) for index, path in enumerate(computing)}
    items[:] = [item for path in sorted(files, key=place.__getitem__) for item in files[path]]


def _skip_without_gpu(items: list[pytest.Item]) -> None:
    if not items:
        return
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason=f"no GPU that torch {torch.__version__} can use")
        for item in items:
            item.add_marker(skip)


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
    for known in (
        registry.sources,
        registry.sensors,
        registry.translators,
        registry.tasks,
        registry.layouts,
        registry.formats,
    ):
        monkeypatch.setattr(known, "names", lambda known=known: sorted(known.built_in()))


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A Ray of two cores for all tests of this process: to start one takes eight seconds, to join it one.

    Skips where there is no Jobs API.
    """
    pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
    with short_folder() as folder, ray_head(REPOSITORY, folder) as started:
        yield started


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A real S3 server on the loopback, one for all tests of a process."""
    with running_server(tmp_path_factory.mktemp("object-server")) as server:
        yield server


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new and empty place in the object server, which the environment leads to."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://corpora/{uuid.uuid4().hex}"
