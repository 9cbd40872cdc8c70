"""The line says what there is to say, and reads the same at every step."""

from __future__ import annotations

import math

import pytest

from depthforge.training.progress_line import progress_line, time_words


def test_the_line() -> None:
    losses = {"gan": 0.25, "contrast": 0.8124, "generator": 1.2344}
    assert progress_line(400, 1200, 3, 6, losses, 12.34, 200) == (
        "step 400/1200  epoch 3/6  generator 1.234  gan 0.250  contrast 0.812  12.3 images/s  3 min 20 s left"
    )
    assert list(losses) == ["gan", "contrast", "generator"]


def test_what_is_not_known_is_left_out() -> None:
    assert progress_line(0, 20, 1, 2, {}) == "step 0/20  epoch 1/2"
    assert progress_line(1, 20, 1, 2, {}, math.inf, math.nan) == "step 1/20  epoch 1/2"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (0.0004, "4.0e-04"),
        (-0.5, "-0.500"),
        (9999.0, "9999.000"),
        (12345.0, "1.2e+04"),
        (math.nan, "nan"),
    ],
)
def test_losses_keep_their_size(value: float, text: str) -> None:
    assert progress_line(1, 2, 1, 1, {"gan": value}).endswith(f"gan {text}")


def test_a_high_rate_has_no_decimals() -> None:
    assert progress_line(1, 2, 1, 1, {}, 456.7).endswith("457 images/s")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h"),
        (3900, "1 h 5 min"),
        (7199, "2 h"),
        (86399, "1 d"),
        (183600, "2 d 3 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert time_words(seconds) == words
