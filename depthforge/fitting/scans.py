"""The scans that a sensor is fitted to: read, checked, and cut into what is fitted and what is held out.

The first part of a recording, in key order, is fitted and the last held out: neighbouring frames are nearly the same
picture, and a random cut would put the same picture on both sides. Frames that a fit takes are spread evenly.

What cannot be sensor depth is refused here, by what it looks like: a unit that is wrong by its range, depth without
noise, too few frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.steps import file_step_m
from depthforge.frame import Frame
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.realism.windows import fit_windows
from depthforge.sources.base import Source
from depthforge.sources.soundness import require_plausible_scans

__all__ = ["FEWEST_FRAMES", "MOST_BURST_FRAMES", "Scans", "read_frames", "read_scans"]

FEWEST_FRAMES: Final = 4
MOST_BURST_FRAMES: Final = 16

_NEAREST_MEDIAN_M = 0.05
_FARTHEST_MEDIAN_M = 120.0
_LEAST_VALID = 0.005
# Noise below this share of depth is rounding; the quietest sensors have some 5e-4 at arm's length.
_NO_NOISE = 2e-5


@dataclass(frozen=True)
class Scans:
    """Frames of a real sensor: ``fitted`` and ``held_out``, and the ``unit_m`` that their depth was stored in."""

    fitted: tuple[Frame, ...]
    held_out: tuple[Frame, ...]
    unit_m: float
    dataset: str
    licence: str
    non_commercial: bool

    def describe(self) -> dict[str, Any]:
        """Return where the scans come from, plain data without anything of this machine."""
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
        }


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
) -> Scans:
    """Read ``num_frames`` frames to fit, and as many that are held out, of the first ``limit`` of a source.

    ``wanted`` are the labels that the sensor reads; ``fewest`` frames there must be, and of those to fit ``require``
    (frames, the unit of their file in metres, and where they are from) refuses what cannot be its scans. Raises
    InputError as that, and as the module says.
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
    fitted, held_out = (tuple(source.read(each, wanted & set(source.labels)) for each in part) for part in chosen)
    require_scans([*fitted, *held_out], source.name)
    # Each half by itself, too: a recording may go dark in the middle.
    require_scans(fitted, f"{source.name}, the first half, which is fitted")
    require_scans(held_out, f"{source.name}, the second half, which is held out")
    unit_m = file_step_m(views_of([*fitted, *held_out]))
    require(fitted, unit_m, source.name)
    dataset = references[0].key.split("/", 1)[0]
    return Scans(fitted, held_out, unit_m, dataset, source.licence.name, source.licence.non_commercial)


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
