"""Removing what another process still writes or removes too."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from depthforge import durable
from depthforge.durable import locked, remove, remove_temporaries, try_lock


def grown(root: Path, *, folders: int = 40, files: int = 20) -> Path:
    """Make a tree like a half-written shard."""
    for folder in range(folders):
        (root / f"column-{folder}" / "c").mkdir(parents=True)
        for file in range(files):
            (root / f"column-{folder}" / "c" / str(file)).write_bytes(b"chunk")
    return root


def test_a_file_a_tree_a_link_and_nothing_are_removed(tmp_path: Path) -> None:
    kept = grown(tmp_path / "kept", folders=1, files=1)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(kept)
    for name in ("file", "link", "absent"):
        remove(tmp_path / name)
    remove(grown(tmp_path / "tree"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "column-0" / "c" / "0").exists(), "what a link names is not ours"


def test_a_lock_that_is_held_is_not_removed_and_one_that_is_left_is(tmp_path: Path) -> None:
    held, left = tmp_path / ".train-000000.lock", tmp_path / ".train-000001.lock"
    left.touch()
    with locked(held), locked(tmp_path / ".lock"):
        assert remove_temporaries(tmp_path) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", held.name]
        assert try_lock(held) is None, "a second process may take what the first still holds"
    assert remove_temporaries(tmp_path) == 0


@pytest.mark.parametrize("attempt", range(5))
def test_a_tree_that_several_remove_at_once_is_gone(tmp_path: Path, attempt: int) -> None:
    tree = grown(tmp_path / ".train-000010.zarr.3e2301fadd57.tmp")
    ready, errors = threading.Barrier(4), []

    def clear() -> None:
        ready.wait()
        try:
            remove_temporaries(tmp_path)
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=clear) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not tree.exists()


def test_a_tree_that_is_still_filled_goes_when_the_other_dies(tmp_path: Path) -> None:
    tree = grown(tmp_path / "tree", folders=2)
    stop = threading.Event()

    def fill() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                (tree / "column-0" / "c" / f"late-{number}").write_bytes(b"chunk")
            except FileNotFoundError:
                return

    other = threading.Thread(target=fill)
    other.start()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    remove(tree)
    timer.join()
    other.join()
    assert not tree.exists()


def test_a_tree_that_never_stops_filling_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "OTHERS_DIE_WITHIN_S", 0.05)

    def never_empty(path: Path) -> None:
        raise OSError(durable.errno.ENOTEMPTY, "Directory not empty", str(path))

    monkeypatch.setattr(durable.shutil, "rmtree", never_empty)
    with pytest.raises(OSError, match="not empty"):
        remove(grown(tmp_path / "tree", folders=1))
