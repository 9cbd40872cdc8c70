"""A static burst: many frames of one view by a camera that stands still. What differs between them is noise alone.

One scan cannot tell noise from what is bent, creased or embossed; frames of one view can. The noise of a window is the
spread over time about each pixel's own mean, its correlation that of the deviations. The scene is the clean guess of
the mean over time, on which candidates draw as many frames with random numbers of their own. A pattern that stands
still (a warped lens, steps that never flicker) is not in it, and a sensor whose noise does not change between frames
cannot be fitted this way.

A camera that moves would make noise of every slope, so it is refused, by two signs. Over a block of 16x16 pixels noise
averages out to a fraction of a pixel's (0.06 when white, 0.4 when correlated over 4 px), while motion moves the whole
block. And noise forgets: from frame to frame it changes as much as over the burst, while a camera that walks, or hangs
from a hand, goes on where it was (von Neumann's ratio, 1 for noise).

16 frames are enough: at 640x480 a candidate is judged by as many simulated ones.

Some noise is a factor of the whole frame. For a sensor that has one, each frame is first divided by its ratio to the
mean over time, the median of its pixels', and those ratios are kept; a camera that walks towards a wall scales its
depth, too, but from frame to frame little by little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.fitting.candidates import Scene, Target, simulate
from depthforge.fitting.clean_guess import clean_guess
from depthforge.fitting.places import Places
from depthforge.fitting.scan_curves import Curves, Measurement, measure_deviations, summarise, uncertainty
from depthforge.fitting.scans import MOST_BURST_FRAMES, require_scans
from depthforge.frame import BoolImage, Frame
from depthforge.sensors.base import Sensor

__all__ = ["FEWEST_FRAMES", "MOST_FRAMES", "Burst", "read_burst"]

Float32 = npt.NDArray[np.float32]

FEWEST_FRAMES = 5
MOST_FRAMES = MOST_BURST_FRAMES

_BLOCK_PX = 16
_STILL = 0.6
_FORGETS = 0.75
_FEWEST_BLOCKS = 6
_FIRST_DRAW = 300
# Frames are compared at every fourth pixel; a factor that spreads less is none.
_EVERY_PX = 4
_FEWEST_PIXELS = 50
_LEAST_FACTOR = 1e-4
_FACTOR_FORGETS = 0.4
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Burst:
    """A static burst: its ``scene``, how many frames it has, and what it measures (``target``).

    ``factors``: what the frames were divided by, of a sensor whose frames share one; there may be more of them.
    """

    scene: Scene
    num_frames: int
    unit_m: float
    target: Target
    factors: tuple[float, ...] = ()

    def simulated(self, sensor: Sensor) -> Curves:
        """Return the curves of as many frames of the scene by ``sensor``."""
        seen = [simulate(sensor, self.scene, self.unit_m, _FIRST_DRAW + t) for t in range(self.num_frames)]
        inverse, valid = _inverse([each.depth_m for each in seen], [each.valid for each in seen])
        return summarise([_measured(inverse, valid, self.scene.places)], simulated=True)


def read_burst(frames: Sequence[Frame], unit_m: float, where: str, *, shares_factor: bool = False) -> Burst:
    """Measure a static burst; ``unit_m`` is that of its file, ``shares_factor`` whether a frame may be scaled.

    Raises InputError for fewer than 5 frames, for a camera that moves, for frames that are all the same, and as
    ``scans.require_scans``.
    """
    if len(frames) < FEWEST_FRAMES:
        raise InputError(
            "the burst is too short",
            where=where,
            expected=f"at least {FEWEST_FRAMES} frames of one view; {MOST_FRAMES} are used",
            found=len(frames),
        )
    require_scans(frames, where)
    factors = _factors(frames, where) if shares_factor else np.ones(len(frames), np.float32)
    frames = frames[:MOST_FRAMES]
    depths_m = [frame.depth_m / factor for frame, factor in zip(frames, factors, strict=False)]
    inverse, valid = _inverse(depths_m, [frame.valid for frame in frames])
    # What nothing but its factor tells from the other frames stands still.
    if not (shares_factor and factors.std() > _LEAST_FACTOR and not _differs(inverse, valid)):
        _require_still(inverse, valid, where)
    count = valid.sum(axis=0)
    mean = np.divide(inverse.sum(axis=0), count, out=np.zeros(count.shape, np.float32), where=count > 0)
    mostly = 2 * count > len(frames)
    mean_m = np.divide(1, mean, out=np.zeros_like(mean), where=mostly)
    guess_m = clean_guess(mean_m, mostly)
    camera = frames[0].camera
    clean = Frame(frames[0].key, guess_m, np.ones(mostly.shape, np.bool_), camera)
    places = Places.of(guess_m, camera, frames[0].depth_m, frames[0].valid)
    measured = [_measured(inverse, valid, places)]
    target = Target(summarise(measured), uncertainty(measured))
    kept = tuple(factors.tolist()) if shares_factor else ()
    return Burst(Scene(clean, places, mostly), len(frames), unit_m, target, kept)


def _factors(frames: Sequence[Frame], where: str) -> Float32:
    """Return the ratio of each frame to the mean over time; InputError where it drifts, as a moving camera's does."""
    always = np.all([frame.valid[::_EVERY_PX, ::_EVERY_PX] for frame in frames], axis=0)
    depth_m = np.stack([frame.depth_m[::_EVERY_PX, ::_EVERY_PX][always] for frame in frames])
    if depth_m.shape[1] < _FEWEST_PIXELS:
        return np.ones(len(frames), np.float32)
    factors = np.median(depth_m / depth_m.mean(axis=0), axis=1)
    factors = np.asarray(factors / factors.mean(), np.float32)
    forgets = _von_neumann_ratio(factors[:, None])
    if factors.std() > _LEAST_FACTOR and forgets < _FACTOR_FORGETS:
        raise InputError(
            "the burst moves: its frames grow or shrink little by little",
            where=where,
            expected=f"factors that change from frame to frame by more than {_FACTOR_FORGETS:g} of what they do at all",
            found=f"{forgets:.2f}",
            remedy="put the camera on a stand, or leave --burst out",
        )
    return factors


