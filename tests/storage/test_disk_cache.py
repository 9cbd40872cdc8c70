from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path

import pytest

from depthforge.storage import DiskCache, ObjectStorage, disk_cache, open_storage
from depthforge.storage.cached_objects import BLOCK_BYTES


def content(number: int, size: int = 1000) -> bytes:
    return bytes([number]) * size


def never() -> bytes:
    raise AssertionError("it is in the cache")


def pieces(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_piece_is_fetched_once(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new/cache", 10_000)
    assert cache.read("a", lambda: b"0123456789") == b"0123456789"
    assert cache.read("a", never) == b"0123456789"
    assert cache.read("a", never, 3, 4) == b"3456"
    assert cache.read("a", never, 8, 100) == b"89"
    assert cache.read("empty", lambda: b"") == cache.read("empty", never) == b""
    again = pickle.loads(pickle.dumps(cache))
    assert again.read("a", never, 0, 2) == b"01"
    assert cache.holds("a")
    assert not cache.holds("b")


def test_the_bound_holds_and_what_was_not_used_for_longest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_cache, "_TOUCH_EVERY_S", 0.0)
    cache = DiskCache(tmp_path, 10_500)
    for number in range(30):
        cache.read(str(number), lambda number=number: content(number))
        cache.read("0", never)
        assert sum(path.stat().st_size for path in pieces(tmp_path)) <= 10_500 * 1.12
        time.sleep(0.002)  # times of files are no finer
    assert cache.holds("0"), "it was used all the time"
    assert cache.holds("29")
    assert not cache.holds("1")


def test_who_reads_a_piece_that_goes_reads_on_or_fetches_it_again(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 5_000)
    wrong: list[int] = []

    def use(seed: int) -> None:
        for turn in range(150):
            number = (seed * 7 + turn * 3) % 20
            if cache.read(str(number), lambda: content(number), 10, 100) != content(number, 100):  # noqa: B023
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_processes_share_it_and_fetch_a_piece_once(tmp_path: Path) -> None:
    cache, count = DiskCache(tmp_path / "cache", 10_000), tmp_path / "count"

    def fetch() -> bytes:
        with open(count, "ab") as file:
            file.write(b".")
        time.sleep(0.05)
        return content(1)

    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            os._exit(0 if cache.read("a", fetch) == content(1) else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert count.read_bytes() == b"."


def test_who_is_killed_while_it_writes_leaves_no_torn_piece(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 100_000)
    for _ in range(10):
        child = os.fork()
        if child == 0:
            while True:
                for number in range(5):
                    cache.read(str(number), lambda number=number: content(number, 10_000))
                for path in pieces(tmp_path):
                    path.unlink(missing_ok=True)
        time.sleep(0.01)
        os.kill(child, 9)
        os.waitpid(child, 0)
        for number in range(5):
            assert cache.read(str(number), lambda number=number: content(number, 10_000)) == content(number, 10_000)


@pytest.mark.parametrize("damage", ["zeros", "cut", "emptied", "one bit"])
def test_what_a_power_cut_damaged_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    DiskCache(tmp_path, 10_000).read("a", lambda: content(7))
    DiskCache(tmp_path, 10_000).read("b", lambda: content(8))
    (path,) = [path for path in pieces(tmp_path) if path.read_bytes()[0] == 7]
    whole = path.read_bytes()
    damaged = {"zeros": bytes(len(whole)), "cut": whole[:500], "emptied": b"", "one bit": b"\6" + whole[1:]}
    path.write_bytes(damaged[damage])
    monkeypatch.setattr(disk_cache, "_this_boot", b"another.")
    cache = DiskCache(tmp_path, 10_000)
    assert cache.read("b", never) == content(8), "what is whole is used on"
    assert cache.read("b", never) == content(8)
    assert cache.read("a", lambda: content(7)) == content(7)
    assert cache.read("a", never) == content(7)


def test_what_fails_to_be_fetched_is_not_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    with pytest.raises(FileNotFoundError):
        cache.read("a", lambda: (_ for _ in ()).throw(FileNotFoundError("a")))
    assert cache.read("a", lambda: b"later") == b"later"


def test_without_a_place_to_write_it_is_no_cache_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache in (DiskCache(tmp_path / "file/below", 10_000), DiskCache(tmp_path / "off", 0)):
        for _ in range(2):
            assert cache.read("a", lambda: b"0123", 1, 2) == b"12"
    assert not (tmp_path / "off").exists()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Every range that is asked of the store, as (name, start, stop); a suffix as (name, -1, -1)."""
    from depthforge.storage.cached_objects import CachedObjects

    found: list[tuple[str, int, int]] = []
    fetch, fetch_end = CachedObjects.fetch, CachedObjects.fetch_end

    def fetched(self: CachedObjects, name: str, start: int, stop: int) -> bytes:
        found.append((name, start, stop))
        return fetch(self, name, start, stop)

    def fetched_end(self: CachedObjects, name: str) -> tuple[int, bytes]:
        found.append((name, -1, -1))
        return fetch_end(self, name)

    monkeypatch.setattr(CachedObjects, "fetch", fetched)
    monkeypatch.setattr(CachedObjects, "fetch_end", fetched_end)
    return found


@pytest.mark.parametrize("size", [0, 1, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 5])
def test_objects_are_read_by_blocks(bucket: str, tmp_path: Path, asked: list[tuple[str, int, int]], size: int) -> None:
    storage, whole = open_storage(bucket), os.urandom(size)
    storage.write("all", b"1")
    storage.write("x", whole)
    cached = storage.cached("all", DiskCache(tmp_path, 2**30))
    reader = cached.open("x")
    assert asked == [("x", -1, -1)]
    assert reader.size == size == cached.size("x")
    for offset, length in ((0, 10), (size - 5, 10), (0, size), (size // 2, 100), (BLOCK_BYTES - 3, 6), (size, 1)):
        at = max(0, offset)
        assert reader.read_at(at, length) == whole[at : at + length]
    assert cached.read("x") == whole
    # The end came first, with the size; every other block once.
    blocks = range(max(0, -(-size // BLOCK_BYTES) - 1))
    assert sorted(asked[1:]) == [("x", i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES) for i in blocks]
    again = pickle.loads(pickle.dumps(cached))
    assert again.open("x").read_at(0, size) == whole
    assert len(asked) == 1 + len(blocks)
    with pytest.raises(FileNotFoundError):
        cached.open("absent")


def test_of_more_than_the_cache_holds_far_reads_are_ranges_and_runs_are_blocks(
    bucket: str, tmp_path: Path, asked: list[tuple[str, int, int]]
) -> None:
    storage, whole = open_storage(bucket), os.urandom(6 * BLOCK_BYTES)
    storage.write("all", b"1")
    storage.write("x", whole)
    reader = storage.cached("all", DiskCache(tmp_path, 2 * BLOCK_BYTES), fits=False).open("x")
    far = 4 * BLOCK_BYTES + 100
    assert reader.read_at(far, 50) == whole[far : far + 50]
    assert asked[1:] == [("x", far, far + 50)]
    assert reader.read_at(far + 50, 50) == whole[far + 50 : far + 100]
    assert asked[2:] == [("x", 4 * BLOCK_BYTES, 5 * BLOCK_BYTES)]


def test_an_object_that_changed_is_another_one(bucket: str, tmp_path: Path) -> None:
    storage = open_storage(bucket)
    assert isinstance(storage, ObjectStorage)
    for value in (b"first", b"second"):
        storage.write("x", value)
        storage.write("all", value)
        assert storage.cached("all", DiskCache(tmp_path, 2**30)).read("x") == value
