"""``init`` as a user meets it: what it writes, what `check` says of that, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome
from tests.sources.simulator_tree import write_simulator

Call = Callable[..., Outcome]


@pytest.fixture
def simulator(tmp_path: Path) -> Path:
    write_simulator(tmp_path / "sim")
    return tmp_path / "sim"


def test_check_passes_on_what_init_writes(depthforge: Call, simulator: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.yaml"
    done = depthforge("init", simulator, "--out", out)
    assert done.code == 0
    assert f"depthforge check {out}" in done.out
    checked = depthforge("check", out)
    assert (checked.code, "T_world_cam: 6 of 6" in checked.out) == (0, True)
    again = depthforge("init", simulator, "--out", out)
    assert (again.code, "is there already" in again.err) == (3, True)


def test_the_manifest_goes_to_standard_output_and_reasons_beside(depthforge: Call, simulator: Path) -> None:
    done = depthforge("init", simulator, "--real")
    assert done.code == 0
    assert "name: identity" in done.out
    assert "depthforge evaluate CORPUS --real" in done.out
    assert "next: --out FILE.yaml" in done.err
    assert sorted(path.name for path in simulator.parent.iterdir()) == ["sim"]


def test_a_known_layout_is_proposed_by_its_name(depthforge: Call, tmp_path: Path) -> None:
    depthforge("sample", tmp_path / "x", "--layout", "replica", "--scenes", "1", "--frames", "3")
    done = depthforge("init", tmp_path / "x")
    assert (done.code, "name: replica" in done.out) == (0, True)


def test_the_split_of_a_bop_data_set_is_stated(depthforge: Call, tmp_path: Path) -> None:
    depthforge("sample", tmp_path / "x", "--layout", "bop", "--scenes", "3", "--frames", "1")
    done = depthforge("init", tmp_path / "x")
    assert (done.code, "name: bop" in done.out, "split: train_pbr" in done.out) == (0, True, True)


def test_a_place_without_data_is_one_clear_error(depthforge: Call, tmp_path: Path) -> None:
    done = depthforge("init", tmp_path / "nothing")
    assert (done.code, "no such folder" in done.err) == (3, True)
