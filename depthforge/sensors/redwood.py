"""The Redwood model of PrimeSense cameras (Kinect, Xtion, Carmine): shuffle, half resolution, lens, disparity steps.

Four stages on each pixel, in this order: it looks sigma 0.25 px aside, rounded to whole pixels (so edges fray); it
reads the top left pixel of its 2x2 block (the camera measures at half resolution, and a ramp is read half a pixel
aside); depth is divided by the factor of a lens-distortion table; disparity gets Gaussian noise of 1/36 px and is
rounded to steps of 1/8 px, so noise and steps grow with z squared. Beyond the published model, and off by default, are
a slow error, a device's own and mistaken matches (``residual_errors``), in the disparity that the stages start from.
There is no occlusion and no drop-out in it: holes are where the table or the input has none, and along the border
(``blind_border_cells``).

Without noise it gives the output of Open3D's ``DepthNoiseSimulator`` in its deterministic mode on every pixel, table
for table (``tests/real/test_sensor_parity.py``, ``tests/sensors/test_redwood.py``). Unlike that one it is seeded per
frame, depends on no thread, and takes images of any size: the table stretches over the image, and disparity is that
of the camera's own 640x480 grid whatever the size of the image.

At 640x480 on one core a frame takes 4.5 ms: random numbers 1.4, masks 0.7, the rest 2.1. Open3D takes 40 and cannot
be repeated with two threads.

Sources: Choi, Zhou and Koltun, "Robust reconstruction of indoor scenes", CVPR 2015, and its published simulator; Handa
et al., ICRA 2014; Barron and Malik, CVPR 2013 (noise); the table: ``distortion``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_serializer, field_validator

from depthforge.errors import InputError
from depthforge.frame import BoolImage, Camera, DepthImage, Frame, NoisyDepth
from depthforge.registry import sensors
from depthforge.sensors import redwood_kernels as kernels
from depthforge.sensors.distortion import CELLS, Table, own_table, read_table
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.residual_errors import DisparityErrors, with_disparity_errors

__all__ = ["Redwood", "distortion_table", "measure", "simulate"]

_NO_FILE = ("own", "none")


@sensors.register("redwood")
class Redwood(DisparityErrors):
    """Redwood model (PrimeSense, Kinect, Xtion): shuffled pixels, half resolution, lens distortion, disparity steps.

    The defaults are the published ones, with our own distortion table in place of the published file.
    """

    working_images = 7.0
    device_has_seam = True

    shift_sigma_px: float = Field(
        default=0.25, ge=0, le=8, description="standard deviation of the lateral shift before rounding, pixels"
    )
    block_px: int = Field(
        default=2, ge=1, le=16, description="side of the blocks whose top left pixel is measured; 1 is full resolution"
    )
    depth_disparity_m_px: float = Field(
        default=35.130,
        gt=0,
        description="depth times disparity: focal length x baseline, pixels of the camera x metres",
    )
    steps_per_px: float = Field(default=8.0, gt=0, description="disparity steps in one pixel")
    noise_sigma_px: float = Field(
        default=1 / 36, ge=0, le=8, description="standard deviation of the disparity before rounding, pixels"
    )
    distortion: str = Field(
        default="own", description="own, none, or a text file in the format of the Redwood simulator's table"
    )
    distortion_strength: float = Field(
        default=1.0, ge=0, le=4, description="what the table's departures from 1 are multiplied by"
    )
    blind_border_cells: tuple[int, int, int, int] = Field(
        default=(0, 0, 0, 0), description="left, top, right, bottom: 1/80 of the image each, that measure nothing"
    )
    max_depth_m: float | None = Field(
        default=None, gt=0, description="what is measured farther is a hole; default: none"
    )

    @field_validator("blind_border_cells")
    @classmethod
    def _some_is_left(cls, value: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        left, top, right, bottom = value
        if min(value) < 0 or left + right >= CELLS or top + bottom >= CELLS:
            raise ValueError(f"cells at opposite borders are 0 or more and together fewer than {CELLS}")
        return value

    @field_serializer("distortion", when_used="json")
    def _file_name(self, value: str) -> str:
        return value if value in _NO_FILE else Path(value).name

    def disparity_scale(self, camera: Camera) -> float:
        """Return ``depth_disparity_m_px``: a constant of the device, whatever looks at its depth."""
        return self.depth_disparity_m_px

    def files(self) -> Mapping[str, bytes]:
        """Return the user's distortion table; raises as ``read_table``."""
        if self.distortion in _NO_FILE:
            return {}
        path = Path(self.distortion).expanduser()
        read_table(path)
        return {path.name: path.read_bytes()}

    def relocated(self, folder: Path) -> Redwood:
        """Return the same sensor whose distortion table lies in ``folder``."""
        if self.distortion in _NO_FILE:
            return self
        return self.model_copy(update={"distortion": str(folder / Path(self.distortion).name)})

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return what the sensor would measure of ``frame``: :func:`simulate`. Raises as ``read_table``."""
        return NoisyDepth(*simulate(frame.depth_m, frame.valid, words, self))


def simulate(
    depth_m: DepthImage, valid: BoolImage, words: tuple[int, int], sensor: Redwood
) -> tuple[DepthImage, BoolImage]:
    """Return depth (H, W) float32 metres as the sensor would measure it, 0.0 where not valid, and valid (H, W) bool.

    ``depth_m`` (H, W) float32 is planar z in metres; what is not ``valid``, not positive or not finite is a hole and
    stays one. ``words`` (``seeding.frame_words``) key the random numbers: the same arguments give the same bytes.
    """
    seen = valid & (depth_m > 0) & (depth_m < np.inf)
    draws = standard_normals(words, (3, *depth_m.shape))
    clean_m = np.where(seen, depth_m, np.float32(0))
    errors = sensor.residual_errors(clean_m.shape, words)
    if errors is not None:
        clean_m = with_disparity_errors(clean_m, errors, sensor.depth_disparity_m_px)
    noisy_m = measure(clean_m, draws, sensor)
    if sensor.max_depth_m is not None:
        seen &= noisy_m <= sensor.max_depth_m
    noisy_m *= seen
    return noisy_m, noisy_m > 0


def measure(depth_m: DepthImage, draws: npt.NDArray[np.float32], sensor: Redwood) -> DepthImage:
    """Return the depth (H, W) that the sensor measures in metres, 0.0 for holes: a pure function of the draws.

    ``depth_m`` (H, W) float32 is finite, 0 for holes. ``draws`` (3, H, W) are N(0, 1), for the shift in x, the shift
    in y and the disparity. A hole can be filled from the pixel that it reads instead of itself.
    """
    if draws.shape != (3, *depth_m.shape):
        # Compiled loops do not check bounds: a wrong shape would read someone else's memory.
        raise InputError("draws do not fit", where="redwood", expected=(3, *depth_m.shape), found=draws.shape)
    height, width = depth_m.shape
    out = np.empty((height, width), np.float32)
    table = distortion_table(sensor)
    # Offsets of a cell's factors in the flat table: a cell of row and one of column add up.
    cell_y = (np.arange(height) * CELLS // height * table[0].size).astype(np.int32)
    cell_x = (np.arange(width) * CELLS // width * table.shape[2]).astype(np.int32)
    kernels.measure(
        np.ascontiguousarray(depth_m, np.float32),
        np.ascontiguousarray(draws, np.float32),
        table,
        cell_x,
        cell_y,
        np.float32(sensor.shift_sigma_px),
        np.int32(sensor.block_px),
        sensor.depth_disparity_m_px,
        np.float32(sensor.steps_per_px),
        np.float32(sensor.noise_sigma_px),
        out,
    )
    return out


@lru_cache(maxsize=8)
def distortion_table(sensor: Redwood) -> Table:
    """Return the factors (80, 80, 5) float32 that the sensor divides by, 0 where it measures nothing (cached).

    Raises as ``read_table``. A file is read once: one that is changed while the process runs is not read again.
    """
    if sensor.distortion == "none":
        table = np.ones_like(own_table())
    else:
        table = own_table() if sensor.distortion == "own" else read_table(Path(sensor.distortion))
    strength = np.float32(sensor.distortion_strength)
    if strength != 1:
        table = np.where(table > 0, np.float32(1) + strength * (table - np.float32(1)), np.float32(0))
    table = table.copy()
    left, top, right, bottom = sensor.blind_border_cells
    table[:top], table[CELLS - bottom :] = 0, 0
    table[:, :left], table[:, CELLS - right :] = 0, 0
    return table
