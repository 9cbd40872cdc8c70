"""The section on realism shows the figures of an evaluation, or says how to get one."""

from __future__ import annotations

import math

from depthforge.realism.compare import HELD_OUT, REFERENCE, Comparison, Figure, Sample
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.same_view.comparison import FIGURES, CalibrationPoint, Row, SameViewComparison
from depthforge.report.realism import realism_section
from depthforge.stages.evaluation import Evaluation
from tests.report.pages import Page

SETS = ("clean", "noisy", HELD_OUT, REFERENCE)


def unpaired() -> Comparison:
    near_m, far_m = DEPTH_EDGES_M[4:6]
    return Comparison(
        samples={name: Sample(4, 100, 50, "640x480 at 585 px") for name in SETS},
        figures=(
            Figure("holes", "%", dict(zip(SETS, (0.0, 8.0, 9.0, 9.5), strict=True))),
            Figure(f"noise at {near_m:.2g} to {far_m:.2g} m", "mm", dict(zip(SETS, (0.1, 2.0, 2.5, 2.6), strict=True))),
        ),
        distances=(
            Figure("noise against depth", "octaves", {"clean": 3.0, "noisy": 0.5, HELD_OUT: 0.25}),
            Figure("patches told apart, AUC", "", {"clean": 1.0, "noisy": 0.9, HELD_OUT: 0.6}),
        ),
        seed=0,
    )


def same_view() -> SameViewComparison:
    def row(figure: object, index: int) -> Row:
        names = {"clean": 0.0, "noisy": 5.0 + index, "real": 5.5}
        return Row(figure.id, figure.title, figure.unit, figure.better, names, 1.0)  # type: ignore[attr-defined]

    return SameViewComparison(
        num_frames=6,
        num_pairs=5,
        motion=(0.02, 1.0),
        baseline_m=0.075,
        names=("real", "clean", "noisy"),
        rows=tuple(row(figure, 0 if figure.id == "hole_rate" else 2) for figure in FIGURES),
        calibration={"noisy": (CalibrationPoint(10, 0.2, 0.3),)},
    )


def test_both_tables_and_curves_are_there_with_their_figures() -> None:
    page = Page(realism_section(Evaluation(same_view(), unpaired())))
    assert not page.mistakes
    assert not page.open
    text = page.texts["realism"]
    for words in ("6 frames, 5 pairs", "Baseline 0.075 m", "holes where there is truth", "patches told apart, AUC"):
        assert words in text, words
    captions = {attributes.get("aria-label") for attributes in page.named("div")}
    assert {"The main figures, in the same views", "All figures, in the same views", "Figures of each set"} <= captions
    plots = [attributes["aria-label"] for attributes in page.named("svg") if attributes.get("role") == "img"]
    assert len(plots) == 5  # no step was measured
    assert "Distance to the real sensor: clean, noisy" in plots
    # Half an octave is twice the floor of a quarter: told at the bars.
    assert ">2</text>" in realism_section(Evaluation(None, unpaired()))


def test_what_lies_within_the_floor_is_marked() -> None:
    text = realism_section(Evaluation(same_view(), unpaired()))
    assert '<span class="within" title="within the floor">0.5 ✓</span>' in text
    assert '<td class="number">1.5</td>' in text


def test_without_the_same_view_there_is_no_table_of_it() -> None:
    assert "same views" not in Page(realism_section(Evaluation(None, unpaired()))).texts["realism"]


def test_without_an_evaluation_it_says_how_to_get_one_and_why_it_failed() -> None:
    text = Page(realism_section(None)).texts["realism"]
    assert "depthforge report CORPUS --real SCANS" in text
    assert "could not be measured" not in text
    assert "<b>small" in Page(realism_section(None, "a depth image is <b>smaller")).texts["realism"]


def test_curves_are_of_the_bins_that_have_values() -> None:
    ((middle_m, values),) = unpaired().curve("noise")
    assert middle_m == math.sqrt(DEPTH_EDGES_M[4] * DEPTH_EDGES_M[5])
    assert values["noisy"] == 2.0
    assert unpaired().curve("step") == []
    assert len(same_view().curve("block_sd")) == len(DEPTH_EDGES_M) - 1
