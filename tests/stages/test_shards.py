"""Who owns a converter: the run that built it, which closes it; no run reads what another one has opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.store import open_for_writing
from depthforge.errors import IntegrityError
from depthforge.frame import Frame, FrameRef
from depthforge.manifest import Manifest
from depthforge.plan import WorkItem
from depthforge.sources.rgbd_folder import RgbdFolder
from depthforge.stages import convert as stage
from depthforge.stages.crew import Failure
from depthforge.stages.mailbox import FramePlace
from depthforge.stages.prepare import prepare
from depthforge.stages.runners import Done
from depthforge.stages.shards import COMMIT, Converter, ShardJob, job_of
from tests.stages import heavy
from tests.stages.runs import contents, run

Walls = Callable[..., Manifest]


@pytest.fixture
def walls(tiny: Callable[..., Manifest], tmp_path: Path) -> Walls:
    """Return a maker of runs over four walls at ``depth_mm``, in two shards."""

    def make(*, depth_mm: int, **changes: Any) -> Manifest:
        root = tmp_path / f"walls-{depth_mm}"
        root.mkdir(exist_ok=True)
        for index in range(4):
            cv2.imwrite(str(root / f"{index}.png"), np.full((24, 32), depth_mm, np.uint16))
        camera = {"fx": 30, "fy": 30, "cx": 16, "cy": 12, "width": 32, "height": 24}
        source = {
            "name": "rgbd_folder",
            "root": str(root),
            "depth": "{frame}.png",
            "depth_scale": 1000,
            "camera": camera,
        }
        fields = {"translator": "identity", "splits": {"train": 1.0}, "corpus": {"shard_frames": 2}, **changes}
        return tiny(source=source, **fields)

    return make


@pytest.mark.parametrize("inline", [True, pytest.param(False, marks=[pytest.mark.ray, pytest.mark.slow])])
def test_a_second_run_in_one_process_reads_where_its_own_manifest_says(
    walls: Walls, inline: bool, request: pytest.FixtureRequest
) -> None:
    """The root is no part of what names a corpus: the same fingerprint, the same output, other frames."""
    address = None if inline else request.getfixturevalue("head").address
    for depth_mm in (1000, 2000):
        manifest = walls(depth_mm=depth_mm)
        assert run(manifest, inline=inline, num_workers=1, address=address, overwrite=True).num_frames == 4
        reader = CorpusReader(manifest.corpus.out)
        assert {float(reader.read(index).clean_depth_m.mean()) for index in range(4)} == {depth_mm / 1000}


@pytest.mark.parametrize("error", [None, MemoryError()])
def test_a_run_closes_its_sources_however_it_ends(
    walls: Walls, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    read: set[int] = set()
    closed: set[int] = set()
    real_read, real_close = RgbdFolder.read, RgbdFolder.close

    def spied_read(self: RgbdFolder, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        read.add(id(self))
        if error is not None and ref.key.endswith("3"):
            raise error
        return real_read(self, ref, wanted)

    def spied_close(self: RgbdFolder) -> None:
        closed.add(id(self))
        real_close(self)

    monkeypatch.setattr(RgbdFolder, "read", spied_read)
    monkeypatch.setattr(RgbdFolder, "close", spied_close)
    if error is None:
        run(walls(depth_mm=1000))
    else:
        with pytest.raises(MemoryError):
            run(walls(depth_mm=1000))
    assert len(read) == (2 if error is None else 1), "one looks whether the data is plausible, one converts"
    assert read <= closed


@pytest.mark.parametrize("translator", ["identity", heavy.Heavy.name])
def test_a_converter_tells_where_it_is_in_every_frame(walls: Walls, tmp_path: Path, translator: str) -> None:
    manifest = walls(depth_mm=1000, translator=translator)
    (tmp_path / "walls-1000" / "2.png").write_bytes(b"no picture")
    told: list[FramePlace] = []
    with (
        prepare(manifest) as prepared,
        open_for_writing(manifest.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        converter = Converter(job_of(prepared, store.storage))
        counts = [
            converter.convert(item, lambda shard, place: told.append(place)).num_frames for item in store.pending()
        ]
        converter.close()
    assert counts == [2, 1]
    keys = [place.key.rpartition("/")[2] for place in told if place.stage == "read"]
    assert keys == [f"{number:06d}" for number in range(4)]
    assert [place.ended for place in told if place.stage == COMMIT] == [2, 2]
    assert {place.stage for place in told} == {"read", "translate", "write", COMMIT}


@pytest.mark.parametrize("translator", ["identity", heavy.Heavy.name])
def test_frames_that_hung_are_rows_and_the_others_the_same_bytes(walls: Walls, tmp_path: Path, translator: str) -> None:
    manifest = walls(depth_mm=1000, translator=translator)
    run(manifest.overridden(out=tmp_path / "whole"))
    with (
        prepare(manifest) as prepared,
        open_for_writing(manifest.corpus.out, prepared.info, prepared.plan_file) as store,
    ):
        converter = Converter(job_of(prepared, store.storage))
        first, second = store.pending()
        key = second.frames[0].key
        converter.convert(first, hung={})
        assert converter.convert(second, hung={key: "read"}).rejects_by_error == {"FrameHungError": 1}
        (reason,) = store.reasons()
        converter.close()
    assert "hung in read" in str(reason)
    made, whole = contents(manifest.corpus.out), contents(tmp_path / "whole")
    shard = {name for name in made if f"shards/{first.shard}" in name}
    assert shard
    assert {name: made[name] for name in shard} == {name: whole[name] for name in shard}


def test_an_error_of_the_corpus_on_a_worker_keeps_its_class_and_names_the_shards(
    walls: Walls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_on_ray(items: Iterable[WorkItem], job: ShardJob, done: Done, *rest: object) -> None:
        for item in items:
            done(Failure(item.shard, IntegrityError("what was written does not read back", where=item.shard)))

    monkeypatch.setattr(stage, "run_on_ray", run_on_ray)
    with pytest.raises(IntegrityError, match="2 of 2 shards could not be made") as caught:
        run(walls(depth_mm=1000), inline=False)
    assert caught.value.where == "train-000000, train-000001"
    assert "does not read back" in str(caught.value.found)
    assert caught.value.exit_code == 6
