"""The battery for a storage: what ``depthforge.storage.base.Storage`` promises, as tests.

Whoever writes one inherits it and says how to open a new, empty one::

    class TestMyStorage(StorageTests):
        @pytest.fixture
        def storage(self):
            return MyStorage("my://place")

``dies`` in a test is a process that ends in the middle of its work, as kill -9 ends it.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from typing import ClassVar

import pytest

from depthforge.errors import InputError
from depthforge.storage import Storage, StoredObject, name_order, open_storage

__all__ = ["StorageTests"]

NAMES_OUTSIDE = ("../x", "a/../../x", "/etc/x", "a//x", "./x", "a/.", "", "a\0x")


class StorageTests:
    """Inherit, and define the fixture ``storage``: a new and empty one."""

    renames: ClassVar[bool] = True
    """False where staged objects lie under their final names at once."""

    def test_what_is_put_is_there_whole_and_can_be_replaced(self, storage: Storage) -> None:
        assert not storage.exists("a/b/c.bin")
        storage.write("a/b/c.bin", b"first")
        storage.write("a/b/c.bin", b"second value")
        assert storage.exists("a/b/c.bin")
        assert not storage.exists("a/b"), "a prefix is no object"
        assert storage.read("a/b/c.bin") == b"second value"
        assert storage.size("a/b/c.bin") == 12
        storage.write("empty", b"")
        assert storage.read("empty") == b""

    def test_ranges_are_those_of_the_object(self, storage: Storage) -> None:
        content = bytes(range(256)) * 5
        storage.write("bytes", content)
        reader = storage.open("bytes")
        assert reader.size == len(content)
        for offset, length in ((0, 10), (1000, 100), (1270, 100), (1280, 5), (3, 0), (0, 5000)):
            assert storage.read_range("bytes", offset, length) == content[offset : offset + length]
            assert reader.read_at(offset, length) == content[offset : offset + length]
        with reader.file() as file:
            assert file.read(7) == content[:7]
            assert file.seek(-5, os.SEEK_END) == 1275
            assert file.read() == content[-5:]

    def test_what_is_not_there_is_not_found(self, storage: Storage) -> None:
        storage.write("a/b", b"x")
        for name in ("absent", "a/absent", "a/b/below"):
            for look in (storage.read, storage.size, storage.open):
                with pytest.raises(FileNotFoundError):
                    look(name)
            assert not storage.exists(name)
        assert list(storage.objects("absent")) == []
        assert storage.children("absent") == []

    def test_a_listing_is_sorted_and_says_sizes(self, storage: Storage) -> None:
        assert list(storage.objects()) == []
        names = ["z", "b/2", "b/10", "b/1/x", "b.txt", "a/späße/深度", "b-c/d"]
        for size, name in enumerate(names):
            storage.write(name, b"x" * size)
        found = [StoredObject(name, size) for size, name in enumerate(names)]
        assert list(storage.objects()) == sorted(found, key=lambda object: name_order(object.name))
        assert [name for name, _ in storage.objects("b")] == ["b/1/x", "b/10", "b/2"]
        assert storage.children() == ["a", "b", "b-c", "b.txt", "z"]
        assert storage.children("b") == ["1", "10", "2"]
        assert storage.read("a/späße/深度") == b"x" * 5

    def test_names_that_lead_out_are_refused(self, storage: Storage) -> None:
        uses: tuple[Callable[[str], object], ...] = (
            storage.read,
            storage.open,
            storage.size,
            storage.exists,
            storage.delete,
            storage.delete_prefix,
            storage.stage,
            storage.try_lock,
            lambda name: storage.write(name, b""),
            lambda name: storage.put_if_absent(name, b""),
        )
        for name in NAMES_OUTSIDE:
            for use in uses:
                with pytest.raises(InputError, match="not the name of an object"):
                    use(name)
        assert list(storage.objects()) == []

    def test_what_is_deleted_is_gone_and_deleting_it_again_is_nothing(self, storage: Storage) -> None:
        for name in ("a/1", "a/2", "a/deep/3", "ab"):
            storage.write(name, b"x")
        storage.delete("a/1", "a/absent", "no/such/thing")
        storage.delete("a/1")
        assert [name for name, _ in storage.objects()] == ["a/2", "a/deep/3", "ab"]
        storage.delete_prefix("a")
        storage.delete_prefix("a")
        assert [name for name, _ in storage.objects()] == ["ab"]

    def test_of_many_that_put_one_does(self, storage: Storage) -> None:
        start, won = threading.Barrier(4), []

        def put(number: int) -> None:
            start.wait()
            if storage.put_if_absent("race/x", b"%d" % number):
                won.append(number)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert storage.read("race/x") == b"%d" % won[0]
        assert not storage.put_if_absent("race/x", b"late")

    def test_of_many_processes_that_put_one_does(self, storage: Storage) -> None:
        ready, go = os.pipe()
        children = [
            _forked(lambda: os.read(ready, 1) and not storage.put_if_absent("race", b"x" * 100)) for _ in range(4)
        ]
        os.write(go, b"....")
        won = [child for child in children if _exit_code(child) == 0]
        os.close(ready)
        os.close(go)
        assert len(won) == 1
        assert storage.size("race") == 100

    def test_a_staged_group_is_read_by_its_writer_and_by_nobody_else(self, storage: Storage) -> None:
        staged = storage.stage("groups/one.zarr")
        writer = staged.create("deep/er/x")
        writer.write(b"abc")
        writer.write(b"def")
        writer.finish()
        staged.write("y", b"yy")
        staged.seal()
        assert staged.storage.read(f"{staged.prefix}/deep/er/x") == b"abcdef"
        listed = list(staged.storage.objects(staged.prefix))
        assert [(name.removeprefix(f"{staged.prefix}/"), size) for name, size in listed] == [("deep/er/x", 6), ("y", 2)]
        if self.renames:
            assert list(storage.objects()) == []
        staged.publish()
        staged.drop()
        assert list(storage.objects()) == [
            StoredObject("groups/one.zarr/deep/er/x", 6),
            StoredObject("groups/one.zarr/y", 2),
        ]

    def test_an_object_appears_when_it_is_finished_and_not_before(self, storage: Storage) -> None:
        storage.write("a", b"old")
        writer = storage.create("a")
        writer.write(b"ne")
        writer.write(b"w")
        assert storage.read("a") == b"old"
        assert list(storage.objects()) == [StoredObject("a", 3)]
        writer.finish()
        writer.abandon()
        assert storage.read("a") == b"new"

    def test_an_abandoned_object_leaves_nothing(self, storage: Storage) -> None:
        writer = storage.create("deep/er/a")
        writer.write(b"x" * 100_000)
        writer.abandon()
        assert list(storage.objects()) == []
        storage.write("deep/er/a", b"later")
        assert storage.read("deep/er/a") == b"later"

    def test_a_library_may_write_and_read_through_files(self, storage: Storage) -> None:
        writer = storage.create("a")
        with writer.file() as file:
            assert file.write(memoryview(b"12345")) == 5
            assert file.tell() == 5
        writer.finish()
        with storage.open("a").file() as file:
            assert file.read() == b"12345"

    def test_strays_are_listed_when_asked_for(self, storage: Storage) -> None:
        for name in ("a", ".DS_Store", "b/._c", "b/c", "b/@eaDir/c/thumb"):
            storage.write(name, b"")
        assert [name for name, _ in storage.objects()] == ["a", "b/c"]
        assert storage.children() == ["a", "b"]
        assert storage.children("b") == ["c"]
        found = [name for name, _ in storage.objects(with_strays=True)]
        assert found == [".DS_Store", "a", "b/._c", "b/@eaDir/c/thumb", "b/c"]

    def test_a_published_group_takes_the_place_of_an_older_one(self, storage: Storage) -> None:
        storage.write("groups/one/old", b"x")
        staged = storage.stage("groups/one")
        staged.write("new", b"y")
        staged.seal()
        staged.publish()
        if self.renames:
            assert [name for name, _ in storage.objects()] == ["groups/one/new"]
        assert storage.read("groups/one/new") == b"y"

    def test_a_group_takes_an_object_that_is_never_edited(self, storage: Storage) -> None:
        storage.write("old/x", b"abc" * 400_000)
        staged = storage.stage("groups/one")
        staged.take(storage, "old/x", "deep/y")
        staged.write("z", b"z")
        staged.seal()
        staged.publish()
        storage.delete("old/x")
        assert storage.read("groups/one/deep/y") == b"abc" * 400_000

    def test_a_dropped_group_leaves_nothing(self, storage: Storage) -> None:
        storage.write("groups/other", b"x")
        staged = storage.stage("groups/one")
        staged.write("whole", b"y")
        staged.create("half").write(b"z")
        staged.drop()
        staged.drop()
        assert [name for name, _ in storage.objects()] == ["groups/other"]

    def test_who_dies_while_staging_leaves_nothing_to_see_and_nothing_to_stay(self, storage: Storage) -> None:
        def dies() -> None:
            staged = storage.stage("groups/one")
            staged.write("whole", b"x")
            staged.create("half").write(b"y" * 100_000)
            os._exit(9)

        assert _exit_code(_forked(dies)) == 9
        if self.renames:
            assert list(storage.objects()) == []
            assert storage.children("groups") == []
        storage.remove_leftovers("groups", "absent")
        again = storage.stage("groups/one")
        again.write("whole", b"x")
        again.seal()
        again.publish()
        assert storage.read("groups/one/whole") == b"x"

    def test_one_holds_a_lock_and_says_who_it_is(self, storage: Storage) -> None:
        assert storage.lock_owner(".lock") is None
        lock = storage.try_lock(".lock")
        assert lock is not None
        lock.sign("process 7")
        assert storage.try_lock(".lock") is None
        assert storage.lock_owner(".lock") == "process 7"
        assert list(storage.objects()) == [], "a lock is no object"
        storage.remove_leftovers("")
        assert storage.try_lock(".lock") is None, "a lock that is held was taken for a leftover"
        lock.release()
        again = storage.try_lock(".lock")
        assert again is not None
        again.release()

    def test_a_lock_goes_with_its_process(self, storage: Storage) -> None:
        assert _exit_code(_forked(lambda: os._exit(9 if storage.try_lock("a/.lock") else 1))) == 9
        lock = storage.try_lock("a/.lock")
        assert lock is not None
        lock.release()

    def test_who_waits_for_a_lock_gets_it_when_it_is_free(self, storage: Storage) -> None:
        entered = threading.Event()

        def wait() -> None:
            with storage.locked("a/.x.lock"):
                entered.set()

        other = threading.Thread(target=wait)
        with storage.locked("a/.x.lock"):
            other.start()
            assert not entered.wait(0.1)
        assert entered.wait(10)
        other.join()

    def test_it_travels_as_its_address_and_without_handles(self, storage: Storage) -> None:
        storage.write("x", b"abc")
        reader = storage.open("x")
        again = pickle.loads(pickle.dumps(storage))
        assert (type(again), again.address) == (type(storage), storage.address)
        assert again.read("x") == open_storage(storage.address).read("x") == b"abc"
        assert pickle.loads(pickle.dumps(reader)).read_at(1, 2) == b"bc"

    def test_a_forked_process_reads_on(self, storage: Storage) -> None:
        storage.write("x", bytes(1000) + b"end")
        reader = storage.open("x")
        assert reader.read_at(1000, 3) == b"end"
        child = _forked(lambda: [reader.read_at(0, 500) + storage.read("x")[500:] for _ in range(50)] and None)
        for _ in range(50):
            assert reader.read_at(1000, 3) == b"end"
        assert _exit_code(child) == 0


def _forked(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked process, which exits with 0, or with 1 when it returns something true or raises."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(1 if work() else 0)
        finally:
            os._exit(1)
    return child


def _exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
