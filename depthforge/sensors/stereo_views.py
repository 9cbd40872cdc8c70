"""What the two infrared imagers of an active-stereo camera see: surfaces of some albedo under a projected dot pattern.

Everything is told by one disparity image. The left view is the frame's own. Of the right one each column is asked which
surface it sees: neighbouring pixels of one surface are joined, the nearer of two surfaces hides the other, and what
the left imager does not see shows what lies behind. The pattern comes from a projector between the imagers: a dot
falls on a surface at a column that depends on its disparity, by ``projector_at`` of the baseline, and on the nearest
surface only: behind it lies the projector's shadow, without which the same dots would be seen on two surfaces and match
at a disparity between them. Light falls off with the square of distance. Then exposure, shot and read noise and the
steps of the converter.

640x480 on one core: the right disparity 3 ms, the projector's 1 ms, both views 6 ms, noise 3 ms. Reflections, defocus
and rolling shutter are left out.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.kernels import njit

__all__ = [
    "PATTERN_SAMPLES",
    "SAME_SURFACE_PX",
    "add_noise",
    "dot_rows",
    "fill_rows",
    "nearest_to_projector",
    "right_disparity",
    "shade",
    "wear",
]

Float32 = npt.NDArray[np.float32]

PATTERN_SAMPLES = 4
"""Samples of the pattern in a pixel's width: light between two pixels is told to a quarter of one."""
SAME_SURFACE_PX = np.float32(1.5)
"""Neighbours whose disparities differ by no more are of one surface."""
_TILE_PX = 512
_LEAST_PX = np.float32(0.5)
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)

_compiled = njit(error_model="numpy")


