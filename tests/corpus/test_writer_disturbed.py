"""Several writers at once, a kill at any point, a full disk: the same corpus in the end, and one clear error."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from depthforge import durable
from depthforge.corpus.layout import Layout
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import StorageError
from depthforge.storage import local
from tests.corpus.corpora import (
    KILLS,
    build,
    files_of,
    index_of,
    items,
    new_root,
    one_item,
    write_shard,
)


def write_all(folder: Path, number: int, workers: int) -> None:
    for item in items(40)[number::workers]:
        write_shard(folder, item, rejected=[5])


def test_eight_processes_write_what_one_writes(tmp_path: Path) -> None:
    (tmp_path / "serial").mkdir()
    (tmp_path / "parallel").mkdir()
    serial, parallel = new_root(tmp_path / "serial"), new_root(tmp_path / "parallel")
    write_all(serial, 0, 1)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_all, args=(parallel, number, 8)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert files_of(parallel) == files_of(serial)


def test_two_writers_of_one_shard_both_end_fine(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        processes = [context.Process(target=write_shard, args=(root, one_item(*range(8)))) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert len(index_of(root)) == 8
        assert [path.name for path in (root / "shards").iterdir()] == ["train-000000.zarr"]
        assert [path.name for path in (root / "index").iterdir()] == ["train-000000.parquet"]
        (root / Layout.index_part("train-000000")).unlink()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(build(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_run_goes_on_to_the_same_corpus(
    tmp_path: Path, point: str, undisturbed: dict[str, bytes], repository: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.corpus.corpora", str(tmp_path), point],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    root = tmp_path / "corpus"
    committed = {path.stem for path in (root / "index").glob("*.parquet")}
    assert len(committed) == (6 if point in ("while writing the index of the whole", "before the checksums") else 1)
    assert not (root / "SHA256SUMS").exists()
    assert not verify_corpus(root).ok
    assert files_of(build(tmp_path)) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_clear_error_and_nothing_half_written(small_disk: Path) -> None:
    root = new_root(small_disk)

    def fill_the_disk() -> None:
        for number in range(1000):
            write_shard(root, replace(one_item(*range(20)), shard=f"train-{number:06d}"))

    with pytest.raises(StorageError, match="no room left") as caught:
        fill_the_disk()
    assert caught.value.exit_code == 5
    committed = {path.stem for path in (root / "index").iterdir()}
    assert committed
    assert {path.stem for path in (root / "shards").iterdir()} >= committed
    assert not [path for path in root.rglob("*") if durable.is_temporary(path.name)]


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir", "write"])
def test_every_failing_system_call_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    root = new_root(tmp_path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    elif call == "write":

        class Full(io.BytesIO):
            write = fail  # type: ignore[assignment]

        monkeypatch.setattr(local, "open", lambda *_: Full(), raising=False)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match="no room left"):
        write_shard(root, one_item(0, 1))
    monkeypatch.undo()
    assert not (root / "index/train-000000.parquet").exists()
    assert not [path for path in root.rglob("*") if durable.is_temporary(path.name)]
    write_shard(root, one_item(0, 1))
    assert len(index_of(root)) == 2


def test_a_disk_that_is_full_when_the_index_of_the_whole_is_written_leaves_a_corpus_to_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.BytesIO):
        write = fail  # type: ignore[assignment]

    def opened(path: Path, mode: str) -> object:
        return Full() if "index.parquet" in path.name else open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(local, "open", opened, raising=False)
        with pytest.raises(StorageError, match="no room left") as caught:
            build(tmp_path)
    assert "index.parquet" in str(caught.value)
    root = tmp_path / "corpus"
    assert not (root / "index.parquet").exists()
    assert not (root / "SHA256SUMS").exists()
    assert files_of(build(tmp_path)) == files_of(build(tmp_path / "undisturbed"))
