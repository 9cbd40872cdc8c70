"""An object store that fails: after each fault the result is right, or one clear error says what is not."""

from __future__ import annotations

import os
import sys
import threading
import uuid

import pytest

from depthforge.errors import MissingDependencyError, StorageError
from depthforge.storage import ObjectStorage, object_client, open_storage
from depthforge.storage.object_store import PART_BYTES
from tests.storage.faulty_proxy import Fault, Proxy
from tests.storage.object_server import SECRET_KEY, ObjectServer

CONTENT = bytes(range(256)) * 400


def first(count: int, fault: Fault, method: str, part: str = "") -> object:
    """Return a rule by which the first ``count`` requests of a kind get a fault."""
    left = [count]

    def rule(asked: str, path: str) -> Fault | None:
        if asked != method or part not in path or not left[0]:
            return None
        left[0] -= 1
        return fault

    return rule


@pytest.mark.parametrize("fault", ["500", "503", "slow", "truncated", "dropped", "lost answer"])
def test_a_read_that_fails_at_first_gives_the_content(proxy: Proxy, storage: ObjectStorage, fault: Fault) -> None:
    storage.write("x", CONTENT)
    proxy.rule = first(2, fault, "GET")  # type: ignore[assignment]
    assert storage.read("x") == CONTENT
    proxy.rule = first(2, fault, "GET")  # type: ignore[assignment]
    assert storage.read_range("x", 1000, 5000) == CONTENT[1000:6000]
    proxy.rule = first(2, fault, "HEAD")  # type: ignore[assignment]
    assert storage.size("x") == len(CONTENT)
    proxy.rule = first(2, fault, "GET", "list-type")  # type: ignore[assignment]
    assert [each.name for each in storage.objects()] == ["x"]
    assert len(proxy.faults) >= (4 if fault == "slow" else 5)


