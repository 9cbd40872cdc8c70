"""Are the values of a data set plausible? The same few frames are asked by every command, before anything is made.

``examine`` reads up to five runs of three consecutive frames, evenly spaced, and judges by the bulk of their pixels:
the unit of depth, values that stand for "nothing", the camera, normals, poses. What is certainly wrong is an error and
ends a run; what looks odd is a warning. One stray pixel is neither. The checks are 4 ms a frame; reading the frames is
most of the cost, under 3 % of a conversion of 600 frames. A user who has looked at a finding and knows better names it
in the source block: ``trust: [unit]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError
from depthforge.frame import RGB_FILE, Camera, Finding, Frame, FrameRef
from depthforge.geometry import decode_normals, pixel_rays
from depthforge.labels.spec import LabelSpec
from depthforge.sources.base import Source
from depthforge.sources.conventions import why_not_rigid
from depthforge.sources.hole_grid import hole_grid
from depthforge.sources.reframing import reframing_findings
from depthforge.sources.reprojection import Fit, fit_of_poses

__all__ = [
    "NUM_RUNS",
    "RUN_FRAMES",
    "Examined",
    "RunSampler",
    "examine",
    "fitting_labels",
    "require_plausible",
    "require_plausible_scans",
    "require_sound",
]

NUM_RUNS: Final = 5
RUN_FRAMES: Final = 3
_LEAST_SHARE: Final = 0.005
_GAP: Final = 2.0
_UNITS: Final = (1000.0, 0.001, 100.0, 0.01, 10.0, 0.1)


class RunSampler:
    """Takes runs of consecutive references from a listing as it streams by, evenly spaced, whatever its length."""

    def __init__(self) -> None:
        self._runs: list[list[FrameRef]] = []
        self._count = 0
        self._every = RUN_FRAMES

    def watch(self, refs: Iterable[FrameRef]) -> Iterator[FrameRef]:
        """Yield ``refs`` as they are."""
        for ref in refs:
            self._take(ref)
            yield ref

    @property
    def runs(self) -> list[list[FrameRef]]:
        """At most ``NUM_RUNS`` runs of ``RUN_FRAMES`` references of what has streamed by; the last may be shorter."""
        places = np.linspace(0, len(self._runs) - 1, min(NUM_RUNS, len(self._runs))).round().astype(int)
        return [self._runs[place] for place in places.tolist()]

    def _take(self, ref: FrameRef) -> None:
        offset = self._count % self._every
        if offset == 0:
            if len(self._runs) == 2 * NUM_RUNS:
                self._runs = self._runs[::2]
                self._every *= 2
            self._runs.append([ref])
        elif offset < RUN_FRAMES:
            self._runs[-1].append(ref)
        self._count += 1


class Examined(NamedTuple):
    """What is implausible about the frames that were looked at.

    ``pose_error`` is the median error of re-projection, a share of depth, None where it cannot be told; ``refused`` is
    why frames would become rejects, an error each, of ``num_frames``.
    """

    findings: list[Finding]
    pose_error: float | None
    refused: list[FrameError]
    num_frames: int


def examine(
    source: Source,
    runs: Sequence[Sequence[FrameRef]],
    wanted: frozenset[str],
    accept: Callable[[Frame], object] = lambda frame: None,
    *,
    scans: bool = False,
) -> Examined:
    """Say what is implausible about the frames of ``runs``, read with ``wanted`` labels.

    ``accept`` raises FrameError for a frame that a run would reject. Where each is, that is an error finding.
    ``scans``: their holes are to be learnt from.
    """
    refused: list[FrameError] = []
    known = wanted & {*source.labels, RGB_FILE}
    read = [_read(source, refs, known, accept, refused) for refs in runs]
    flat = [frame for run in read for frame in run]
    if not flat:
        return Examined(_all_refused(source, refused), None, refused, len(refused))
    fit = None
    if "T_world_cam" in wanted:
        block = getattr(source.config, "pose", None)
        by_world = [_same_world(source, refs, run) for refs, run in zip(runs, read, strict=True)]
        fit = fit_of_poses(by_world, getattr(block, "direction", "camera_to_world"), getattr(block, "axes", "opencv"))
    found: dict[str, Iterable[Finding]] = {
        "unit": _unit(source, flat),
        "background": _background(source, flat),
        "camera": _cameras(source, flat),
        "normals": _normals(flat),
        "poses": _poses(flat[0].key, fit),
        "grid": _grid(flat, "error" if scans else "warning"),
    }
    findings = [
        replace(finding, remedy=f"{finding.remedy}; where it is right as it is, `trust: [{kind}]`")
        for kind, each in found.items()
        if kind not in source.config.trust
        for finding in each
    ]
    return Examined(findings, None if fit is None else fit.error, refused, len(flat) + len(refused))


def require_plausible(source: Source, findings: Iterable[Finding]) -> None:
    """Raise InputError with every error among ``findings``, each with what would mend it."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if len(errors) == 1:
        raise InputError(errors[0].message, where=errors[0].path or source.name, remedy=errors[0].remedy)
    if errors:
        lines = "".join(f"\n    {each.message}\n      try: {each.remedy}" for each in errors)
        raise InputError("the data set is not what the manifest says", where=source.name, found=lines)


