"""Every fault once, or as often as DEPTHFORGE_CHAOS_ROUNDS says; ``python -m tests.chaos.table`` prints a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS, Bench, CannotInjectError, Trial, attempt
from tests.chaos.table import lines

ROUNDS = int(os.environ.get("DEPTHFORGE_CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("DEPTHFORGE_CHAOS_SEED", "0"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.make(tmp_path_factory.mktemp("bench"))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_and_every_end_is_said(bench: Bench, tmp_path: Path, fault: str, number: int) -> None:
    try:
        trial = attempt(bench, fault, tmp_path, SEED + number)
    except CannotInjectError as error:
        pytest.skip(str(error))
    assert trial.wrong == []
    assert (trial.lost_frames, trial.duplicate_frames, trial.hung) == (0, 0, False)


def test_the_table_counts_what_was_found() -> None:
    trials = [
        Trial("a", injected=True, codes=[5, 0]),
        Trial("a", injected=True, codes=[5], lost_frames=2, wrong=["x"]),
        Trial("b", hung=True, wrong=["did not end"]),
    ]
    assert lines(trials)[2:] == ["| a | 2 | 2 | 0 | 0 | 0 (1), 5 (2) | 1 |", "| b | 0 | 0 | 0 | 1 |  | 0 |"]