@pytest.mark.parametrize("fault", ["500", "503", "slow", "dropped", "lost answer"])
def test_a_write_that_fails_at_first_puts_the_content(proxy: Proxy, storage: ObjectStorage, fault: Fault) -> None:
    proxy.rule = first(2, fault, "PUT")  # type: ignore[assignment]
    storage.write("x", CONTENT)
    proxy.rule = first(2, fault, "PUT", "partNumber")  # type: ignore[assignment]
    large = CONTENT * (1 + 2 * PART_BYTES // len(CONTENT))
    storage.write("large", large)
    proxy.rule = first(2, fault, "POST")  # type: ignore[assignment]
    storage.delete("absent", "x")
    proxy.rule = lambda method, path: None
    assert storage.read("large") == large
    assert [each.name for each in storage.objects()] == ["large"]


@pytest.mark.parametrize("part", ["uploads", "uploadId"])
@pytest.mark.parametrize("fault", ["500", "dropped", "lost answer"])
def test_a_large_object_whose_begin_or_end_fails_at_first_is_put_or_the_error_is_clear(
    proxy: Proxy, storage: ObjectStorage, fault: Fault, part: str
) -> None:
    large = CONTENT * (1 + 2 * PART_BYTES // len(CONTENT))
    proxy.rule = first(1, fault, "POST", part)  # type: ignore[assignment]
    storage.write("large", large)
    assert proxy.faults
    proxy.rule = lambda method, path: None
    assert storage.read("large") == large


@pytest.mark.parametrize("fault", ["500", "dropped", "truncated"])
def test_a_store_that_keeps_failing_is_one_clear_error(proxy: Proxy, storage: ObjectStorage, fault: Fault) -> None:
    storage.write("x", CONTENT)
    proxy.rule = lambda method, path: fault
    with pytest.raises(StorageError, match="nothing could be read") as caught:
        storage.read("x")
    assert storage.where("x") in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert "Debug source" not in str(caught.value)
    if fault != "truncated":
        with pytest.raises(StorageError, match="nothing could be written"):
            storage.write("x", b"new")
    proxy.rule = lambda method, path: None
    assert storage.read("x") == CONTENT


@pytest.mark.parametrize("fault", ["500", "dropped", "lost answer"])
def test_of_a_conditional_put_with_a_lost_answer_the_writer_knows_that_it_won(
    proxy: Proxy, storage: ObjectStorage, fault: Fault
) -> None:
    proxy.rule = first(1, fault, "PUT")  # type: ignore[assignment]
    assert storage.put_if_absent("x", b"mine")
    assert proxy.faults
    assert not storage.put_if_absent("x", b"mine"), "the same content of another writer is another object"
    assert storage.read("x") == b"mine"


def test_of_many_that_put_through_a_failing_store_one_does(proxy: Proxy, storage: ObjectStorage) -> None:
    count, lock = [0], threading.Lock()

    def rule(method: str, path: str) -> Fault | None:
        with lock:
            count[0] += 1
            return ("lost answer", "500", None)[count[0] % 3] if method == "PUT" else None  # type: ignore[return-value]

    proxy.rule = rule
    won: list[int] = []
    failed: list[int] = []

    def put(number: int) -> None:
        try:
            if storage.put_if_absent("x", b"%d" % number):
                won.append(number)
        except StorageError:
            failed.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.rule = lambda method, path: None
    assert len(won) <= 1
    assert int(storage.read("x")) in (won or failed)


def test_a_412_for_an_object_that_is_not_there_is_a_race_that_was_lost(proxy: Proxy, storage: ObjectStorage) -> None:
    proxy.rule = first(1, "precondition", "PUT")  # type: ignore[assignment]
    assert not storage.put_if_absent("x", b"mine")
    assert not storage.exists("x")
    assert storage.put_if_absent("x", b"mine")


def test_a_store_that_says_it_took_what_it_did_not_is_found_out(proxy: Proxy, storage: ObjectStorage) -> None:
    proxy.rule = first(1, "ignored", "PUT", "shards/a.zarr/x")  # type: ignore[assignment]
    staged = storage.stage("shards/a.zarr")
    staged.write("x", b"content")
    staged.write("y", b"content")
    with pytest.raises(StorageError, match="does not have all of it") as caught:
        staged.publish()
    staged.drop()
    assert "shards/a.zarr/x" in str(caught.value)


def test_a_store_without_conditional_puts_has_one_winner_all_the_same(
    proxy: Proxy, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("depthforge.storage.object_store.SETTLE_S", 0.3)
    conditional: list[str] = []

    def put(self: object, *arguments: object, mode: object = None, **options: object) -> object:
        if mode is not None:
            conditional.append(str(mode))
            raise object_client.library().exceptions.NotSupportedError("501 Not Implemented: not supported")
        return real(self, *arguments, **options)

    real = object_client.library().put
    monkeypatch.setattr(object_client.library(), "put", put)
    won: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: won.append(n) if storage.put_if_absent("x", b"%d" % n) else None)
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert storage.read("x") == b"%d" % won[0]
    assert not storage.put_if_absent("x", b"late")
    lock = storage.try_lock(".lock")
    assert lock is not None
    assert storage.try_lock(".lock") is None
    lock.sign("me")
    assert storage.lock_owner(".lock") == "me"
    lock.release()
    assert conditional


def test_a_wrong_key_is_said_without_the_key(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY[::-1])
    storage = open_storage("s3://corpora/x")
    for use in (lambda: storage.write("x", b""), lambda: storage.read("x"), lambda: list(storage.objects())):
        with pytest.raises(StorageError, match="does not let us in") as caught:
            use()
        text = repr(caught.value) + str(caught.value) + str(caught.value.to_json())
        assert SECRET_KEY[::-1] not in text
        assert "AWS_ACCESS_KEY_ID" in text
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_server_that_is_not_there_is_said_within_seconds(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        open_storage("s3://corpora/x").read("x")
    assert "AWS_ENDPOINT_URL" in str(caught.value)


def test_an_endpoint_with_a_password_is_refused_and_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:s3cr-et@127.0.0.1:1")
    with pytest.raises(ValueError, match="holds a user or a password") as caught:
        open_storage("s3://corpora/x").read("x")
    assert "s3cr-et" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said(storage: ObjectStorage) -> None:
    for use in (lambda s: s.read("x"), lambda s: list(s.objects()), lambda s: s.size("x")):
        with pytest.raises((StorageError, FileNotFoundError)) as caught:
            use(open_storage(f"s3://none-{uuid.uuid4().hex}/x"))
        assert isinstance(caught.value, StorageError) == ("no such bucket" in str(caught.value))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_client, "_process", object_client._Process(is_forked=False))
    monkeypatch.setitem(sys.modules, "obstore", None)
    storage = open_storage("s3://corpora/x")  # nothing is asked of it yet
    with pytest.raises(MissingDependencyError, match="need the library obstore") as caught:
        storage.read("x")
    assert "pip install 'depthforge[cloud]'" in str(caught.value)


def test_a_forked_child_and_its_child_have_a_library_that_answers(storage: ObjectStorage) -> None:
    storage.write("x", b"content")

    def reads_and_forks(depth: int) -> int:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            found = storage.read("x") == b"content" and not storage.exists("absent")
            storage.write(f"by-{depth}", b"x")
            os._exit(0 if found and (depth == 0 or reads_and_forks(depth - 1) == 0) else 1)
        finally:
            os._exit(2)

    assert reads_and_forks(1) == 0
    assert [each.name for each in storage.objects()] == ["by-0", "by-1", "x"]
