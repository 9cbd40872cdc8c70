from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from depthforge.seeding import frame_generator, frame_words, scene_words, unit_interval

SCENE = (17745726122658814301, 13700724978582962174)


def test_words_are_pinned() -> None:
    """A change of these numbers changes every corpus ever made."""
    assert frame_words(0, "interiornet/room/000001", "abc") == (11223006817928941286, 1907985682561607058)


@given(st.integers(), st.text(), st.text())
def test_words_depend_on_every_argument(seed: int, key: str, fingerprint: str) -> None:
    words = frame_words(seed, key, fingerprint)
    assert words == frame_words(seed, key, fingerprint)
    assert words != frame_words(seed + 1, key, fingerprint)
    assert words != frame_words(seed, key + "x", fingerprint)
    assert words != frame_words(seed, key, fingerprint + "x")


def test_frames_of_a_scene_share_its_words_and_scenes_seeds_and_methods_do_not() -> None:
    """Pinned: a change of these numbers changes every corpus with patches on surfaces."""
    first = scene_words(frame_words(0, "interiornet/room/000001", "abc"))
    assert first == SCENE
    assert scene_words(frame_words(0, "interiornet/room/000002", "abc")) == first
    for other in (
        frame_words(0, "interiornet/hall/000001", "abc"),
        frame_words(1, "interiornet/room/000001", "abc"),
        frame_words(0, "interiornet/room/000001", "abd"),
    ):
        assert scene_words(other) != first
    assert first != frame_words(0, "interiornet/room", "abc")


def test_words_carry_their_scene_to_another_process_and_a_plain_pair_is_a_scene_of_its_own() -> None:
    words = frame_words(3, "a/b/c")
    again = pickle.loads(pickle.dumps(words))
    assert (again, scene_words(again)) == (words, scene_words(words))
    assert scene_words((1, 2)) == (1, 2)


def test_fields_do_not_run_together() -> None:
    assert frame_words(0, "ab", "c") != frame_words(0, "a", "bc")


def test_generators_of_one_frame_agree_and_of_two_do_not() -> None:
    first = frame_generator(7, "a/b/c").standard_normal(1000)
    np.testing.assert_array_equal(first, frame_generator(7, "a/b/c").standard_normal(1000))
    other = frame_generator(7, "a/b/d").standard_normal(1000)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


@given(st.text())
def test_unit_interval_is_in_range(key: str) -> None:
    assert 0.0 <= unit_interval(0, key, "split") < 1.0
