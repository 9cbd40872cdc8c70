"""The device's own error, read off posed scans: a coarse map of disparity over the image, for ``device_map_px``.

Each scan's disparity error against its truth, less an affine field (a pose's error), is averaged over 31x31 px; the
mean of these maps over the frames is the device's, and what did not average out. How much is which is told by the
two contiguous halves of the recording: what they share is the device's. So the mean is multiplied, place by place, by
what the halves share over what the mean holds (a Wiener filter whose powers are measured within about 70 px), which
is 1 where they agree and 0 where nothing repeats. Where the halves of the whole image correlate by less than 0.3 there
is no map: noise of this smoothness reaches 0.1 to 0.2 by chance, and the truth's own errors more.

What the window of 31 px took from the map is added once more (one step of Van Cittert's deconvolution). Where the
camera saw a scene from one place only, the scene's errors stand still with it and pass for the device's: move it.

10 ms a frame of 640x480. A robust mean over frames would cost their maps' memory again and gains nothing: gross errors
are left out beforehand, and a frame that is off everywhere has an affine error first of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError
from depthforge.realism.same_view import pattern
from depthforge.realism.same_view.truth import inverse_depth, truth_of
from depthforge.realism.same_view.views import SameView

__all__ = ["device_map_of", "device_map_px", "error_maps_px", "halves_of"]

Float32 = npt.NDArray[np.float32]

_LEAST_CORRELATION: Final = 0.3
# Powers are measured over so many places of 8 px, as the sigma of a Gaussian window.
_POWER_PLACES: Final = 4.0
_LEAST_POWER: Final = 1e-12
_LEAST_KNOWN: Final = 0.25
_DECIMALS: Final = 4


def device_map_px(
    views: Iterable[SameView], baseline_m: float, shape: tuple[int, int], *, focal_length_px: float | None = None
) -> tuple[tuple[float, ...], ...] | None:
    """Return the device's error as ``shape`` = (rows, columns) numbers over the image, disparity px, or None.

    ``views`` are posed scans with their truth, in the order of the recording; ``baseline_m`` is of the sensor. Pixels
    are those of the views, or of the sensor where its ``focal_length_px`` is another. None says that nothing repeats,
    or that there are too few frames (six) or places to tell. Raises InputError as ``error_maps_px``.
    """
    return device_map_of(error_maps_px(views, baseline_m, focal_length_px=focal_length_px), shape)


def error_maps_px(
    views: Iterable[SameView], baseline_m: float, *, focal_length_px: float | None = None
) -> list[Float32]:
    """Return for each view the disparity error of ``real`` over 31x31 px at every 8th pixel, NaN where not known.

    InputError for views of different sizes: their pixels are not the same places of the camera.
    """
    maps: list[Float32] = []
    for view in views:
        scale = baseline_m * (view.camera.fx if focal_length_px is None else focal_length_px)
        error = pattern.inverse_error(truth_of(view, baseline_m), inverse_depth(view.real))
        maps.append(pattern.low_frequency_error(error) * np.float32(scale))
        if maps[-1].shape != maps[0].shape:
            raise InputError(
                "the scans are not of one size: the device's error is a map over its image",
                where=view.key,
                expected=f"the size of the first, {maps[0].shape} places of {pattern.EVERY} px",
                found=maps[-1].shape,
            )
    return maps


def halves_of(maps_px: Sequence[Float32]) -> tuple[Float32, Float32]:
    """Return the mean map of either contiguous half of a recording, NaN where not known."""
    middle = (len(maps_px) + 1) // 2
    return pattern.mean_map(maps_px[:middle]), pattern.mean_map(maps_px[middle:])


def device_map_of(maps_px: Sequence[Float32], shape: tuple[int, int]) -> tuple[tuple[float, ...], ...] | None:
    """Return what ``device_map_px`` does, of the maps of ``error_maps_px``."""
    found = pattern.summarise(maps_px)
    if not found.get("pattern_correlation", 0.0) >= _LEAST_CORRELATION:  # NaN, too, is none
        return None
    first, second = halves_of(maps_px)
    both = ~np.isnan(first) & ~np.isnan(second)
    shared = _power(np.where(both, first * second, np.float32(0)), both)
    mean = np.where(both, (first + second) / 2, np.float32(0))
    kept = np.clip(shared / np.maximum(_power(mean**2, both), np.float32(_LEAST_POWER)), 0, 1)
    whole = pattern.mean_map(maps_px)
    known = ~np.isnan(whole)
    values = _resized(_sharpened(np.where(known, whole * kept, np.float32(0)), known), shape)
    weight = _resized(known.astype(np.float32), shape)
    # A place that no frame knows has no error rather than its neighbours'.
    coarse = np.where(weight > _LEAST_KNOWN, values / np.maximum(weight, np.float32(_LEAST_KNOWN)), np.float32(0))
    return tuple(tuple(round(float(value), _DECIMALS) for value in row) for row in coarse)


def _power(product: Float32, known: npt.NDArray[np.bool_]) -> Float32:
    """Return the mean of ``product`` about each place over those that are ``known``, 0 where none is near."""
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), _POWER_PLACES)
    total = cv2.GaussianBlur(product.astype(np.float32), (0, 0), _POWER_PLACES)
    mean: Float32 = np.divide(total, weight, out=np.zeros_like(total), where=weight > np.float32(_LEAST_POWER))
    return mean


def _sharpened(values: Float32, known: npt.NDArray[np.bool_]) -> Float32:
    """Return a map with once more what the window of its error took from it; 0 where not ``known``."""
    kept = known.astype(np.float32)
    weight = _through_window(kept)
    seen = np.divide(
        _through_window(values), weight, out=np.zeros_like(weight), where=weight > np.float32(_LEAST_KNOWN)
    )
    return np.asarray((2 * values - seen) * kept, np.float32)


def _through_window(values: Float32) -> Float32:
    """Return a map (rows, columns) as a window of the error's size sees it, at the same places."""
    every = pattern.EVERY
    full = cv2.resize(values, None, fx=every, fy=every, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.blur(full, pattern.WINDOW)[every // 2 :: every, every // 2 :: every], np.float32)


def _resized(values: Float32, shape: tuple[int, int]) -> Float32:
    coarser = shape[0] < values.shape[0] and shape[1] < values.shape[1]
    how = cv2.INTER_AREA if coarser else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=how), np.float32)
