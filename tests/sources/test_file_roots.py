"""A file where the root of a source belongs is named as a file, not as an empty or missing folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthforge.errors import DecodeError
from depthforge.registry import sources
from depthforge.sources.file_tree import Directory


def test_no_file_has_a_name_with_a_zero_in_it(tmp_path: Path) -> None:
    assert Directory(tmp_path).read_if_there("depth/a\0.png") is None


@pytest.mark.parametrize("name", ["tum", "bop", "kitti", "hypersim", "blenderproc", "vkitti", "interiornet"])
def test_a_file_is_no_root(tmp_path: Path, name: str) -> None:
    root = tmp_path / "somewhere"
    root.write_bytes(b"not a folder")
    source = sources.get(name)
    with pytest.raises(DecodeError, match="a file where a folder or an archive belongs") as caught:
        list(source(source.Config(root=root)).frames())
    assert caught.value.where == str(root)
