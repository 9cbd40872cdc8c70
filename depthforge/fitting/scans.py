"""The scans that a sensor is fitted to: read, checked, and cut into what is fitted and what is held out.

The first part of a recording, in key order, is fitted and the last held out: neighbouring frames are nearly the same
picture, and a random cut would put the same picture on both sides. Frames that a fit takes are spread evenly.

What cannot be sensor depth is refused here, by what it looks like: a unit that is wrong by its range, depth without
noise, too few frames.

A source of truth (``fused``: its depth is what the view truly is, its ``depth_raw`` what was measured) gives scans with
the truth of the same view. Several recordings of one camera are read one by one, each cut in its own halves, and
pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.steps import file_step_m
from depthforge.frame import Frame, FrameRef, NoisyDepth
from depthforge.labels.catalogue import DEPTH_RAW, POSE
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.realism.windows import fit_windows
from depthforge.sources.base import Source, SourceConfig
from depthforge.sources.soundness import require_plausible_scans

__all__ = [
    "FEWEST_FRAMES",
    "MOST_BURST_FRAMES",
    "Scans",
    "cuts_of",
    "pool",
    "read_frames",
    "read_scans",
    "without_recording",
]

FEWEST_FRAMES: Final = 4
MOST_BURST_FRAMES: Final = 16

_NEAREST_MEDIAN_M = 0.05
_FARTHEST_MEDIAN_M = 120.0
_LEAST_VALID = 0.005
# Noise below this share of depth is rounding; the quietest sensors have some 5e-4 at arm's length.
_NO_NOISE = 2e-5


@dataclass(frozen=True)
class Scans:
    """Frames of a real sensor: ``fitted`` and ``held_out``, and the ``unit_m`` that their depth was stored in.

    ``truth`` holds by the key of a frame what its view truly is, of all frames or of none; ``why_no_truth`` says why
    there is none. ``cuts_m`` are depths at which the manifest itself ends what counts as measured. ``recordings`` are
    the scans that were pooled; none when these are those of one.
    """

    fitted: tuple[Frame, ...]
    held_out: tuple[Frame, ...]
    unit_m: float
    dataset: str
    licence: str
    non_commercial: bool
    truth: Mapping[str, NoisyDepth] = field(default_factory=dict)
    why_no_truth: str | None = None
    cuts_m: tuple[float, ...] = ()
    recordings: tuple[Scans, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return where the scans come from, plain data without anything of this machine."""
        if self.recordings:
            return {
                "data_set": self.dataset,
                "licence": self.licence,
                "non_commercial": self.non_commercial,
                "fitted_frames": len(self.fitted),
                "held_out_frames": len(self.held_out),
                "scenes": self.scenes_are,
                "recordings": [each.describe() for each in self.recordings],
            }
        return {
            "data_set": self.dataset,
            "licence": self.licence,
            "non_commercial": self.non_commercial,
            "fitted_frames": len(self.fitted),
            "held_out_frames": len(self.held_out),
            "first_fitted": self.fitted[0].key,
            "last_fitted": self.fitted[-1].key,
            "first_held_out": self.held_out[0].key,
            "last_held_out": self.held_out[-1].key,
            "scenes": self.scenes_are,
        }

    @property
    def scenes_are(self) -> str:
        """What candidates are simulated on, in words."""
        if self.truth:
            return "the truth of the same views"
        return "clean guesses of the scans" + (f": {self.why_no_truth}" if self.why_no_truth else "")


def require_noise(frames: Sequence[Frame], unit_m: float, where: str, *, quantile: float = 0.5) -> None:
    """Raise InputError when flat surfaces of ``frames`` are no rougher than the rounding of their file.

    Of all windows of 12 px the one at ``quantile`` of roughness counts.
    """
    shares, rounding = [], []
    for frame in frames:
        windows = fit_windows(frame.depth_m, frame.valid, 12)
        shares.append(windows.sigma_m / windows.depth_m)
        rounding.append(0.45 * unit_m / windows.depth_m)
    found: npt.NDArray[np.float64] = np.concatenate(shares)
    if found.size < FEWEST_FRAMES:
        raise InputError(
            "the scans show no flat surface to measure noise on",
            where=where,
            expected="floors, walls and tables: windows of 12 px without a hole or a depth edge",
            found=f"{found.size} of them in {len(frames)} frames",
        )
    quietest = np.maximum(_NO_NOISE, np.concatenate(rounding))
    if np.quantile(found / quietest, quantile) < 1.0:
        raise InputError(
            "the scans have no sensor noise: this is clean, synthetic depth",
            where=where,
            expected="scans of a real sensor",
            found=f"{np.median(found):.1e} of depth about flat surfaces, which is rounding",
            remedy="name the manifest of the scans in --real; clean depth is what a fitted sensor is applied to",
        )


