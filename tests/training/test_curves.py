"""Curves are kept, read back, cut where a training goes on, and drawn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import InputError, MissingDataError, StorageError
from depthforge.training.curves import CURVES_FILE, PICTURE_FILE, CurveWriter, draw_curves, draw_picture, read_curves


def written(folder: Path, last: int = 40, *, resumed_step: int = 0) -> CurveWriter:
    """A training of ``last`` steps, logged at every tenth and looked at at every twentieth."""
    writer = CurveWriter(folder, resumed_step=resumed_step)
    for step in range(resumed_step + 10, last + 1, 10):
        writer.add(step, {"generator": 100.0 / step, "discriminator_real": 0.25})
        if step % 20 == 0:
            writer.add(step, {"total": 5 - step / 20}, "score")
            writer.add(step, {"noise against depth, octaves": step / 7}, "evaluation")
    writer.write()
    return writer


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written(tmp_path / "out")
    found = read_curves(tmp_path / "out" / CURVES_FILE)
    assert list(found) == ["generator", "discriminator_real", "score/total", "evaluation/noise against depth, octaves"]
    assert found["generator"].steps.tolist() == [10, 20, 30, 40]
    assert found["generator"].values.tolist() == [10.0, 5.0, 100 / 30, 2.5]
    steps, values = found["score/total"]
    assert (steps.tolist(), values.tolist()) == ([20, 40], [4.0, 3.0])
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)


def test_a_training_that_goes_on_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    written(tmp_path / "whole", 60)
    whole = (tmp_path / "whole" / CURVES_FILE).read_bytes()
    interrupted = written(tmp_path / "cut", 40)
    interrupted.add(50, {"generator": -1.0, "only then": 1.0})
    interrupted.write()
    resumed = CurveWriter(tmp_path / "cut", resumed_step=40)
    assert resumed.curves["generator"].steps.tolist() == [10, 20, 30, 40]
    assert "only then" not in resumed.curves
    written(tmp_path / "cut", 60, resumed_step=40)
    assert (tmp_path / "cut" / CURVES_FILE).read_bytes() == whole


def test_a_training_from_the_start_forgets_and_a_first_one_has_nothing_to_read(tmp_path: Path) -> None:
    written(tmp_path)
    assert CurveWriter(tmp_path).curves == {}
    assert CurveWriter(tmp_path / "nowhere", resumed_step=40).curves == {}


def test_values_that_are_no_numbers_are_kept_and_later_ones_replace(tmp_path: Path) -> None:
    writer = CurveWriter(tmp_path)
    writer.add(20, {"gan": 2.0})
    writer.add(10, {"gan": np.nan})
    writer.add(20, {"gan": np.inf})
    writer.write()
    steps, values = read_curves(tmp_path / CURVES_FILE)["gan"]
    assert steps.tolist() == [10, 20]
    np.testing.assert_array_equal(values, [np.nan, np.inf])


def test_no_rows_are_curves_too(tmp_path: Path) -> None:
    CurveWriter(tmp_path).write()
    assert read_curves(tmp_path / CURVES_FILE) == {}
    draw_picture(tmp_path)
    assert picture_of((tmp_path / PICTURE_FILE).read_bytes()).size


def test_missing_and_broken_curves_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no training curves"):
        read_curves(tmp_path / CURVES_FILE)
    (tmp_path / CURVES_FILE).write_bytes(b"PAR1 and not much more")
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(tmp_path / CURVES_FILE)
    with pytest.raises(InputError, match="cannot be read"):
        CurveWriter(tmp_path, resumed_step=10)


def test_a_folder_that_cannot_be_is_a_storage_error_and_nothing_temporary_is_left(tmp_path: Path) -> None:
    written(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CURVES_FILE]
    with pytest.raises(StorageError):
        written(tmp_path / CURVES_FILE)


def picture_of(content: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_the_picture_has_a_panel_a_group_and_one_for_each_figure(tmp_path: Path) -> None:
    curves = written(tmp_path).curves
    height, width, _ = picture_of(draw_curves(curves)).shape
    assert (height, round(width / 480)) == (640, 3)  # generator, discriminator, score, one figure
    assert picture_of(draw_curves({"gan": curves["generator"]})).shape == (320, 480, 3)
    losses = {name: curve for name, curve in curves.items() if "/" not in name}
    assert picture_of(draw_curves(losses)).shape == (320, 960, 3)


def test_the_chosen_checkpoint_is_marked_and_the_same_curves_give_the_same_picture(tmp_path: Path) -> None:
    curves = written(tmp_path).curves
    plain, marked = draw_curves(curves), draw_curves(curves, chosen_step=20)
    assert draw_curves(curves) == plain
    differ = np.any(picture_of(plain) != picture_of(marked), axis=2)
    assert not differ[:320, :960].any()  # losses
    assert differ[:320, 960:].any()  # score
    assert differ[320:, :480].any()  # figure


def test_the_picture_of_a_folder_marks_the_best_score(tmp_path: Path) -> None:
    curves = written(tmp_path, 80).curves
    draw_picture(tmp_path)
    assert (tmp_path / PICTURE_FILE).read_bytes() == draw_curves(curves, chosen_step=80)
    with pytest.raises(MissingDataError):
        draw_picture(tmp_path / "nowhere")


def test_curves_of_every_shape_are_drawn_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    random = np.random.default_rng(0)
    writer = CurveWriter(Path("never written"))
    for step in range(1, 400):
        writer.add(
            step, {"long": random.normal(), "constant": 0.0, "nothing": np.nan, "late": 1.0 if step > 390 else np.inf}
        )
    writer.add(7, {"alone": -3.0}, "evaluation")
    writer.add(7, {"total": np.nan}, "score")
    assert picture_of(draw_curves(writer.curves, chosen_step=7)).size
    assert not [str(warning.message) for warning in recwarn]


def test_matplotlib_is_loaded_only_to_draw_and_no_window_system_is_touched() -> None:
    code = (
        "import sys, numpy as np; from depthforge.training.curves import Curve, draw_curves;"
        "assert 'matplotlib' not in sys.modules;"
        "draw_curves({'gan': Curve(np.array([1, 2]), np.array([1.0, 2.0]))});"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
