"""What the two layouts of Virtual KITTI share: its worlds, variations and axes, and how its images are coded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from depthforge.geometry import Float32
from depthforge.samples.streets import Moment, Seen
from depthforge.samples.writing import png
from depthforge.scenes.raycast import Hits
from depthforge.scenes.shading import Lighting
from depthforge.scenes.street import Street, build_street
from depthforge.seeding import frame_generator

__all__ = [
    "BASELINE_M",
    "DIRECTIONS",
    "T_GAME_STREET",
    "WEATHERS",
    "colours_of",
    "depth_png",
    "flow_png",
    "frames_of",
    "indexed_png",
    "shots_of",
    "street_of",
    "streets_of",
]

BASELINE_M = 0.532725
DIRECTIONS = {"clone": 0.0, "15-deg-left": 15.0, "15-deg-right": -15.0, "30-deg-left": 30.0, "30-deg-right": -30.0}
"""Variation -> how far the camera is turned to the left, degrees."""
WEATHERS = ("fog", "morning", "overcast", "rain", "sunset")
"""Variations with the geometry of clone."""

_WORLDS = (1, 2, 6, 18, 20)
_FIRST_SPARE_WORLD = 21
_FAR = 65535
_FOG_M = 45.0
_FOG_COLOUR = 205.0
_LIGHTS = {
    "fog": Lighting(lamp=(9_000.0, 9_000.0, 9_000.0), ambient=(0.75, 0.76, 0.78), sky=(0.85, 0.86, 0.88)),
    "morning": Lighting(lamp=(46_000.0, 36_000.0, 24_000.0), ambient=(0.40, 0.42, 0.50), sky=(0.75, 0.72, 0.80)),
    "overcast": Lighting(lamp=(6_000.0, 6_000.0, 6_000.0), ambient=(0.62, 0.64, 0.66), sky=(0.60, 0.62, 0.65)),
    "rain": Lighting(lamp=(3_000.0, 3_000.0, 3_200.0), ambient=(0.36, 0.38, 0.42), sky=(0.35, 0.37, 0.40)),
    "sunset": Lighting(lamp=(50_000.0, 26_000.0, 12_000.0), ambient=(0.30, 0.26, 0.32), sky=(0.95, 0.55, 0.35)),
}
# Virtual KITTI's world has a camera's axes: x right, y down, z along the first stretch of road.
T_GAME_STREET = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
_PALETTE_SEED = b"".join(bytes(((37 * k) % 256, (91 * k + 60) % 256, (151 * k + 120) % 256)) for k in range(256))


def _world_number(scene: int) -> int:
    """Return the number of a scene's world: those of Virtual KITTI first."""
    return _WORLDS[scene] if scene < len(_WORLDS) else _FIRST_SPARE_WORLD + scene - len(_WORLDS)


def street_of(seed: int, scene: int, num_frames: int) -> Street:
    """Return the street of a scene."""
    return build_street(frame_generator(seed, f"vkitti/{scene:06d}", "street"), num_frames)


def frames_of(total: int) -> dict[str, int]:
    """Return how many frames each direction has, of ``total`` in all; directions without any are left out."""
    shares = {name: (total + len(DIRECTIONS) - 1 - k) // len(DIRECTIONS) for k, name in enumerate(DIRECTIONS)}
    return {name: share for name, share in shares.items() if share}


def streets_of(seed: int, num_scenes: int, shares: Mapping[str, int]) -> Iterator[tuple[int, Street]]:
    """Yield the number of each scene's world and its street, which has a frame more than any video of ``shares``: the
    last one's flow ends in it.
    """
    for scene in range(num_scenes):
        yield _world_number(scene), street_of(seed, scene, max(shares.values(), default=0) + 1)


def shots_of(street: Street, shares: Mapping[str, int]) -> Iterator[tuple[Moment, str, bool]]:
    """Yield (moment, direction, whether it is the last of that direction's video), in order of time."""
    for frame in range(max(shares.values(), default=0)):
        moment = Moment(street, frame)
        for direction, num_frames in shares.items():
            if frame < num_frames:
                yield moment, direction, frame == num_frames - 1


def colours_of(seen: Seen, direction: str) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
    """Yield (variation, colour (H, W, 3)) for every variation with the geometry of a view in ``direction``."""
    yield direction, _colour_in(None, seen)
    if direction == "clone":
        for weather in WEATHERS:
            yield weather, _colour_in(weather, seen)


def _colour_in(weather: str | None, seen: Seen) -> npt.NDArray[np.uint8]:
    """Return the colour (H, W, 3) of a view by day (None) or in another weather."""
    rgb = seen.colour(None if weather is None else _LIGHTS[weather])
    if weather != "fog":
        return rgb
    depth_m = np.where(seen.hits.valid, seen.hits.depth_m, np.float32(1e4))
    clear = np.exp(-depth_m / np.float32(_FOG_M))[..., None]
    return np.rint(rgb * clear + np.float32(_FOG_COLOUR) * (1 - clear)).astype(np.uint8)


def depth_png(hits: Hits) -> bytes:
    """Return depth as uint16 centimetres, 65535 for the sky and what is farther than 655.34 m."""
    centimetres = np.rint(hits.depth_m.astype(np.float64) * 100.0)
    return png(np.where(hits.valid & (centimetres < _FAR), centimetres, _FAR).astype(np.uint16))


def flow_png(flow: Float32) -> bytes:
    """Return flow as 16-bit RGB: x / (W - 1) and y / (H - 1) from [-1, 1] to [0, 65535], and 1 where there is any.

    Flow that leaves that range is none, as it leaves the image.
    """
    height, width = flow.shape[:2]
    shares = flow.astype(np.float64) / [width - 1, height - 1]
    fits = (np.abs(shares) <= 1).all(axis=-1)
    stored = np.zeros((height, width, 3), np.uint16)
    stored[..., :2] = np.rint(np.where(fits[..., None], (shares + 1) * (65535 / 2), 0))
    stored[..., 2] = fits
    return png(stored)


def indexed_png(indices: npt.NDArray[np.uint8]) -> bytes:
    """Return an 8-bit PNG with a palette, of which the pixels are indices.

    The image library writes no palettes: a grey image of the same bytes gets another header and one.
    """
    grey = png(indices)
    header = b"IHDR" + grey[16:25] + b"\x03" + grey[26:29]
    palette = b"PLTE" + _PALETTE_SEED
    start = grey[:8] + (13).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
    return start + (768).to_bytes(4, "big") + palette + zlib.crc32(palette).to_bytes(4, "big") + grey[33:]
