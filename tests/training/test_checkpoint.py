"""Checkpoints: what comes back is what was written; damaged, foreign and partial ones are refused or ignored."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from depthforge.errors import InputError, IntegrityError, MissingDataError, StorageError
from depthforge.training.checkpoint import Checkpoints
from depthforge.training.translator_card import CARD_FILE, WEIGHTS_FILE, Normalisation, TranslatorCard, read_card
from depthforge.training.weights import load_networks, write_translator

CARD = TranslatorCard(
    translator="dcl",
    version=1,
    architecture={"width": 4},
    normalisation=Normalisation(mode="fixed", max_depth_m=10.0),
    origin="trained",
)


def some_state() -> dict[str, Any]:
    network = nn.Linear(3, 2)
    adam = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    adam.step()
    return {"network": network.state_dict(), "adam": adam.state_dict(), "pool": [torch.ones(2)], "step": 7, "best": 0.1}


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_a_state_comes_back(tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path / "checkpoints"), some_state()
    checkpoints.write_state(40, state)
    assert checkpoints.steps() == [], "not whole yet"
    checkpoints.commit(40)
    assert checkpoints.steps() == [40]
    assert_same(checkpoints.read_state(40), state)
    with pytest.raises(IntegrityError, match="cannot be read"):
        checkpoints.read_state(40, rank=3)


def test_a_truncated_state_is_an_integrity_error_that_says_what_to_do(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write_state(1, some_state())
    checkpoints.commit(1)
    path = checkpoints.path(1) / "state-0.safetensors"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(IntegrityError, match="cannot be read") as caught:
        checkpoints.read_state(1)
    assert "goes on from the checkpoint before it" in str(caught.value)


def test_no_room_leaves_the_checkpoints_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write_state(1, some_state())
    checkpoints.commit(1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(StorageError, match="no room for a checkpoint"):
        checkpoints.write_state(2, some_state())
    assert checkpoints.steps() == [1]


def test_pruning_keeps_the_latest_and_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in range(1, 6):
        checkpoints.write_state(step, {"step": step})
        checkpoints.commit(step)
    checkpoints.begin(9)
    checkpoints.prune(2, always=[1])
    assert checkpoints.steps() == [1, 4, 5]
    assert not list(tmp_path.glob(".*")), "what was never whole is gone"


def test_weights_come_back_and_the_card_names_them(tmp_path: Path) -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    card = write_translator(tmp_path, {"generator": network}, CARD)
    assert load_networks(tmp_path, {"generator": other}) == card == read_card(tmp_path)
    assert torch.equal(network.weight, other.weight)
    assert card.weights_sha256 != CARD.weights_sha256


def test_damaged_or_foreign_weights_are_refused(tmp_path: Path) -> None:
    write_translator(tmp_path, {"generator": nn.Linear(3, 2)}, CARD)
    with pytest.raises(InputError, match="another architecture") as caught:
        load_networks(tmp_path, {"generator": nn.Linear(3, 4)})
    assert "generator.weight (4, 3)" in str(caught.value)
    with pytest.raises(InputError, match="another architecture"):
        load_networks(tmp_path, {"judge": nn.Linear(3, 2)})
    write_translator(tmp_path, {"generator": nn.Sequential(*(nn.Linear(3, 3) for _ in range(4)))}, CARD)
    layers = [*(nn.Linear(3, 3) for _ in range(3)), nn.Linear(3, 5), nn.Linear(3, 3), nn.Linear(3, 3)]
    with pytest.raises(InputError, match="another architecture") as caught:
        load_networks(tmp_path, {"generator": nn.Sequential(*layers)})
    assert str(caught.value.found) == "generator.3.bias (3,), generator.3.weight (3, 3)"
    assert str(caught.value.expected).startswith("generator.3.bias (5,), generator.3.weight (5, 3), generator.4.bias")
    assert str(caught.value.expected).endswith("generator.5.weight (3, 3)")
    write_translator(tmp_path, {"generator": nn.Linear(3, 2)}, CARD)
    path = tmp_path / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(IntegrityError, match="not those that the card was written for"):
        load_networks(tmp_path, {"generator": nn.Linear(3, 2)})


def test_a_missing_or_unsound_card_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no trained translator"):
        read_card(tmp_path)
    (tmp_path / CARD_FILE).write_text('{"format_version": 99}')
    with pytest.raises(InputError, match="card of the translator is not sound") as caught:
        read_card(tmp_path)
    for field in ("format_version: ", "translator: Field required", "origin: Field required"):
        assert field in str(caught.value.found)


@pytest.mark.parametrize(
    ("translator", "architecture", "normalisation", "says"),
    [
        ("cut", {"width": 4}, Normalisation(max_depth_m=10.0), "another translator"),
        ("dcl", {"width": 8}, Normalisation(max_depth_m=10.0), "another architecture"),
        ("dcl", {"width": 4}, Normalisation(max_depth_m=6.0), "another normalisation"),
        ("dcl", {"width": 4}, Normalisation(mode="per_image"), "another normalisation"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_with_both_sides(
    translator: str, architecture: dict[str, Any], normalisation: Normalisation, says: str
) -> None:
    CARD.require_fits("dcl", {"width": 4}, Normalisation(max_depth_m=10.0))
    with pytest.raises(InputError, match=says) as caught:
        CARD.require_fits(translator, architecture, normalisation)
    assert "(the manifest)" in str(caught.value)
    assert "(the card of the weights)" in str(caught.value)
