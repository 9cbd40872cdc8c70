"""What ``try`` says of its figures, in words, for every way that a comparison can end."""

from __future__ import annotations

import pytest

from depthforge.stages.trying import CLEAN, CORPUS, SUPERVISED, Trial
from depthforge.tasks.base import Figure
from depthforge.tasks.judging import Interval


def trial(clean: float, corpus: float, real: float, gain: tuple[float, float], better: str = "lower") -> Trial:
    figure = Figure("angle", "angle, median", "deg", "lower" if better == "lower" else "higher", 1)
    rows = {
        name: {"angle": Interval(value, value - 1, value + 1)}
        for name, value in ((CLEAN, clean), (CORPUS, corpus), (SUPERVISED, real))
    }
    return Trial("enhancement", (figure,), rows, 300, 40, "f" * 32, Interval(clean - corpus, *gain))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (trial(18, 6, 5, (11, 13)), "beats training on clean depth: 6.0 against 18.0, by 11.0 to 13.0 (95 % interval)"),
        (trial(18, 6, 5, (11, 13)), "the corpus comes 92 % of the way from clean depth to there"),
        (trial(18, 19, 5, (-2, -0.5)), "worse than training on clean depth: 19.0 against 18.0"),
        (trial(18, 17.9, 5, (-1, 1.2)), "teaches nothing that clean depth does not"),
        (trial(18, 17, 18.5, (0.5, 1.5)), "real scans with truth did not beat clean depth here"),
        (trial(0.5, 0.8, 0.9, (-0.4, -0.2), "higher"), "0.8 against 0.5, by 0.2 to 0.4"),
        (trial(0.5, 0.8, 0.9, (-0.4, -0.2), "higher"), "75 % of the way"),
    ],
)
def test_the_meaning_follows_from_the_figures(found: Trial, words: str) -> None:
    assert words in "\n".join(found.meaning())


def test_the_table_has_a_line_for_each_figure_and_a_column_for_each_row() -> None:
    lines = trial(18, 6, 5, (11, 13)).lines()
    assert lines[0] == "enhancement: networks of 300 steps, tested on 40 real scans they have not seen"
    assert lines[2].split("  ")[-1].strip() == SUPERVISED
    assert lines[2].index(CLEAN) < lines[2].index(CORPUS)
    assert "18.0 [17.0, 19.0]" in lines[3]
    assert "6.0 [5.0, 7.0]" in lines[3]
