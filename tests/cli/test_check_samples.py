"""What `sample` wrote, few frames too, is what `check --source` reads; a source of more than a root says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("layout", ["kitti", "bop"])
def test_what_sample_wrote_is_read(depthforge: Call, tmp_path: Path, layout: str, frames: int) -> None:
    assert depthforge("sample", tmp_path / "data", "--layout", layout, "--scenes", 1, "--frames", frames).code == 0
    checked = depthforge("check", tmp_path / "data", "--source", layout)
    assert checked.code == 0, checked.err
    assert f"{frames} frames in 1 scenes" in checked.out


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("rgbd_folder", ("needs more than a root", "the field 'depth' is missing", "depthforge init")),
        ("procedural", ("has no root", "depthforge check MANIFEST")),
    ],
)
def test_a_source_that_a_root_does_not_describe(
    depthforge: Call, tmp_path: Path, source: str, words: tuple[str, ...]
) -> None:
    refused = depthforge("check", tmp_path, "--source", source)
    assert refused.code == 3
    assert all(word in refused.err for word in words), refused.err