def require_plausible_scans(source: Source, refs: Iterable[FrameRef]) -> None:
    """Raise InputError where depth or camera of a listing are implausible: for those who take no poses."""
    sampler = RunSampler()
    for _ in sampler.watch(refs):
        pass
    require_plausible(source, examine(source, sampler.runs, frozenset(), scans=True).findings)


def require_sound(frame: Frame) -> Frame:
    """Return a frame whose arrays fit (``Frame.require_sound``) and whose pose is a rigid motion; else FrameError."""
    frame.require_sound()
    reason = None if frame.T_world_cam is None else why_not_rigid(frame.T_world_cam)
    if reason is not None:
        raise FrameError(
            "T_world_cam is not a rigid transform",
            where=frame.key,
            expected="camera to world, OpenCV axes; None where tracking was lost",
            found=reason,
        )
    return frame


def fitting_labels(frame: Frame, specs: Mapping[str, LabelSpec]) -> list[str]:
    """Return the labels that a frame carries; raise FrameError for one that does not fit its LabelSpec."""
    arrays = {"rgb": frame.rgb, "T_world_cam": frame.T_world_cam, **frame.labels}
    height, width = frame.camera.size
    present = {name: value for name, value in arrays.items() if value is not None}
    for name, value in present.items():
        specs[name].require_fits(value, height, width, where=frame.key)
    return list(present)


def _read(
    source: Source,
    refs: Sequence[FrameRef],
    wanted: frozenset[str],
    accept: Callable[[Frame], object],
    refused: list[FrameError],
) -> list[Frame]:
    frames = []
    for ref in refs:
        try:
            frame = require_sound(source.read(ref, wanted))
            fitting_labels(frame, source.labels)
            accept(frame)
        except FrameError as error:
            refused.append(error)
        except (InputError, OSError) as error:
            refused.append(FrameError(str(error), where=ref.key))
        else:
            frames.append(frame)
    return frames


def _all_refused(source: Source, refused: Sequence[FrameError]) -> list[Finding]:
    if not refused:
        return []
    first = refused[0]
    told = "; ".join(
        part
        for part in (
            first.message,
            first.expected and f"expected {first.expected}",
            first.found and f"found {first.found}",
        )
        if part
    )
    message = f"every frame that was looked at would be rejected: {told}"
    return [Finding("error", first.where or source.name, message, first.remedy)]


