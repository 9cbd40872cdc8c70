"""``depthforge fit`` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from depthforge.cli.main import main
from depthforge.fitting import fit
from depthforge.fitting.approaches import PLANS
from depthforge.fitting.recipes import RECIPES
from depthforge.frame import Camera, Frame
from depthforge.manifest_file import load_manifest
from depthforge.scenes.raycast import cast
from depthforge.seeding import frame_words
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.preset import load_preset
from depthforge.translators.simulation import Simulation
from tests.sources.fused_trees import ROOM, block, pose
from tests.sources.tree_files import png, write
from tests.stages.runs import TINY

KNOWN = {"sigma_constant_m": 0.004, "sigma_quadratic_per_m": 0.001}
SENSOR = {"name": "gaussian_dropout", **KNOWN}


def manifest(folder: Path, name: str, sensor: dict[str, Any] | None, **source: Any) -> Path:
    """Write the manifest of procedural rooms as ``sensor`` sees them, in place of real scans."""
    block = {**TINY, "name": name, "corpus": {"out": str(folder / "corpus")}}
    block["source"] = {**TINY["source"], "num_scenes": 2, "width": 128, "height": 96, "sensor": sensor, **source}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(block))
    return path


def recording(folder: Path, name: str) -> Path:
    """Write the manifest of a noisy recording of an analytic room with poses, and how it is to be fused."""
    pytest.importorskip("open3d", exc_type=ImportError)
    camera = Camera(120.0, 120.0, 63.5, 47.5, 128, 96)
    for number in range(12):
        clean_m = cast(ROOM, pose(number), camera).depth_m.astype(np.float32)
        clean = Frame(f"{name}/room/{number:02d}", clean_m, clean_m > 0, camera)
        depth_m, valid = GaussianDropout(**KNOWN).measure(clean, frame_words(0, clean.key, "scan"))
        write(folder / name / f"room/{number:02d}.png", png(np.rint(depth_m * valid * 1000).astype(np.uint16)))
        rows = pose(number).tolist()
        write(folder / name / f"room/{number:02d}.txt", "\n".join(" ".join(map(repr, row)) for row in rows))
    fused = block(folder / name, max_residual_m=0.05)
    fused["of"] |= {
        "dataset": name,
        "camera": {"width": 128, "height": 96, "fx": 120, "fy": 120, "cx": 63.5, "cy": 47.5},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**TINY, "name": name, "source": fused, "corpus": {"out": str(folder / "corpus")}}))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def search_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """How well it searches is tested in tests/fitting; a short search of the noise has all the steps of a long one."""
    stage = RECIPES["gaussian_dropout"].stages[0]
    short = replace(RECIPES["gaussian_dropout"], stages=(stage,))
    monkeypatch.setitem(PLANS, "gaussian_dropout", short)
    monkeypatch.setattr(fit, "FROM_AFAR", ((0.3,),))
    monkeypatch.setattr(fit, "NEARBY", ((0.1,),))
    monkeypatch.setattr(fit, "NUM_BOOTSTRAPS", 1)


def test_a_preset_comes_out_that_a_manifest_can_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_shortly(monkeypatch)
    real = manifest(tmp_path, "scans", SENSOR)
    out = tmp_path / "camera.yaml"
    code, text, err = call(capsys, "gaussian_dropout", "--real", real, "--frames", 4, "--out", out, "--json")
    worse = json.loads(text)["fit"]["worse_on_held_out_frames"]
    assert code == (4 if worse["used"] else 0)
    # Two scenes are not fused unasked, and the report says so.
    assert "not fused: only a recording of one scene is fused unasked" in err
    assert "only a recording of one scene" in json.loads(text)["fit"]["scans"]["scenes"]
    assert "camera.yaml" in err
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    preset = load_preset(out)
    assert preset.fit is not None
    assert preset.fit["scans"]["fitted_frames"] == preset.fit["scans"]["held_out_frames"] == 4
    assert str(tmp_path) not in out.read_text()
    found = json.loads(text)
    assert found["parameters"] == preset.parameters
    assert set(found["curves"]) == {"fitted", "held_out"}

    block = yaml.safe_load(real.read_text())
    block["translator"] = {"name": "simulation", "sensor": str(out)}
    real.write_text(yaml.safe_dump(block))
    config = load_manifest(real).translator.config
    assert isinstance(config, Simulation.Config)
    sensor = config.sensor
    assert isinstance(sensor, GaussianDropout)
    assert sensor.preset == "camera"
    assert sensor.sigma_constant_m == preset.parameters["sigma_constant_m"] != 0.0


def test_a_lidar_takes_no_burst(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = manifest(tmp_path, "scans", SENSOR)
    code, out, err = call(capsys, "lidar", "--real", real, "--burst", real)
    assert (code, out) == (3, "")
    assert "a burst says nothing of the sensor lidar" in err


def test_a_burst_that_moves_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = manifest(tmp_path, "scans", SENSOR)
    walk = manifest(tmp_path, "walk", SENSOR, num_scenes=1, frames_per_scene=6)
    code, out, err = call(capsys, "gaussian_dropout", "--real", real, "--frames", 2, "--burst", walk)
    assert (code, out) == (3, "")
    assert "burst" in err


@pytest.mark.parametrize(
    ("sensor", "scans", "message"),
    [
        ("nosuch", SENSOR, "unknown sensor"),
        ("lidar", SENSOR, "no scans of a spinning lidar"),
        ("dexnet", None, "clean, synthetic depth"),
        ("gaussian_dropout", None, "clean, synthetic depth"),
    ],
)
def test_what_cannot_be_fitted_is_one_clear_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sensor: str, scans: dict[str, Any] | None, message: str
) -> None:
    code, out, err = call(capsys, sensor, "--real", manifest(tmp_path, "scans", scans), "--frames", 2)
    assert (code, out) == (3, "")
    assert message in err
    assert "Traceback" not in err


def test_too_few_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "gaussian_dropout", "--real", manifest(tmp_path, "scans", SENSOR), "--limit", 3)
    assert code == 3
    assert "too few scans" in err


def test_a_preset_is_a_yaml_file_and_that_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "gaussian_dropout", "--real", tmp_path / "none.yaml", "--out", tmp_path / "camera.txt")
    assert code == 3
    assert "a preset is a .yaml file" in err


def test_recordings_with_poses_are_fused_and_each_is_left_out_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_shortly(monkeypatch)
    first, second = (recording(tmp_path, name) for name in ("first", "second"))
    arguments = ["gaussian_dropout", "--real", first, "--real", second, "--frames", 2, "--json"]
    code, text, err = call(capsys, *arguments)
    found = json.loads(text)
    assert code == (4 if found["fit"]["worse_on_held_out_frames"]["used"] else 0)
    assert err.count("fused: ") == 2
    scans = found["fit"]["scans"]
    assert scans["scenes"] == "the truth of the same views"
    assert [each["fitted_frames"] for each in scans["recordings"]] == [2, 2]
    assert [each["data_set"] for each in found["recordings_left_out"]] == ["first", "second"]


def test_what_is_not_to_be_fused_is_guessed_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search_shortly(monkeypatch)
    real = recording(tmp_path, "first")
    _, text, err = call(capsys, "gaussian_dropout", "--real", real, "--frames", 2, "--no-fuse")
    assert "fused" not in err
    assert "candidates are simulated on clean guesses of the scans: not fused" in text


def test_recordings_of_two_cameras_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = manifest(tmp_path, "first", SENSOR), manifest(tmp_path, "second", SENSOR, width=96)
    code, out, err = call(capsys, "gaussian_dropout", "--real", first, "--real", second, "--no-fuse", "--frames", 2)
    assert (code, out) == (3, "")
    assert "the recordings are not of one camera" in err


def test_the_same_recording_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = manifest(tmp_path, "first", SENSOR)
    code, _, err = call(capsys, "gaussian_dropout", "--real", real, "--real", real, "--no-fuse", "--frames", 2)
    assert code == 3
    assert "two recordings have frames of the same key" in err
