"""Every same-view figure of a sensor and of its simulations: the table that a simulation has to match row by row.

Pairs of one view remove what two sets of rooms cannot separate: the room and the path of the camera are equal, and only
the sensor differs. The truth is usually fused from the recording itself (source ``fused``): what all frames share, and
what the sensor never sees, is missing from it, so "off truth" means off what most frames agree on.

The recording is measured as a whole and in two contiguous halves. The **floor** of a figure is how far the two real
halves are apart: a simulation nearer than that to the real value cannot be told from the sensor by that figure. Of the
overlap of holes the floor is that of the sensor with itself one frame earlier, the same points re-projected: no
simulation can be expected to meet more of the holes than the sensor meets again.

Frames are measured as they come and only their statistics kept, 0.3 MB a frame and side. 640x480 on one core: about
40 ms a frame for each of real, noisy and clean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError, UnknownNameError
from depthforge.geometry import invert_pose
from depthforge.realism.noise import DEPTH_EDGES_M
from depthforge.realism.same_view import between_frames, blocks, hole_places, outliers, pattern, silhouettes
from depthforge.realism.same_view.figures import Direction, Figure, depth_ids
from depthforge.realism.same_view.truth import Truth, inverse_depth, truth_of
from depthforge.realism.same_view.views import Measured, SameView

__all__ = ["FIGURES", "REAL", "CalibrationPoint", "Row", "SameViewComparison", "compare_same_views"]

CalibrationPoint = hole_places.CalibrationPoint

REAL: Final = "real"

FIGURES: Final[tuple[Figure, ...]] = (
    *hole_places.FIGURES,
    *blocks.FIGURES,
    *outliers.FIGURES,
    *pattern.FIGURES,
    *silhouettes.FIGURES,
    *between_frames.FIGURES,
)

_OVERLAP: Final = "hole_iou"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of every set by the set's name, None where it cannot be measured, and its floor; see the module."""

    id: str
    title: str
    unit: str
    better: Direction
    values: dict[str, float | None]
    floor: float | None


