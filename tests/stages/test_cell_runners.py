"""Cells of a table side by side: the same bytes on Ray, one that fails takes no other with it, a killed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from depthforge.cli.main import main
from depthforge.errors import IncompleteError, InputError, StorageError
from depthforge.stages import cell_runners
from depthforge.stages.cell_runners import CellJob, measure_cells
from depthforge.stages.cluster import Need, Node, RayOptions, Resources
from depthforge.tasks.cells import Lesson, Row, networks_of
from depthforge.tasks.enhancement import Enhancement, EnhancementConfig
from tests.heads import Head, environment
from tests.tasks.corpora import make_corpus

REPOSITORY = Path(__file__).parents[2]
TASK = Enhancement(EnhancementConfig(setting="small", crop_px=48, width=8, steps=2))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora `noisy` and `real`."""
    root = tmp_path_factory.mktemp("cells")
    make_corpus(root / "noisy")
    make_corpus(root / "real", "scanned_rooms")
    return root


def jobs_of(sides: Path, folder: Path) -> list[CellJob]:
    """Three cells, of which the second goes on from the network of the first."""
    noisy, real = Lesson(sides / "noisy", "depth_noisy"), Lesson(sides / "real", "depth_raw", part=(0.0, 0.5))
    rows = (Row("noisy", noisy), Row("tuned", noisy, tuning=real), Row("supervised", real))
    return [CellJob(TASK, row, 0, replace(real, part=(0.5, 1.0)), folder) for row in rows]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every cell and every network."""
    found = [*folder.glob("cells/*.npz"), *folder.glob("networks/*/weights.safetensors")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(found)}


def fields_of(sides: Path, out: Path, steps: int) -> dict[str, Any]:
    return {
        "name": "tiny",
        "task": {"name": "enhancement", "setting": "small", "crop_px": 48, "width": 8, "steps": steps},
        "real": {"corpus": str(sides / "real")},
        "rows": [{"name": "noisy", "corpus": str(sides / "noisy")}, {"name": "supervised", "supervised": True}],
        "seeds": [0, 1],
        "out": str(out),
    }


def test_a_cell_begins_once_no_other_trains_its_network(sides: Path, tmp_path: Path) -> None:
    first, tuned, real = jobs_of(sides, tmp_path)
    assert len(networks_of(TASK, tuned.row, 0)) == 2
    assert networks_of(TASK, tuned.row, 0)[0] == networks_of(TASK, first.row, 0)[0]
    assert cell_runners._ready([first, tuned, real], [], None) == [first, real]
    assert cell_runners._ready([first, tuned, real], [], 1) == [first]
    assert cell_runners._ready([tuned, real], [first], None) == [real]
    assert cell_runners._ready([tuned], [real], None) == [tuned]
    assert cell_runners._ready([tuned], [real], 1) == []


def test_a_cell_asks_for_a_gpu_as_its_device_says() -> None:
    with_gpu, without = Resources((Node(4, 1),)), Resources((Node(4),))
    asked = {
        device: [
            cell_runners._need_of(has, Enhancement(EnhancementConfig(device=device))) for has in (with_gpu, without)
        ]
        for device in ("auto", "cpu", "cuda")
    }
    assert asked == {"auto": [Need(1, 1), Need(1)], "cpu": [Need(1), Need(1)], "cuda": [Need(1, 1), Need(1, 1)]}


def test_a_cell_that_fails_takes_no_other_with_it(sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = cell_runners.measured_cell
    threads: list[int] = []

    def fails(task: Any, row: Row, *rest: Any, **options: Any) -> Any:
        threads.append(torch.get_num_threads())
        if row.name == "noisy":
            raise InputError("no frame holds anything")
        return measured(task, row, *rest, **options)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(cell_runners, "measured_cell", fails)
    warned: list[str] = []
    try:
        with pytest.raises(IncompleteError, match="1 of 3 cells could not be measured") as caught:
            measure_cells(jobs_of(sides, tmp_path), None, lambda _: None, warned.append)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1, 1, 1]
    assert caught.value.where == "noisy, seed 0"
    assert "no frame holds anything" in str(caught.value.found)
    assert warned == ["noisy, seed 0: no frame holds anything"]
    assert len(list((tmp_path / "cells").iterdir())) == 2


def test_a_full_disk_ends_it_at_once(sides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def fails(task: Any, row: Row, *rest: Any, **options: Any) -> Any:
        begun.append(row.name)
        raise StorageError("there is no room left on the disk")

    monkeypatch.setattr(cell_runners, "measured_cell", fails)
    with pytest.raises(StorageError, match="no room"):
        measure_cells(jobs_of(sides, tmp_path), None, lambda _: None, lambda _: None)
    assert begun == ["noisy"]


def test_options_of_a_table_are_refused_for_a_corpus(sides: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(sides / "noisy"), "--real", str(sides / "real"), "--workers", "2"])
    assert ended.value.code == 2
    assert "--workers is for a table" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_cells_have_the_bytes_of_this_process_and_failures_are_named(
    sides: Path, tmp_path: Path, head: Head
) -> None:
    measure_cells(jobs_of(sides, tmp_path / "here"), None, lambda _: None, lambda _: None)
    jobs = jobs_of(sides, tmp_path / "ray")
    gone = Lesson(tmp_path / "nowhere", "depth_noisy")
    notes: list[str] = []
    options = RayOptions(2, head.address, stall_limit_s=120)
    measure_cells(jobs, options, notes.append, notes.append)
    assert contents(tmp_path / "here") == contents(tmp_path / "ray")
    assert len(contents(tmp_path / "ray")) == 6
    assert any(line.startswith("tuned, seed 0: step 1 of 1:") for line in notes), notes
    bad = replace(jobs[0], test=gone, row=replace(jobs[0].row, name="lost"), folder=tmp_path / "other")
    with pytest.raises(IncompleteError, match="1 of 2 cells could not be measured") as caught:
        measure_cells([bad, replace(jobs[2], folder=tmp_path / "other")], options, notes.append, notes.append)
    assert caught.value.where == "lost, seed 0"
    assert "nowhere" in str(caught.value.found)
    assert len(list((tmp_path / "other" / "cells").iterdir())) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_a_table_on_ray_that_was_killed_goes_on_behind_its_last_finished_cell(sides: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "table.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(fields_of(sides, out, steps=40)))
    command = [sys.executable, "-m", "depthforge", "evaluate", str(path), "--workers", "1"]
    env = environment(REPOSITORY)
    with open(tmp_path / "killed.log", "w") as log:
        running = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log)
        family = psutil.Process(running.pid)
        children: list[psutil.Process] = []
        try:
            deadline = time.monotonic() + 120
            while not list(out.glob("cells/*.npz")):
                said = (tmp_path / "killed.log").read_text()
                assert running.poll() is None, said
                assert time.monotonic() < deadline, said
                children = family.children(recursive=True)
                time.sleep(0.05)
            os.kill(running.pid, signal.SIGKILL)
        finally:
            running.kill()
            running.wait()
            psutil.wait_procs(children, timeout=20)
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*.npz")}
    assert 1 <= len(before) < 4
    assert not (out / "table.md").exists()
    ended = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert len(list(out.glob("cells/*.npz"))) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "| supervised |" in ended.stdout
    assert "measured, 1 of" in ended.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_cell_whose_worker_was_killed_is_begun_again_and_ends_as_in_this_process(sides: Path, tmp_path: Path) -> None:
    task = Enhancement(EnhancementConfig(setting="small", crop_px=48, width=8, steps=120))
    here, there = (replace(jobs_of(sides, tmp_path / name)[0], task=task) for name in ("here", "ray"))
    measure_cells([here], None, lambda _: None, lambda _: None)
    killed: list[int] = []

    def kill(line: str) -> None:
        if not killed and line.startswith("noisy, seed 0: step 50 of 120"):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "ray::noisy" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)

    measure_cells([there], RayOptions(1, stall_limit_s=120), kill, lambda _: None)
    assert killed
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
