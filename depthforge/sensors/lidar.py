"""Spinning lidar beside a camera: dense depth becomes the sparse rows that the scanner would leave in the image.

Each beam of the table fires at each azimuth; its ray starts where the lidar is, not where the camera is, and is
followed through the depth image (a line of pixels, marched in inverse depth) to the first surface that it meets. What
the lidar sees behind an edge and the camera does not is unknown: such a ray returns nothing, unless what hides it is so
near before it that the ray has hit its side (``thickness_m``). The range gets the bias of its beam and Gaussian noise
and is rounded, the point is projected into the camera and its planar z stored at its pixel, the nearest where two meet;
every other pixel has no measurement.

A return is lost with ``random_dropout``, beyond the range, and when it is too weak: received power falls with the
squared range and the cosine of incidence, and surfaces differ by a log-normal factor, so the probability of a return is
Phi(ln(cos (half_range_m / r)^2) / log_sigma).

The defaults are the Velodyne HDL-64E of the data sheet, mounted as on KITTI's car, 10 turns a second; the preset
``hdl_64e_kitti`` is KITTI's own. Laid on the surfaces of three real KITTI frames it fills 4.0 to 4.2 % of the image in
41 to 43 rows a column where the real scans fill 4.0 to 4.5 % in 40 to 44, at the same rows
(``tests/real/test_sensor_parity.py``). On one core a frame takes 5 ms at 1242x375, 5 to 9 at 640x480 in a room. Casting
rays through a mesh of the depth image costs a build of that for every frame; splatting its pixels onto the beams
leaves gaps and blends edges.

What is not modelled: the motion of the car during a turn, second returns, intensity, the horizontal offsets of the
emitters (2.6 cm) and the order of their firings: beams are staggered by golden-ratio shares of a step instead.

Sources: Velodyne, "HDL-64E S2 user's manual" (2 to -8 1/3 degrees by 1/3, -8.83 to -24.33 by 1/2, 0.09 degrees at
5 Hz, under 2 cm, 120 m, 2 mm); Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013 (mounting); Glennie
and Lichti, "Static calibration and analysis of the Velodyne HDL-64E S2", Remote Sensing 2(6), 2010 (emitter heights).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from depthforge.frame import BoolImage, Camera, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors import lidar_kernels as kernels
from depthforge.sensors.base import Sensor
from depthforge.sensors.draws import standard_normals, uniforms

__all__ = ["BeamBlock", "Lidar", "beam_biases_m", "lidar_rotation", "simulate"]

_DRAWS, _LOST, _PHASE = 0, 1, 2  # random streams
_DEVICE_WORD = 0x6265616D62696173  # keys what belongs to a scanner and to no frame
_GOLDEN = (5**0.5 - 1) / 2
_WIDEST_RAD = np.radians(88.0)

Angle = Annotated[float, Field(gt=-90, lt=90)]


class BeamBlock(BaseModel):
    """Beams at equal steps of elevation, out of emitters at one height."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_beams: int = Field(ge=1, le=512, description="how many beams")
    highest_deg: Angle = Field(description="elevation of the first beam, upwards, degrees")
    lowest_deg: Angle = Field(description="elevation of the last beam, degrees")
    height_m: float = Field(default=0.0, ge=-2, le=2, description="emitters above the lidar's origin, metres")

    @property
    def elevations_rad(self) -> npt.NDArray[np.float64]:
        """Elevations of the beams from the highest to the lowest (num_beams,), radians."""
        return np.radians(np.linspace(self.highest_deg, self.lowest_deg, self.num_beams))