def read_scans(
    source: Source,
    num_frames: int,
    *,
    limit: int | None = None,
    wanted: frozenset[str],
    fewest: int = FEWEST_FRAMES,
    require: Callable[[Sequence[Frame], float, str], None] = require_noise,
    is_truth: bool = False,
    why_no_truth: str | None = None,
    cuts_m: tuple[float, ...] = (),
) -> Scans:
    """Read ``num_frames`` frames to fit, and as many that are held out, of the first ``limit`` of a source.

    ``wanted`` are the labels that the sensor reads; ``fewest`` frames there must be, and of those to fit ``require``
    (frames, the unit of their file in metres, and where they are from) refuses what cannot be its scans;
    ``is_truth`` says that the source has the truth of each view for depth and the scan as ``depth_raw``;
    ``why_no_truth`` and ``cuts_m`` are those of ``Scans``. Raises InputError as that, and as the module says.
    """
    source.prepare()
    references = list(source.frames())[:limit]
    require_plausible_scans(source, references)
    if len(references) < fewest:
        raise InputError(
            "there are too few scans to fit a sensor",
            where=source.name,
            expected=f"at least {fewest} frames, half of which are held out; 30 and more mean something",
            found=len(references),
            remedy="raise --limit, or record more",
        )
    middle = (len(references) + 1) // 2
    chosen = [
        [part[place] for place in evenly_spaced(len(part), num_frames)]
        for part in (references[:middle], references[middle:])
    ]
    truth: dict[str, NoisyDepth] = {}
    fitted, held_out = (
        tuple(_read(source, each, wanted, truth if is_truth else None) for each in part) for part in chosen
    )
    require_scans([*fitted, *held_out], source.name)
    # Each half by itself, too: a recording may go dark in the middle.
    require_scans(fitted, f"{source.name}, the first half, which is fitted")
    require_scans(held_out, f"{source.name}, the second half, which is held out")
    unit_m = file_step_m(views_of([*fitted, *held_out]))
    require(fitted, unit_m, source.name)
    dataset = references[0].key.split("/", 1)[0]
    return Scans(
        fitted,
        held_out,
        unit_m,
        dataset,
        source.licence.name,
        source.licence.non_commercial,
        truth,
        None if truth else why_no_truth,
        cuts_m,
    )


def pool(recordings: Sequence[Scans]) -> Scans:
    """Return several recordings of one camera as the scans of one; one is returned as it is.

    Raises InputError where they are of different cameras, or share the keys of frames. Truth counts when all have it.
    """
    if len(recordings) == 1:
        return recordings[0]
    first = recordings[0].fitted[0].camera
    for each in recordings[1:]:
        camera = each.fitted[0].camera
        if camera.size != first.size or not np.allclose((camera.fx, camera.fy), (first.fx, first.fy), rtol=0.01):
            raise InputError(
                "the recordings are not of one camera",
                where=each.dataset,
                expected=f"{first.width}x{first.height} at f = {first.fx:.5g}, as {recordings[0].dataset}",
                found=f"{camera.width}x{camera.height} at f = {camera.fx:.5g}",
                remedy="fit each camera on its own",
            )
    keys = [frame.key for each in recordings for frame in (*each.fitted, *each.held_out)]
    if len(set(keys)) < len(keys):
        raise InputError(
            "two recordings have frames of the same key",
            where=", ".join(dict.fromkeys(each.dataset for each in recordings)),
            expected="another `dataset` in each source block",
            found=next(key for key in keys if keys.count(key) > 1),
        )
    without = [each for each in recordings if not each.truth]
    fitted = tuple(frame for each in recordings for frame in each.fitted)
    held_out = tuple(frame for each in recordings for frame in each.held_out)
    return Scans(
        fitted,
        held_out,
        file_step_m(views_of([*fitted, *held_out])),
        ", ".join(dict.fromkeys(each.dataset for each in recordings)),
        "; ".join(dict.fromkeys(each.licence for each in recordings)),
        any(each.non_commercial for each in recordings),
        {} if without else {key: truth for each in recordings for key, truth in each.truth.items()},
        f"{without[0].dataset}: {without[0].why_no_truth}" if without and without[0].why_no_truth else None,
        tuple(cut_m for each in recordings for cut_m in each.cuts_m),
        tuple(recordings),
    )


