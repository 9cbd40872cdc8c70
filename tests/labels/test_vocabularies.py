"""Class names are the field's own, by the field's own ids."""

from __future__ import annotations

import pytest

from depthforge import frame
from depthforge.errors import UnknownNameError
from depthforge.labels.spec import LabelSpec
from depthforge.labels.vocabularies import VOCABULARIES, class_names


@pytest.mark.parametrize(
    ("vocabulary", "number", "known"),
    [
        ("nyu40", 40, {1: "wall", 5: "chair", 22: "ceiling", 25: "television", 40: "other prop"}),
        ("vkitti", 14, {2: "Sky", 6: "Road", 13: "Car", 14: "Van"}),
        ("kitti_object", 8, {1: "Car", 4: "Pedestrian", 8: "Misc"}),
    ],
)
def test_names_by_id(vocabulary: str, number: int, known: dict[int, str]) -> None:
    names = class_names(vocabulary)
    assert len(names) == number + 1
    assert names[0] == "unlabelled"
    assert {index: names[index] for index in known} == known


def test_no_name_stands_twice() -> None:
    assert all(len(set(names)) == len(names) for names in VOCABULARIES.values())


def test_every_vocabulary_of_a_label_of_the_house_is_known() -> None:
    for spec in vars(frame).values():
        if isinstance(spec, LabelSpec) and spec.vocabulary is not None:
            assert spec.vocabulary in VOCABULARIES


def test_an_unknown_vocabulary_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="nyu40"):
        class_names("nyu04")
