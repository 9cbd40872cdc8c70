"""Class lists and confusion: ids to classes, errors that name them, and overlaps worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from depthforge.errors import InputError
from depthforge.labels.vocabularies import class_names
from depthforge.tasks.class_lists import INDOOR, UNLABELLED, class_lookup, class_overlaps, confusion

NYU40_IDS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 16, 22, 24, 25]
images = arrays(np.uint8, (6, 7), elements=st.integers(0, 3))


def test_the_fifteen_classes_have_the_published_ids() -> None:
    lookup = class_lookup("nyu40", INDOOR)
    assert [lookup.tolist().index(index) for index in range(14)] == NYU40_IDS
    others = [i for i in range(1, 41) if i not in NYU40_IDS]
    assert np.flatnonzero(lookup == 14).tolist() == others
    assert lookup[0] == UNLABELLED
    assert len(lookup) == len(class_names("nyu40"))


def test_without_others_what_is_not_named_is_not_labelled() -> None:
    lookup = class_lookup("vkitti", ["Road", "Car"])
    assert lookup[[6, 13]].tolist() == [0, 1]
    assert (np.delete(lookup, [6, 13]) == UNLABELLED).all()


def test_errors_name_the_classes() -> None:
    with pytest.raises(InputError, match=r"unknown class 'fridge'") as caught:
        class_lookup("nyu40", ["wall", "fridge"])
    assert "refrigerator" in str(caught.value)
    with pytest.raises(InputError, match="unknown class 'Road'") as caught:
        class_lookup("nyu40", ["Road", "others"])
    assert "another `vocabulary`" in str(caught.value)
    with pytest.raises(InputError, match="unlabelled"):
        class_lookup("nyu40", ["unlabelled", "wall"])
    for classes in (["wall", "wall"], ["wall"]):
        with pytest.raises(InputError, match="different ones"):
            class_lookup("nyu40", classes)


def test_overlaps_worked_out_by_hand() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, UNLABELLED, 2]], np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 0, 1, 2]], np.uint8)
    counts = confusion(truth, predicted, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(class_overlaps(counts), [2 / 4, 2 / 4, 1, np.nan])


@given(images, images, images)
def test_counts_add_up_and_perfect_is_one(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    assert confusion(a, b, 4).sum() == a.size
    both = confusion(np.stack([a, c]), np.stack([b, c]), 4)
    assert np.array_equal(both, confusion(a, b, 4) + confusion(c, c, 4))
    assert np.array_equal(confusion(a, b, 4), confusion(b, a, 4).T)
    np.testing.assert_allclose(class_overlaps(confusion(a, b, 4)), class_overlaps(confusion(b, a, 4)))
    perfect = class_overlaps(confusion(c, c, 4))
    assert np.array_equal(np.isnan(perfect), [i not in c for i in range(4)])
    assert (perfect[~np.isnan(perfect)] == 1).all()
