"""InteriorNet read from its archives: as folders, broken, beside folders, over a fork."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest

from depthforge.errors import DecodeError
from depthforge.sources.interiornet import InteriorNet
from depthforge.testing.sources import SourceTests, assert_frames_equal
from tests.sources.interiornet_trees import (
    ROOM,
    VIEWS,
    listed,
    messages,
    pack,
    read_first,
    source,
    write_room,
    write_views,
)
from tests.sources.tree_files import write


class TestTrajectoriesInArchives(SourceTests):
    num_frames = 3

    @pytest.fixture
    def source(self, tmp_path: Path) -> InteriorNet:
        write_room(tmp_path)
        pack(tmp_path / "HD5" / ROOM, ".zip", inner=ROOM)
        pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, ".tar", inner=ROOM)
        return source(tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("inner", [ROOM, "."])
def test_archives_read_as_folders(tmp_path: Path, suffix: str, inner: str) -> None:
    write_room(tmp_path, num_frames=2)
    keys, findings = listed(tmp_path)
    before = read_first(tmp_path)
    pack(tmp_path / "HD5" / ROOM, suffix, inner=inner)
    pack(tmp_path / "GroundTruth_HD1-HD6" / ROOM, suffix, inner=inner)
    assert listed(tmp_path) == (keys, findings)
    assert_frames_equal(read_first(tmp_path), before)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_broken_archive_is_reported_and_skipped(tmp_path: Path, suffix: str, share: float) -> None:
    write_views(tmp_path, num_frames=2)
    write_views(tmp_path, name="broken", num_frames=2)
    archive = pack(tmp_path / "HD7/broken", suffix, inner="broken")
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    keys, findings = listed(tmp_path)
    assert len(keys) == 2
    assert [(f.severity, f.path) for f in findings] == [("error", f"HD7/broken{suffix}")]
    assert "skipped: the archive is broken" in findings[0].message


def test_a_corrupt_file_in_an_archive_is_a_decode_error(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    archive = pack(tmp_path / "HD7" / VIEWS, ".zip", inner=VIEWS)
    with zipfile.ZipFile(archive) as zipped:
        at = zipped.getinfo(f"{VIEWS}/depth0/data/0.png").header_offset
    data = bytearray(archive.read_bytes())
    data[at + 1000] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DecodeError, match=r"corrupt.*\n.*depth0/data/0\.png"):
        read_first(tmp_path)


def test_compressed_tar_is_reported(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    write(tmp_path / "HD7/other.tar.gz", b"")
    assert "error HD7/other.tar.gz: cannot be read at random" in messages(listed(tmp_path)[1])


def test_folder_beside_its_archive_wins(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=1)
    write(tmp_path / f"HD7/{VIEWS}.zip", b"half an archive")
    keys, findings = listed(tmp_path)
    assert len(keys) == 1
    assert "ignored" in messages(findings)


def test_open_archives_survive_a_fork(tmp_path: Path) -> None:
    write_views(tmp_path, num_frames=2)
    pack(tmp_path / "HD7" / VIEWS, ".zip", inner=VIEWS)
    reader = source(tmp_path)
    first, second = reader.frames()
    expected = pickle.dumps(reader.read(second, frozenset()).depth_m.sum())
    reader.read(first, frozenset())
    pid = os.fork()
    if pid == 0:
        same = all(pickle.dumps(reader.read(second, frozenset()).depth_m.sum()) == expected for _ in range(5))
        os._exit(0 if same else 1)
    for _ in range(5):
        reader.read(first, frozenset())
    assert os.waitpid(pid, 0)[1] == 0
