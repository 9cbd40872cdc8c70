"""``depthforge try`` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from depthforge.cli.main import main
from depthforge.tasks.enhancement import EnhancementConfig
from tests.tasks.corpora import make_corpus


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("try")
    return make_corpus(root / "synthetic"), make_corpus(root / "real", "scanned_rooms")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms of a test are smaller than the crops of the small setting."""
    monkeypatch.setattr(EnhancementConfig, "small", {**EnhancementConfig.small, "crop_px": 48, "width": 8})


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["try", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_it_says_what_the_figures_mean_and_the_same_again(
    sides: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (sides[0], "--real", sides[1], "--steps", 20, "--keep", tmp_path / "kept")
    code, out, err = call(capsys, *arguments)
    assert code == 0
    assert "enhancement: networks of 20 steps, tested on 4 real scans" in out
    for word in ("clean depth", "the corpus", "real scans", "normals from the depth, median, deg", "intervals"):
        assert word in out, word
    assert "step 20 of 20" in err
    again = call(capsys, *arguments)
    assert again[:2] == (code, out)
    assert "step" not in again[2], "nothing is trained again"
    own = shutil.copytree(sides[0], tmp_path / "own")
    recorded = call(capsys, own, *arguments[1:], "--record")
    assert recorded[:2] == (code, out)
    kept_rows = pq.read_table(own / "tasks" / "try-enhancement.parquet").to_pylist()
    assert "the corpus" in [row["row"] for row in kept_rows]
    anew = call(capsys, *arguments[:-2], "--json")
    kept = call(capsys, *arguments, "--json")
    assert json.loads(anew[1])["rows"] == json.loads(kept[1])["rows"]


def test_seconds_choose_the_steps_and_say_which(sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, sides[0], "--real", sides[1], "--seconds", 3, "--json")
    assert code == 0
    steps = json.loads(out)["steps"]
    assert f"--steps {steps} gives the same again" in err
    assert steps >= 10


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--task", "enhancment"), 3, "did you mean 'enhancement'"),
        (("--steps", "3", "--seconds", "3"), 2, "give one"),
        (("--real", "SYNTHETIC"), 3, "no truth beside what a real sensor measured"),
    ],
)
def test_what_cannot_be_tried_is_told_before_anything_is_trained(
    sides: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    filled = [str(sides[0]) if word == "SYNTHETIC" else word for word in arguments]
    real = [] if "--real" in filled else ["--real", sides[1]]
    found, out, err = call(capsys, sides[0], *real, *filled)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


def test_scans_without_poses_have_no_truth(
    sides: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    (scans / "depth").mkdir(parents=True)
    manifest = tmp_path / "scans.yaml"
    manifest.write_text(
        "name: scans\nsource: {name: rgbd_folder, root: "
        f"{scans}, dataset: scans, depth: 'depth/{{frame}}.png', depth_scale: 1000, "
        "camera: {width: 64, height: 48, fx: 60, fy: 60, cx: 31.5, cy: 23.5}}\n"
        f"translator: identity\ncorpus: {{out: {tmp_path / 'corpus'}}}\n"
    )
    code, _, err = call(capsys, sides[0], "--real", manifest)
    assert code == 3
    assert "no truth to test against" in err
