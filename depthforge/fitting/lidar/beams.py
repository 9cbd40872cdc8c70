"""The beams of a spinning lidar, and how it is turned, from the returns that its scans left in an image.

Seen from where the lidar is, the returns of a beam lie at one elevation, whatever they hit: elevations of all frames
together are a comb. What spoils it tells the rest. A pixel knows an elevation to half a pixel, which thousands of
returns average out; emitters higher than they are thought smear it by height over range, a lidar that leans smears it
by the sine of azimuth, one that looks down by its cosine.

First, heights and turns are tried until the comb is sharpest: Rayleigh's statistic, the power of the elevations at a
frequency, in bands of several widths. The sharpest band is a piece of a block of evenly spaced beams; it is grown, beam
by beam, as long as there are more returns at the next beam than half way to it, and the next block is looked for among
what is left. In the end all is one linear least squares: top, spacing and height of each block, and the two turns, from
the elevation of every return and the number of its beam.

What it cannot tell: beams that the image does not show, rows nearer to each other than 2.5 px, and the turn about the
lidar's own axis, which changes nothing that is seen. 100,000 returns take 4 s on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import Frame
from depthforge.sensors.lidar import BeamBlock, Lidar, lidar_rotation

__all__ = ["Comb", "Polar", "Returns", "assign", "find_beams", "polar_of", "returns_of", "sharpness"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# How far a mounting may be off; a search of fewer is shorter, and as good where the start is near.
TURNS_DEG: Final = np.arange(-2.0, 2.01, 0.1)
_HEIGHTS_M: Final = np.arange(-0.45, 0.451, 0.03)
_FEW_TRIED: Final = 3_000
_MOST_TRIED: Final = 10_000
_BANDS_DEG: Final = (3.0, 10.0, 40.0)
_BIN_DEG: Final = 0.02
_LARGEST_SPACING_DEG: Final = 5.0
_LEAST_ROW_PX: Final = 2.5
# Of the strongest frequency's power: a multiple of the true frequency is as strong where pixels are small.
_AS_STRONG: Final = 0.75
_LEAST_SHARPNESS: Final = 0.3
_FEWEST_BEAMS: Final = 3
_FEWEST_RETURNS: Final = 12
_FEWEST_LEFT: Final = 0.02
_CONTRAST: Final = 1.4
# A return belongs to a beam that is less than this share of the spacing away.
_BELONGS: Final = 0.35
_MOST_BLOCKS: Final = 12
_ROUNDS: Final = 6


@dataclass(frozen=True)
class Returns:
    """Returns of all frames: ``points`` (N, 3) in camera axes, metres, of which frame, and the angle of a pixel."""

    points: Float64
    frame: Int64
    pixel_deg: float

    @property
    def num(self) -> int:
        """How many there are."""
        return len(self.points)


@dataclass(frozen=True)
class Polar:
    """Returns as seen from emitters: angles in degrees, ``azimuth`` to the right, and range in metres; each (N,)."""

    elevation: Float64
    azimuth: Float64
    range_m: Float64


@dataclass(frozen=True)
class Comb:
    """Evenly spaced beams from ``top_deg`` downwards, out of emitters ``height_m`` above the lidar's origin."""

    top_deg: float
    spacing_deg: float
    height_m: float
    num_beams: int

    @property
    def block(self) -> BeamBlock:
        """The same as a sensor names it."""
        lowest = self.top_deg - (self.num_beams - 1) * self.spacing_deg
        return BeamBlock(
            num_beams=self.num_beams,
            highest_deg=round(self.top_deg, 4),
            lowest_deg=round(lowest, 4),
            height_m=round(self.height_m, 4),
        )

    def nearest(self, elevation: Float64) -> tuple[Int64, Float64]:
        """Return the nearest beam of each elevation, from 0 at the top, and how far above it that lies, degrees."""
        beam = np.clip(np.rint((self.top_deg - elevation) / self.spacing_deg), 0, self.num_beams - 1).astype(np.int64)
        return beam, elevation - (self.top_deg - beam * self.spacing_deg)


def returns_of(frames: Sequence[Frame]) -> Returns:
    """Return the measurements of ``frames`` as points."""
    points, number = [], []
    for index, frame in enumerate(frames):
        row, column = np.nonzero(frame.valid)
        z = frame.depth_m[row, column].astype(np.float64)
        camera = frame.camera
        ray = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, np.ones(len(z))], axis=1)
        points.append(ray * z[:, None])
        number.append(np.full(len(z), index))
    pixel_deg = float(np.degrees(np.mean([1 / frame.camera.fy for frame in frames])))
    return Returns(np.concatenate(points), np.concatenate(number), pixel_deg)


