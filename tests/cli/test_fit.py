"""``depthforge fit`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.cli.main import main
from depthforge.fitting import fit
from depthforge.manifest_file import load_manifest
from depthforge.sensors.gaussian_dropout import GaussianDropout
from depthforge.sensors.preset import load_preset
from depthforge.translators.simulation import Simulation
from tests.stages.runs import TINY

SENSOR = {"name": "gaussian_dropout", "sigma_constant_m": 0.004, "sigma_quadratic_per_m": 0.001}


def manifest(folder: Path, name: str, sensor: dict[str, Any] | None, **source: Any) -> Path:
    """Write the manifest of procedural rooms as ``sensor`` sees them, in place of real scans."""
    block = {**TINY, "name": name, "corpus": {"out": str(folder / "corpus")}}
    block["source"] = {**TINY["source"], "num_scenes": 2, "width": 128, "height": 96, "sensor": sensor, **source}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(block))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_a_preset_comes_out_that_a_manifest_can_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # How well it searches is tested in tests/fitting; a short search has all the steps of a long one.
    monkeypatch.setattr(fit, "FROM_AFAR", ((0.3,),))
    monkeypatch.setattr(fit, "NEARBY", ((0.1,),))
    monkeypatch.setattr(fit, "NUM_BOOTSTRAPS", 1)
    real = manifest(tmp_path, "scans", SENSOR)
    out = tmp_path / "camera.yaml"
    code, text, err = call(capsys, "gaussian_dropout", "--real", real, "--frames", 2, "--out", out, "--json")
    assert code == 0
    assert "camera.yaml" in err
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    preset = load_preset(out)
    assert preset.fit is not None
    assert preset.fit["scans"]["fitted_frames"] == preset.fit["scans"]["held_out_frames"] == 2
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
