"""The table: a simulation that is the sensor, one that is the truth, and the floor between two halves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from depthforge.errors import FrameError, InputError, UnknownNameError
from depthforge.realism.same_view.comparison import FIGURES, SameViewComparison, compare_same_views
from depthforge.realism.same_view.views import SameView
from tests.realism.same_view.made import BASELINE_M, box, measured, view
from tests.realism.scenes import CAMERA

SHADOW = np.ones(CAMERA.size, bool)
SHADOW[:, 112:120] = False


def moved(index: int) -> np.ndarray:
    """A camera that turns about its axis by a tenth of a degree and moves towards the box by a millimetre a frame."""
    T, angle = np.eye(4), np.radians(0.1 * index)
    T[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    T[2, 3] = 0.001 * index
    return T


def views(**more: object) -> Iterator[SameView]:
    """Eight frames of a box: the real one has holes, a shadow and noise; ``twin`` is another draw of the same."""
    truth = measured(box())
    for index in range(8):
        draw = np.random.default_rng(index)

        def sensed(draw: np.random.Generator = draw) -> object:
            noise = draw.normal(0, 0.003, CAMERA.size)
            return measured(box() * (1 + noise), SHADOW & (draw.uniform(size=CAMERA.size) >= 0.04))

        probability = np.where(SHADOW, 0.04, 0.96).astype(np.float32)
        fields = {
            "candidates": {"clean": truth, "twin": sensed()},
            "T_world_cam": moved(index),
            "hole_probability": {"twin": probability},
            **more,
        }
        yield view(truth, sensed(), f"made/scene/{index}", **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> SameViewComparison:
    return compare_same_views(views(), BASELINE_M)


def test_a_simulation_that_is_the_sensor_is_as_near_as_the_floor_and_the_truth_is_not(
    found: SameViewComparison,
) -> None:
    assert found.names == ("real", "clean", "twin")
    assert (found.num_frames, found.num_pairs) == (8, 7)
    for figure in ("hole_rate", "hole_flicker", "error_flicker", "shadow_left_16_to_30_mean"):
        row = found.row(figure)
        real, twin, clean = (row.values[name] for name in ("real", "twin", "clean"))
        assert twin == pytest.approx(real, rel=0.05), figure
        assert clean == 0 or clean is None, figure
        assert row.floor is not None
        assert row.floor < 0.05 * abs(real or 0), figure
    # 6.46 % of the image is holes: 8 of 320 columns, and 4 % of the rest.
    assert found.value("hole_rate", "real") == pytest.approx(100 * (8 + 0.04 * 312) / 320, rel=0.02)
    assert found.value("shadow_left_16_to_30_median", "twin") == 8
    assert found.value("bleed_x_mean", "twin") == pytest.approx(0, abs=0.1)


def test_how_well_holes_are_foretold_is_a_figure_of_candidates_only(found: SameViewComparison) -> None:
    overlap = found.row("hole_iou")
    assert overlap.values["real"] is None
    assert overlap.values["clean"] == 0
    # The shadow is met; the rest by chance. So it is for the sensor one frame later: the floor.
    assert overlap.values["twin"] == pytest.approx(overlap.floor, abs=0.02)
    assert found.value("hole_auc", "clean") is None
    assert 0.6 < (found.value("hole_auc", "twin") or 0) < 1
    assert found.value("hole_log_loss_skill", "twin") == pytest.approx(29, abs=8)
    assert [round(point.promised, 2) for point in found.calibration["twin"]] == [0.04, 0.96]
    assert found.calibration["twin"][1].found == 1
    assert found.calibration.keys() == {"twin"}


def test_every_figure_has_a_row_an_id_of_its_own_and_words(found: SameViewComparison) -> None:
    assert [row.id for row in found.rows] == [figure.id for figure in FIGURES]
    assert len({row.id for row in found.rows}) == len(found.rows)
    assert all(row.id.isidentifier() and row.title for row in found.rows)
    with pytest.raises(UnknownNameError, match="hole_iou"):
        found.row("iou")


def test_it_is_a_table_and_plain_data(found: SameViewComparison) -> None:
    lines = found.lines()
    assert "8 frames, 7 pairs of consecutive ones (1 mm, 0.1 deg)" in lines[0]
    assert lines[1].split() == ["real", "clean", "twin", "floor", "better"]
    assert any(line.strip().startswith("holes, IoU with the real ones") and "higher" in line for line in lines)
    assert not any("at 32 to 45 m" in line for line in lines)
    read = json.loads(json.dumps(found.to_json()))
    assert read["rows"][1]["id"] == "hole_iou"
    assert json.dumps(compare_same_views(views(), BASELINE_M).to_json()) == json.dumps(found.to_json())


def test_without_baseline_and_poses_their_figures_are_missing_and_the_rest_is_there() -> None:
    found = compare_same_views(views(T_world_cam=None), None)
    assert "not known" in found.lines()[0]
    assert found.num_pairs == 0
    assert found.motion is None
    for figure in ("shadow_left_16_to_30_mean", "pattern_sd", "holes_kept_iou"):
        assert found.value(figure, "real") is None
    assert found.row("hole_iou").floor is None
    assert found.value("block_sd", "real") is not None


def test_frames_of_another_scene_are_no_neighbours() -> None:
    apart = (each._replace(key=f"made/{index}/0") for index, each in enumerate(views()))
    assert compare_same_views(apart, BASELINE_M).num_pairs == 0


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="no view"):
        compare_same_views([], BASELINE_M)
    truth = measured(box())
    with pytest.raises(InputError, match="name of the real"):
        compare_same_views([view(truth, truth, candidates={"real": truth})], BASELINE_M)
    with pytest.raises(InputError, match="other candidates"):
        compare_same_views([view(truth, truth), view(truth, truth, candidates={"other": truth})], BASELINE_M)
    small = measured(box())._replace(valid=np.ones((3, 3), bool))
    with pytest.raises(FrameError, match="do not fit"):
        compare_same_views([view(truth, small)], BASELINE_M)
    negative = measured(-box())
    with pytest.raises(FrameError, match="positive"):
        compare_same_views([view(truth, negative)], BASELINE_M)