def polar_of(
    points: Float64, sensor: Lidar, *, height_m: float = 0.0, turned_deg: tuple[float, float] = (0.0, 0.0)
) -> Polar:
    """Return ``points`` (N, 3) as emitters at ``height_m`` see them; ``turned_deg``: further down and leaning."""
    down, right, lean = sensor.rotation_deg
    rotation = lidar_rotation((down + turned_deg[0], right, lean + turned_deg[1]))
    across, below, forward = ((points - np.array(sensor.position_m)) @ rotation).T
    below = below + height_m
    level = np.hypot(across, forward)
    return Polar(np.degrees(np.arctan2(-below, level)), np.degrees(np.arctan2(across, forward)), np.hypot(level, below))


def find_beams(
    returns: Returns, start: Lidar, note: Callable[[str], None] = lambda line: None
) -> tuple[list[Comb], tuple[float, float]]:
    """Return the blocks of beams, the highest first, and by how much the lidar looks down and leans more, degrees.

    Position and the rest of the turn are those of ``start``. Without a comb the list is empty.
    """
    turned = _sharpest_turn(returns, start)
    note(f"the rows are sharpest looking {turned[0]:+.1f} deg down, leaning {turned[1]:+.1f} deg")
    combs = sorted(_blocks(returns, start, turned), key=lambda comb: -comb.top_deg)
    for _ in range(_ROUNDS):
        if combs:
            combs, turned = _refine(returns, start, combs, turned)
    return combs, turned


def assign(combs: Sequence[Comb], returns: Returns, start: Lidar, turned: tuple[float, float]) -> tuple[Int64, Polar]:
    """Return the beam of each return, counted through all blocks, -1 for none; and all as their emitters see them."""
    beam = np.full(returns.num, -1)
    least = np.full(returns.num, np.inf)
    elevation, azimuth, range_m = (np.zeros(returns.num) for _ in range(3))
    first = 0
    for comb in combs:
        polar = polar_of(returns.points, start, height_m=comb.height_m, turned_deg=turned)
        number, off = comb.nearest(polar.elevation)
        off = np.abs(off) / comb.spacing_deg
        here = (off < _BELONGS) & (off < least)
        beam[here], least[here] = first + number[here], off[here]
        for all_, own in ((elevation, polar.elevation), (azimuth, polar.azimuth), (range_m, polar.range_m)):
            all_[here] = own[here]
        first += comb.num_beams
    return beam, Polar(elevation, azimuth, range_m)


def sharpness(combs: Sequence[Comb], returns: Returns, start: Lidar, turned: tuple[float, float]) -> float:
    """Return how sharp the rows are: 1 when nothing but pixels blurs them, 0 without any order."""
    total, expected, num = 0j, 0.0, 0
    for comb in combs:
        polar = polar_of(returns.points, start, height_m=comb.height_m, turned_deg=turned)
        off = comb.nearest(polar.elevation)[1] / comb.spacing_deg
        inside = np.abs(off) < 0.5
        count = int(np.count_nonzero(inside))
        total += np.exp(2j * np.pi * off[inside]).sum()
        # A pixel spreads elevations evenly over its height.
        expected += count * float(np.sinc(returns.pixel_deg / comb.spacing_deg))
        num += count
    return abs(total) / expected if num else 0.0


