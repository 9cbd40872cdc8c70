"""A lock in an object store is a lease: renewed while it is held, and free when its holder is no more."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from depthforge.corpus.layout import Layout
from depthforge.corpus.store import open_for_writing
from depthforge.errors import CorpusBusyError
from depthforge.storage import ObjectStorage, object_lease
from depthforge.storage.object_lease import Lease
from tests.corpus.corpora import make_info


def test_a_lease_that_is_not_renewed_is_free_and_its_holder_is_told(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lease, "LEASE_S", 1.0)
    monkeypatch.setattr(object_lease, "_SLACK_S", 1.0)
    monkeypatch.setattr(object_lease, "RENEW_EVERY_S", 1000.0)
    held = storage.try_lock(".lock")
    assert isinstance(held, Lease)
    assert held.is_held
    assert storage.try_lock(".lock") is None
    taken = None
    for _ in range(60):
        taken = storage.try_lock(".lock")
        if taken is not None:
            break
        threading.Event().wait(0.1)
    assert taken is not None
    assert not held.is_held
    taken.sign("the second")
    held.sign("the first")  # says nothing any more
    held.release()
    assert storage.lock_owner(".lock") == "the second"
    taken.release()
    assert storage.lock_owner(".lock") is None


def test_a_lease_is_renewed_for_as_long_as_it_is_held(storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_lease, "LEASE_S", 1.0)
    monkeypatch.setattr(object_lease, "_SLACK_S", 1.0)
    monkeypatch.setattr(object_lease, "RENEW_EVERY_S", 0.2)
    held = storage.try_lock(".lock")
    assert held is not None
    for _ in range(6):
        threading.Event().wait(0.4)
        assert storage.try_lock(".lock") is None
        assert held.is_held
    held.release()
    assert [each.name for each in storage._everything("")] == []


def test_a_run_that_lost_its_corpus_is_told_and_writes_no_more(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, plan_file = make_info(tmp_path, 22)
    with open_for_writing(bucket, info, plan_file) as corpus:
        corpus.require_lock()
        other = json.dumps({"token": "another's", "owner": "process 7 on elsewhere"}).encode()
        corpus.storage.write(Layout.lock, other)
        assert isinstance(corpus._lock, Lease)
        corpus._lock._renew()
        with pytest.raises(CorpusBusyError, match="has lost the corpus") as caught:
            corpus.finish()
        assert "process 7 on elsewhere" in str(caught.value)
    assert corpus.storage.lock_owner(Layout.lock) == "process 7 on elsewhere"
