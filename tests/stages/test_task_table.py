"""Tables of tasks: made from what is there, gone on with, and told what is missing before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from depthforge.cli.main import main
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import InputError, MissingDataError, UnknownNameError
from depthforge.registry import tasks
from depthforge.report import build_report
from depthforge.stages.task_table import make_table
from depthforge.tasks import cells
from depthforge.tasks.published import ABLATION, PUBLISHED
from depthforge.tasks.table import TABLE_FILES
from depthforge.tasks.table_manifest import TableManifest
from tests.tasks.corpora import ROOMS, make_corpus


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the corpora `noisy` and `real`, and the manifest `clean.yaml` of a clean source."""
    root = tmp_path_factory.mktemp("tables")
    make_corpus(root / "noisy")
    make_corpus(root / "real", "scanned_rooms")
    fields = {
        "name": "rooms",
        "source": {"name": "procedural", **ROOMS},
        "translator": "identity",
        "corpus": {"out": str(root / "unused")},
    }
    (root / "clean.yaml").write_text(yaml.safe_dump(fields))
    return root


def fields_of(sides: Path, out: Path, **fields: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "task": {"name": "enhancement", "setting": "small", "crop_px": 48, "width": 8, "steps": 2},
        "clean": str(sides / "clean.yaml"),
        "real": {"corpus": str(sides / "real")},
        "rows": [
            {"name": "nothing", "untrained": True},
            {"name": "clean", "translator": "identity"},
            {"name": "noisy", "corpus": str(sides / "noisy")},
            {"name": "tuned", "corpus": str(sides / "noisy"), "finetune": "50%"},
            {"name": "supervised", "supervised": True},
        ],
        "out": str(out),
        **fields,
    }