def without_recording(scans: Scans, index: int) -> Scans:
    """Return pooled scans whose fitted frames are those of all recordings but one, and held out all of that one."""
    left_out = scans.recordings[index]
    others = pool([each for number, each in enumerate(scans.recordings) if number != index])
    truth = scans.truth if others.truth and left_out.truth else {}
    return replace(others, held_out=(*left_out.fitted, *left_out.held_out), truth=truth, recordings=())


def cuts_of(config: SourceConfig) -> tuple[float, ...]:
    """Return the depths, metres, at which a source block itself ends what counts as measured."""
    fields = config.model_dump()
    cuts = [fields.get("min_depth_m"), fields.get("max_depth_m")]
    scale = fields.get("depth_scale")
    if scale and fields.get("quantity", "z") == "z":
        codes = [*(fields.get("invalid") or ()), fields.get("near"), fields.get("far")]
        cuts += [code / scale for code in codes if code is not None]
    return tuple(sorted({float(cut_m) for cut_m in cuts if cut_m}))


def _read(source: Source, ref: FrameRef, wanted: frozenset[str], truth: dict[str, NoisyDepth] | None) -> Frame:
    """Return a scan; where ``truth`` is given the truth of its view goes there."""
    labels = set(source.labels)
    if truth is None:
        return source.read(ref, wanted & labels)
    frame = source.read(ref, (wanted | {DEPTH_RAW.name, POSE.name}) & labels)
    raw_m = np.asarray(frame.labels[DEPTH_RAW.name], np.float32)
    valid = np.isfinite(raw_m) & (raw_m > 0)
    truth[frame.key] = NoisyDepth(frame.depth_m, frame.valid)
    labels_left = {name: label for name, label in frame.labels.items() if name != DEPTH_RAW.name}
    return replace(frame, depth_m=np.where(valid, raw_m, np.float32(0)), valid=valid, labels=labels_left)


def read_frames(source: Source, limit: int) -> tuple[Frame, ...]:
    """Return the first ``limit`` frames of a source, without labels."""
    source.prepare()
    frames: list[Frame] = []
    for reference in source.frames():
        if len(frames) == limit:
            break
        frames.append(source.read(reference, frozenset()))
    return tuple(frames)


def views_of(frames: Sequence[Frame]) -> list[DepthView]:
    """Return what realism measures of frames."""
    return [DepthView(frame.depth_m, frame.valid, frame.camera) for frame in frames]


def require_scans(frames: Sequence[Frame], where: str) -> None:
    """Raise InputError when ``frames`` measure nothing, differ in size, or are not in metres by their range."""
    sizes = sorted({frame.camera.size for frame in frames})
    if len(sizes) > 1:
        raise InputError(
            "the scans differ in size",
            where=where,
            expected="frames of one camera",
            found=", ".join(f"{width}x{height}" for height, width in sizes),
            remedy="fit each camera on its own",
        )
    share = np.mean([frame.valid.mean() for frame in frames])
    if share < _LEAST_VALID:
        raise InputError(
            "the scans measure next to nothing",
            where=where,
            expected=f"depth at {_LEAST_VALID:.1%} of the pixels, or more",
            found=f"{share:.2%}",
            remedy="check the unit and the invalid values of the source: depthforge check MANIFEST",
        )
    median_m = float(np.median(np.concatenate([frame.depth_m[frame.valid][::16] for frame in frames])))
    if not _NEAREST_MEDIAN_M <= median_m <= _FARTHEST_MEDIAN_M:
        raise InputError(
            "the depth of the scans is not in metres",
            where=where,
            expected=f"a median between {_NEAREST_MEDIAN_M:g} and {_FARTHEST_MEDIAN_M:g} m",
            found=f"{median_m:.4g} m",
            remedy="set the source's unit, for instance depth_scale: 1000 for millimetres",
        )
