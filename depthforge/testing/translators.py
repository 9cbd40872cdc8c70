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

from depthforge.frame import Camera, Capture, Frame
from depthforge.registry import translators
from depthforge.seeding import frame_words
from depthforge.translators.base import Translator, require_produced

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

    def test_it_returns_what_it_says_that_it_produces(self, translator: Translator) -> None:
        names = [spec.name for spec in translator.produces]
        assert names, "a translator produces something"
        assert len(names) == len(set(names))
        for spec in translator.produces:
            assert spec.layout == "image"
            assert spec.description
        for size in self.sizes:
            frame = clean_frame(*size)
            require_produced(translator, frame, translator.translate(frame, (1, 2)))
            (alone,) = translator.translate_batch([frame], [(1, 2)])
            require_produced(translator, frame, alone)

    def test_depth_is_sound_and_holes_stay_holes(self, translator: Translator) -> None:
        for size in self.sizes:
            frame = clean_frame(*size)
            capture = translator.translate(frame, (1, 2))
            if capture.depth is None:
                continue
            depth_m, valid = capture.depth
            assert np.isfinite(depth_m).all()
            np.testing.assert_array_equal(depth_m > 0, valid)
            assert not (valid & ~frame.valid).any()
            assert valid.any(), "nothing is left of a plain wall"

    def test_the_same_frame_and_words_give_the_same_bytes(self, translator: Translator) -> None:
        frame, words = clean_frame(*self.sizes[0]), frame_words(0, "test/wall/0000", translator.fingerprint)
        first = _bytes(translator.translate(frame, words))
        translator.translate(clean_frame(*self.sizes[-1]), (3, 4))
        assert _bytes(translator.translate(frame, words)) == first

    def test_a_batch_gives_what_each_frame_gives_alone(self, translator: Translator) -> None:
        wall = clean_frame(*self.sizes[0])
        frames = [wall, replace(wall, key="test/wall/0001", depth_m=wall.depth_m * np.float32(1.1))]
        words = [(1, 2), (3, 4)]
        together = translator.translate_batch(frames, words)
        alone = [translator.translate(frame, word) for frame, word in zip(frames, words, strict=True)]
        assert [_bytes(capture) for capture in together] == [_bytes(capture) for capture in alone]

    def test_the_input_is_left_alone(self, translator: Translator) -> None:
        frame = clean_frame(*self.sizes[0])
        assert frame.rgb is not None
        before = frame.depth_m.copy(), frame.valid.copy(), frame.rgb.copy()
        translator.translate(frame, (1, 2))
        for array, was in zip((frame.depth_m, frame.valid, frame.rgb), before, strict=True):
            np.testing.assert_array_equal(array, was)

    def test_a_frame_without_depth_gives_none(self, translator: Translator) -> None:
        whole = clean_frame(*self.sizes[0])
        nothing = replace(whole, depth_m=np.zeros_like(whole.depth_m), valid=np.zeros_like(whole.valid))
        capture = translator.translate(nothing, (1, 2))
        require_produced(translator, nothing, capture)
        assert capture.depth is None or not capture.depth.valid.any()

    def test_it_is_registered_and_travels(self, translator: Translator) -> None:
        cls = type(translator)
        assert translators.get(cls.name) is cls
        again = cls(pickle.loads(pickle.dumps(translator.config)))
        assert again.fingerprint == translator.fingerprint
        assert len(translator.fingerprint) == 32
        assert again.produces == translator.produces


def _bytes(capture: Capture) -> dict[str, bytes]:
    arrays = {} if capture.depth is None else capture.depth._asdict()
    return {name: array.tobytes() for name, array in {**arrays, **capture.images}.items()}