def table_of(sides: Path, out: Path, **fields: Any) -> TableManifest:
    return TableManifest.model_validate(fields_of(sides, out, **fields))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that were trained, in order, those found finished left out."""
    done: list[str] = []
    train = cells.train_task

    def watched(training: Any, out: Path, note: Any, **options: Any) -> Any:
        if not (out / "card.json").exists():
            done.append(out.name)
        return train(training, out, note, **options)

    monkeypatch.setattr(cells, "train_task", watched)
    return done


def test_a_table_has_every_row_and_the_published_ones_and_is_not_made_twice(
    sides: Path, tmp_path: Path, trained: list[str]
) -> None:
    manifest = table_of(sides, tmp_path / "out")
    table = make_table(manifest)
    assert len(trained) == 4, "tuning starts from the network of the row `noisy`"
    assert list(table.rows) == ["nothing", "clean", "noisy", "tuned", "supervised"]
    found = pq.read_table(tmp_path / "out" / "table.parquet").to_pylist()
    measured = [line for line in found if line["kind"] == "measured"]
    assert len(measured) == 5 * len(table.columns)
    assert all(line["low"] <= line["value"] <= line["high"] for line in measured)
    published = {(line["row"], line["figure"]): line["value"] for line in found if line["kind"] == "published"}
    assert published["DCL", "psnr_ln"] == 42.340
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| published: Supervised |" in text
    assert "| published: DCL\\*, 10 % fine-tuned |" in text
    assert "*0.1062*" in text
    assert "Only orders compare" in text
    assert "Tested on 4 real frames of real" in text
    assert (tmp_path / "out" / "table.png").read_bytes().startswith(b"\x89PNG")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in TABLE_FILES[:2]}
    again = make_table(manifest)
    assert len(trained) == 4
    assert again.rows == table.rows
    assert {name: (tmp_path / "out" / name).read_bytes() for name in TABLE_FILES[:2]} == before
    # The untrained network of the clean row gives back what it is given.
    assert table.rows["clean"]["normals_median_deg"].value == pytest.approx(
        table.rows["nothing"]["normals_median_deg"].value, rel=0.05
    )


def test_a_table_is_recorded_in_the_corpora_that_rows_are_trained_on_and_their_reports_show_it(
    sides: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(sides / "noisy", tmp_path / "own"))
    rows = [{"name": "mine | noisy", "corpus": str(own)}, {"name": "supervised", "supervised": True}]
    notes: list[str] = []
    table = make_table(table_of(sides, tmp_path / "out", rows=rows), record=True, note=notes.append)
    assert f"recorded: {own / 'tasks' / 'tiny.parquet'}" in notes
    assert not (sides / "real" / "tasks").exists()
    kept = pq.read_table(own / "tasks" / "tiny.parquet").to_pylist()
    assert [row["row"] for row in kept] == ["mine | noisy", "supervised"]
    found = table.rows["mine | noisy"]["rmse_m"]
    assert kept[0]["RMSE, m"] == f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
    assert kept[0]["trained on"] == "corpus own"
    checked = verify_corpus(own)
    assert checked.ok
    assert checked.notes == []
    page = build_report(own).content.decode()
    assert "mine | noisy" in page
    assert kept[0]["RMSE, m"] in page


def test_a_changed_row_runs_alone_and_seeds_are_trainings(sides: Path, tmp_path: Path, trained: list[str]) -> None:
    rows = [{"name": "noisy", "corpus": str(sides / "noisy")}, {"name": "supervised", "supervised": True}]
    make_table(table_of(sides, tmp_path / "out", rows=rows, seeds=[0, 1]))
    assert len(trained) == 4
    rows[0] = {**rows[0], "input": "depth_clean"}
    make_table(table_of(sides, tmp_path / "out", rows=rows, seeds=[0, 1]))
    assert len(trained) == 6


def test_a_killed_table_goes_on_behind_its_last_finished_cell(
    sides: Path, tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": "noisy", "corpus": str(sides / "noisy")}, {"name": "supervised", "supervised": True}]
    manifest = table_of(sides, tmp_path / "out", rows=rows)
    judge = cells.judge_network

    def dies(*arguments: Any) -> Any:
        if len(trained) == 2:
            raise KeyboardInterrupt
        return judge(*arguments)

    monkeypatch.setattr(cells, "judge_network", dies)
    with pytest.raises(KeyboardInterrupt):
        make_table(manifest)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 1
    assert not (tmp_path / "out" / "table.md").exists()
    monkeypatch.setattr(cells, "judge_network", judge)
    make_table(manifest)
    assert len(trained) == 2, "the second network was finished, too"
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 2


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"real": {"corpus": "NOISY"}}, InputError, "no truth beside what a real sensor measured"),
        ({"real": {"corpus": "REAL", "test": {"part": [0.4, 1]}}}, InputError, "frames are tested on"),
        ({"real": {"corpus": "REAL", "test": {"part": [0.9, 1]}}}, InputError, "too few frames"),
        ({"rows": [{"name": "a", "corpus": "nowhere"}]}, MissingDataError, "nowhere"),
        ({"rows": [{"name": "a", "corpus": "NOISY", "split": "val"}]}, UnknownNameError, "'val'"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_trained(
    sides: Path, tmp_path: Path, trained: list[str], fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    text = yaml.safe_dump(fields).replace("NOISY", str(sides / "noisy")).replace("REAL", str(sides / "real"))
    with pytest.raises(error, match=words):
        make_table(table_of(sides, tmp_path / "out", **yaml.safe_load(text)))
    assert trained == []


def test_finished_cells_are_kept_when_a_later_row_fails(sides: Path, tmp_path: Path, trained: list[str]) -> None:
    good = {"name": "noisy", "corpus": str(sides / "noisy")}
    make_table(table_of(sides, tmp_path / "out", rows=[good]))
    bad = {"name": "other", "manifest": str(tmp_path / "nowhere.yaml")}
    with pytest.raises(MissingDataError, match="no such manifest"):
        make_table(table_of(sides, tmp_path / "out", rows=[good, bad]))
    assert len(trained) == 1
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 1
    make_table(table_of(sides, tmp_path / "out", rows=[good]))
    assert len(trained) == 1


def test_the_command_prints_the_table_and_may_make_a_row_alone(
    sides: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(fields_of(sides, tmp_path / "out")))
    for arguments, code, words in (
        (["--row", "noisy"], 0, "| noisy |"),
        (["--row", "noisy", "--record"], 2, "--row writes no table"),
        (["--row", "nosy"], 3, "unknown row 'nosy'"),
        (["--real", str(sides / "real")], 2, "--real is for a corpus"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", str(path), "--inline", *arguments])
        captured = capsys.readouterr()
        assert ended.value.code == code, captured.err
        assert words in captured.out + captured.err
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(sides / "noisy"), "--row", "noisy"])
    assert ended.value.code == 2


def test_a_row_with_a_learned_translator_has_it_trained_as_the_clean_manifest_says(
    sides: Path, tmp_path: Path, trained: list[str]
) -> None:
    fields = yaml.safe_load((sides / "clean.yaml").read_text())
    fields["training"] = {
        "real": {"name": "procedural", **ROOMS, "seed": 2, "sensor": "gaussian_dropout"},
        "out": str(tmp_path / "elsewhere"),
        "epochs": 1,
        "decay_epochs": 0,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "crop_px": 32,
        "evaluation_frames": 2,
        "held_out": 0.25,
    }
    (tmp_path / "clean.yaml").write_text(yaml.safe_dump(fields))
    dcl = {"name": "dcl", "width": 2, "num_vectors": 16, "residual": 0.02, "min_kept": 0}
    rows = [{"name": f"alpha {weight}", "translator": {**dcl, "contrast_weight": weight}} for weight in (1.0, 2.0)]
    manifest = table_of(sides, tmp_path / "out", rows=rows, clean=str(tmp_path / "clean.yaml"), published="ablation")
    table = make_table(manifest)
    assert list(table.rows) == ["alpha 1.0", "alpha 2.0"]
    assert len(trained) == 2, "two translators, two corpora"
    assert len(list((tmp_path / "out" / "translators").iterdir())) == 2
    assert len(list((tmp_path / "out" / "corpora").iterdir())) == 2
    assert not (tmp_path / "elsewhere").exists()
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| published: alpha 1.5, beta 1 |" in text
    assert "Table VI" in text
    assert make_table(manifest).rows == table.rows
    assert len(trained) == 2


def test_published_rows_name_figures_that_the_task_has() -> None:
    for name, table in [*PUBLISHED.items(), ("enhancement", ABLATION)]:
        known = {figure.id for figure in tasks.get(name).figures}
        assert set(table.figures) <= known
        assert all(len(values) == len(table.figures) for values in table.rows.values())
