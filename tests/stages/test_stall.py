from __future__ import annotations

import pytest

from depthforge.errors import IncompleteError, InputError
from depthforge.stages.stall import StallWatch, Waiting

ASKED, HAS = "1 core and 1 GPU", "2 nodes with 4 cores"


class Clock:
    """Time as a test sets it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def watch(clock: Clock, warnings: list[str]) -> StallWatch:
    """A watch of thirty seconds."""
    return StallWatch(30.0, warnings.append, clock=clock)


def waiting(*, impossible: bool = False) -> Waiting:
    return Waiting("the shards train-000002", ASKED, HAS, impossible)


def test_it_warns_once_after_a_third_of_the_limit_and_names_what_is_waited_for(
    watch: StallWatch, clock: Clock, warnings: list[str]
) -> None:
    clock.now_s += 9.9
    watch.check(waiting)
    assert warnings == []
    for _ in range(3):
        clock.now_s += 5
        watch.check(waiting)
    (warning,) = warnings
    assert "train-000002" in warning
    assert HAS in warning
    assert "30 s" in warning


def test_what_moves_starts_the_wait_anew(watch: StallWatch, clock: Clock, warnings: list[str]) -> None:
    for _ in range(10):
        clock.now_s += 12
        watch.check(waiting)
        watch.progress()
    assert len(warnings) == 10
    assert watch.idle_s == 0


def test_the_end_says_what_was_waited_for_what_was_asked_and_what_there_is(watch: StallWatch, clock: Clock) -> None:
    clock.now_s += 31
    watch.check(waiting)  # whoever was stopped for so long first warns
    clock.now_s += 1
    with pytest.raises(IncompleteError, match="nothing has moved for 32 s") as caught:
        watch.check(waiting)
    assert caught.value.where == "the shards train-000002"
    assert ASKED in str(caught.value.expected)
    assert caught.value.found == HAS


def test_what_no_node_can_give_is_wrong_input(watch: StallWatch, clock: Clock, warnings: list[str]) -> None:
    clock.now_s += 11
    watch.check(lambda: waiting(impossible=True))
    assert f"no node has {ASKED}" in warnings[0]
    clock.now_s += 20
    with pytest.raises(InputError) as caught:
        watch.check(lambda: waiting(impossible=True))
    assert ASKED in str(caught.value.expected)
    assert caught.value.exit_code == 3


def test_a_long_limit_warns_after_two_minutes(clock: Clock, warnings: list[str]) -> None:
    watch = StallWatch(1800.0, warnings.append, clock=clock)
    clock.now_s += 121
    watch.check(waiting)
    assert len(warnings) == 1
