"""Every learned method trains and converts through the stage, with the options that change what a network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from depthforge.stages.train import train
from depthforge.training.translator_card import read_card
from tests.stages.runs import run
from tests.stages.test_train import manifest

ON_SURFACES: dict[str, Any] = {
    "quantity": "disparity",
    "quantiser": {"disparity_m_px": 40.0},
    "residual": 0.02,
    "noise_channels": 1,
    "anchored_channels": 1,
    "validity": True,
    "holes": "copula",
    "spectral_norm": True,
    "r1_weight": 1.0,
}


def test_noise_and_holes_on_surfaces_go_on_after_an_interruption_as_if_there_were_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from depthforge.translators.one_way_objectives import DclObjective

    def weights(name: str) -> bytes:
        block = {"name": "dcl", "width": 2, "max_depth_m": 8, "num_vectors": 16, **ON_SURFACES}
        train(manifest(tmp_path / name, translator=block), inline=True)
        return (tmp_path / name / "translator" / "weights.safetensors").read_bytes()

    whole, step, count = weights("whole"), DclObjective.step, 0

    def interrupted(self: DclObjective, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(DclObjective, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights("again")
    monkeypatch.undo()
    assert weights("again") == whole
    card = read_card(tmp_path / "again" / "translator")
    assert card.normalisation is not None
    assert (card.normalisation.quantity, card.normalisation.min_depth_m) == ("disparity", 0.3)
    assert card.architecture["quantiser"] == {"disparity_m_px": 40.0, "steps_per_px": 8.0}
    assert (card.architecture["holes"], card.architecture["anchored_channels"]) == ("copula", 1)


@pytest.mark.parametrize(
    "block",
    [
        {"name": "dcl", "with_rgb": True, "noise_channels": 1, "residual": 0.05, "validity": True},
        {"name": "cut"},
        {"name": "cyclegan", "with_rgb": True},
        {"name": "coupled"},
        {"name": "dcl", **ON_SURFACES},
        {"name": "cyclegan", "quantity": "ray", "validity": True, "holes": "copula"},
        {"name": "coupled", "holes": "copula", "anchored_channels": 1, "quantiser": {"step_m": 0.01}},
    ],
    ids=["dcl with all", "cut", "cyclegan", "coupled", "dcl on surfaces", "cyclegan on rays", "coupled on surfaces"],
)
def test_every_method_trains_and_converts(tmp_path: Path, block: dict[str, Any]) -> None:
    small = {"width": 2, "max_depth_m": 8, "min_kept": 0.0}
    few = {} if block["name"] == "cyclegan" else {"num_vectors": 16}
    loaded = manifest(tmp_path, {"epochs": 1, "decay_epochs": 0}, translator={**small, **few, **block}, limit=2)
    train(loaded, inline=True)
    assert run(loaded).num_frames == 2
    assert read_card(tmp_path / "translator").translator == block["name"]
