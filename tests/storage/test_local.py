from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from depthforge import durable
from depthforge.errors import InputError, StorageError
from depthforge.storage import LocalFolder, Storage, open_storage
from depthforge.testing.storage import StorageTests


class TestLocalFolder(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return open_storage(tmp_path / "new/folder")


@pytest.mark.parametrize(
    "address",
    [
        "s3a://bucket/corpus",
        "gcs://b",
        "hdfs://b/c",
        "s3:x",
        "https://example.org/x",
        "file:///tmp/x",
        "x+y://z",
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_url_of_another_kind_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, kind: type
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no corpus lies at a URL of this kind") as caught:
        open_storage(kind(address))
    assert ("write " in str(caught.value)) == (address in ("s3a://bucket/corpus", "gcs://b", "s3:x"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["out", "/tmp/a:b/c", "a b/s3", "data:2024", "./s3x:", "2024-01-01T10:00:00/x"])
def test_a_folder_may_have_a_colon_in_its_name(address: str) -> None:
    assert open_storage(address) == open_storage(Path(address)) == LocalFolder(Path(address))


def test_opening_and_looking_makes_nothing(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "none")
    assert list(storage.objects()) == storage.children() == []
    assert not storage.exists("x")
    storage.delete("x")
    storage.delete_prefix("x")
    storage.remove_leftovers("", "x")
    assert not (tmp_path / "none").exists()


def test_a_folder_below_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file/below"):
        storage = LocalFolder(root)
        for write in (
            lambda: storage.write("x", b""),  # noqa: B023
            lambda: storage.put_if_absent("x", b""),  # noqa: B023
            lambda: storage.stage("x"),  # noqa: B023
            lambda: storage.try_lock("x"),  # noqa: B023
        ):
            with pytest.raises(StorageError, match="not a directory"):
                write()


def test_what_is_unfinished_is_in_no_listing(tmp_path: Path) -> None:
    for name in (".x.tmp/a/b", ".y.lock", "a/.z.0123.tmp", "a/.hidden"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    storage = LocalFolder(tmp_path)
    assert [name for name, _ in storage.objects()] == ["a/.hidden"]
    assert storage.children() == ["a"]
    storage.remove_leftovers("", "a")
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert os.listdir(tmp_path / "a") == [".hidden"]


def test_links_to_files_are_objects_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x").write_text("abc")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").symlink_to(tmp_path / "out/x")
    (tmp_path / "root/folder").symlink_to(tmp_path / "out")
    assert list(LocalFolder(tmp_path / "root").objects()) == [("file", 3)]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    storage = LocalFolder(tmp_path)
    storage.write("x", b"old")

    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match="no room left"):
        storage.write("x", b"new")
    monkeypatch.undo()
    assert storage.read("x") == b"old"
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
def test_a_staged_group_that_cannot_be_published_can_be_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    storage = LocalFolder(tmp_path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    def publish() -> None:
        staged = storage.stage("group")
        try:
            monkeypatch.setattr(*((os, call) if call == "fsync" else (Path, call)), fail)
            staged.write("a/x", b"1")
            staged.seal()
            staged.publish()
        finally:
            monkeypatch.undo()
            staged.drop()

    with pytest.raises(StorageError, match="quota"):
        publish()
    assert os.listdir(tmp_path) == []


def test_every_folder_and_file_is_synced_before_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = Path.rename

    def renamed(path: Path, to: Path) -> Path:
        done.append("rename")
        return rename(path, to)

    def synced(handle: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    staged = LocalFolder(tmp_path).stage("deep/group")
    staged.write("a/b/x", b"1")
    staged.seal()
    staged.publish()
    temporary = os.path.basename(staged.prefix)
    assert durable.is_temporary(temporary)
    assert done[0] == tmp_path.name, "the name of the new folder deep"
    assert set(done[1:-2]) == {"x", "b", "a", temporary}
    assert done[-2:] == ["rename", "deep"]
