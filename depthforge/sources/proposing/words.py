"""The words in the name of a file or folder, and what they say is in it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["roles_of", "words_of"]

_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_ROLES: Final = {
    "depth": ("depth", "disp", "zbuf", "distance", "range", "ray"),
    "rgb": ("rgb", "color", "colour", "image", "img", "photo"),
    "instance": ("inst", "object", "obj"),
    "semantic": ("sem", "seg", "class", "label"),
    "mask": ("mask",),
    "normals": ("normal", "nrm"),
    "pose": ("pose", "traj", "extr", "base", "groundtruth", "gt", "odom", "transform"),
    "camera": ("intr", "cam", "calib", "k"),
}
_PLAIN: Final = frozenset({"k", "gt", "ray", "obj", "img", "cam", "base"})


def words_of(text: str) -> list[str]:
    """Return the words in a name in lower case: ``depthRaw_2`` is depth, raw and 2."""
    return [word.lower() for word in _WORDS.findall(re.sub(r"\{\w+\}", " ", text))]


def roles_of(text: str) -> list[str]:
    """Return what the words of a name say is in it: depth, rgb, instance, semantic, mask, normals, pose, camera."""
    words = words_of(text)
    return [
        role
        for role, starts in _ROLES.items()
        if any(word == start if start in _PLAIN else word.startswith(start) for word in words for start in starts)
    ]