@lru_cache(maxsize=8)
def dot_rows(spacing_px: float, sigma_px: float, device_seed: int) -> Float32:
    """Return the projector's tile, (512, 2048) float32, of mean 1; it continues without a seam.

    One dot in every cell of ``spacing_px`` squared, anywhere in it, of Gaussian profile, seen by square pixels;
    brightness varies by 20 %. Another ``device_seed`` is another camera of the same kind. Read-only, cached.
    """
    random = np.random.Philox(key=device_seed)
    cells = max(1, round(_TILE_PX / spacing_px))
    # Raw words: NumPy promises them, and not what a Generator makes of them.
    words = random.random_raw(3 * cells * cells).reshape(3, cells, cells) >> np.uint64(11)
    fractions = words.astype(np.float64) * 2.0**-53
    rows = (np.arange(cells)[:, None] + fractions[0]) * (_TILE_PX / cells)
    columns = (np.arange(cells)[None, :] + fractions[1]) * (_TILE_PX / cells)
    side = _TILE_PX * PATTERN_SAMPLES
    fine = np.zeros((side, side), np.float32)
    places = (rows * PATTERN_SAMPLES).astype(int) % side, (columns * PATTERN_SAMPLES).astype(int) % side
    np.add.at(fine, places, (0.6 + 0.8 * fractions[2]).astype(np.float32))
    margin = 8 * PATTERN_SAMPLES + int(np.ceil(4 * sigma_px)) * PATTERN_SAMPLES
    wrapped = cv2.copyMakeBorder(fine, margin, margin, margin, margin, cv2.BORDER_WRAP)
    blurred = cv2.GaussianBlur(wrapped, (0, 0), sigma_px * PATTERN_SAMPLES)
    of_pixels = cv2.blur(blurred, (PATTERN_SAMPLES, PATTERN_SAMPLES))[margin:-margin, margin:-margin]
    tile = np.ascontiguousarray(of_pixels[PATTERN_SAMPLES // 2 :: PATTERN_SAMPLES])
    tile /= tile.mean()
    tile.flags.writeable = False
    return tile


@_compiled
def fill_rows(disparity):  # type: ignore[no-untyped-def]
    """Fill holes (0) of ``disparity`` (H, W) float32 in place with the farther of what lies left and right of them."""
    for y in range(disparity.shape[0]):
        _fill(disparity[y])


@_compiled
def _fill(row):  # type: ignore[no-untyped-def]
    width = row.shape[0]
    before = _ZERO
    x = 0
    while x < width:
        if row[x] > _ZERO:
            before = row[x]
            x += 1
            continue
        end = x
        while end < width and row[end] <= _ZERO:
            end += 1
        after = row[end] if end < width else _ZERO
        value = min(before, after) if before > _ZERO and after > _ZERO else max(before, after)
        row[x:end] = max(value, _LEAST_PX)
        x = end


@_compiled
def right_disparity(disparity, out, same_px=SAME_SURFACE_PX):  # type: ignore[no-untyped-def]
    """Write what the right imager sees: ``out`` (H, pad + W) holds column x' of its image at x' + pad.

    ``disparity`` (H, W) float32, pixels, positive everywhere; neighbours that differ by at most
    ``same_px`` are of one surface.
    """
    height, width = disparity.shape
    pad = out.shape[1] - width
    for y in range(height):
        row, seen = disparity[y], out[y]
        seen[:] = _ZERO
        for x in range(width):
            here = row[x]
            there = row[x + 1] if x + 1 < width else here
            start = np.float32(x + pad) - here
            slope, span = _ZERO, _HALF  # a pixel at the end of a surface reaches half a pixel beyond its centre
            if abs(there - here) <= same_px:
                span = _ONE - (there - here)
                slope = (there - here) / span if span != _ZERO else _ZERO
            before = _ZERO if x > 0 and abs(row[x - 1] - here) <= same_px else _HALF
            first = max(int(np.ceil(min(start - before, start + span))), 0)
            last = min(int(np.floor(max(start, start + span))), seen.shape[0] - 1)
            for at in range(first, last + 1):
                value = here + (np.float32(at) - start) * slope
                seen[at] = max(seen[at], value)
        _fill(seen)


@_compiled
def _sample(row, x):  # type: ignore[no-untyped-def]
    last = np.float32(row.shape[0] - 1)
    # What lies beyond a border is as what lies within, mirrored.
    x = abs(x)
    x = x if x < last else max(last + last - x, _ZERO)
    # Unsigned: a signed index would be asked each time whether it counts from the end.
    first = np.uint32(x)
    here = row[first]
    there = row[min(first + np.uint32(1), np.uint32(row.shape[0] - 1))]
    return here + (there - here) * (x - np.float32(first))


@_compiled
def _past_what_hides(row, column, disparity):  # type: ignore[no-untyped-def]
    """Return a column of the left image that shows the surface of ``disparity`` where ``column`` shows a nearer one.

    Mirrored at the end of what is nearer: its own texture must not be seen twice, or it would match behind itself.
    """
    at = np.int64(column + _HALF)
    if at < 0 or at >= row.shape[0] or row[at] <= disparity + SAME_SURFACE_PX:
        return column
    end = at
    while end < row.shape[0] and row[end] > disparity + SAME_SURFACE_PX:
        end += 1
    return np.float32(2 * end - 1) - column


@_compiled
def wear(disparity, frame_disparity, share, albedo, out):  # type: ignore[no-untyped-def]
    """Write the albedo ``out`` (H, pad + W) of surfaces that are seen from ``share`` of the baseline further right.

    ``disparity`` (H, pad + W) is what is seen there; ``frame_disparity`` and ``albedo`` (H, W) are the frame's.
    """
    pad = disparity.shape[1] - frame_disparity.shape[1]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            column = np.float32(x - pad) + share * disparity[y, x]
            out[y, x] = _sample(albedo[y], _past_what_hides(frame_disparity[y], column, disparity[y, x]))


def nearest_to_projector(disparity: Float32, projector_at: float) -> tuple[Float32, int]:
    """Return the disparity of what each column of the projector's light falls on, (H, W + more), and column 0's place.

    ``disparity`` (H, W) is what the left imager sees; 0 where none of it is lit.
    """
    most = int(np.ceil(abs(projector_at) * float(disparity.max()))) + 2
    out = np.zeros((disparity.shape[0], disparity.shape[1] + 2 * most), np.float32)
    _cast(disparity, np.float32(projector_at), most, out)
    return out, most


@_compiled
def _cast(disparity, projector_at, pad, out):  # type: ignore[no-untyped-def]
    height, width = disparity.shape
    for y in range(height):
        row, lit = disparity[y], out[y]
        for x in range(width):
            here = row[x]
            start = np.float32(x + pad) - projector_at * here
            end = start
            if x + 1 < width and abs(row[x + 1] - here) <= SAME_SURFACE_PX:
                end = np.float32(x + 1 + pad) - projector_at * row[x + 1]
            first = np.uint32(np.int32(min(start, end) + _HALF))
            last = np.uint32(np.int32(max(start, end) + _HALF))
            for at in range(first, last + np.uint32(1)):
                lit[at] = max(lit[at], here)


@_compiled
def shade(  # type: ignore[no-untyped-def]
    disparity,
    left_disparity,
    shifted,
    albedo,
    tile,
    nearest,
    nearest_pad,
    projector_at,
    ambient,
    power,
    least_z,
    disparity_m_px,
    out,
):
    """Write the light ``out`` (H, pad + W) that an imager gets of surfaces with ``disparity`` (H, pad + W).

    ``shifted`` says that columns are those of the right imager; ``left_disparity`` (H, W) is what the left one sees.
    ``albedo`` (H, W) is that of the left image's columns, and above 1 a white surface that mirrors so much more of
    the room's light and none of the projector's; ``nearest`` and ``nearest_pad`` are of
    :func:`nearest_to_projector`, or (0, 0) and 0 for a pattern that reaches everything; ``power`` is the projector's
    light on a white surface at one metre against ``ambient``, and does not grow nearer than ``least_z`` metres.
    """
    height, width = out.shape
    pad = width - left_disparity.shape[1]
    nearness, most_near = _ONE / disparity_m_px, _ONE / least_z
    columns = np.empty(width, np.float32)
    has_shadows = nearest.shape[0] > 0
    for y in range(height):
        row, lit = disparity[y], out[y]
        hides = nearest[y] if has_shadows else nearest[:0, 0]
        if shifted:
            for x in range(width):
                columns[x] = np.float32(x - pad) + row[x]
                lit[x] = _sample(albedo[y], _past_what_hides(left_disparity[y], columns[x], row[x]))
        else:
            for x in range(width):
                columns[x] = np.float32(x)
                lit[x] = albedo[y, x]
        pattern = tile[y % tile.shape[0]]
        _light(row, columns, pattern, hides, nearest_pad, projector_at, ambient, power, nearness, most_near, lit)


@_compiled
def _light(  # type: ignore[no-untyped-def]
    row, columns, pattern, hides, hides_pad, projector_at, ambient, power, nearness, most_near, lit
):
    """Multiply ``lit`` by the light of the room and of the projector; ``nearness`` is 1 over z at a disparity of 1."""
    samples = np.float32(PATTERN_SAMPLES)
    mask = np.uint32(pattern.shape[0] - 1)
    for x in range(lit.shape[0]):
        fine = (columns[x] - projector_at * row[x]) * samples
        floor = np.floor(fine)
        first = np.uint32(np.int32(floor))
        here, there = pattern[first & mask], pattern[(first + np.uint32(1)) & mask]
        dots = here + (there - here) * (fine - floor)
        if hides.shape[0] > 0:
            at = np.int64(columns[x] - projector_at * row[x] + np.float32(hides_pad) + _HALF)
            inside = (at >= 0) & (at < hides.shape[0])
            if inside and hides[at] > row[x] + SAME_SURFACE_PX:
                dots = _ZERO
        near = min(row[x] * nearness, most_near)
        surface = min(lit[x], _ONE)
        lit[x] = surface * (ambient + power * dots * (near * near)) + (lit[x] - surface) * ambient


@_compiled
def add_noise(image, gain, shot, read, levels, noise):  # type: ignore[no-untyped-def]
    """Turn light (H, W) into what is read out, in place: shares of full scale in ``levels`` steps.

    ``shot`` and ``read`` are standard deviations at full scale and in the dark; ``noise`` (H, W) is normal.
    """
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            light = min(image[y, x] * gain, _ONE)
            noisy = light + noise[y, x] * np.sqrt(read * read + shot * shot * light)
            image[y, x] = np.floor(min(max(noisy, _ZERO), _ONE) * levels + _HALF) / levels
