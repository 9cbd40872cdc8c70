"""Coupled (re-implementation) at work: the contract, and who sees what, with networks set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from depthforge.errors import FrameError
from depthforge.networks.initialise import initialise
from depthforge.registry import translators
from depthforge.seeding import generator_of
from depthforge.testing.translators import TranslatorTests, clean_frame
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator
from depthforge.translators.coupled import Coupled
from depthforge.translators.coupled_objective import CoupledObjective
from depthforge.translators.surface_noise import frame_anchored, frame_hole_field

WORDS = (1, 2)


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Colour(nn.Module):
    """The negative."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(-1.0))

    def forward(self, colour: Tensor) -> Tensor:
        return 1 + self.scale * colour


class Holes(nn.Module):
    """The first channel is the probability of a hole."""

    def forward(self, colour: Tensor) -> Tensor:
        return torch.logit(colour[:, :1])


class Noise(nn.Module):
    """Adds 0.01, and keeps what it was given."""

    def forward(self, shape: Tensor) -> Tensor:
        self.given = shape
        return shape[:, :1] + 0.01


def by_hand(**options: object) -> tuple[Coupled, Noise]:
    noise = Noise()
    config = Coupled.Config.model_validate({"device": "cpu", **options})
    return Coupled.of_networks(config, {"colour": Colour(), "holes": Holes(), "noise": noise}), noise


class TestContract(TranslatorTests):
    sizes = ((48, 64), (37, 53), (64, 96))

    @pytest.fixture(params=["bernoulli", "threshold"])
    def translator(self, tmp_path: Path, request: pytest.FixtureRequest) -> Coupled:
        config = Coupled.Config(weights=tmp_path, width=4, device="cpu", holes=request.param)
        networks = Coupled.make_networks(config)
        for network in networks.values():
            initialise(network, torch.Generator().manual_seed(0))
        # As if holes had turned out to be rare.
        nn.init.constant_(networks["holes"].logits.bias, -3)  # type: ignore[union-attr, arg-type]
        card = TranslatorCard(
            translator="coupled",
            version=Coupled.version,
            architecture=config.architecture,
            normalisation=config.scale,
            origin="test",
        )
        write_translator(tmp_path, networks, card)
        return Coupled(config)


def test_conversion_needs_what_training_exports() -> None:
    config = Coupled.Config(width=4)
    objective = Coupled.make_objective(config, torch.Generator().manual_seed(0))
    assert isinstance(objective, CoupledObjective)
    networks = Coupled.make_networks(config)
    assert tuple(networks) == objective.exported
    for name, network in networks.items():
        network.load_state_dict(objective.networks[name].state_dict())
    assert Coupled(config).wanted == {"rgb"}
    assert "re-implementation" in (Coupled.__doc__ or "")


def test_every_parameter_says_what_it_is() -> None:
    assert translators.get("coupled") is Coupled
    assert all(field.description for field in Coupled.Config.model_fields.values())
    with pytest.raises(ValidationError):
        Coupled.Config(noise_channels=0)


def test_how_holes_are_drawn_may_change_after_training() -> None:
    drawn, cut = (Coupled.of_networks(Coupled.Config(holes=holes), {}) for holes in ("bernoulli", "threshold"))
    assert drawn.config.trained_with == cut.config.trained_with
    assert "holes" not in drawn.config.trained_with
    assert drawn.fingerprint != cut.fingerprint


def test_holes_are_cut_where_the_translated_colour_says() -> None:
    frame = clean_frame(48, 64)
    assert frame.rgb is not None
    rgb = frame.rgb.copy()
    # Blue comes first in the networks' order; its negative is high on the left.
    rgb[:, :20, 2], rgb[:, 20:, 2] = 50, 200
    translator, _ = by_hand(holes="threshold")
    depth_m, valid = translator.translate(replace(frame, rgb=rgb), WORDS).depth
    expected = frame.valid.copy()
    expected[:, :20] = False
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_allclose(depth_m[valid], frame.depth_m[valid] + 0.1, rtol=1e-5)


def test_drawn_holes_have_their_probability_and_the_frames_own_noise() -> None:
    frame = clean_frame(120, 160)
    frame = replace(frame, rgb=np.full((120, 160, 3), 178, np.uint8))
    translator, noise = by_hand(noise_channels=3)
    _, valid = translator.translate(frame, WORDS).depth
    z = generator_of(WORDS).standard_normal((3, 120, 160), np.float32)
    chance = torch.special.ndtr(torch.from_numpy(z[0])).numpy()
    np.testing.assert_array_equal(valid, frame.valid & (chance >= np.float32(1 - 178 / 255)))
    assert (~valid & frame.valid).sum() / frame.valid.sum() == pytest.approx(1 - 178 / 255, abs=0.01)
    # The noise network has the other channels, so that what it adds does not depend on where the holes fell.
    np.testing.assert_array_equal(noise.given[0, 1:].numpy(), z[1:])
    again, other = (translator.translate(frame, words).depth.valid for words in (WORDS, (1, 3)))
    np.testing.assert_array_equal(again, valid)
    assert (other != valid).any()


def test_holes_of_the_copula_have_their_probability_in_one_piece() -> None:
    frame = clean_frame(120, 160)
    frame = replace(frame, rgb=np.full((120, 160, 3), 178, np.uint8))
    translator, noise = by_hand(holes="copula", long_m=0.2, anchored_channels=1)
    _, valid = translator.translate(frame, WORDS).depth
    field = frame_hole_field(frame, WORDS, translator.config)
    lost = torch.special.ndtr(torch.from_numpy(field)).numpy() < np.float32(1 - 178 / 255)
    np.testing.assert_array_equal(valid, frame.valid & ~lost)
    np.testing.assert_array_equal(noise.given[0, 1:].numpy(), frame_anchored(frame, WORDS, 1, 0.05))
    drawn, _ = by_hand()
    speckled = drawn.translate(frame, WORDS).depth.valid

    def edges(mask: np.ndarray) -> int:
        return int((mask[:, 1:] != mask[:, :-1]).sum())

    assert edges(valid) < edges(speckled) / 4


@pytest.mark.parametrize(("grey", "left"), [(0, False), (255, True)])
def test_certain_holes_are_certain(grey: int, left: bool) -> None:
    frame = replace(clean_frame(24, 32), rgb=np.full((24, 32, 3), grey, np.uint8))
    translator, _ = by_hand(min_kept=0)
    np.testing.assert_array_equal(translator.translate(frame, WORDS).depth.valid, frame.valid & left)


def test_a_frame_is_the_same_in_any_company() -> None:
    frames = [clean_frame(37, 53), replace(clean_frame(37, 53), key="test/wall/0001")]
    translator, _ = by_hand()
    words = [WORDS, (3, 4)]
    batch = translator.translate_batch(frames, words)
    for frame, word, together in zip(frames, words, batch, strict=True):
        (depth_m, valid), alone = together.depth, translator.translate(frame, word).depth
        np.testing.assert_array_equal(alone.depth_m, depth_m)
        np.testing.assert_array_equal(alone.valid, valid)


def test_a_frame_without_colour_is_refused() -> None:
    with pytest.raises(FrameError, match="no colour"):
        by_hand()[0].translate(replace(clean_frame(24, 32), rgb=None), WORDS)
