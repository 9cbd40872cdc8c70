"""Which places are alike to a generator: by known features, by its own, and what cannot be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from depthforge.errors import InputError
from depthforge.frame import Camera, Frame
from depthforge.manifest import PluginBlock
from depthforge.networks.initialise import initialise
from depthforge.registry import translators
from depthforge.stages.prepare import make_translator
from depthforge.training.translator_card import TranslatorCard
from depthforge.training.weights import write_translator
from depthforge.translators.cut import Cut
from depthforge.translators.feature_similarity import SimilarPlaces, similar_places, similarity_to
from depthforge.translators.learned_depth import LearnedDepth
from tests.stages.learned import write_weights


@pytest.fixture
def frame() -> Frame:
    """A wall whose right half stands nearer, 30x42: no multiple of four."""
    depth_m = np.full((30, 42), 4.0, np.float32)
    depth_m[:, 21:] = 2.0
    return Frame("a/b/0", depth_m, np.ones((30, 42), bool), Camera(40.0, 40.0, 20.5, 14.5, 42, 30))


@pytest.fixture
def dcl(tmp_path: Path) -> LearnedDepth:
    translator = make_translator(PluginBlock.parse(translators, write_weights(tmp_path / "dcl", min_kept=0)))
    assert isinstance(translator, LearnedDepth)
    return translator


def test_similarity_is_the_cosine_of_the_angle_between_features() -> None:
    features = torch.tensor([[[2.0, 1.0, 0.0], [-3.0, 0.0, 1.0]], [[0.0, 1.0, 5.0], [0.0, 0.0, 0.0]]])
    found = similarity_to(features, 0, 0)
    expected = [[1.0, 2**-0.5, 0.0], [-1.0, 0.0, 1.0]]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_agreement_is_the_correlation_of_both_maps() -> None:
    ramp = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    assert SimilarPlaces(ramp, ramp / 2 + 0.1, (0, 0)).agreement == pytest.approx(1)
    assert SimilarPlaces(ramp, -ramp, (0, 0)).agreement == pytest.approx(-1)
    assert np.isnan(SimilarPlaces(ramp, np.ones_like(ramp), (0, 0)).agreement)


@pytest.mark.parametrize(
    ("tap", "size", "at"), [(3, (30, 42), (10, 30)), (12, (15, 21), (5, 15)), (14, (8, 11), (2, 7))]
)
def test_each_layer_has_its_size_and_a_place_is_most_like_itself(
    dcl: LearnedDepth, frame: Frame, tap: int, size: tuple[int, int], at: tuple[int, int]
) -> None:
    found = similar_places(dcl, frame, (1, 2), (10, 30), tap)
    assert found.clean.shape == found.noisy.shape == size
    assert found.at == at
    for each in (found.clean, found.noisy):
        assert each[at] == pytest.approx(1, abs=1e-5)
        assert each.max() <= 1
    again = similar_places(dcl, frame, (1, 2), (10, 30), tap)
    np.testing.assert_array_equal(again.noisy, found.noisy)


def test_a_place_is_like_its_own_side_of_a_step_before_and_after(dcl: LearnedDepth, frame: Frame) -> None:
    found = similar_places(dcl, frame, (1, 2), (10, 30))
    for each in (found.clean, found.noisy):
        assert each[4, 8] > each[4, 2]
    assert found.agreement > 0.9, "a residual of next to nothing leaves the geometry as it was"


def test_cut_has_the_same_generator(tmp_path: Path, frame: Frame) -> None:
    config = Cut.Config(width=4, residual=1.0)
    networks = Cut.make_networks(config)
    for network in networks.values():
        initialise(network, torch.Generator().manual_seed(0))
    card = TranslatorCard(
        translator="cut", version=1, architecture=config.architecture, normalisation=config.scale, origin="a test"
    )
    write_translator(tmp_path / "cut", networks, card)
    translator = Cut(Cut.Config(width=4, residual=1.0, weights=tmp_path / "cut"))
    assert similar_places(translator, frame, (1, 2), (3, 3)).clean.shape == (8, 11)


@pytest.mark.parametrize(
    ("at", "tap", "words"),
    [((30, 0), 14, "outside of the frame"), ((0, -1), 14, "outside of the frame"), ((0, 0), 15, "no such layer")],
)
def test_what_cannot_be_asked_is_told(
    dcl: LearnedDepth, frame: Frame, at: tuple[int, int], tap: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        similar_places(dcl, frame, (1, 2), at, tap)
