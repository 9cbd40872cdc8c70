"""Three nights of a growing source: what is new becomes a version, what is old stays, what drifts is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import (
    CorpusBusyError,
    CorpusMismatchError,
    InputError,
    RealismDriftError,
    UnknownNameError,
)
from depthforge.manifest import Manifest, NightlySettings, parse_manifest
from depthforge.manifest_file import load_manifest
from depthforge.realism.compare import DISTANCES
from depthforge.stages.nightly import Night, complaints, nights
from depthforge.stages.versions import Versions
from depthforge.storage import open_storage
from tests.stages.runs import contents

CAMERA = {"width": 96, "height": 72, "fx": 90.0, "fy": 90.0, "cx": 47.5, "cy": 35.5}
LICENCE = {"name": "none", "non_commercial": False}


def add_scene(root: Path, name: str, *, num_frames: int = 3, is_broken: bool = False) -> None:
    """Write a room: a wall and a box before it, in millimetres; half of a broken one was not rendered."""
    folder = root / name / "depth"
    folder.mkdir(parents=True)
    v, u = np.mgrid[:72, :96]
    for frame in range(num_frames):
        depth_mm = 1500 + 4.0 * u + 2.0 * v + 10 * frame
        depth_mm[20:50, 30 + frame : 60 + frame] = 1100
        if is_broken:
            depth_mm[:, :48] = 0
        assert cv2.imwrite(str(folder / f"{frame}.png"), depth_mm.astype(np.uint16))


def mend(root: Path, name: str) -> None:
    """Write a room anew, whole."""
    shutil.rmtree(root / name)
    add_scene(root, name)


def source(root: Path, dataset: str) -> dict[str, Any]:
    return {
        "name": "rgbd_folder",
        "root": str(root),
        "dataset": dataset,
        "licence": LICENCE,
        "depth_scale": 1000,
        "camera": CAMERA,
        "depth": "{scene}/depth/{frame}.png",
    }


@pytest.fixture
def growing(tmp_path: Path) -> Path:
    """A data set of three scenes, and scans beside it."""
    for name in ("room0", "room1", "room2"):
        add_scene(tmp_path / "data", name)
    for name in ("scan0", "scan1"):
        add_scene(tmp_path / "scans", name, num_frames=6)
    return tmp_path / "data"


@pytest.fixture
def value(growing: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "name": "growing",
        "source": source(growing, "rooms"),
        "translator": {"name": "simulation", "sensor": {"name": "structured_light", "focal_length_px": 90.0}},
        "splits": {"train": 0.7, "val": 0.3},
        "corpus": {"out": str(tmp_path / "versions"), "shard_frames": 2},
        "nightly": {
            "real": source(tmp_path / "scans", "scans"),
            "frames": 6,
            "rise_at_most": {"holes a frame, Wasserstein": 20.0},
        },
    }


@pytest.fixture
def manifest(value: dict[str, Any]) -> Manifest:
    return parse_manifest(value, where="test")


def night(manifest: Manifest) -> list[Night]:
    return list(nights(manifest, inline=True))


def files(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith("report/")}


def test_three_nights(manifest: Manifest, growing: Path, tmp_path: Path) -> None:
    out = manifest.corpus.out
    (first,) = night(manifest)
    assert first.version.folder == out / "v0001"
    assert (first.reused_shards, first.report.made_frames) == (0, 9)
    assert (out / "latest").resolve() == (out / "v0001").resolve()
    assert night(manifest) == [], "nothing is new"
    before = files(out / "v0001")

    add_scene(growing, "room00")  # before others by name
    add_scene(growing, "room3")
    (second,) = night(manifest)
    assert (second.version.folder.name, second.report.made_frames, second.report.num_frames) == ("v0002", 6, 15)
    assert second.reused_shards == first.report.num_shards
    assert files(out / "v0001") == before, "nothing is edited in place"
    assert verify_corpus(out / "v0002").ok
    old, new = CorpusInfo.load(out / "v0001"), CorpusInfo.load(out / "v0002")
    assert old.fingerprint != new.fingerprint
    reader = CorpusReader(out / "latest")
    assert len({reader.key(place) for place in range(len(reader))}) == 15
    for key in CorpusReader(out / "v0001").keys.to_pylist():
        here, there = reader.read(key), CorpusReader(out / "v0001").read(key)
        np.testing.assert_array_equal(here.noisy_depth_m, there.noisy_depth_m)

    add_scene(growing, "room4", is_broken=True)
    (third,) = night(manifest)
    assert len(third.drift) == 1
    assert "holes a frame, Wasserstein" in third.drift[0]
    with pytest.raises(RealismDriftError, match="drifted") as caught:
        third.require_close()
    assert caught.value.exit_code == 7
    assert (out / "latest").resolve() == (out / "v0002").resolve()
    assert verify_corpus(out / "v0003").ok
    (again,) = night(manifest)
    assert again.drift, "a night that drifted does not pass by being repeated"
    mend(growing, "room4")
    (mended,) = night(manifest)
    assert (mended.drift, mended.report.made_frames) == ((), 3)
    assert (out / "latest").resolve() == (out / "v0005").resolve()
    assert [each.is_accepted for each in Versions.of(out).all] == [True, True, False, False, True]


def test_shards_that_are_taken_over_are_the_same_files_and_bytes(manifest: Manifest, growing: Path) -> None:
    out = manifest.corpus.out
    night(manifest)
    add_scene(growing, "room3")
    night(manifest)
    chunk = next(path for path in sorted((out / "v0001" / "shards").rglob("*")) if path.parent.name == "depth_noisy")
    same = out / "v0002" / chunk.relative_to(out / "v0001")
    assert os.path.samefile(chunk, same)
    # What is bound to its corpus says so; all else is what a conversion of this version makes.
    versions = Versions.of(out)
    made = versions.all[1].info
    group = json.loads((out / "v0002" / "shards" / f"{chunk.parts[-3]}" / "zarr.json").read_bytes())
    assert group["attributes"]["fingerprint"] == made.fingerprint


def test_a_night_that_was_killed_is_finished_as_it_was_planned(
    manifest: Manifest, growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(manifest)
    add_scene(growing, "room3")
    with monkeypatch.context() as patch:
        patch.setattr("depthforge.stages.nightly.convert", _killed)
        with pytest.raises(KeyboardInterrupt):
            night(manifest)
    add_scene(growing, "room4")
    second, third = night(manifest)
    assert [each.version.folder.name for each in (second, third)] == ["v0002", "v0003"]
    assert (second.report.num_frames, third.report.num_frames) == (12, 15)


def _killed(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def test_frames_that_are_gone_and_another_manifest_are_refused(
    manifest: Manifest, value: dict[str, Any], growing: Path, tmp_path: Path
) -> None:
    night(manifest)
    other = parse_manifest({**value, "seed": 1}, where="test")
    with pytest.raises(CorpusMismatchError, match="not that of the versions before") as caught:
        night(other)
    assert "seed: 0 -> 1" in str(caught.value.found)
    (growing / "room1").rename(tmp_path / "gone")
    with pytest.raises(InputError, match="lost frames"):
        night(manifest)


def test_what_cannot_be_asked_is_refused(value: dict[str, Any], manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes all that is new"):
        night(parse_manifest({**value, "limit": 3}, where="test"))
    unknown = {**value["nightly"], "at_most": {"holes": 1.0}}
    with pytest.raises(UnknownNameError, match="unknown distance 'holes'"):
        night(parse_manifest({**value, "nightly": unknown}, where="test"))
    lock = open_storage(manifest.corpus.out).try_lock(".lock")
    assert lock is not None
    try:
        with pytest.raises(CorpusBusyError):
            night(manifest)
    finally:
        lock.release()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "corpus.json").write_text("{}")
    with pytest.raises(InputError, match="versions of one lie in a folder of their own"):
        night(manifest.overridden(out=tmp_path / "corpus"))


def test_a_limit_holds_against_the_scans_a_rise_against_the_night_before(manifest: Manifest) -> None:
    first, second = DISTANCES[:2]
    assert manifest.nightly is not None
    settings = NightlySettings(real=manifest.nightly.real, at_most={first: 1.0}, rise_at_most={second: 0.5})
    assert complaints(settings, {first: 1.0, second: 9.0}, {}) == []
    assert complaints(settings, {first: 1.0, second: 2.5}, {second: 2.0}) == []
    (said,) = complaints(settings, {first: 1.1, second: 2.5}, {second: 2.0})
    assert said == f"{first}: 1.1, at most 1 (at_most)"
    (said,) = complaints(settings, {first: 0.0, second: 2.6}, {second: 2.0})
    assert said == f"{second}: 2.6 after 2, may rise by 0.5 (rise_at_most)"
    assert len(complaints(settings, {first: None, second: None}, {second: 2.0})) == 2


def test_the_command_ends_with_7_and_leaves_a_page(
    manifest: Manifest, value: dict[str, Any], growing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from depthforge.cli.main import main

    path = tmp_path / "growing.yaml"
    path.write_text(yaml.safe_dump(value))
    codes = []
    for scene in (None, None, "room4"):
        if scene is not None:
            add_scene(growing, scene, is_broken=True)
        with pytest.raises(SystemExit) as ended:
            main(["nightly", str(path), "--inline"])
        codes.append(ended.value.code)
    said = capsys.readouterr()
    assert codes == [0, 0, 7]
    assert "v0001: accepted, 0 shards taken over" in said.out
    assert "nothing new" in said.out
    assert "v0002: not accepted" in said.out
    assert "the realism of the new frames has drifted" in said.err
    page = manifest.corpus.out / "v0002" / "report" / "index.html"
    assert "holes a frame, Wasserstein" in page.read_text()
    assert load_manifest(path).nightly == manifest.nightly
