"""Training of hybrid on made-up scans: posed ones are fused inside it, and it goes on and converts as any training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.errors import CorpusMismatchError, InputError
from depthforge.progress import Silent
from depthforge.stages.sides import TrainingJob
from depthforge.stages.train import TrainingReport, train
from depthforge.stages.training_plan import plan_lines, plan_training
from depthforge.stages.training_worker import card_of
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.translator_card import read_card
from tests.sources.fused_trees import block, write_scan
from tests.stages.runs import contents, run
from tests.stages.test_train import ROOMS, manifest

HYBRID = {"name": "hybrid", "sensor": {"name": "structured_light"}, "colour": False, "residual": True, "min_kept": 0}


class Heard(Silent):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("open3d", exc_type=ImportError)
    return write_scan(tmp_path_factory.mktemp("recording"), faults=False)


def trained(folder: Path, real: Any, **changes: Any) -> tuple[TrainingReport, list[str]]:
    heard = Heard()
    made = manifest(folder, {"real": real, "decay_epochs": 0, **changes}, translator=HYBRID)
    return train(made, inline=True, progress=heard), heard.warnings


@pytest.fixture(scope="module")
def weights(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid")
    report, warnings = trained(folder, block(scan))
    assert report.num_steps == 4
    assert not any("poses" in line for line in warnings)
    return folder / "translator"


def test_posed_scans_are_paired_with_their_truth_and_the_card_says_so(weights: Path) -> None:
    card = read_card(weights)
    (recording,) = card.trained_on["real"]["recordings"]
    assert recording["truth"] == "fused from posed scans"
    assert recording["first"].startswith("analytic/")
    # Next to a constant, but for what four steps of a few pixels leave to chance and to the prior.
    assert 0 < card.figures["score"] < 2
    assert set(card.figures["calibration"]) == {"temperature", "offset", "thin", "wide"}
    assert (weights / "samples.png").read_bytes()[1:4] == b"PNG"


def test_two_trainings_and_one_that_was_interrupted_end_alike(
    scan: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    original = Checkpoints.commit

    def stopped(self: Checkpoints, step: int) -> Any:
        nonlocal calls
        original(self, step)
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "commit", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, block(scan))
    report, _ = trained(tmp_path, block(scan))
    assert report.resumed_from == 2
    again = (tmp_path / "translator" / "weights.safetensors").read_bytes()
    assert again == (weights / "weights.safetensors").read_bytes()


def test_it_converts_the_same_bytes_whatever_the_shards(weights: Path, tmp_path: Path) -> None:
    translator = {**HYBRID, "weights": str(weights)}
    whole = manifest(tmp_path / "a", translator=translator, training=None)
    assert run(whole).num_frames == 8
    reader = CorpusReader(whole.corpus.out)
    small = manifest(tmp_path / "b", translator=translator, training=None, corpus={"out": str(tmp_path / "b" / "c")})
    run(small)
    other = CorpusReader(small.corpus.out)
    for key in (reader.key(0), reader.key(5)):
        one, two = (each.read(key, []) for each in (reader, other))
        assert one.noisy_depth_m.tobytes() == two.noisy_depth_m.tobytes()
    assert any(name.startswith("translator/") for name in contents(Path(whole.corpus.out)))


def test_the_card_tells_what_it_gives_where_it_was_trained_from_what_it_gives_elsewhere(
    scan: Path, tmp_path: Path
) -> None:
    rooms = {**ROOMS, "seed": 1, "sensor": {"name": "structured_light", "focal_length_px": 60.0}}
    asked = {"more_real": [rooms], "unseen": [{**rooms, "seed": 2}], "leave_one_out": True}
    report, _ = trained(tmp_path, block(scan), **asked)
    card = read_card(tmp_path / "translator")
    assert card.figures["measured_on"] == "the held-out ends of the recordings that were trained on"
    (unseen,) = card.figures["unseen_recordings"]
    assert unseen["recording"]["seed"] == 2
    assert unseen["frames"] == 4
    assert 0 <= unseen["holes, AUC"] <= 1
    first, second = card.figures["left_out_recordings"]
    assert first["truth"] == "fused from posed scans"
    assert second["recording"]["seed"] == 1
    without = read_card(tmp_path / "translator" / "without-1")
    assert without.trained_on["real"]["source"] == "procedural"
    assert [each["first"] for each in report.left_out] == [first["first"], second["first"]]
    # All of it is there: nothing is trained again, and the recordings that judge may be others.
    weights = (tmp_path / "translator" / "weights.safetensors").read_bytes()
    again, _ = trained(tmp_path, block(scan), **{**asked, "unseen": [{**rooms, "seed": 3}]})
    assert again.nothing_to_do
    assert again.unseen[0]["recording"]["seed"] == 3
    assert (tmp_path / "translator" / "weights.safetensors").read_bytes() == weights


def test_another_recording_of_the_same_description_is_judged_anew_and_no_path_is_in_the_card(
    scan: Path, weights: Path, tmp_path: Path
) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    shutil.copytree(scan / "room", first / "room")
    shutil.copytree(scan / "room", second / "room")
    for path in (second / "room").glob("*.png"):
        millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        millimetres[20:30] = 0
        cv2.imwrite(str(path), millimetres)
    # One frame that cannot be read is said and costs nothing else.
    torn = sorted((first / "room").glob("*.png"))[0]
    torn.write_bytes(torn.read_bytes()[:-9])
    unposed = {name: value for name, value in block(first)["of"].items() if name != "pose"}
    shutil.copytree(weights, tmp_path / "translator", ignore=shutil.ignore_patterns(".lock"))
    report, warnings = trained(tmp_path, block(scan), unseen=[unposed])
    assert report.nothing_to_do
    assert any("of the recording rgbd_folder" in line and torn.name in line for line in warnings), warnings
    again, _ = trained(tmp_path, block(scan), unseen=[{**unposed, "root": str(second)}])
    assert again.unseen[0]["holes, log loss"] != report.unseen[0]["holes, log loss"]
    assert str(tmp_path) not in (tmp_path / "translator" / "card.json").read_text()


@pytest.mark.parametrize("where", ["source", "training.real", "training.more_real[0]", "training.unseen[0]"])
def test_colour_that_one_side_lacks_is_said_before_anything_is_read(tmp_path: Path, where: str) -> None:
    dull = {**block(tmp_path / "nowhere")["of"]}
    training: dict[str, Any] = {"real": dull} if where == "training.real" else {"real": {**ROOMS, "seed": 4}}
    if "[" in where:
        training[where.removeprefix("training.")[:-3]] = [dull]
    source = {"source": dull} if where == "source" else {}
    made = manifest(tmp_path, training, translator={**HYBRID, "colour": True}, **source)
    with pytest.raises(InputError, match="has no colour") as raised:
        plan_training(made, inline=True)
    assert raised.value.where == where
    assert "colour: false" in str(raised.value)


def test_no_path_of_a_further_recording_is_in_the_card(tmp_path: Path) -> None:
    plan = plan_training(manifest(tmp_path, {"more_real": [{**ROOMS, "seed": 5}]}, translator=HYBRID), inline=True)
    job = TrainingJob(plan, tmp_path, tmp_path, tmp_path, 1, "", {})
    assert not {"real", "more_real", "unseen", "out"} & card_of(job).training.keys()


@pytest.mark.parametrize(
    ("translator", "training", "says"),
    [
        (HYBRID, {"unseen": [ROOMS]}, "is trained on"),
        (HYBRID, {"more_real": [ROOMS], "leave_one_out": True}, "named twice"),
        (HYBRID, {"leave_one_out": True}, "one recording cannot be left out of one"),
        ({"name": "dcl", "width": 4}, {"unseen": [ROOMS]}, "not held to single recordings"),
    ],
)
def test_what_cannot_be_held_to_a_recording_is_refused_before_anything_is_written(
    tmp_path: Path, translator: dict[str, Any], training: dict[str, Any], says: str
) -> None:
    made = manifest(tmp_path, {"real": ROOMS, **training}, translator=translator)
    with pytest.raises(InputError, match=says):
        train(made, inline=True)
    assert not (tmp_path / "translator").exists()


def test_a_grid_of_holes_is_named_before_anything_is_fused(scan: Path, tmp_path: Path) -> None:
    gridded = tmp_path / "gridded"
    shutil.copytree(scan / "room", gridded / "room")
    for path in gridded.glob("room/*.png"):
        millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        millimetres[:, ::6] = 0
        cv2.imwrite(str(path), millimetres)
    with pytest.raises(InputError, match="regular grid, every 6 columns"):
        trained(tmp_path, block(gridded))
    assert not (gridded / "prepared").exists()


def test_several_recordings_are_trained_on_and_told_and_another_size_is_refused(scan: Path, tmp_path: Path) -> None:
    rooms = {**ROOMS, "seed": 1, "sensor": {"name": "structured_light", "focal_length_px": 60.0}}
    report, _ = trained(tmp_path, block(scan), more_real=[rooms])
    assert report.real_frames == 9 + 8
    card = read_card(tmp_path / "translator")
    first, second = card.trained_on["real"]["recordings"]
    assert first["truth"] == "fused from posed scans"
    assert second["source"] == "procedural"
    with pytest.raises(InputError, match="the recordings differ in size") as raised:
        trained(tmp_path / "other", block(scan), more_real=[{**rooms, "width": 96}])
    assert "96x48" in str(raised.value)
    with pytest.raises(CorpusMismatchError, match="something else") as mixed:
        trained(tmp_path, block(scan))
    assert "more_real" in str(mixed.value)


def test_the_plan_says_what_is_fused_unasked_and_what_is_trained_besides(scan: Path, tmp_path: Path) -> None:
    posed = block(scan)["of"]
    asked = {"real": posed, "more_real": [ROOMS], "unseen": [{**ROOMS, "seed": 7}], "leave_one_out": True}
    plan = plan_training(manifest(tmp_path, asked, translator=HYBRID), inline=True)
    lines = plan_lines(plan, is_trained=False)
    assert "  first     fuse the posed scans of rgbd_folder to their own truth, if they fit" in lines
    assert any("at most" in line and "real" in line for line in lines)
    assert "  then      hold it to recordings that it has not seen: 1" in lines
    assert "  then      2 more trainings, each without one of the recordings" in lines
    asked = {"real": block(scan)}
    plan = plan_training(manifest(tmp_path, asked, translator=HYBRID), inline=True)
    assert not any("fuse the posed scans" in line for line in plan_lines(plan, is_trained=False))
