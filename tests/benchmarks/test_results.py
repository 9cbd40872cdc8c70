"""What a benchmark saves: figures and their bars, merging by part, and the page made of them."""

from __future__ import annotations

import datetime
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks.page import number, performance_page
from benchmarks.results import Figure, load, save_run


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench_x.py", "--frames", "8", "--save"])


def rate(**changes: Any) -> Figure:
    fields = {"name": "reading", "value": 30.0, "unit": "frames/s", "better": "higher", "data": "rooms"}
    return Figure(**{**fields, "peer": "PNG folder", "peer_value": 10.0, **changes})


def test_times_is_how_much_better_than_the_peer_whichever_way_is_better() -> None:
    assert rate().times == 3.0
    assert rate(better="lower", value=5.0, unit="ms").times == 2.0
    assert rate(better="equal", value=9.0).times == 0.9
    assert rate(ratio=2.5, peer_value=None).times == 2.5
    assert rate(better="lower", value=0.0).times is None
    assert rate(peer=None, peer_value=None).times is None


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, None),
        ({"bar": 30.0}, True),
        ({"bar": 31.0}, False),
        ({"bar": 30.0, "better": "lower"}, True),
        ({"bar": 29.0, "better": "lower"}, False),
        ({"bar": 3.0, "bar_of": "ratio"}, True),
        ({"bar": 3.1, "bar_of": "ratio"}, False),
        ({"bar": 0.3, "bar_of": "ratio", "better": "lower"}, True),
        ({"bar": 0.4, "bar_of": "ratio", "better": "lower"}, False),
    ],
)
def test_a_bar_is_met_from_its_own_side(changes: dict[str, Any], met: bool | None) -> None:
    assert rate(**changes).meets_bar is met


@pytest.mark.parametrize(
    "changes",
    [
        {"peer": None},
        {"peer": None, "peer_value": None, "bar_of": "ratio"},
        {"peer_value": None, "bar": 2.0, "bar_of": "ratio"},
        {"better": "equal", "bar": 1.0},
        {"better": "faster"},
        {"value": math.nan},
        {"value": "30"},
        {"colour": "red"},
    ],
)
def test_a_figure_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rate(**changes)


def test_a_saved_run_is_read_back_with_its_circumstances(tmp_path: Path) -> None:
    measured = {"rates": {"ours": 30.0, "gone": math.inf}, "pair": (1, 2)}
    path = save_run("bench_x", measured, [rate(bar=3, bar_of="ratio")], note="beside other work", folder=tmp_path)
    assert path == tmp_path / "bench_x.json"
    run = load(tmp_path)["bench_x"].parts["all"]
    assert run.command == "python -m benchmarks.bench_x --frames 8 --save"
    assert run.note == "beside other work"
    assert run.figures == (rate(bar=3, bar_of="ratio"),)
    assert run.measured == {"rates": {"ours": 30.0, "gone": None}, "pair": [1, 2]}
    assert abs(run.date - datetime.datetime.now(datetime.UTC).date()) <= datetime.timedelta(days=1)
    assert set(run.packages) >= {"numpy", "torch", "zarr"}
    assert "Python 3" in run.machine


def test_a_run_replaces_its_own_part_and_leaves_the_others(tmp_path: Path) -> None:
    for part, value in (("lidar", 1.0), ("kinect", 2.0), ("lidar", 3.0)):
        save_run("bench_x", {}, [rate(value=value)], part=part, folder=tmp_path)
    parts = load(tmp_path)["bench_x"].parts
    assert {part: run.figures[0].value for part, run in parts.items()} == {"kinect": 2.0, "lidar": 3.0}


def test_a_run_without_a_figure_is_refused_and_leaves_the_file(tmp_path: Path) -> None:
    save_run("bench_x", {}, [rate()], folder=tmp_path)
    with pytest.raises(ValidationError, match="figures"):
        save_run("bench_x", {}, [], folder=tmp_path)
    assert load(tmp_path)["bench_x"].parts["all"].figures == (rate(),)


