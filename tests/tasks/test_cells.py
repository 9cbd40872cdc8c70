"""Cells of a comparison: kept under what decides them, made once, and told when damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from depthforge.errors import IntegrityError
from depthforge.tasks import cells
from depthforge.tasks.cells import Lesson, Row, cell_file, measured_cell
from depthforge.tasks.enhancement import Enhancement, EnhancementConfig
from depthforge.tasks.reading import Frames


@pytest.fixture(scope="module")
def task() -> Enhancement:
    return Enhancement(EnhancementConfig(setting="small", crop_px=48, width=8, steps=3))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were trained in, in order."""
    done: list[Path] = []
    train = cells.train_task

    def watched(training: Any, out: Path, note: Any, **options: Any) -> Any:
        done.append(out)
        return train(training, out, note, **options)

    monkeypatch.setattr(cells, "train_task", watched)
    return done


def test_a_cell_is_made_once_and_another_test_trains_nothing_anew(
    task: Enhancement, synthetic: Path, real: Path, tmp_path: Path, trained: list[Path]
) -> None:
    row = Row("mine", Lesson(synthetic, "depth_noisy"))
    test = Frames(real, task, "depth_raw", part=(0.5, 1.0))
    first = measured_cell(task, row, 0, test, tmp_path)
    assert first is not None
    assert len(trained) == 1
    again = measured_cell(task, replace(row, name="renamed"), 0, test, tmp_path)
    assert again is not None
    assert again.figures() == pytest.approx(first.figures(), nan_ok=True)
    assert again.keys == first.keys == test.keys
    assert len(trained) == 1, "the name of a row decides nothing"
    other = Frames(real, task, "depth_raw", part=(0.0, 0.5))
    assert cell_file(task, row, 0, other, tmp_path) != cell_file(task, row, 0, test, tmp_path)
    measured_cell(task, row, 0, other, tmp_path)
    assert trained[1:] == trained[:1], "asked for again, and found trained"
    measured_cell(task, row, 1, test, tmp_path)
    assert len(set(trained)) == 2


def test_tuning_goes_on_from_the_network_that_another_row_shares(
    task: Enhancement, synthetic: Path, real: Path, tmp_path: Path, trained: list[Path]
) -> None:
    lesson = Lesson(synthetic, "depth_noisy")
    test = Frames(real, task, "depth_raw", part=(0.5, 1.0))
    measured_cell(task, Row("plain", lesson), 0, test, tmp_path)
    tuned = Row("tuned", lesson, tuning=Lesson(real, "depth_raw", part=(0.0, 0.5), every=2))
    measured_cell(task, tuned, 0, test, tmp_path)
    assert len(set(trained)) == 2
    assert len(list((tmp_path / "networks").iterdir())) == 2
    assert len(list((tmp_path / "cells").iterdir())) == 2


def test_what_the_sensor_gave_is_a_row_without_training(
    task: Enhancement, real: Path, tmp_path: Path, trained: list[Path]
) -> None:
    found = measured_cell(task, Row("nothing", None), 0, Frames(real, task, "depth_raw"), tmp_path)
    assert found is not None
    assert len(found) == 8
    assert trained == []
    assert not (tmp_path / "networks").exists()


def test_a_damaged_cell_is_told(task: Enhancement, real: Path, tmp_path: Path) -> None:
    row, test = Row("nothing", None), Frames(real, task, "depth_raw")
    measured_cell(task, row, 0, test, tmp_path)
    path = cell_file(task, row, 0, test, tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match="finished cell"):
        measured_cell(task, row, 0, test, tmp_path)
