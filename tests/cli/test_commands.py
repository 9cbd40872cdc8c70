"""The command line as a user meets it: what is printed where, exit codes, messages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from depthforge.cli.main import COMMANDS, cli, main, read_options
from tests.cli.conftest import Outcome
from tests.stages.runs import TINY, contents


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "corpus": {"out": str(tmp_path / "corpus"), "shard_frames": 4}}))
    return path


Call = Callable[..., Outcome]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help_with_examples_of_its_words(depthforge: Call, arguments: list[str]) -> None:
    done = depthforge(*arguments, "--help")
    assert done.code == 0
    assert "Usage: depthforge" in done.out


def test_help_and_import_load_nothing_heavy() -> None:
    script = (
        "import sys; from depthforge.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'ray', 'open3d', 'numpy', 'cv2', 'numba', 'zarr', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_an_unknown_command_is_a_usage_error_with_the_closest(depthforge: Call) -> None:
    done = depthforge("sythesize", "x")
    assert done.code == 2
    assert "did you mean 'synthesize'?" in done.err


def test_synthesize_then_verify_then_inspect(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    done = depthforge("synthesize", manifest, "--inline")
    assert done.code == 0
    assert "made 12 frames in" in done.out
    assert "verified" in done.out
    again = depthforge("synthesize", manifest, "--inline")
    assert (again.code, "nothing to do" in again.out) == (0, True)
    corpus = tmp_path / "corpus"
    verified = depthforge("verify", corpus, "--source", manifest, "--json")
    assert (verified.code, json.loads(verified.out)["ok"]) == (0, True)
    inspected = depthforge("inspect", corpus, "--picture", tmp_path / "sheet.png")
    assert inspected.code == 0
    for word in ("planar z in m", "uint16 x 0.001 m", "semantic", "train", "noise"):
        assert word in inspected.out, word
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert min(sheet.shape[:2]) > 72
    assert sheet.std() > 20


def test_dry_run_prints_the_plan_and_writes_nothing(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    done = depthforge("synthesize", manifest, "--dry-run", "--workers", "2")
    assert done.code == 0
    for word in ("12", "shards", "memory", "MiB a worker", "time", "nothing was written"):
        assert word in done.out, word
    assert not (tmp_path / "corpus").exists()
    plan = json.loads(depthforge("convert", manifest, "--dry-run", "--json").out)
    assert (plan["frames"], plan["seconds"] > 0, plan["worker_bytes"] > 2**20) == (12, True, True)


def test_options_lie_over_the_manifest(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere"
    done = depthforge(
        "convert", manifest, "--inline", "--out", out, "--limit", 5, "--seed", 3, "--translator", "identity", "--json"
    )
    assert (done.code, json.loads(done.out)["num_frames"]) == (0, 5)
    info = json.loads((out / "corpus.json").read_text())
    assert info["manifest"]["seed"] == 3
    assert info["translator"]["name"] == "identity"


def test_a_flipped_bit_ends_with_6(depthforge: Call, manifest: Path, tmp_path: Path) -> None:
    depthforge("synthesize", manifest, "--inline")
    target = next((tmp_path / "corpus" / "shards").glob("*/depth_noisy/c.0.0.0"))
    damaged = bytearray(target.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    target.write_bytes(damaged)
    done = depthforge("verify", tmp_path / "corpus")
    assert done.code == 6
    assert "depth_noisy/c.0.0.0" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["synthesize", "no.yaml"], 3, "no such manifest"),
        (["verify", "nowhere"], 3, "not a corpus"),
        (["inspect", "nowhere"], 3, "not a corpus"),
        (["check", "nowhere", "--source", "interiornet"], 3, "nowhere"),
        (["check", "nowhere", "--source", "interiornt"], 3, "did you mean 'interiornet'?"),
        (["sample", "out", "--layout", "nyuv2"], 3, "unknown layout 'nyuv2'"),
        (["synthesize", "--limit", "0", "x"], 2, "--limit"),
    ],
)
def test_user_errors_are_one_message(
    depthforge: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = depthforge(*arguments)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "depthforge", "synthesize", str(tmp_path / "no.yaml"), "--debug"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_sample_check_and_convert_interiornet(
    depthforge: Call, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    assert depthforge("sample", data, "--layout", "interiornet", "--scenes", 3, "--frames", 2).code == 0
    monkeypatch.setenv("INTERIORNET_ROOT", str(data))
    manifest = repository / "manifests" / "interiornet.yaml"
    checked = depthforge("check", manifest)
    assert checked.code == 0, checked.out
    done = depthforge("synthesize", manifest, "--inline", "--translator", "simulation", "--out", tmp_path / "corpus")
    assert done.code == 0, done.err
    assert depthforge("verify", tmp_path / "corpus", "--source", manifest).code == 0
    assert depthforge("sample", data, "--layout", "interiornet").code == 3, "an existing folder is left alone"


def test_rejects_end_with_4_and_are_counted(depthforge: Call, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        depth = np.full((24, 32), 1000 * (index > 0), np.uint16)
        cv2.imwrite(str(frames / f"{index}.png"), depth)
    manifest = tmp_path / "m.yaml"
    manifest.write_text(
        yaml.safe_dump(
            {
                "name": "folder",
                "source": {
                    "name": "rgbd_folder",
                    "root": str(frames),
                    "dataset": "walls",
                    "depth": "{frame}.png",
                    "depth_scale": 1000,
                    "camera": {"fx": 30, "fy": 30, "cx": 16, "cy": 12, "width": 32, "height": 24},
                },
                "translator": "identity",
                "max_reject_fraction": 0.5,
                "corpus": {"out": str(tmp_path / "corpus")},
            }
        )
    )
    done = depthforge("synthesize", manifest, "--inline")
    assert done.code == 4
    assert "1 FrameError in read: the frame has no valid depth" in done.out
    checked = json.loads(depthforge("check", manifest, "--json").out)
    assert (checked["num_frames"], checked["num_read"], checked["num_empty"]) == (3, 3, 1)


def test_list_names_every_plugin(depthforge: Call) -> None:
    known = json.loads(depthforge("list", "--json").out)
    assert {"interiornet", "procedural", "rgbd_folder"} <= set(known["sources"])
    assert {"identity", "simulation"} <= set(known["translators"])
    assert "structured_light" in known["sensors"]
    assert "(structured_light)" in known["presets"]["kinect_v1"]
    assert all(sentence for names in known.values() for sentence in names.values())
    schema = json.loads(depthforge("list", "--schema").out)
    assert schema["properties"]["corpus"]


def test_list_prints_a_line_for_each(depthforge: Call) -> None:
    lines = depthforge("list").out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        f"{kind}:" for kind in ("sources", "translators", "sensors", "presets", "tasks", "layouts", "formats")
    ]
    assert any(line.split()[0] == "simulation" and "Kinect" in line for line in lines if line.startswith("  "))


def test_a_sensor_is_simulated_by_the_name_of_its_preset_or_its_file(
    depthforge: Call, manifest: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("sensor: structured_light\nparameters: {noise_sigma_steps: 0}\n")
    for number, name in enumerate(("kinect_v1", str(mine))):
        out = tmp_path / f"corpus-{number}"
        assert depthforge("convert", manifest, "--inline", "--sensor", name, "--out", out).code == 0
        translator = json.loads((out / "corpus.json").read_text())["manifest"]["translator"]
        assert translator["sensor"]["name"] == "structured_light"
        assert translator["sensor"]["preset"] == ("kinect_v1", "mine")[number]
        assert str(tmp_path) not in (out / "corpus.json").read_text()
        assert translator["sensor"]["noise_sigma_steps"] == (0.22879, 0)[number]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sensor", "kinekt_v1"), "did you mean 'kinect_v1'?"),
        (("--sensor", "missing.yaml"), "no such preset file"),
        (("--sensor", "kinect_v1", "--translator", "identity"), "a sensor is simulated"),
    ],
)
def test_a_wrong_sensor_is_input_that_is_wrong(
    depthforge: Call, manifest: Path, options: tuple[str, ...], said: str
) -> None:
    done = depthforge("convert", manifest, "--inline", *options)
    assert done.code == 3
    assert said in done.err


def test_a_bug_is_called_one_and_shown_with_debug(
    depthforge: Call, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("depthforge.cli.options.load_manifest", broken)
    done = depthforge("convert", manifest)
    assert done.code == 5
    assert "internal error: RuntimeError: a bug" in done.err
    with pytest.raises(RuntimeError, match="a bug"):
        main(["convert", str(manifest), "--debug"])


@pytest.mark.ray
def test_progress_goes_to_stderr_and_json_alone_to_stdout(manifest: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "depthforge", "synthesize", str(manifest), "--workers", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_frames"] == 12
    assert contents(tmp_path / "corpus")


def test_options_are_read_as_the_command_line_would(tmp_path: Path) -> None:
    values = read_options("synthesize", ["a.yaml", "--workers", "3", "--out", str(tmp_path)])
    assert (str(values["manifest"]), values["workers"], str(values["out"])) == ("a.yaml", 3, str(tmp_path))
    with pytest.raises(click.UsageError, match="--wrokers"):
        read_options("synthesize", ["a.yaml", "--wrokers", "3"])
    with pytest.raises(click.UsageError, match="no command 'synthesise'"):
        read_options("synthesise", [])
    # And the command still names both help options.
    assert "-h, --help" in CliRunner().invoke(cli, ["synthesize", "--help"]).output