@dataclass(frozen=True, slots=True)
class SameViewComparison:
    """``rows`` by figure; ``calibration`` of the candidates with hole probabilities.

    ``num_pairs`` counts the consecutive frames that share half of their points, ``motion`` is how far the camera moved
    and turned between them (medians, metres and degrees; None without a pair). ``baseline_m`` is None where it is not
    known: figures in px of disparity are then missing.
    """

    num_frames: int
    num_pairs: int
    motion: tuple[float, float] | None
    baseline_m: float | None
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    calibration: dict[str, tuple[CalibrationPoint, ...]]

    def row(self, figure: str) -> Row:
        """Return the row with that id; UnknownNameError lists those that there are."""
        by_id = {row.id: row for row in self.rows}
        if figure not in by_id:
            raise UnknownNameError("figure", figure, by_id)
        return by_id[figure]

    def value(self, figure: str, name: str) -> float | None:
        """Return a figure, by its id, of the set ``name``."""
        return self.row(figure).values.get(name)

    def curve(self, stem: str) -> list[tuple[float, Row]]:
        """Return the rows of a figure in each depth bin in which some set has it: (middle of the bin in metres, row).

        ``stem`` is the id without the bin, such as ``block_sd``.
        """
        by_id = {row.id: row for row in self.rows}
        rows = zip(pairwise(DEPTH_EDGES_M.tolist()), (by_id[name] for name in depth_ids(stem)), strict=True)
        return [(math.sqrt(near_m * far_m), row) for (near_m, far_m), row in rows if _is_measured(row)]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the table, a figure a line; figures that no set has are left out."""
        shown = [row for row in self.rows if _is_measured(row)]
        width = max((len(row.title) for row in shown), default=0) + 2
        columns = (*self.names, "floor", "better")
        widths = [max(len(column) + 2, 10) for column in columns]

        def line(title: str, unit: str, cells: Iterable[str]) -> str:
            return f"  {title:<{width}}{unit:<9}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))

        baseline = "not known: no figure in px of disparity" if self.baseline_m is None else f"{self.baseline_m:g} m"
        motion = "" if self.motion is None else f" ({1000 * self.motion[0]:.3g} mm, {self.motion[1]:.2g} deg)"
        return [
            f"same view: {self.num_frames} frames, {self.num_pairs} pairs of consecutive ones{motion}, "
            f"baseline {baseline}",
            line("", "", columns),
            *(
                line(row.title, row.unit, (*(_cell(row.values[n]) for n in self.names), _cell(row.floor), row.better))
                for row in shown
            ),
        ]


class _Side(NamedTuple):
    """What was measured of one set in one frame; ``pair`` is with the frame before."""

    overlap: hole_places.HoleOverlap
    blocks: blocks.BlockErrors
    errors: outliers.ErrorCounts
    silhouettes: silhouettes.SilhouetteErrors
    map_px: npt.NDArray[np.float32] | None
    pair: between_frames.PairErrors | None


class _Before(NamedTuple):
    view: SameView
    truth: Truth
    errors: Mapping[str, npt.NDArray[np.float32]]


def compare_same_views(views: Iterable[SameView], baseline_m: float | None) -> SameViewComparison:
    """Measure the real side and every candidate of ``views``, whose order is that of the recording.

    ``baseline_m`` is the distance of the sensor's two eyes, which makes disparity of depth. Raises InputError without a
    view, for views with other candidates than the first, and for a candidate called ``real``; FrameError for one whose
    arrays do not fit its camera.
    """
    frames: list[dict[str, _Side]] = []
    motions: list[tuple[float, float]] = []
    before: _Before | None = None
    for view in views:
        _require_sound(view, frames)
        sides, now = _measure(view, before, baseline_m)
        if sides[REAL].pair is not None and before is not None:
            motions.append(_motion(before.view, view))
        before = now
        frames.append(sides)
    if not frames:
        raise InputError("there is no view to compare", expected="frames with truth and a real measurement")
    names = (REAL, *(name for name in frames[0] if name != REAL))
    middle = (len(frames) + 1) // 2
    found = {name: _summary([sides[name] for sides in frames]) for name in names}
    halves = [_summary([sides[REAL] for sides in half]) for half in (frames[:middle], frames[middle:]) if half]
    return SameViewComparison(
        num_frames=len(frames),
        num_pairs=len(motions),
        motion=tuple(np.median(motions, axis=0).tolist()) if motions else None,
        baseline_m=baseline_m,
        names=names,
        rows=tuple(_row(figure, found, halves) for figure in FIGURES),
        calibration={
            name: curve
            for name in names
            if (curve := hole_places.calibration_curve([sides[name].overlap for sides in frames]))
        },
    )


def _measure(view: SameView, before: _Before | None, baseline_m: float | None) -> tuple[dict[str, _Side], _Before]:
    truth = truth_of(view, baseline_m)
    edges = silhouettes.find_edges(truth)
    points = None
    if before is not None and before.view.scene == view.scene:
        first, second = before.view.T_world_cam, view.T_world_cam
        if first is not None and second is not None:
            points = between_frames.correspondence(before.truth, first, truth, second)
    sides, errors = {}, {}
    for name, measured in _sets(view).items():
        inverse = inverse_depth(measured)
        error = errors[name] = pattern.inverse_error(truth, inverse)
        pair = None
        if before is not None and points is not None:
            valid_before = _sets(before.view)[name].valid
            pair = between_frames.measure_pair(points, truth, valid_before, measured.valid, before.errors[name], error)
        scale = truth.disparity_m_px
        sides[name] = _Side(
            hole_places.measure_overlap(truth.valid, view.real.valid, measured.valid, view.hole_probability.get(name)),
            blocks.measure_blocks(truth, measured),
            outliers.measure_errors(truth, measured),
            silhouettes.measure_silhouettes(truth, edges, measured.valid, inverse),
            None if scale is None else pattern.low_frequency_error(error) * np.float32(scale),
            pair,
        )
    return sides, _Before(view, truth, errors)


def _motion(before: SameView, now: SameView) -> tuple[float, float]:
    """Return how far the camera moved, metres, and turned, degrees, between two views with poses."""
    assert before.T_world_cam is not None
    assert now.T_world_cam is not None
    T = invert_pose(before.T_world_cam) @ now.T_world_cam
    cosine = np.clip((np.trace(T[:3, :3]) - 1) / 2, -1, 1)
    return float(np.linalg.norm(T[:3, 3])), float(np.degrees(np.arccos(cosine)))


def _sets(view: SameView) -> dict[str, Measured]:
    return {REAL: view.real, **view.candidates}


def _summary(sides: Sequence[_Side]) -> dict[str, float]:
    return {
        **hole_places.summarise([side.overlap for side in sides]),
        **blocks.summarise([side.blocks for side in sides]),
        **outliers.summarise([side.errors for side in sides]),
        **pattern.summarise([side.map_px for side in sides if side.map_px is not None]),
        **silhouettes.summarise([side.silhouettes for side in sides]),
        **between_frames.summarise([side.pair for side in sides if side.pair is not None]),
    }


def _row(figure: Figure, found: Mapping[str, Mapping[str, float]], halves: Sequence[Mapping[str, float]]) -> Row:
    values = {name: _known(of_set.get(figure.id)) for name, of_set in found.items()}
    floor: float | None = None
    if figure.better == "as real":
        of_halves = [value for half in halves if (value := _known(half.get(figure.id))) is not None]
        floor = abs(of_halves[0] - of_halves[1]) if len(of_halves) == 2 else None
    else:
        # How well a set foretells the real holes is no property of the sensor: it foretells its own without a miss.
        values[REAL] = None
        if figure.id == _OVERLAP:
            floor = _known(found[REAL].get("holes_kept_iou"))
    return Row(figure.id, figure.title, figure.unit, figure.better, values, floor)


def _require_sound(view: SameView, measured: Sequence[Mapping[str, Any]]) -> None:
    size = view.camera.size
    if REAL in view.candidates:
        raise InputError("a candidate has the name of the real scans", where=REAL, expected="another name")
    if measured and measured[0].keys() - {REAL} != view.candidates.keys():
        raise InputError(
            "a view has other candidates than the first",
            where=view.key,
            expected=", ".join(sorted(measured[0].keys() - {REAL})),
            found=", ".join(sorted(view.candidates)),
        )
    for name, (depth_m, valid) in {"truth": view.truth, **_sets(view)}.items():
        if not depth_m.shape == valid.shape == size or depth_m.dtype != np.float32 or valid.dtype != np.bool_:
            raise FrameError(
                "depth, validity and camera do not fit",
                where=f"{view.key}, {name}",
                expected=f"depth {size} float32, valid {size} bool, as the camera says",
                found=f"depth {depth_m.shape} {depth_m.dtype}, valid {valid.shape} {valid.dtype}",
            )
        measured_m = np.where(valid, depth_m, np.float32(1))
        if not (measured_m.min() > 0 and measured_m.max() < np.inf):
            raise FrameError("depth is not a positive finite number where valid", where=f"{view.key}, {name}")


def _is_measured(row: Row) -> bool:
    return any(value is not None for value in row.values.values())


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