def _same_world(source: Source, refs: Sequence[FrameRef], frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames that follow each other in the world of the first."""
    worlds = {ref.key: source.world_of(ref) for ref in refs}
    kept = list(frames[:1])
    for before, frame in pairwise(frames):
        if worlds[frame.key] != worlds[before.key]:
            break
        kept.append(frame)
    return kept


def _unit(source: Source, frames: Sequence[Frame]) -> Iterator[Finding]:
    medians = [float(np.median(frame.depth_m[frame.valid])) for frame in frames if frame.valid.any()]
    if not medians:
        return
    median_m = float(np.median(medians))
    low, high = source.typical_depth_m
    if low <= median_m <= high:
        return
    fitting = [unit for unit in _UNITS if low <= median_m * unit <= high]
    hint = f"; {fitting[0]:g} times as much would be {median_m * fitting[0]:.3g} m" if fitting else ""
    yield Finding(
        "error",
        frames[0].key,
        f"the unit of depth looks wrong: the median depth is {median_m:.4g} m{hint}",
        f"typical depths of {source.name} lie between {low:g} and {high:g} m; check how the files were exported, and "
        "the scale of depth in the source block",
    )


def _background(source: Source, frames: Sequence[Frame]) -> Iterator[Finding]:
    """Find a greatest value that many pixels have exactly, far beyond all others: sky, a far plane, a code."""
    shares: dict[float, list[float]] = {}
    for frame in frames:
        depth: npt.NDArray[Any] = frame.depth_m[frame.valid]
        if depth.size == 0:
            continue
        greatest = depth.max()
        is_greatest = depth == greatest
        rest = depth[~is_greatest]
        second = float(rest.max()) if rest.size else 0.0
        share = float(is_greatest.sum()) / frame.valid.size
        if share >= _LEAST_SHARE and rest.size and float(greatest) >= _GAP * second:
            shares.setdefault(float(greatest), []).append(share)
    for value, found in shares.items():
        if len(found) * 2 < len(frames) and max(found) < 0.1:
            continue
        stated_m = getattr(source.config, "max_depth_m", None)
        # What is as far as the source block lets pass has been cut off there, by whoever made the files: known of.
        severity: Literal["error", "warning"] = "warning" if stated_m and value >= 0.999 * stated_m else "error"
        yield Finding(
            severity,
            frames[0].key,
            f"a depth of {value:.6g} m stands for no measurement: {np.mean(found):.0%} of the pixels have exactly it, "
            f"and no other is half as far",
            _mend_of_background(source, value),
        )


def _grid(frames: Sequence[Frame], severity: Literal["error", "warning"]) -> Iterator[Finding]:
    grid = hole_grid(frame.valid for frame in frames)
    if grid is None:
        return
    yield Finding(
        severity,
        frames[0].key,
        f"the holes lie on a regular grid, every {grid.period_px} {grid.lines} ({grid.share:.0%} of the thin ones): "
        "registration to another view or size left them, not the sensor",
        "take the depth of the depth camera itself, or register it by rendering a mesh or to the coarser of the images",
    )


def _mend_of_background(source: Source, value_m: float) -> str:
    fields = type(source.config).model_fields
    scale = getattr(source.config, "depth_scale", None)
    ways = []
    if "invalid" in fields and scale:
        ways.append(f"`invalid: [0, {value_m * scale:.6g}]`")
    if "max_depth_m" in fields:
        ways.append(f"`max_depth_m: {value_m * 0.99:.4g}`")
    return f"say {' or '.join(ways)} in the source block" if ways else "mask it out in the source"


def _cameras(source: Source, frames: Sequence[Frame]) -> Iterator[Finding]:
    """Judge the camera of the data set and the one that `reframe` asks for, then what the one sees of the other."""
    first = frames[0]
    if first.reframed_from is not None:
        yield from _camera(source, first.reframed_from)
    if first.reframed_from != first.camera:
        yield from _camera(source, first.camera)
    yield from reframing_findings(frames)


def _camera(source: Source, camera: Camera) -> Iterator[Finding]:
    width, height = camera.width, camera.height

    def finding(severity: Any, message: str, remedy: str) -> Finding:
        numbers = f"fx {camera.fx:.6g}, fy {camera.fy:.6g}, cx {camera.cx:.6g}, cy {camera.cy:.6g}"
        return Finding(
            severity, source.name, f"the camera is {message}: {numbers} for {width} x {height} pixels", remedy
        )

    if not all(np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy])) or camera.fx <= 0 or camera.fy <= 0:
        yield finding("error", "no pinhole", "give fx, fy > 0 and cx, cy in pixels")
        return
    if camera.fx < 10 and abs(camera.cx) <= 1.5 and abs(camera.cy) <= 1.5:
        yield finding("error", "given in shares of the image", f"multiply fx and cx by {width}, fy and cy by {height}")
        return
    scale_x, scale_y = (camera.cx + 0.5) / (width / 2), (camera.cy + 0.5) / (height / 2)
    alike = abs(scale_x - scale_y) < 0.1 * max(scale_x, scale_y)
    if alike and (scale_x > 1.4 or scale_x < 0.7):
        size = f"{width * scale_x:.0f} x {height * scale_y:.0f}"
        yield finding(
            "error", "of another resolution", f"it fits an image of {size} pixels: divide it by {scale_x:.3g}"
        )
    elif not (0 <= camera.cx < width and 0 <= camera.cy < height):
        yield finding("error", "centred outside its image", "check cx and cy, and whether width and height are swapped")
    elif abs(scale_x - 1) > 0.4 or abs(scale_y - 1) > 0.4:
        yield finding("warning", "centred far from the middle of its image", "right for a crop; else check cx and cy")
    for focal, extent, name in ((camera.fx, width, "horizontal"), (camera.fy, height, "vertical")):
        view_deg = float(np.degrees(2 * np.arctan(extent / 2 / focal)))
        if not 2 <= view_deg <= 150:
            severity = "error" if view_deg < 0.5 or view_deg > 170 else "warning"
            yield finding(severity, f"odd: its {name} field of view is {view_deg:.3g} degrees", "check fx and fy")
    if abs(camera.fx - camera.fy) > 0.25 * camera.fx:
        yield finding("warning", "not square: fx and fy differ", "some files list fx, cx, fy, cy: check the order")


def _normals(frames: Sequence[Frame]) -> Iterator[Finding]:
    for frame in frames:
        if "normals" in frame.labels and not _face_the_camera(frame):
            yield Finding(
                "error",
                frame.key,
                "normals point away from the camera: they are in other axes",
                "state the axes of the stored normals in the source block (`normals_frame: world`)",
            )
            return


def _face_the_camera(frame: Frame) -> bool:
    """Return whether normals point against the viewing rays on average, as every visible surface does."""
    normals = decode_normals(frame.labels["normals"].astype(np.int16, copy=False))
    x, y = pixel_rays(frame.camera)
    along = normals[..., 0] * x[None, :] + normals[..., 1] * y[:, None] + normals[..., 2]
    return bool(along.mean() <= 0.0)


def _poses(where: str, fit: Fit | None) -> Iterator[Finding]:
    if fit is None or not fit.is_bad:
        return
    message = f"poses do not fit the depth: re-projected into the next frame it is off by {fit.error:.1%} (median)"
    if fit.better is None:
        remedy = "no other reading of them fits either: does the scene move, are these poses of something else?"
        yield Finding("warning", where, message, remedy)
    else:
        yield Finding("error", where, message, f"{fit.better.words} would give {fit.better.error:.2%}")
