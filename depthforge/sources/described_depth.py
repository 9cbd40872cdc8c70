"""Depth as a manifest describes it, to planar metres: encoding, sign, codes that are no measurement, unit, quantity.

Of 16-bit images a table of all 65536 codes decodes a pixel by one look-up (0.3 ms for 640x480); other numbers are
computed (2 ms). Whatever a manifest says, numbers that are not finite and floats of 65504 m and more (what a half float
calls its largest, and renderers call the sky) are no measurement.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.frame import BoolImage, Camera, DepthImage
from depthforge.geometry import disparity_to_depth, ray_length_to_z
from depthforge.kernels import njit
from depthforge.sources.containers import Form
from depthforge.sources.encoded import CARLA_SCALE, CARLA_SKY, decode_encoded_depth
from depthforge.sources.images import as_depth_numbers, decode_numbers, decode_relative_depth
from depthforge.sources.rgbd_config import RgbdFolderConfig

__all__ = ["DescribedDepth"]

_FARTHEST_M: Final = 65504.0


@njit()
def _look_up(codes, table):  # type: ignore[no-untyped-def]
    """Return ``table[codes]``; NumPy's own first widens the codes to eight bytes each."""
    values = np.empty(codes.shape, table.dtype)
    for row in range(codes.shape[0]):
        for column in range(codes.shape[1]):
            values[row, column] = table[codes[row, column]]
    return values


class DescribedDepth:
    """How the depth images of one manifest are read."""

    def __init__(self, config: RgbdFolderConfig) -> None:
        self._config = config
        self._form = Form(config.key, config.channel, config.pfm_rows)
        self._scale = CARLA_SCALE if config.encoding == "carla" else config.depth_scale or 1.0
        far = CARLA_SKY if config.encoding == "carla" and config.far is None else config.far
        self._far = np.inf if far is None else far
        self._near = -np.inf if config.near is None else config.near

    def stored(self, data: bytes, *, where: str) -> npt.NDArray[Any]:
        """Return the numbers (H, W) of a depth image: uint16, or float32 with 0 where a number means nothing.

        Raises DecodeError, naming ``where``, for what is no depth image.
        """
        config = self._config
        if config.assume_max_depth_m is not None:
            return decode_relative_depth(data, where=where)
        if config.encoding != "plain":
            numbers: npt.NDArray[Any] = decode_encoded_depth(data, config.encoding, where=where)
        else:
            numbers = decode_numbers(data, where=where, form=self._form)
            if config.sign == "positive":
                numbers = as_depth_numbers(numbers)
        is_code = numbers.dtype == np.uint16 and config.sign == "positive"
        return numbers if is_code else self._measured(numbers)

    def to_metres(self, stored: npt.NDArray[Any], camera: Camera) -> tuple[DepthImage, BoolImage]:
        """Return planar depth (H, W) in metres, 0 where invalid, and where it is valid, of what ``stored`` returned."""
        config = self._config
        if config.assume_max_depth_m is not None:
            values = stored * np.float32(config.assume_max_depth_m)
        elif stored.dtype == np.uint16:
            values = _look_up(np.ascontiguousarray(stored), self.table)
        else:
            values = self._scaled(stored)
        if config.quantity == "disparity":
            values = disparity_to_depth(values, camera)
        elif config.quantity == "ray_length":
            values = ray_length_to_z(values, camera)
        valid = values > config.min_depth_m
        if config.max_depth_m is not None:
            valid &= values <= config.max_depth_m
        elif stored.dtype != np.uint16:
            valid &= values < _FARTHEST_M
        values[~valid] = 0.0
        return values, valid

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """What each of the 65536 codes is, in metres (of disparity: pixels), 0 for those that are no measurement."""
        codes = np.arange(1 << 16, dtype=np.uint32)
        bits = self._config.rotate_right_bits
        values = ((codes >> bits) | ((codes << (16 - bits)) & 0xFFFF)).astype(np.float64)
        if self._config.quantity == "inverse_depth":
            metres = np.divide(self._scale, values, out=np.zeros_like(values), where=values > 0)
        else:
            metres = values / self._scale
        metres[[int(code) for code in self._config.invalid if 0 <= code < 1 << 16 and code == int(code)]] = 0.0
        metres[(codes >= self._far) | (codes <= self._near)] = 0.0
        return metres.astype(np.float32)

    def _measured(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return numbers as float32, those that are no measurement as 0."""
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: no measurement either way
            values = numbers.astype(np.float32)
        usable = np.isfinite(values)
        for code in self._config.invalid:
            if code:
                usable &= values != np.float32(code)
        if self._far != np.inf:
            usable &= values < self._far
        if self._near != -np.inf:
            usable &= values > self._near
        if self._config.sign == "negative":
            np.negative(values, out=values)
        values[~usable] = 0.0
        return values

    def _scaled(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._config.quantity == "inverse_depth":
            scale = np.float32(self._scale)
            return np.divide(scale, values, out=np.zeros_like(values), where=values > 0)
        return values / np.float32(self._scale)
