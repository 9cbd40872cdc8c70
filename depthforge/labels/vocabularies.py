"""Class names by id, for the vocabularies that a LabelSpec names; id 0 is always "unlabelled".

Sources: NYU40 as in Gupta et al., "Perceptual organization and recognition of indoor scenes from RGB-D images", CVPR
2013; Virtual KITTI's scene classes from its documentation; KITTI's object types from the object development kit.
"""

from __future__ import annotations

from depthforge.errors import UnknownNameError

__all__ = ["VOCABULARIES", "class_names"]

VOCABULARIES: dict[str, tuple[str, ...]] = {
    "nyu40": (
        "unlabelled", "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
        "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat",
        "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel", "shower curtain", "box",
        "whiteboard", "person", "night stand", "toilet", "sink", "lamp", "bathtub", "bag", "other structure",
        "other furniture", "other prop",
    ),
    "vkitti": (
        "unlabelled", "Terrain", "Sky", "Tree", "Vegetation", "Building", "Road", "GuardRail", "TrafficSign",
        "TrafficLight", "Pole", "Misc", "Truck", "Car", "Van",
    ),
    "kitti_object": (
        "unlabelled", "Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc",
    ),
}  # fmt: skip


def class_names(vocabulary: str) -> tuple[str, ...]:
    """Return the names of a vocabulary's classes, indexed by id; UnknownNameError for one that is not known."""
    try:
        return VOCABULARIES[vocabulary]
    except KeyError:
        raise UnknownNameError("vocabulary", vocabulary, sorted(VOCABULARIES), where="LabelSpec.vocabulary") from None
