"""The battery for a translator: what ``depthforge.translators.base.Translator`` promises, as tests.

A plug-in author inherits it and says how to make one::

    class TestMyTranslator(TranslatorTests):
        @pytest.fixture
        def translator(self):
            return MyTranslator(MyTranslator.Config())

Frames are a tilted wall with a near box and a hole, in several sizes; colour rides along for those that want it.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import ClassVar

import numpy as np

from depthforge.frame import Camera, Frame
from depthforge.registry import translators
from depthforge.seeding import frame_words
from depthforge.translators.base import Translator

__all__ = ["TranslatorTests", "clean_frame"]


def clean_frame(height: int, width: int) -> Frame:
    """Return a sound clean frame: a wall from 1.5 to 3 m, a box 0.5 m nearer, a hole, colour noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    depth_m = (1.5 + x / width + 0.5 * y / height).astype(np.float32)
    depth_m[height // 3 : height // 2, width // 4 : width // 2] -= np.float32(0.5)
    valid = np.ones((height, width), np.bool_)
    valid[height // 2 : height // 2 + 3, width // 2 : width // 2 + 5] = False
    depth_m[~valid] = 0
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    camera = Camera(fx=0.9 * width, fy=0.9 * width, cx=(width - 1) / 2, cy=(height - 1) / 2, width=width, height=height)
    return Frame("test/wall/0000", depth_m, valid, camera, rgb=rgb)


class TranslatorTests:
    """Inherit, define the fixture ``translator``, and set ``sizes`` to what it supports."""

    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((48, 64), (37, 53), (120, 160))

    def test_output_is_sound_and_holes_stay_holes(self, translator: Translator) -> None:
        for size in self.sizes:
            frame = clean_frame(*size)
            depth_m, valid = translator.translate(frame, (1, 2))
            assert depth_m.dtype == np.float32
            assert valid.dtype == np.bool_
            assert depth_m.shape == valid.shape == size
            assert np.isfinite(depth_m).all()
            np.testing.assert_array_equal(depth_m > 0, valid)
            assert not (valid & ~frame.valid).any()
            assert valid.any(), "nothing is left of a plain wall"

    def test_the_same_frame_and_words_give_the_same_bytes(self, translator: Translator) -> None:
        frame, words = clean_frame(*self.sizes[0]), frame_words(0, "test/wall/0000", translator.fingerprint)
        first = translator.translate(frame, words)
        translator.translate(clean_frame(*self.sizes[-1]), (3, 4))
        again = translator.translate(frame, words)
        assert first.depth_m.tobytes() == again.depth_m.tobytes()
        assert first.valid.tobytes() == again.valid.tobytes()

    def test_the_input_is_left_alone(self, translator: Translator) -> None:
        frame = clean_frame(*self.sizes[0])
        before = frame.depth_m.copy(), frame.valid.copy()
        translator.translate(frame, (1, 2))
        np.testing.assert_array_equal(frame.depth_m, before[0])
        np.testing.assert_array_equal(frame.valid, before[1])

    def test_an_empty_frame_gives_an_empty_frame(self, translator: Translator) -> None:
        whole = clean_frame(*self.sizes[0])
        nothing = replace(whole, depth_m=np.zeros_like(whole.depth_m), valid=np.zeros_like(whole.valid))
        assert not translator.translate(nothing, (1, 2)).valid.any()

    def test_it_is_registered_and_travels(self, translator: Translator) -> None:
        cls = type(translator)
        assert translators.get(cls.name) is cls
        again = cls(pickle.loads(pickle.dumps(translator.config)))
        assert again.fingerprint == translator.fingerprint
        assert len(translator.fingerprint) == 32
