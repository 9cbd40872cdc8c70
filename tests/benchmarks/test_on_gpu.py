"""The command for a GPU: its table, here on the CPU and from a tree that is not installed, and what it says else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import on_gpu

# Read by Python as it starts, in the parts' own processes too: no Ray, and a depthforge that nothing has installed.
BARE = """
import importlib.metadata as metadata, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
found = metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if name == "depthforge":
        raise metadata.PackageNotFoundError(name)
    return found(cls, name)

metadata.Distribution.from_name = classmethod(from_name)
"""


@pytest.fixture
def bare_tree(repository: Path, tmp_path: Path) -> Path:
    for package in ("depthforge", "benchmarks"):
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(BARE)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'bare'}:{tree}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=200)


def table(tree: Path, part: str) -> list[str]:
    ended = run(tree, "-m", "benchmarks.on_gpu", "--quick", "--device", "cpu", "--only", part)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_the_tree_is_bare(bare_tree: Path) -> None:
    for code, error in (
        ("import ray", "No module named 'ray'"),
        ("import importlib.metadata as m; m.version('depthforge')", "PackageNotFoundError"),
    ):
        assert error in run(bare_tree, "-c", code).stderr
    assert run(bare_tree, "-c", "import depthforge; print(depthforge.__file__)").stdout.startswith(str(bare_tree))


def test_it_runs_without_ray_and_uninstalled_and_prints_one_table(bare_tree: Path) -> None:
    first, _, title, header, _, *rows = table(bare_tree, "inference")
    assert "no GPU: the CPU, at tiny sizes" in first
    assert title == "On a GPU"
    assert header.split()[-4:] == ["value", "peer", "bar", "ok"]
    assert any("whole, eager, bfloat16: off" in row and "mm at most" in row for row in rows)
    assert rows[-1] == "13 rows, 0 not ok"


@pytest.mark.slow
def test_a_corpus_takes_no_more(bare_tree: Path) -> None:
    *_, missing, depth, validity, _, count = table(bare_tree, "corpus")
    assert all(row.split(":")[0].strip() == "corpus inline, dcl" for row in (missing, depth, validity))
    assert all(row.endswith("  yes") for row in (missing, depth, validity))
    assert count == "3 rows, 0 not ok"


def test_a_part_that_fails_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"what": "good", "value": "1", "peer": "", "bar": "", "ok": None}

    def run_part(name: str, device: str, tiny: bool, limit_s: float) -> list[dict[str, object]]:
        return [good] if name == "resume" else [on_gpu._failed(name, "the GPU fell off the bus")]

    monkeypatch.setattr(on_gpu, "run_part", run_part)
    assert on_gpu.main(["--json", "--device", "cpu", "--only", "steps", "resume"]) == 1
    found = json.loads(capsys.readouterr().out)["parts"]
    assert found["resume"] == [good]
    assert (found["steps"][0]["value"], found["steps"][0]["ok"]) == ("the GPU fell off the bus", False)
    assert on_gpu.main(["--device", "cpu", "--only", "resume"]) == 0


def test_a_part_has_its_own_process_time_and_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    (late,) = on_gpu.run_part("resume", "cpu", True, 0.2)
    assert (late["value"], late["ok"]) == ("not ended after 0.2 s", False)
    (over,) = on_gpu.run_part("resume", "cpu", True, -1.0)
    assert over["value"] == "not run: 350 s are over"
    (broken,) = on_gpu.run_part("resume", "nowhere", True, 60.0)
    assert "invalid choice: 'nowhere'" in broken["value"]
    monkeypatch.setattr(on_gpu.importlib.util, "find_spec", lambda name: None if name in ("cv2", "numba") else object())
    (lacking,) = on_gpu.run_part("corpus", "cpu", True, 60.0)
    assert lacking["value"] == "not run: pip install numba opencv-python-headless"


def test_what_is_missing_is_said_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_gpu, "missing", lambda modules: ["pydantic", "pyyaml"])
    assert on_gpu.main([]) == 2
    assert "-m pip install pydantic pyyaml" in capsys.readouterr().err


def test_parts_fit_into_six_minutes_and_every_need_is_named() -> None:
    assert on_gpu.WHOLE_S < 360
    documented = on_gpu.__doc__ or ""
    for distribution in (*on_gpu.REQUIRED.values(), *on_gpu.FOR_CORPUS.values()):
        assert distribution in documented
