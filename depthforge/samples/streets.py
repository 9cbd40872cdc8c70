"""Views of procedural streets for the layouts of driving data sets: what a camera sees, which vehicles, and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera
from depthforge.geometry import Float32, Float64, invert_pose
from depthforge.scenes.raycast import Hits, cast
from depthforge.scenes.shading import Lighting
from depthforge.scenes.street import Street, Vehicle
from depthforge.scenes.world import World

__all__ = [
    "Moment",
    "Seen",
    "Sighting",
    "numbers",
    "rotation_y",
    "table",
    "upright",
]


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
    """From the middle of its underside, axes as a box's: forward, down, left."""

    @property
    def occupied(self) -> float:
        """Share of the box that shows the vehicle."""
        return self.num_pixels / ((self.right - self.left + 1) * (self.bottom - self.top + 1))


def rotation_y(T: Float64) -> float:
    """Return a pose's turn about y, KITTI's way: 0 is along x, towards -z is positive."""
    return float(np.arctan2(-T[2, 0], T[0, 0]))


class Moment:
    """A street at a frame, built once for all its views."""

    def __init__(self, street: Street, frame: int) -> None:
        self.street = street
        self.frame = frame
        self.world: World = street.world(frame)


class Seen:
    """One view: a camera of a variation at a moment."""

    def __init__(self, moment: Moment, camera: Camera, *, yaw_deg: float = 0.0, right_m: float = 0.0) -> None:
        self.moment = moment
        self.camera = camera
        self._turn = {"yaw_deg": yaw_deg, "right_m": right_m}
        self.T_street_cam: Float64 = moment.street.camera_pose(moment.frame, **self._turn)
        self.hits: Hits = cast(moment.world.scene, self.T_street_cam, camera)

    @cached_property
    def tracks(self) -> npt.NDArray[np.uint8]:
        """Track of the vehicle at each pixel plus 1, 0 where there is none."""
        return self.moment.street.tracks(self.moment.world, self.hits)

    @property
    def semantic(self) -> npt.NDArray[np.uint16]:
        """Class of the vocabulary `vkitti` at each pixel."""
        return self.moment.world.semantic[self.hits.shape]

    def colour(self, lighting: Lighting | None = None) -> npt.NDArray[np.uint8]:
        """Return the colour by day or under another light."""
        return self.moment.street.colour(self.moment.world, self.hits, self.T_street_cam, self.camera, lighting)

    def flow(self) -> Float32:
        """Return the optical flow to the next frame (H, W, 2), NaN where there is none."""
        street, frame = self.moment.street, self.moment.frame
        return street.flow(frame, self.moment.world, self.hits, self.camera, **self._turn)

    def sightings(self) -> Iterator[Sighting]:
        """Yield every vehicle of which a pixel is seen, by track."""
        T_cam_street = invert_pose(self.T_street_cam)
        counts = np.bincount(self.tracks.ravel(), minlength=2)
        for track in np.flatnonzero(counts[1:]).tolist():
            rows, columns = (np.flatnonzero((self.tracks == track + 1).any(axis=axis)) for axis in (1, 0))
            vehicle = self.moment.street.vehicles[track]
            T_street_vehicle = self.moment.street.vehicle_pose(vehicle, self.moment.frame)
            T_cam_vehicle = upright(T_cam_street @ T_street_vehicle)
            yield Sighting(
                vehicle,
                int(columns[0]),
                int(rows[0]),
                int(columns[-1]),
                int(rows[-1]),
                int(counts[track + 1]),
                _truncation(T_cam_vehicle, vehicle.model.size, self.camera),
                T_cam_vehicle,
            )


def upright(T: Float64) -> Float64:
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


def numbers(*values: npt.ArrayLike) -> str:
    """Return numbers as words, nine digits each."""
    return " ".join(f"{value:.9g}" for array in values for value in np.ravel(array))


def table(header: str, rows: list[str]) -> str:
    """Return the text of a table."""
    return "\n".join([header, *rows]) + "\n"
