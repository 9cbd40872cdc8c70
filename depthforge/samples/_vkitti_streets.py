"""Procedural streets as the layouts of Virtual KITTI need them: its worlds, variations and cameras, and its axes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.frame import Camera
from depthforge.geometry import Float32, Float64, invert_pose
from depthforge.raycast import Hits, cast
from depthforge.scenes.shading import Lighting
from depthforge.scenes.street import Street, Vehicle, build_street
from depthforge.scenes.world import World
from depthforge.seeding import frame_generator

__all__ = [
    "BASELINE_M",
    "DIRECTIONS",
    "WEATHERS",
    "Moment",
    "Seen",
    "Sighting",
    "depth_png",
    "flow_png",
    "frames_of",
    "indexed_png",
    "jpg",
    "numbers",
    "png",
    "require_empty",
    "street_of",
    "table",
    "world_number",
    "write_file",
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
_T_GAME_STREET = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
_PALETTE_SEED = b"".join(bytes(((37 * k) % 256, (91 * k + 60) % 256, (151 * k + 120) % 256)) for k in range(256))


def world_number(scene: int) -> int:
    """Return the number of a scene's world: those of Virtual KITTI first."""
    return _WORLDS[scene] if scene < len(_WORLDS) else _FIRST_SPARE_WORLD + scene - len(_WORLDS)


def street_of(seed: int, scene: int, num_frames: int) -> Street:
    """Return the street of a scene."""
    return build_street(frame_generator(seed, f"vkitti/{scene:06d}", "street"), num_frames)


