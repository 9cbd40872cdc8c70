"""An object store behind a proxy that can make it fail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

from depthforge.storage import ObjectStorage, object_client, open_storage
from tests.storage.faulty_proxy import Proxy, running_proxy
from tests.storage.object_server import ObjectServer


@pytest.fixture
def proxy(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    quick = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(milliseconds=20), "base": 2}
    monkeypatch.setattr(object_client, "_RETRIES", {**object_client._RETRIES, "max_retries": 3, "backoff": quick})
    with running_proxy(object_server.port) as running:
        for name, value in object_server.environment(running.url).items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def storage(proxy: Proxy) -> ObjectStorage:
    opened = open_storage(f"s3://corpora/{uuid.uuid4().hex}")
    assert isinstance(opened, ObjectStorage)
    return opened