@sensors.register("lidar")
class Lidar(Sensor):
    """Spinning lidar (Velodyne HDL-64E) beside a camera: sparse returns on its scan pattern, range noise, drop-out.

    ``position_m`` and ``rotation_deg`` say where it is, in the axes of the frame's camera (x right, y down, z forward).
    Defaults: above and behind KITTI's left grey camera, its axes parallel to the camera's.
    """

    sampled_share: ClassVar[float] = 0.02
    working_images = 4.0

    beams: tuple[BeamBlock, ...] = Field(
        default=(
            BeamBlock(num_beams=32, highest_deg=2.0, lowest_deg=2.0 - 31 / 3, height_m=0.2),
            BeamBlock(num_beams=32, highest_deg=-53 / 6, lowest_deg=-53 / 6 - 31 / 2, height_m=0.12),
        ),
        min_length=1,
        max_length=64,
        description="blocks of beams",
    )
    azimuth_step_deg: float = Field(
        default=0.1728, ge=0.01, le=10, description="turn between firings; HDL-64E: 0.01728 x turns a second"
    )
    position_m: tuple[float, float, float] = Field(
        default=(0.0, -0.08, -0.27), description="the lidar's origin in camera axes: right, down, forward, metres"
    )
    rotation_deg: tuple[Angle, Angle, Angle] = Field(
        default=(0.0, 0.0, 0.0),
        description="how the lidar is turned against the camera: looking down, looking right, leaning right, degrees",
    )
    range_sigma_m: float = Field(default=0.02, ge=0, le=10, description="standard deviation of the range, metres")
    device_seed: int = Field(default=0, ge=0, lt=2**63, description="which scanner of its kind: draws its biases")
    beam_bias_sigma_m: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="standard deviation over beams of a bias of the range, the same in all frames of a device_seed, "
        "metres",
    )
    range_step_m: float = Field(default=0.002, ge=0, le=10, description="the range is rounded to this; 0: not rounded")
    min_range_m: float = Field(default=0.9, gt=0, description="what is nearer returns nothing, metres")
    max_range_m: float = Field(default=120.0, gt=0, description="what is farther returns nothing, metres")
    random_dropout: float = Field(default=0.01, ge=0, le=1, description="probability that a return is lost anyway")
    half_range_m: float = Field(
        default=300.0, gt=0, description="range at which half of what is met straight on returns enough light, metres"
    )
    log_sigma: float = Field(
        default=1.0, gt=0, le=10, description="standard deviation of the logarithm of what surfaces reflect"
    )
    thickness_m: float = Field(
        default=0.3, ge=0, description="a ray that passes this near behind an edge has hit what is before it, metres"
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Lidar:
        if self.max_range_m <= self.min_range_m:
            raise ValueError("max_range_m is beyond min_range_m")
        if not all(abs(offset) <= 5 for offset in self.position_m):
            raise ValueError("position_m lies within 5 m of the camera: beyond, an image does not show what it sees")
        return self

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``: :func:`simulate`."""
        return NoisyDepth(*simulate(frame.depth_m, frame.valid, frame.camera, words, self))


def simulate(
    depth_m: DepthImage, valid: BoolImage, camera: Camera, words: tuple[int, int], sensor: Lidar
) -> tuple[DepthImage, BoolImage]:
    """Return planar z (H, W) float32 metres where a return lands, 0.0 elsewhere, and where that is (H, W) bool.

    ``depth_m`` (H, W) float32 is planar z in metres of ``camera``; what is not ``valid`` or not finite returns
    nothing, and nothing is stored there. The same ``words`` give the same bytes.
    """
    seen = valid & (depth_m > 0) & (depth_m < np.inf)
    with np.errstate(divide="ignore", over="ignore"):
        # Nearer than a millimetre is no surface; it would have the rays march forever.
        inverse = np.where(seen & (depth_m > 1e-3), np.float32(1) / depth_m, np.float32(0))
    beams, num_firings = beams_in_view(camera, words, sensor)
    size = len(beams), num_firings
    out = np.zeros(seen.shape, np.float32)
    kernels.scan(
        np.ascontiguousarray(inverse, np.float32),
        (float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy)),
        beams,
        lidar_rotation(sensor.rotation_deg),
        float(np.radians(sensor.azimuth_step_deg)),
        (sensor.min_range_m, sensor.max_range_m),
        sensor.thickness_m,
        (sensor.range_sigma_m, sensor.range_step_m),
        beam_biases_m(len(beams), sensor),
        (2 * float(np.log(sensor.half_range_m)), sensor.log_sigma),
        standard_normals(words, (2, *size), stream=_DRAWS),
        uniforms(words, size, stream=_LOST) < np.float32(sensor.random_dropout),
        out,
    )
    out *= seen
    return out, out > 0


def beams_in_view(camera: Camera, words: tuple[int, int], sensor: Lidar) -> tuple[npt.NDArray[np.float64], int]:
    """Return for each beam its origin (metres), sine and cosine of elevation and first azimuth (n, 6), and its firings.

    In camera axes; ``words`` say where a turn starts. For those who check what is measured, firing by firing.
    """
    elevation = np.concatenate([block.elevations_rad for block in sensor.beams])
    height_m = np.concatenate([np.full(block.num_beams, block.height_m) for block in sensor.beams])
    # What the camera sees, widened by the offset at the nearest range and by how the lidar is turned.
    slopes = (np.array([-0.5, camera.width - 0.5]) - camera.cx) / camera.fx
    aside = min(1.0, (abs(sensor.position_m[0]) + abs(sensor.position_m[2])) / sensor.min_range_m)
    down, yaw, lean = np.radians(sensor.rotation_deg)
    spare = 2 * (abs(down) + abs(lean))
    left, right = np.clip(np.arctan([slopes[0] - aside, slopes[1] + aside]), -_WIDEST_RAD, _WIDEST_RAD)
    left, right = float(left - spare - yaw), float(right + spare - yaw)
    step = np.radians(sensor.azimuth_step_deg)
    # A turn starts anywhere: firings are on a grid that is another in each frame, and staggered from beam to beam.
    phase = (float(uniforms(words, (1,), stream=_PHASE)[0]) + np.arange(len(elevation)) * _GOLDEN) % 1.0
    first = np.floor(left / step) * step + phase * step
    origin = np.array(sensor.position_m) - height_m[:, None] * lidar_rotation(sensor.rotation_deg)[:, 1]
    beams = np.column_stack([origin, np.sin(elevation), np.cos(elevation), first])
    return np.ascontiguousarray(beams), int(np.ceil((right - left) / step)) + 1


def beam_biases_m(num_beams: int, sensor: Lidar) -> npt.NDArray[np.float64]:
    """Return by how much each beam's range is too long (num_beams,), metres: the scanner's own, in every frame."""
    drawn = standard_normals((sensor.device_seed, _DEVICE_WORD), (1, num_beams))[0]
    biases: npt.NDArray[np.float64] = sensor.beam_bias_sigma_m * drawn.astype(np.float64)
    return biases


def lidar_rotation(rotation_deg: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the rotation (3, 3) from the lidar to the camera, both with x right, y down, z forward."""
    (sp, cp), (sy, cy), (sr, cr) = ((np.sin(a), np.cos(a)) for a in np.radians(rotation_deg))
    looking_down = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    looking_right = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    leaning_right = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.ascontiguousarray(looking_right @ looking_down @ leaning_right)