def _sharpest_turn(returns: Returns, start: Lidar) -> tuple[float, float]:
    """Return by how much more the lidar looks down and leans (degrees) where the comb of some band is sharpest."""

    def sharpest(num: int, downs: Float64, leans: Float64, heights_m: Float64) -> tuple[float, float, float]:
        few = returns.points[:: max(1, returns.num // num)]
        best = (0.0, 0.0, 0.0, 0.0)
        for down, lean in product(downs.tolist(), leans.tolist()):
            level, below = _level_and_below(few, start, (down, lean))
            for height_m in heights_m.tolist():
                elevation = np.degrees(np.arctan2(-(below + height_m), level))
                for band in _bands(elevation, returns.pixel_deg, _BANDS_DEG[1:]):
                    best = max(best, (band[0], down, lean, height_m))
        return best[1:]

    # How it looks down bends rows, by a quarter of that from the middle of the image to its sides; leaning tilts them.
    down, lean, height_m = sharpest(_FEW_TRIED, TURNS_DEG[::5], TURNS_DEG[::2], _HEIGHTS_M[::2])
    near = np.arange(-0.2, 0.21, 0.1)
    down, lean, _ = sharpest(_MOST_TRIED, down + near, lean + near, height_m + near / 4)
    return down, lean


def _level_and_below(points: Float64, start: Lidar, turned: tuple[float, float]) -> tuple[Float64, Float64]:
    """Return how far points (N, 3) are from the lidar's axis, and how far below its origin, metres."""
    down, right, lean = start.rotation_deg
    across, below, forward = (
        (points - np.array(start.position_m)) @ lidar_rotation((down + turned[0], right, lean + turned[1]))
    ).T
    return np.hypot(across, forward), below


def _bands(
    elevation: Float64, pixel_deg: float, widths_deg: Sequence[float] = _BANDS_DEG
) -> Iterator[tuple[float, float, float, float]]:
    """Yield power, spacing (degrees) and limits of the sharpest comb of each band of elevations."""
    low = float(elevation.min())
    count = np.bincount(((elevation - low) / _BIN_DEG).astype(np.int64)).astype(np.float64)
    for band_deg in widths_deg:
        width = round(band_deg / _BIN_DEG)
        for first in range(0, max(1, len(count) - width // 2), width // 2):
            part = count[first : first + width]
            num = part.sum()
            if num < 10 * _FEWEST_RETURNS:
                continue
            length = 1 << (4 * width - 1).bit_length()
            power = np.abs(np.fft.rfft(part, length)) ** 2 / num
            spacing = length * _BIN_DEG / np.maximum(np.arange(len(power)), 0.5)
            # Fewer than four beams in a band are no comb, and neither is how the returns are spread over it.
            fair = (spacing > _LEAST_ROW_PX * pixel_deg) & (
                spacing < min(_LARGEST_SPACING_DEG, len(part) * _BIN_DEG / 4)
            )
            if not fair.any():
                continue
            candidates = np.flatnonzero(fair)
            strongest = power[candidates].max()
            peak = candidates[np.flatnonzero(power[candidates] >= _AS_STRONG * strongest)[0]]
            while peak + 1 < len(power) and power[peak + 1] > power[peak]:
                peak += 1
            yield float(strongest), float(spacing[peak]), low + first * _BIN_DEG, low + (first + width) * _BIN_DEG
        if width > len(count):
            break


def _blocks(returns: Returns, start: Lidar, turned: tuple[float, float]) -> Iterator[Comb]:
    """Yield blocks of beams, that of the most returns first, among what the ones before leave."""
    left = np.ones(returns.num, np.bool_)
    for _ in range(_MOST_BLOCKS):
        num_left = int(np.count_nonzero(left))
        if num_left < max(_FEWEST_LEFT * returns.num, 10 * _FEWEST_RETURNS):
            return
        points = returns.points[left]
        few = points[:: max(1, num_left // _MOST_TRIED)]
        best: tuple[float, ...] = (0.0,)
        level, below = _level_and_below(few, start, turned)
        for height_m in _HEIGHTS_M.tolist():
            elevation = np.degrees(np.arctan2(-(below + height_m), level))
            for band in _bands(elevation, returns.pixel_deg):
                best = max(best, (*band, height_m))
        if best[0] == 0.0:
            return
        comb = _grown(points, start, turned, best)
        if comb is None:
            return
        polar = polar_of(returns.points, start, height_m=comb.height_m, turned_deg=turned)
        off = np.abs(comb.nearest(polar.elevation)[1])
        left &= off > 0.5 * comb.spacing_deg
        if comb.num_beams >= _FEWEST_BEAMS:
            yield comb


def _grown(points: Float64, start: Lidar, turned: tuple[float, float], seed: tuple[float, ...]) -> Comb | None:
    """Return the comb of a sharp band, with all beams that continue it up and down; None when it is not sharp."""
    _, spacing, low, high, height_m = seed
    inside = polar_of(points, start, height_m=height_m, turned_deg=turned).elevation
    inside = inside[(inside >= low) & (inside < high)]
    phase = np.mean(np.exp(2j * np.pi * inside / spacing))
    if abs(phase) < _LEAST_SHARPNESS:
        return None
    offset = float(np.angle(phase)) / (2 * np.pi) * spacing
    top = offset + np.floor((high - offset) / spacing) * spacing
    comb = Comb(float(top), spacing, height_m, max(1, int((top - low) // spacing) + 1))
    for _ in range(_ROUNDS):
        comb = _refine_one(points, start, turned, comb)
        comb = _extent(polar_of(points, start, height_m=comb.height_m, turned_deg=turned).elevation, comb)
        if comb.num_beams < _FEWEST_BEAMS:
            break
    return comb


def _extent(elevation: Float64, comb: Comb) -> Comb:
    """Return the comb with the beams, next to one another, that have returns."""
    place = (comb.top_deg - elevation) / comb.spacing_deg
    number = np.rint(place).astype(np.int64)
    on = np.abs(place - number) < 0.25
    lowest = int(number.min())
    num_on, num_off = (np.bincount(number[which] - lowest, minlength=int(np.ptp(number)) + 1) for which in (on, ~on))
    heard = (num_on >= _FEWEST_RETURNS) & (num_on > _CONTRAST * num_off)
    middle = int(np.argmax(np.where(heard, num_on, 0)))
    ends = []
    for step in (-1, 1):
        at = middle
        while 0 <= at + step < len(heard) and heard[at + step]:
            at += step
        ends.append(at)
    first, last = ends
    return replace(comb, top_deg=comb.top_deg - (first + lowest) * comb.spacing_deg, num_beams=last - first + 1)


def _refine_one(points: Float64, start: Lidar, turned: tuple[float, float], comb: Comb) -> Comb:
    """Return the comb moved to the least squares of the returns near its beams."""
    polar = polar_of(points, start, height_m=comb.height_m, turned_deg=turned)
    beam, off = comb.nearest(polar.elevation)
    near = np.abs(off) < _BELONGS * comb.spacing_deg
    columns = [np.ones(np.count_nonzero(near)), -beam[near].astype(np.float64), _by_height(polar)[near]]
    top, spacing, height_m = np.linalg.lstsq(np.stack(columns, axis=1), off[near], rcond=None)[0].tolist()
    return replace(
        comb,
        top_deg=comb.top_deg + top,
        spacing_deg=max(comb.spacing_deg + spacing, 1e-3),
        height_m=comb.height_m + height_m,
    )


def _by_height(polar: Polar) -> Float64:
    """Return how much higher a return is seen for each metre that the emitter is lower, with its sign turned."""
    return np.asarray(np.degrees(np.cos(np.radians(polar.elevation)) / np.maximum(polar.range_m, 1e-3)))


def _refine(
    returns: Returns, start: Lidar, combs: Sequence[Comb], turned: tuple[float, float]
) -> tuple[list[Comb], tuple[float, float]]:
    """Return blocks and turns moved to the least squares of all returns at once."""
    beam, polar = assign(combs, returns, start, turned)
    near = beam >= 0
    first = np.cumsum([0, *(comb.num_beams for comb in combs)])
    block = np.searchsorted(first, beam[near], side="right") - 1
    columns = np.zeros((int(np.count_nonzero(near)), 3 * len(combs) + 2))
    off = np.empty(len(columns))
    turn = 0.05
    for index, comb in enumerate(combs):
        own = block == index
        place = beam[near][own] - first[index]
        columns[own, 3 * index] = 1
        columns[own, 3 * index + 1] = -place
        columns[own, 3 * index + 2] = _by_height(polar)[near][own]
        here = polar.elevation[near][own]
        off[own] = here - (comb.top_deg - place * comb.spacing_deg)
        for which, by in enumerate(((turn, 0.0), (0.0, turn))):
            more = (turned[0] + by[0], turned[1] + by[1])
            moved = polar_of(returns.points[near][own], start, height_m=comb.height_m, turned_deg=more).elevation
            columns[own, 3 * len(combs) + which] = -(moved - here) / turn
    found = np.linalg.lstsq(columns, off, rcond=None)[0].tolist()
    moved_combs = [
        replace(
            comb,
            top_deg=comb.top_deg + found[3 * index],
            spacing_deg=comb.spacing_deg + found[3 * index + 1],
            height_m=comb.height_m + found[3 * index + 2],
        )
        for index, comb in enumerate(combs)
    ]
    return moved_combs, (turned[0] + found[-2], turned[1] + found[-1])