def frames_of(total: int) -> dict[str, int]:
    """Return how many frames each direction has, of ``total`` in all; directions without any are left out."""
    shares = {name: (total + len(DIRECTIONS) - 1 - k) // len(DIRECTIONS) for k, name in enumerate(DIRECTIONS)}
    return {name: share for name, share in shares.items() if share}


@dataclass(frozen=True, slots=True)
class Sighting:
    """A vehicle in a view: where its pixels are, and where it is itself, in camera axes."""

    vehicle: Vehicle
    left: int
    top: int
    right: int
    bottom: int
    num_pixels: int
    truncated: float
    T_cam_vehicle: Float64
    T_world_vehicle: Float64

    @property
    def occupied(self) -> float:
        """Share of the box that shows the vehicle."""
        return self.num_pixels / ((self.right - self.left + 1) * (self.bottom - self.top + 1))

    def rotation_y(self, T: Float64) -> float:
        """Return the turn about y, KITTI's way: 0 is along x, towards -z is positive."""
        return float(np.arctan2(-T[2, 0], T[0, 0]))


class Moment:
    """A street at a frame, built once for all its views."""

    def __init__(self, street: Street, frame: int) -> None:
        self.street = street
        self.frame = frame
        self.world: World = street.world(frame)


class Seen:
    """One view: a camera of a variation at a moment."""

    def __init__(self, moment: Moment, camera: Camera, yaw_deg: float, right_m: float) -> None:
        self.moment = moment
        self.camera = camera
        self._turn = {"yaw_deg": yaw_deg, "right_m": right_m}
        self._T_street_cam = moment.street.camera_pose(moment.frame, **self._turn)
        self.hits: Hits = cast(moment.world.scene, self._T_street_cam, camera)

    @property
    def T_world_cam(self) -> Float64:
        """Pose (4, 4) in Virtual KITTI's world, OpenCV axes."""
        return _T_GAME_STREET @ self._T_street_cam

    @cached_property
    def tracks(self) -> npt.NDArray[np.uint8]:
        """Track of the vehicle at each pixel plus 1, 0 where there is none."""
        return self.moment.street.tracks(self.moment.world, self.hits)

    @property
    def semantic(self) -> npt.NDArray[np.uint16]:
        return self.moment.world.semantic[self.hits.shape]

    def colour(self, weather: str | None = None) -> npt.NDArray[np.uint8]:
        """Return the colour by day or in another weather."""
        light = None if weather is None else _LIGHTS[weather]
        rgb = self.moment.street.colour(self.moment.world, self.hits, self._T_street_cam, self.camera, light)
        if weather != "fog":
            return rgb
        depth_m = np.where(self.hits.valid, self.hits.depth_m, np.float32(1e4))
        clear = np.exp(-depth_m / np.float32(_FOG_M))[..., None]
        return np.rint(rgb * clear + np.float32(_FOG_COLOUR) * (1 - clear)).astype(np.uint8)

    def flow(self) -> Float32:
        """Return the optical flow to the next frame (H, W, 2), NaN where there is none."""
        street, frame = self.moment.street, self.moment.frame
        return street.flow(frame, self.moment.world, self.hits, self.camera, **self._turn)

    def sightings(self) -> Iterator[Sighting]:
        """Yield every vehicle of which a pixel is seen, by track."""
        T_cam_street = invert_pose(self._T_street_cam)
        counts = np.bincount(self.tracks.ravel(), minlength=2)
        for track in np.flatnonzero(counts[1:]).tolist():
            rows, columns = (np.flatnonzero((self.tracks == track + 1).any(axis=axis)) for axis in (1, 0))
            vehicle = self.moment.street.vehicles[track]
            T_street_vehicle = self.moment.street.vehicle_pose(vehicle, self.moment.frame)
            T_cam_vehicle = _upright(T_cam_street @ T_street_vehicle)
            yield Sighting(
                vehicle,
                int(columns[0]),
                int(rows[0]),
                int(columns[-1]),
                int(rows[-1]),
                int(counts[track + 1]),
                _truncation(T_cam_vehicle, vehicle.model.size, self.camera),
                T_cam_vehicle,
                _upright(_T_GAME_STREET @ T_street_vehicle),
            )


def _upright(T: Float64) -> Float64:
    """Turn a vehicle's axes (x forward, y left, z up) into a box's (x forward, y down, z left)."""
    return T @ np.diag([1.0, 1, -1, 1])[:, [0, 2, 1, 3]]


def _truncation(T_cam_vehicle: Float64, size: tuple[float, float, float], camera: Camera) -> float:
    """Return the share of the box's outline that lies outside of the image."""
    length, width, height = size
    corners = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-1, 0) for z in (-0.5, 0.5)])
    points = corners * [length, height, width] @ T_cam_vehicle[:3, :3].T + T_cam_vehicle[:3, 3]
    z = np.maximum(points[:, 2], 0.1)
    u, v = camera.fx * points[:, 0] / z + camera.cx, camera.fy * points[:, 1] / z + camera.cy
    whole = np.ptp(u) * np.ptp(v)
    inside = np.ptp(np.clip(u, 0, camera.width - 1)) * np.ptp(np.clip(v, 0, camera.height - 1))
    return float(1.0 - inside / whole)


# -- files ------------------------------------------------------------------------------------------------------------


def require_empty(root: Path) -> None:
    """Raise InputError when ``root`` is a file or holds any."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(
            "a sample is written into an empty folder only",
            where=root,
            expected="no such folder, or an empty one",
            remedy="name another folder",
        )


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file, with the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def png(image: npt.NDArray[np.generic]) -> bytes:
    """Return a PNG of a grey (H, W) or RGB (H, W, 3) image."""
    stored = image[..., ::-1] if image.ndim == 3 else image
    encoded, content = cv2.imencode(".png", np.ascontiguousarray(stored), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    assert encoded
    return bytes(content)


def jpg(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a JPEG of an RGB image."""
    encoded, content = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert encoded
    return bytes(content)


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


def numbers(*values: npt.ArrayLike) -> str:
    """Return numbers as words, nine digits each."""
    return " ".join(f"{value:.9g}" for array in values for value in np.ravel(array))


def table(header: str, rows: list[str]) -> str:
    """Return the text of a table."""
    return "\n".join([header, *rows]) + "\n"
