"""``depthforge evaluate`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.cli.main import main
from depthforge.manifest import Manifest
from tests.sources.fused_trees import block, write_scan
from tests.stages.runs import TINY, run


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora of procedural rooms, `noisy` and `real` (other rooms), and the manifest of the latter."""
    root = tmp_path_factory.mktemp("evaluate")
    for name, seed in (("noisy", 0), ("real", 1)):
        fields: dict[str, Any] = {**TINY, "name": name, "seed": seed}
        fields["corpus"] = {"out": str(root / name), "shard_frames": 4}
        fields["source"] = {**TINY["source"], "seed": seed}
        (root / f"{name}.yaml").write_text(yaml.safe_dump(fields))
        run(Manifest.model_validate(fields))
    return root


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the fused truth of eight scans, with what was measured and what a simulated Kinect makes of it."""
    pytest.importorskip("open3d", exc_type=ImportError)
    root = write_scan(tmp_path_factory.mktemp("same-view"), num_frames=8, faults=False)
    manifest = Manifest.model_validate(
        {
            "name": "fused",
            "source": block(root),
            "translator": {"name": "simulation", "min_kept": 0},
            "corpus": {"out": str(root / "corpus")},
        }
    )
    run(manifest)
    return root / "corpus"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_one_table_with_clean_noisy_and_real(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, corpora / "noisy", "--real", corpora / "real", "--frames", 4)
    assert code == 0
    for word in ("clean", "noisy", "real, held out", "floor", "holes", "noise against depth", "AUC"):
        assert word in out, word


def test_real_scans_have_no_clean_depth_to_be_off(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, corpora / "noisy", "--real", corpora / "real", "--frames", 2, "--json")
    figure = next(f for f in json.loads(out)["figures"] if f["name"] == "normals off clean, median")
    assert figure["values"]["noisy"] > 0
    assert figure["values"]["real"] is None


def test_json_says_the_same_on_every_run(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (corpora / "noisy", "--real", corpora / "real", "--frames", 4, "--json")
    code, out, _ = call(capsys, *arguments)
    assert (code, out) == call(capsys, *arguments)[:2]
    found = json.loads(out)
    assert {name: sample["num_frames"] for name, sample in found["samples"].items()} == {
        "clean": 4,
        "noisy": 4,
        "real, held out": 4,
        "real": 4,
    }


def test_a_manifest_reads_the_scans_where_they_lie(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, corpora / "noisy", "--real", corpora / "real.yaml", "--frames", 2, "--json")
    assert code == 0
    # A procedural source has no noise of its own: its frames are the clean ones.
    holes = next(figure for figure in json.loads(out)["figures"] if figure["name"] == "holes")
    assert holes["values"]["real"] < holes["values"]["noisy"]


@pytest.mark.parametrize("missing", ["corpus", "real"])
def test_what_is_not_there_is_one_clear_message(
    corpora: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    corpus = corpora / ("nowhere" if missing == "corpus" else "noisy")
    real = corpora / ("nowhere.yaml" if missing == "real" else "real")
    code, out, err = call(capsys, corpus, "--real", real)
    assert (code, out) == (3, "")
    assert "nowhere" in err
    assert "Traceback" not in err


def test_a_corpus_that_holds_the_scans_of_its_views_needs_no_others(
    fused: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, fused, "--frames", 6, "--draws", 2)
    assert code == 0
    same_view, unpaired = out.split("\nunpaired\n")
    assert same_view.startswith("same view: 6 frames")
    for word in (
        "holes, IoU with the real ones",
        "hole probability, AUC",
        "off by over 5 % of depth",
        "consecutive frames",
        "floor",
    ):
        assert word in same_view, word
    assert "patches told apart, AUC" in unpaired


def test_json_holds_both_tables(fused: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, fused, "--frames", 8, "--draws", 1, "--baseline", 0.1, "--json")
    assert code == 0
    found = json.loads(out)
    rows = {row["id"]: row for row in found["same_view"]["rows"]}
    assert found["same_view"]["baseline_m"] == 0.1
    assert rows["hole_rate"]["values"]["clean"] == 0
    assert rows["hole_rate"]["values"]["noisy"] > rows["hole_rate"]["values"]["real"]
    assert rows["hole_auc"]["values"] == {"real": None, "clean": None, "noisy": None}
    # The scans have 16 holes of 3072 pixels each, whatever the simulation and the truth lack.
    holes = next(figure for figure in found["figures"] if figure["name"] == "holes")
    assert holes["values"]["real"] < holes["values"]["clean"]


def test_other_scans_may_be_held_beside_those_of_the_same_view(
    fused: Path, corpora: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, fused, "--real", corpora / "real", "--frames", 2, "--draws", 1, "--json")
    assert code == 0
    found = json.loads(out)
    assert "96x72" in found["samples"]["real"]["cameras"]
    assert found["same_view"]["num_frames"] == 2
    _, alone, _ = call(capsys, corpora / "noisy", "--real", fused, "--frames", 2, "--json")
    read = json.loads(alone)
    assert "same_view" not in read
    assert "64x48" in read["samples"]["real"]["cameras"]


def test_a_posed_recording_is_fused_for_the_same_view(
    fused: Path, corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here by the settings of a block ``fused``; the translator is that of the corpus."""
    manifest = {**TINY, "name": "recording", "source": block(fused.parent), "corpus": {"out": str(tmp_path / "x")}}
    (tmp_path / "recording.yaml").write_text(yaml.safe_dump(manifest))
    arguments = (corpora / "noisy", "--real", tmp_path / "recording.yaml", "--frames", 4, "--draws", 1, "--json")
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    found = json.loads(out)
    rows = {row["id"]: row["values"] for row in found["same_view"]["rows"]}
    assert rows["hole_rate"]["noisy"] > rows["hole_rate"]["real"]
    assert found["samples"]["real"]["cameras"].startswith("64x48")
    # The scans, not the truth that was fused of them: they have a hole of 4 x 4 px in each.
    holes = next(figure for figure in found["figures"] if figure["name"] == "holes")
    assert holes["values"]["real"] < 30
    assert not (tmp_path / "x").exists()


def test_why_there_is_no_same_view_table_is_said(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, corpora / "noisy", "--real", corpora / "real.yaml", "--frames", 2)
    assert code == 0
    assert "no same-view table: only a recording of one scene" in err
    assert "same view" not in out


def test_real_scans_are_required(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, corpora / "noisy")
    assert code == 2
    assert "--real" in err
