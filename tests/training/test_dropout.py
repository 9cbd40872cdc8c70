"""Dropout drawn from a generator of one's own: repeated, and nothing of it left in the global one."""

from __future__ import annotations

import torch
from torch.nn import functional

from depthforge.training.dropout import drawing_from


def dropped(random: torch.Generator) -> torch.Tensor:
    with drawing_from(random, torch.device("cpu")):
        return functional.dropout(torch.ones(200), 0.5)


def test_the_generator_alone_decides_what_is_dropped() -> None:
    first = dropped(torch.Generator().manual_seed(3))
    torch.rand(7)
    random = torch.Generator().manual_seed(3)
    again, next_one = dropped(random), dropped(random)
    assert torch.equal(first, again)
    assert not torch.equal(again, next_one)
    assert 50 < int((first == 0).sum()) < 150


def test_the_global_generator_goes_on_as_if_nothing_had_been() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    dropped(torch.Generator().manual_seed(3))
    assert torch.equal(torch.rand(3), expected)