def test_the_command_keeps_no_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["x", "--out", "/somewhere/runs/dcl", "--out=/somewhere/dcl", "--in", "a/b"])
    save_run("bench_x", {}, [rate()], folder=tmp_path)
    command = load(tmp_path)["bench_x"].parts["all"].command
    assert command == "python -m benchmarks.bench_x --out dcl --out=dcl --in a/b"


@pytest.mark.parametrize("where", [(), ("parts", "all"), ("parts", "all", "figures", 0)])
def test_an_unknown_key_in_a_results_file_is_refused(tmp_path: Path, where: tuple[str | int, ...]) -> None:
    path = save_run("bench_x", {}, [rate()], folder=tmp_path)
    content = json.loads(path.read_text())
    block = content
    for key in where:
        block = block[key]
    block["typed_by_hand"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValidationError, match="typed_by_hand"):
        load(tmp_path)


def test_a_results_file_under_another_name_is_refused(tmp_path: Path) -> None:
    save_run("bench_x", {}, [rate()], folder=tmp_path).rename(tmp_path / "bench_y.json")
    with pytest.raises(ValueError, match=r"bench_y.json holds the results of bench_x"):
        load(tmp_path)


def test_the_page_shows_figures_beside_peers_and_what_was_not_run(tmp_path: Path) -> None:
    save_run("bench_x", {}, [rate(bar=3.0, bar_of="ratio"), rate(name="a|b", bar=31.0)], folder=tmp_path)
    page = performance_page({"bench_x": "What x compares.", "bench_y": "What y compares."}, load(tmp_path))
    section, missing = page.split("## bench_x\n")[1].split("## Not run on this version\n")
    assert section.startswith("\nWhat x compares.\n\n`python -m benchmarks.bench_x --frames 8 --save` on 20")
    assert "| reading | 30 frames/s | PNG folder | 10 | 3 | at least 3 times: met | rooms |" in section
    assert r"| a\|b | 30 frames/s | PNG folder | 10 | 3 | at least 31 frames/s: **missed** | rooms |" in section
    assert "Note" not in section
    assert missing == "\n- What y compares. Run `python -m benchmarks.bench_y --save`.\n"


def test_parts_of_one_run_share_a_table_and_those_of_another_do_not(tmp_path: Path) -> None:
    for part, note in (("a", ""), ("b", "beside other work"), ("c", "")):
        save_run("bench_x", {}, [rate(name=part)], part=part, note=note, folder=tmp_path)
    page = performance_page({"bench_x": "X."}, load(tmp_path))
    assert page.count("| figure | ours |") == 2
    assert page.index("| a |") < page.index("| c |") < page.index("**Note:** beside other work.") < page.index("| b |")


def test_results_of_a_benchmark_that_is_gone_are_refused(tmp_path: Path) -> None:
    save_run("bench_gone", {}, [rate()], folder=tmp_path)
    with pytest.raises(ValueError, match="bench_gone"):
        performance_page({"bench_x": "X."}, load(tmp_path))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3, "3"),
        (0.119, "0.119"),
        (11.84, "11.8"),
        (200_000, "200,000"),
        (1399.6, "1,400"),
        (9.6e-6, "9.6e-06"),
    ],
)
def test_numbers_are_short_and_never_in_powers_when_large(value: float, text: str) -> None:
    assert number(value) == text


def test_every_benchmark_can_save_under_its_own_name(repository: Path) -> None:
    for path in (repository / "benchmarks").glob("bench_*.py"):
        source = path.read_text()
        assert "add_result_options(parser)" in source, path.name
        assert re.findall(r'save_run\(\s*"(\w+)"', source), path.name
        assert set(re.findall(r'save_run\(\s*"(\w+)"', source)) == {path.stem}
