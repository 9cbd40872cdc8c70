"""A root that is a file: an archive, a recording, or nothing to read from; each works or is one clear error."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DepthforgeError
from depthforge.sources.proposing import propose
from depthforge.yaml_files import parse_yaml


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_is_described_as_its_folder_would_be(tmp_path: Path, suffix: str) -> None:
    folder, packed = tmp_path / "scans", tmp_path / f"scans{suffix}"
    (folder / "depth").mkdir(parents=True)
    for index in range(3):
        np.save(folder / f"depth/{index}.npy", np.full((48, 64), 1.5, np.float32))
    (folder / "K.txt").write_text("60 0 31.5\n0 60 23.5\n0 0 1\n")
    if suffix == ".tar":
        with tarfile.open(packed, "w") as tar:
            tar.add(folder, arcname="top")
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            for path in folder.rglob("*.*"):
                archive.write(path, Path("top") / path.relative_to(folder))
    block = parse_yaml(propose(packed, is_real=False).manifest, where="proposed").value["source"]
    assert (block["root"], block["depth"]) == (str(packed), "top/depth/{frame}.npy")
    assert block["camera"] == {"matrix_file": "top/K.txt"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("scans.tar.gz", b"\x1f\x8b\x08", "an archive that cannot be read in place"),
        ("scans.7z", b"7z", "an archive that cannot be read in place"),
        ("notes.txt", b"hello", "not a folder, an archive or a bag"),
        ("depth.png", b"\x89PNG", "not a folder, an archive or a bag"),
        ("broken.zip", b"PK\x03\x04", "the archive is broken"),
        ("empty.tar", b"", "the archive is broken"),
        ("cut.bag", b"#ROSBAG V2.0\nxx", ""),
        ("cut.mcap", b"\x89MCAP0\r\nzzz", ""),
        ("cut.db3", b"SQLite format 3\0zz", ""),
    ],
)
def test_a_file_that_is_nothing_to_read_from_is_one_clear_error(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / "data" / name
    path.parent.mkdir()
    path.write_bytes(data)
    with pytest.raises(DepthforgeError, match=message) as caught:
        propose(path, is_real=False)
    assert name in str(caught.value)
    assert "no depth in this folder" not in str(caught.value)
    if not message:
        with pytest.raises(DepthforgeError) as of_folder:
            propose(path.parent, is_real=False)
        assert of_folder.value.message == caught.value.message
