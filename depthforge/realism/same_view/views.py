"""One view with its truth: what the sensor measured in it, and what simulations of the sensor make of the truth.

Frames are taken in pairs, since what flickers shows between neighbours only: as many evenly spaced frames as half of
what was asked for, each with whichever of its two neighbours has the nearer pose. Where everything is asked for,
every frame is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.addresses import Address
from depthforge.corpus.reader import CorpusFrame, CorpusReader, no_noisy_depth
from depthforge.errors import InputError
from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.labels.catalogue import DEPTH_RAW, INTRINSICS, POSE
from depthforge.realism.views import evenly_spaced

__all__ = ["CLEAN", "NOISY", "Measured", "SameView", "carries_real_depth", "same_views"]

Matrix = npt.NDArray[np.float64]

CLEAN: Final = "clean"
NOISY: Final = "noisy"

# Turning by a radian is as far as moving by so many metres, when the nearer of two neighbours is looked for.
_METRES_A_RADIAN: Final = 1.0


class Measured(NamedTuple):
    """Depth (H, W) float32, planar z in metres, read only where ``valid`` (H, W) bool."""

    depth_m: DepthImage
    valid: BoolImage


class SameView(NamedTuple):
    """The truth of one view, what the sensor measured in it, and each simulation (``candidates``) by name.

    ``T_world_cam`` (4, 4) is the pose, where known. ``hole_probability`` holds, for those candidates that have it, the
    probability in [0, 1] that a pixel is not measured, (H, W) float32.
    """

    key: str
    camera: Camera
    truth: Measured
    real: Measured
    candidates: Mapping[str, Measured]
    T_world_cam: Matrix | None = None
    hole_probability: Mapping[str, npt.NDArray[np.float32]] = {}

    @property
    def scene(self) -> str:
        """``dataset/scene``: poses of different scenes have nothing to do with each other."""
        return self.key.rsplit("/", 1)[0]


HoleProbability = Callable[[CorpusFrame, Camera], npt.NDArray[np.float32]]


def carries_real_depth(reader: CorpusReader) -> bool:
    """Say whether a corpus has, beside its clean depth, what a real sensor measured in the same view."""
    return any(spec.name == DEPTH_RAW.name for spec in reader.schema.fields)


def same_views(
    corpus: Address, count: int, hole_probability: HoleProbability | None = None, labels: Iterable[str] = ()
) -> Iterator[SameView]:
    """Yield up to ``count`` frames of a corpus that have ``depth_raw``, in key order.

    The candidates are the corpus' noisy depth, and its clean depth: a sensor without any error.
    ``hole_probability`` says where the noisy depth is likely to have holes, and gets frames with those of ``labels``
    that they have. InputError, at once, when the corpus has no ``depth_raw`` or no noisy depth.
    """
    reader = CorpusReader(corpus, allow_unfinished=True)
    if not carries_real_depth(reader):
        raise InputError(
            "the corpus does not say what a real sensor measured in its views",
            where=corpus,
            expected=f"the label {DEPTH_RAW.name}, as of a corpus of the source `fused`",
            found=", ".join(spec.name for spec in reader.schema.fields),
        )
    if not reader.schema.noisy_depth:
        raise no_noisy_depth(corpus, (spec.name for spec in reader.schema.produced))
    carried = {spec.name for spec in reader.schema.fields}
    wanted = sorted({INTRINSICS.name, DEPTH_RAW.name, POSE.name, *labels} & carried)
    return _read(reader, count, hole_probability, wanted)


def _read(
    reader: CorpusReader, count: int, hole_probability: HoleProbability | None, labels: list[str]
) -> Iterator[SameView]:
    in_key_order = [place for place in sorted(range(len(reader)), key=reader.key) if reader.has(DEPTH_RAW.name, place)]
    for index in _with_neighbours(reader, in_key_order, count, POSE.name in labels):
        frame = reader.read(in_key_order[index], labels)
        K = frame.labels[INTRINSICS.name]
        height, width = frame.clean_depth_m.shape
        camera = Camera(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height)
        raw_m = frame.labels[DEPTH_RAW.name]
        truth = Measured(frame.clean_depth_m, frame.clean_valid)
        pose = frame.labels.get(POSE.name)
        yield SameView(
            frame.key,
            camera,
            truth,
            Measured(raw_m, np.isfinite(raw_m) & (raw_m > 0)),
            {CLEAN: truth, NOISY: Measured(frame.noisy_depth_m, frame.noisy_valid)},
            pose if pose is not None and np.isfinite(pose).all() else None,
            {} if hole_probability is None else {NOISY: hole_probability(frame, camera)},
        )


def _with_neighbours(reader: CorpusReader, places: list[int], count: int, has_poses: bool) -> list[int]:
    """Return which of ``places`` to read: evenly spaced ones and the nearer neighbour of each."""
    if count >= len(places):
        return list(range(len(places)))
    chosen: set[int] = set()
    for index in evenly_spaced(len(places), max(count // 2, 1)):
        neighbours = [other for other in (index + 1, index - 1) if 0 <= other < len(places)]
        if has_poses:
            pose = reader.stored(POSE.name, places[index])
            neighbours.sort(key=lambda other: _distance(pose, reader.stored(POSE.name, places[other])))
        chosen |= {index, *neighbours[: min(1, count - 1)]}
    return sorted(chosen)


def _distance(first: Matrix, second: Matrix) -> float:
    """Return how far apart two poses are, in metres; without either, farther than any."""
    moved = float(np.linalg.norm(first[:3, 3] - second[:3, 3]))
    cosine = (float(np.trace(first[:3, :3].T @ second[:3, :3])) - 1) / 2
    distance = moved + _METRES_A_RADIAN * float(np.arccos(np.clip(cosine, -1, 1)))
    return distance if np.isfinite(distance) else np.inf