def _differs(inverse: Float32, valid: npt.NDArray[np.bool_]) -> bool:
    """Return whether pixels differ from frame to frame by more than rounding."""
    always = np.all(valid, axis=0)
    part = inverse[:, always]
    return bool(part.size and np.median(part.std(axis=0) / part.mean(axis=0)) > _ROUNDING)


def _measured(inverse: Float32, valid: npt.NDArray[np.bool_], places: Places) -> Measurement:
    """Measure the deviations from the mean over time of frames (T, H, W), where every frame is valid."""
    always: BoolImage = np.all(valid, axis=0)
    mean = inverse.mean(axis=0)
    return measure_deviations(inverse - mean, mean, always, places)


def _inverse(depths_m: Sequence[Float32], valids: Sequence[BoolImage]) -> tuple[Float32, npt.NDArray[np.bool_]]:
    depth_m, valid = np.stack(depths_m), np.stack(valids)
    return np.divide(np.float32(1), depth_m, out=np.zeros_like(depth_m), where=valid), valid


def _require_still(inverse: Float32, valid: npt.NDArray[np.bool_], where: str) -> None:
    always: BoolImage = np.all(valid, axis=0)
    rows, columns = always.shape[0] // _BLOCK_PX, always.shape[1] // _BLOCK_PX
    cut = (len(inverse), rows, _BLOCK_PX, columns, _BLOCK_PX)
    blocks = inverse[:, : rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(cut)
    whole = always[: rows * _BLOCK_PX, : columns * _BLOCK_PX].reshape(cut[1:]).mean(axis=(1, 3)) > 0.98
    if np.count_nonzero(whole) < _FEWEST_BLOCKS:
        raise InputError(
            "the frames of the burst do not show the same view: hardly any block of 16x16 pixels is measured in all",
            where=where,
            expected=f"at least {_FEWEST_BLOCKS} such blocks, from a camera that stands still",
            found=int(np.count_nonzero(whole)),
            remedy="put the camera on a stand, in front of something that it can measure",
        )
    of_pixels = np.sqrt(blocks.var(axis=0, dtype=np.float64).mean(axis=(1, 3)))[whole]
    of_blocks = blocks.mean(axis=(2, 4), dtype=np.float64).std(axis=0)[whole]
    if not np.any(of_pixels > 1e-7):
        raise InputError(
            "the frames of the burst are all the same",
            where=where,
            expected="frames that a sensor took one after the other",
            found=f"{len(inverse)} frames without any difference",
            remedy="leave --burst out, or record one without a temporal filter",
        )
    moving = of_pixels > 1e-7
    ratio = float(np.median(of_blocks[moving] / of_pixels[moving]))
    forgets = _von_neumann_ratio(inverse[:, always])
    if ratio > _STILL or forgets < _FORGETS:
        raise InputError(
            "the burst moves: its camera, or what it sees, did not stand still",
            where=where,
            expected=f"blocks of 16x16 px that vary by less than {_STILL:g} of what their pixels do, "
            f"and pixels that change from frame to frame by more than {_FORGETS:g} of what they do over the burst",
            found=f"{ratio:.2f} and {forgets:.2f}",
            remedy="put the camera on a stand and turn temporal filters off, or leave --burst out",
        )


def _von_neumann_ratio(series: Float32) -> float:
    """Return half the mean square of successive differences over the variance, of pixels (T, N)."""
    variance = series.var(axis=0, ddof=1, dtype=np.float64)
    successive = np.mean(np.diff(series.astype(np.float64), axis=0) ** 2, axis=0) / 2
    # The mean of both over pixels whose noise is alike; the loudest are edges.
    usual = (variance > 0) & (variance <= np.quantile(variance, 0.8))
    return float(np.mean(successive[usual]) / np.mean(variance[usual])) if usual.any() else 1.0
