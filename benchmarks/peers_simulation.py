"""The published Kinect simulation written plainly, twice: as the loop over windows that it is, and in NumPy.

Both are pure functions of the draws and give the same depth, bit for bit, as ``sensors.structured_light`` with
``published=True``: they are what tests compare it with and what the benchmark measures beside it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["loop_fill", "numpy_fill", "shifted", "simulate_loop", "simulate_numpy"]

Float = npt.NDArray[np.float64]
INVALID = 99999999.9
FOCAL_TIMES_BASELINE = 36.0
WINDOW = 9
RADIUS = 3
AROUND = [(dy, dx) for dy in range(-RADIUS, RADIUS + 1) for dx in range(-RADIUS, RADIUS + 1)]
NEAREST_FIRST = sorted((o for o in AROUND if o[0] ** 2 + o[1] ** 2 <= RADIUS**2), key=lambda o: o[0] ** 2 + o[1] ** 2)


def shifted(depth_m: Float, shifts_px: npt.NDArray[np.float32]) -> Float:
    """Return depth (H, W) sampled ``shifts_px`` (H, W, 2) aside, bilinear, zeros beyond the border."""
    height, width = depth_m.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = np.clip(x + shifts_px[..., 0], 0, width), np.clip(y + shifts_px[..., 1], 0, height)
    return cv2.remap(depth_m, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def simulate_loop(
    depth_m: Float, shifts_px: npt.NDArray[np.float32], normals: Float, pattern: npt.NDArray[np.uint8]
) -> Float:
    """Return the noisy depth (H, W) in metres, 0 for holes, one window at a time."""
    return _noisy(loop_fill(_disparity(shifted(depth_m, shifts_px)), pattern), normals)


def simulate_numpy(
    depth_m: Float, shifts_px: npt.NDArray[np.float32], normals: Float, pattern: npt.NDArray[np.uint8]
) -> Float:
    """Return the same as ``simulate_loop``, all windows at once."""
    return _noisy(numpy_fill(_disparity(shifted(depth_m, shifts_px)), pattern), normals)


def loop_fill(disparity: Float, pattern: npt.NDArray[np.uint8]) -> Float:
    """Return the disparity (H, W) that the matched dots write, INVALID elsewhere."""
    rows, columns = (min(a, b) - WINDOW for a, b in zip(disparity.shape, pattern.shape, strict=True))
    half = WINDOW // 2
    weights = _match_weights()
    fill_weights = 1.0 / (1.0 + _squared(RADIUS))
    fill_weights[_squared(RADIUS) > RADIUS**2] = -1.0
    out = np.full(disparity.shape, INVALID)
    written = np.zeros(disparity.shape)
    for r in range(max(0, rows)):
        for c in range(max(0, columns)):
            if pattern[r + half, c + half] == 0:
                continue
            window = disparity[r : r + WINDOW, c : c + WINDOW]
            dots = pattern[r : r + WINDOW, c : c + WINDOW]
            valid = window < INVALID
            needed = (np.sum(dots) / 255.0) / 1.2
            if not valid[half, half] or np.sum(dots[valid]) / 255.0 <= needed:
                continue
            deviation = np.abs(window - np.mean(window[valid])) * weights
            if np.sum(dots[valid & (deviation < 0.1)]) / 255.0 <= needed:
                continue
            near = slice(r + half - RADIUS, r + half + RADIUS + 1), slice(c + half - RADIUS, c + half + RADIUS + 1)
            nearer = written[near] < fill_weights
            out[near][nearer] = np.round(window[half, half] * 8.0) / 8.0
            written[near][nearer] = fill_weights[nearer]
    return out


def numpy_fill(disparity: Float, pattern: npt.NDArray[np.uint8]) -> Float:
    """Return the same as ``loop_fill``: 81 offsets for the match, 29 for the fill."""
    rows, columns = (min(a, b) - WINDOW for a, b in zip(disparity.shape, pattern.shape, strict=True))
    half = WINDOW // 2
    out = np.full(disparity.shape, INVALID)
    r, c = np.nonzero(pattern[half : half + max(0, rows), half : half + max(0, columns)])
    offsets = [(dy, dx) for dy in range(WINDOW) for dx in range(WINDOW)]
    window = np.stack([disparity[r + dy, c + dx] for dy, dx in offsets])
    dots = np.stack([pattern[r + dy, c + dx] for dy, dx in offsets])
    valid = window < INVALID
    count = valid.sum(0)
    mean = np.where(valid, window, 0.0).sum(0) / np.maximum(count, 1)
    matched = valid & (np.abs(window - mean) * _match_weights().reshape(-1, 1) < 0.1)
    needed = (dots.sum(0) / 255.0) / 1.2
    accepted = valid[len(offsets) // 2] & ((dots * matched).sum(0) / 255.0 > needed)
    y, x = r[accepted] + half, c[accepted] + half
    value = np.round(window[len(offsets) // 2, accepted] * 8.0) / 8.0
    # Backwards, so that the nearest dot and then the first in raster order has the last word.
    for dy, dx in reversed(_fill_order()):
        out[y + dy, x + dx] = value
    return out


def _fill_order() -> list[tuple[int, int]]:
    # From the dot's side: of two dots equally near to a pixel, the one above (or left) sees it below (or right).
    return sorted(NEAREST_FIRST, key=lambda o: (o[0] ** 2 + o[1] ** 2, -o[0], -o[1]))


def _squared(radius: int) -> npt.NDArray[np.int64]:
    span = np.arange(-radius, radius + 1)
    return np.add.outer(span**2, span**2)


def _match_weights() -> Float:
    squared = _squared(WINDOW // 2)
    weights = np.ones(squared.shape)
    weights[squared > 0] = 1.0 / (1.44 * squared[squared > 0])
    return weights


def _disparity(depth_m: Float) -> Float:
    return np.round(FOCAL_TIMES_BASELINE / (depth_m + 1e-10) * 8.0) / 8.0


def _noisy(disparity: Float, normals: Float) -> Float:
    with np.errstate(divide="ignore", invalid="ignore"):
        depth_m = np.where(disparity < INVALID, FOCAL_TIMES_BASELINE / disparity, 0.0)
        raw = np.round(35130.0 / np.round(depth_m * 100.0) + normals / 6.0 + 0.5)
        return np.where((raw > 0) & np.isfinite(raw), 35130.0 / raw / 100.0, 0.0)
