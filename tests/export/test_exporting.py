"""An export as a job: ended and gone on with, refused, bounded in memory, and the same bytes whoever writes it."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from depthforge.cli.main import main
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.store import open_for_writing
from depthforge.encoding import DepthEncoding
from depthforge.errors import (
    CorpusBusyError,
    CorpusError,
    CorpusMismatchError,
    IncompleteError,
    InputError,
    StorageError,
    UnknownNameError,
)
from depthforge.export import PLUGINS, output
from depthforge.export.base import Options
from depthforge.export.output import open_output
from depthforge.export.parts import parts_of
from depthforge.manifest import parse_manifest
from depthforge.sources.blenderproc import BlenderProc
from depthforge.sources.bop import Bop
from depthforge.stages.exporting import export_corpus
from depthforge.storage import local
from tests.corpus.corpora import FIELDS, HEIGHT, WIDTH, build, make_info
from tests.export.exports import export, files_of
from tests.stages.runs import run

_KILLED = """
import os, signal, sys
from pathlib import Path
from depthforge.storage import local
from tests.export.exports import export
calls, replace = 0, os.replace
def dying(*names):
    global calls
    calls += 1
    if calls > int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
local.os.replace = dying
import depthforge.durable
depthforge.durable.os.replace = dying
export(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
"""


@pytest.mark.parametrize("name", PLUGINS)
def test_an_export_is_the_same_bytes_each_time_and_then_there_is_nothing_to_do(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    first, second = (export(corpus, name, tmp_path / out) for out in ("a", "b"))
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert (first.num_frames, first.made_parts) == (22, first.num_parts)
    again = export(corpus, name, tmp_path / "a")
    assert (again.nothing_to_do, again.losses, again.stored_bytes) == (True, second.losses, second.stored_bytes)


@pytest.mark.parametrize(("name", "after"), [("webdataset", 4), ("coco", 30), ("png", 60), ("huggingface", 12)])
def test_an_export_that_was_killed_goes_on_to_the_same_bytes(
    corpus: Path, tmp_path: Path, name: str, after: int
) -> None:
    export(corpus, name, tmp_path / "whole")
    arguments = [str(corpus), name, str(tmp_path / "killed"), str(after)]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "export.json").exists()
    report = export(corpus, name, tmp_path / "killed")
    assert 0 < report.made_parts <= report.num_parts
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_what_was_written_before_a_kill_is_kept(corpus: Path, tmp_path: Path) -> None:
    arguments = [str(corpus), "webdataset", str(tmp_path / "out"), "5"]
    subprocess.run([sys.executable, "-c", _KILLED, *arguments], check=False)
    assert export(corpus, "webdataset", tmp_path / "out").made_parts == 4


@pytest.mark.ray
@pytest.mark.slow
def test_workers_on_ray_write_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    export(corpus, "coco", tmp_path / "here")
    report = export_corpus(corpus, "coco", tmp_path / "there", num_workers=2)
    assert report.made_parts == report.num_parts
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def _peak_bytes(corpus: Path, name: str, out: Path) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        export(corpus, name, out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_a_part(tmp_path: Path) -> None:
    schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, shard_frames=4000)
    peaks = {}
    for count in (10, 110):
        corpus = build(tmp_path / str(count), count, schema, rejected=())
        for name in ("webdataset", "png"):
            # The least of two: tables of the interpreter that grow now and then are not ours.
            peaks[name, count] = min(_peak_bytes(corpus, name, tmp_path / f"{name}-{count}-{turn}") for turn in "ab")
    for name in ("webdataset", "png"):
        # A frame of this corpus is 5 KiB; what grows is keys and the cameras of a scene.
        assert peaks[name, 110] - peaks[name, 10] < 100 * 1500, peaks


def test_parts_hold_every_frame_once(corpus: Path) -> None:
    reader = CorpusReader(corpus)
    for works_by in ("shard", "scene"):
        parts = parts_of(reader, works_by)
        assert [part.first for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == len(reader)
        assert len({part.name for part in parts}) == len(parts)
    assert all(
        {reader.key(position).rsplit("/", 1)[0] for position in range(part.first, part.stop)} == {part.scene}
        for part in parts_of(reader, "scene")
    )


def test_an_unknown_format_names_the_closest(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown format 'webdatset'") as caught:
        export(corpus, "webdatset", tmp_path / "out")
    assert "did you mean 'webdataset'?" in str(caught.value)


def test_a_field_or_split_that_is_not_there_names_those_that_are(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown field 'semantics'") as caught:
        export(corpus, "png", tmp_path / "out", fields=("depth_noisy", "semantics"))
    assert "did you mean 'semantic'?" in str(caught.value)
    with pytest.raises(UnknownNameError, match="unknown split 'trian'"):
        export(corpus, "png", tmp_path / "out", split="trian")
    with pytest.raises(InputError, match="COCO annotates instances"):
        export(corpus, "coco", tmp_path / "out", fields=("depth_noisy", "rgb"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["png", "kitti", "bop", "coco", "lerobot"])
@pytest.mark.parametrize("invalid", ["nan", "inf"])
def test_integers_hold_no_nan(corpus: Path, tmp_path: Path, name: str, invalid: str) -> None:
    with pytest.raises(InputError, match=f"16-bit integers cannot hold {invalid}"):
        export(corpus, name, tmp_path / "out", invalid=invalid)
    assert not (tmp_path / "out").exists()


def test_integers_that_are_asked_for_hold_no_nan_either(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="16-bit integers cannot hold nan") as caught:
        export(corpus, "npz", tmp_path / "out", invalid="nan", depth="uint16")
    assert caught.value.remedy == "--depth float32"
    with pytest.raises(InputError, match="holds no depth of this type"):
        export(corpus, "hdf5", tmp_path / "out", depth="uint16")


def test_a_corpus_that_is_not_finished_says_what_is_missing(tmp_path: Path) -> None:
    info, plan = make_info(tmp_path, 22)
    with open_for_writing(tmp_path / "corpus", info, plan):
        pass
    with pytest.raises(IncompleteError, match="not finished") as caught:
        export(tmp_path / "corpus", "png", tmp_path / "out")
    assert "6 committed shards" in str(caught.value)


def test_a_folder_that_holds_something_else_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="holds other files and no export"):
        export(corpus, "png", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    export(corpus, "png", tmp_path / "export")
    with pytest.raises(CorpusMismatchError, match="holds another export") as caught:
        export(corpus, "npz", tmp_path / "export")
    assert "format" in str(caught.value)


def test_two_runs_do_not_write_one_export(corpus: Path, tmp_path: Path) -> None:
    with (
        open_output(tmp_path / "out", {"format": "x"}),
        pytest.raises(CorpusBusyError, match="another run"),
        open_output(tmp_path / "out", {"format": "x"}),
    ):
        pass


def test_a_full_disk_is_one_clear_error_and_the_next_run_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(corpus, "npz", tmp_path / "whole")
    written, fsync = 0, os.fsync

    def full(handle: int) -> None:
        nonlocal written
        written += 1
        if written > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(local.os, "fsync", full)
        with pytest.raises(StorageError, match="no room left on the disk"):
            export(corpus, "npz", tmp_path / "out")
    export(corpus, "npz", tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_depth_that_a_step_does_not_reach_is_counted(tmp_path: Path) -> None:
    schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, depth=DepthEncoding(dtype="float32"), shard_frames=4)
    corpus = build(tmp_path, 4, schema, rejected=())
    assert export(corpus, "npz", tmp_path / "exact").losses == []
    losses = export(corpus, "png", tmp_path / "out").losses
    assert losses == ["depth is rounded to steps of 0.001 m; the corpus stores float32"]
    tenths = CorpusSchema(HEIGHT, WIDTH, FIELDS, depth=DepthEncoding(scale_m=0.01), shard_frames=4)
    coarse = build(tmp_path / "coarse", 4, tenths, rejected=())
    assert export(coarse, "bop", tmp_path / "bop").losses[0].startswith("normals")


def test_an_export_file_that_cannot_be_read_is_named(corpus: Path, tmp_path: Path) -> None:
    export(corpus, "npz", tmp_path / "out")
    (tmp_path / "out" / output.DESCRIPTION).write_text("{")
    with pytest.raises(CorpusError, match="cannot be read"):
        export(corpus, "npz", tmp_path / "out")


def test_the_command_says_what_was_not_carried(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(corpus), "--to", "kitti", "--out", str(tmp_path / "out"), "--inline"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "not carried as it is: semantic: KITTI has no place for it" in printed
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["nothing_to_do"]


def _made_from(tmp_path: Path, layout: str, source: dict[str, Any]) -> Path:
    """Return a corpus of a sample of ``layout``, its depth unchanged."""
    with pytest.raises(SystemExit) as ended:
        main(["sample", str(tmp_path / layout), "--layout", layout, "--scenes", "1", "--frames", "2"])
    assert ended.value.code == 0
    manifest = parse_manifest(
        {
            "name": layout,
            "source": {"name": layout, "root": str(tmp_path / layout), **source},
            "translator": {"name": "identity"},
            "splits": {"train": 1.0},
            "corpus": {"out": str(tmp_path / f"{layout}-corpus"), "depth": {"scale_m": 1e-4 if source else 1e-3}},
        },
        where="test",
    )
    run(manifest)
    return manifest.corpus.out


def test_bop_comes_back_through_the_source_that_reads_it(tmp_path: Path) -> None:
    corpus = _made_from(tmp_path, "bop", {"split": "test"})
    report = export(corpus, "bop", tmp_path / "out")
    assert not any("mask" in line for line in report.losses), report.losses
    source, reader = Bop(Bop.Config(root=tmp_path / "out", split="train")), CorpusReader(corpus)
    refs = list(source.frames())
    assert len(refs) == len(reader) == 2
    for position, ref in enumerate(refs):
        frame, record = source.read(ref, frozenset(source.labels)), reader.read(position)
        np.testing.assert_array_equal(frame.depth_m, record.noisy_depth_m)
        assert frame.rgb is not None
        np.testing.assert_array_equal(frame.rgb, record.labels["rgb"])
        np.testing.assert_array_equal(frame.camera.K, record.labels["K"])
        np.testing.assert_allclose(frame.T_world_cam, record.labels["T_world_cam"], atol=1e-12)
        np.testing.assert_allclose(frame.labels["object_pose"], record.labels["object_pose"], atol=1e-12)
        for name in set(record.labels) - {"rgb", "K", "T_world_cam", "object_pose"}:
            np.testing.assert_array_equal(frame.labels[name], record.labels[name], err_msg=name)


def test_hdf5_comes_back_through_the_source_that_reads_it(tmp_path: Path) -> None:
    corpus = _made_from(tmp_path, "blenderproc", {})
    export(corpus, "hdf5", tmp_path / "out", invalid="inf")
    source, reader = BlenderProc(BlenderProc.Config(root=tmp_path / "out")), CorpusReader(corpus)
    refs = list(source.frames())
    assert len(refs) == len(reader) == 2
    for position, ref in enumerate(refs):
        frame, record = source.read(ref, frozenset(source.labels)), reader.read(position)
        np.testing.assert_array_equal(frame.depth_m, record.clean_depth_m)
        np.testing.assert_array_equal(frame.rgb, record.labels["rgb"])
        np.testing.assert_allclose(frame.T_world_cam, record.labels["T_world_cam"], atol=1e-12)
        np.testing.assert_allclose(frame.labels["normals"], record.labels["normals"], atol=2)
        for name in ("instance", "semantic"):
            np.testing.assert_array_equal(frame.labels[name], record.labels[name])


def test_options_are_plain_data() -> None:
    assert Options(fields=("b", "a")).to_json()["fields"] == ["a", "b"]
