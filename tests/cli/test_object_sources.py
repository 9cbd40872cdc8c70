"""Data sets and translators that lie in an object store give the corpus that a folder gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.storage import open_storage
from tests.stages.learned import write_weights
from tests.stages.runs import contents

SMALL = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 2, "width": 96, "height": 72, "focal_px": 90.0}


def upload(folder: Path, url: str) -> None:
    storage = open_storage(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write(path.relative_to(folder).as_posix(), path.read_bytes())


def write_manifest(path: Path, **parts: Any) -> Path:
    value = {
        "name": "t",
        "translator": {"name": "simulation"},
        "corpus": {"out": str(path.parent / path.stem)},
        **parts,
    }
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.parametrize(("layout", "kind"), [("tum", "folder"), ("tum", ".tar"), ("tartanair", ".zip")])
def test_a_data_set_is_read_where_it_lies(depthforge: Any, tmp_path: Path, bucket: str, layout: str, kind: str) -> None:
    data = tmp_path / "data"
    assert depthforge("sample", "--layout", layout, data, "--scenes", "1", "--frames", "3").code == 0
    here, there = data, f"{bucket}/data"
    if kind == "folder":
        upload(data, there)
    else:
        here = Path(shutil.make_archive(str(tmp_path / "packed"), kind[1:], data))
        there = f"{bucket}/packed{kind}"
        open_storage(bucket).write(f"packed{kind}", here.read_bytes())
    for name, root in (("here", str(here)), ("there", there)):
        manifest = write_manifest(tmp_path / f"{name}.yaml", source={"name": layout, "root": root})
        outcome = depthforge("convert", manifest, "--inline", "--limit", "3")
        assert outcome.code == 0, outcome.err
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert depthforge("check", there, "--source", layout, "--frames", "2").code == 0
    assert not any(bucket.encode() in content for content in contents(tmp_path / "there").values())


def test_a_data_set_that_is_not_there_is_said(depthforge: Any, tmp_path: Path, bucket: str) -> None:
    for root in (f"{bucket}/none", f"{bucket}/none.zip"):
        manifest = write_manifest(tmp_path / "m.yaml", source={"name": "tum", "root": root})
        outcome = depthforge("convert", manifest, "--inline")
        assert outcome.code == 3, outcome.err
        assert root in outcome.err


def test_a_source_that_reads_folders_alone_says_so(depthforge: Any, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.yaml", source={"name": "graspnet", "root": "s3://bucket/graspnet"})
    outcome = depthforge("convert", manifest, "--inline")
    assert outcome.code == 3
    assert "a URL is no folder" in outcome.err
    assert "copy from or to the object store; or mount it" in outcome.err


def test_trained_weights_are_read_where_they_lie(depthforge: Any, tmp_path: Path, bucket: str) -> None:
    block = write_weights(tmp_path / "weights")
    upload(tmp_path / "weights", f"{bucket}/weights")
    for name, weights in (("here", block["weights"]), ("there", f"{bucket}/weights")):
        manifest = write_manifest(tmp_path / f"{name}.yaml", source=SMALL, translator={**block, "weights": weights})
        outcome = depthforge("convert", manifest, "--inline")
        assert outcome.code == 0, outcome.err
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    shown = depthforge("translator", "show", f"{bucket}/weights")
    assert shown.code == 0, shown.err
    assert shown.out == depthforge("translator", "show", tmp_path / "weights").out


def test_a_learned_translator_is_kept_in_a_corpus_in_an_object_store(
    depthforge: Any, tmp_path: Path, bucket: str
) -> None:
    block = write_weights(tmp_path / "weights")
    manifest = write_manifest(tmp_path / "m.yaml", source=SMALL, translator=block)
    assert depthforge("convert", manifest, "--inline").code == 0
    outcome = depthforge("convert", manifest, "--inline", "--out", bucket)
    assert outcome.code == 0, outcome.err
    storage = open_storage(bucket)
    assert {each.name: storage.read(each.name) for each in storage.objects()} == contents(tmp_path / "m")


def test_weights_that_are_not_there_are_said(depthforge: Any, tmp_path: Path, bucket: str) -> None:
    block = {**write_weights(tmp_path / "weights"), "weights": f"{bucket}/none"}
    outcome = depthforge("convert", write_manifest(tmp_path / "m.yaml", source=SMALL, translator=block), "--inline")
    assert outcome.code == 3, outcome.err
