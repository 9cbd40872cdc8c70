"""Identity returns what it was given."""

from __future__ import annotations

import numpy as np
import pytest

from depthforge.frame import Camera, Frame
from depthforge.labels.catalogue import DEPTH_NOISY
from depthforge.registry import translators
from depthforge.testing.translators import TranslatorTests
from depthforge.translators.base import Translator


class TestContract(TranslatorTests):
    @pytest.fixture
    def translator(self) -> Translator:
        identity = translators.get("identity")
        made: Translator = identity(identity.Config())
        return made


def test_depth_and_valid_are_unchanged() -> None:
    identity = translators.get("identity")
    translator = identity(identity.Config())
    depth_m = np.array([[0.0, 1.25]], np.float32)
    frame = Frame("a/b/c", depth_m, depth_m > 0, Camera(1, 1, 0, 0, 2, 1))
    capture = translator.translate(frame, (1, 2))
    noisy, images = capture.depth, capture.images
    assert noisy.depth_m is frame.depth_m
    assert noisy.valid is frame.valid
    assert not images
    assert translator.produces == (DEPTH_NOISY,)
    assert translator.wanted == frozenset()
