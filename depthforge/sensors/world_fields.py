"""Gaussian noise that belongs to places in the world: a seeded field in three dimensions, seen at surface points.

Two frames that see one point see one value, from wherever they look, so what is made of the field stays on its
surface. Normal draws lie on the nodes of a cubic lattice that is turned and shifted at random, as the words say; a
node's draw is a hash of its three integers under 128 bits, so the world has no end and nothing is stored. Between the
eight nodes around a point the weights of an axis are 1 - s and s, s = t^2 (3 - 2 t), divided by the root of their
squares' sum: the variance is exactly 1 everywhere, the field is smooth, and its autocorrelation at ``length_m`` is 1/e,
mean over places and directions.

Where the camera is on the lattice is kept in double precision, and points relative to its node in single: a world of
10 km is as fine as one of a metre. The lattice repeats after 2^21 nodes an axis. 640x480 on one core: 2 to 2.5 ms for
one field, most of it for finding where a row enters another cell. Four nodes an axis (cubic splines, as ``fields`` has
them in the image) would cost eight times as much, sums of cosines in proportion to how many hide their period.

Sources: Perlin, "An image synthesizer", SIGGRAPH 1985 (noise on a lattice of hashed nodes); Stafford, "Better bit
mixing", 2011 (variant 13, the hash).
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from depthforge.geometry import rotation_from_quaternion
from depthforge.kernels import njit
from depthforge.sensors.draws import quantile, standard_normals

__all__ = ["world_normals"]

Float32 = npt.NDArray[np.float32]

# With one node every unit the autocorrelation, mean over places and directions, falls to 1/e at 0.815.
_SPACING_PER_LENGTH = 1 / 0.815
_SHIFT_NODES = 1000.0  # one sigma of where the lattice starts

_MEMO_SLOTS, _MEMO_MASK, _NOWHERE = 1024, 1023, np.int32(2**31 - 1)

_NODE_BITS, _NODE_MASK = np.uint64(21), np.int64((1 << 21) - 1)


def world_normals(
    points_m: Float32,
    T_world_points: npt.NDArray[np.float64],
    words: tuple[int, int],
    length_m: float,
    *,
    stream: int = 0,
) -> Float32:
    """Return the N(0, 1) field (H, W) float32 of ``words`` and ``stream`` at points (3, H, W) float32: x, y, z, metres.

    ``T_world_points`` (4, 4) float64 takes them into the world, where the field is. Its autocorrelation is 1/e at a
    distance of ``length_m`` metres. Points that are not finite give numbers without a meaning.
    """
    quaternion, shift = standard_normals(words, (2, 4), stream=stream).astype(np.float64)
    to_lattice = rotation_from_quaternion(quaternion) / (length_m * _SPACING_PER_LENGTH)
    T = np.asarray(T_world_points, np.float64)
    origin = to_lattice @ T[:3, 3] + _SHIFT_NODES * shift[:3]
    node = np.floor(origin)
    linear, offset = (to_lattice @ T[:3, :3]).astype(np.float32), (origin - node).astype(np.float32)
    out = np.empty(points_m.shape[1:], np.float32)
    first, second = np.uint64(words[0]), np.uint64((words[1] + stream) % 2**64)
    _evaluate(np.ascontiguousarray(points_m), linear, offset, node.astype(np.int64), first, second, out)
    return out


@numba.njit(inline="always")
def _mix(x):  # type: ignore[no-untyped-def]
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(inline="always")
def _node(i, j, k, first, second):  # type: ignore[no-untyped-def]
    packed = (
        np.uint64(i & _NODE_MASK)
        | np.uint64(j & _NODE_MASK) << _NODE_BITS
        | np.uint64(k & _NODE_MASK) << (_NODE_BITS + _NODE_BITS)
    )
    return quantile(np.uint32(_mix(_mix(packed ^ first) + second) >> np.uint64(32)))


@njit(error_model="numpy")
def _coordinates(x_m, y_m, z_m, linear, offset, cells, below, above):  # type: ignore[no-untyped-def]
    one, two, three = np.float32(1), np.float32(2), np.float32(3)
    a, b, c = linear[0], linear[1], linear[2]
    for x in range(cells.shape[0]):
        place = a * x_m[x] + b * y_m[x] + c * z_m[x] + offset
        node = np.floor(place)
        t = place - node
        s = t * t * (three - two * t)
        root = one / np.sqrt(s * s + (one - s) * (one - s))
        cells[x] = np.int32(node)
        below[x] = (one - s) * root
        above[x] = s * root


@njit(error_model="numpy")
def _spread(us, vs, ws, origin, first, second, memo_cell, memo, nodes):  # type: ignore[no-untyped-def]
    one = np.int64(1)
    width = us.shape[0]
    entered = np.empty(width + 1, np.bool_)
    entered[0] = entered[width] = True
    for x in range(1, width):
        entered[x] = (us[x] != us[x - 1]) | (vs[x] != vs[x - 1]) | (ws[x] != ws[x - 1])
    start = 0
    while start < width:
        stop = start + 1
        while not entered[stop]:
            stop += 1
        u, v, w = us[start], vs[start], ws[start]
        slot = (73 * u + 179 * v + 283 * w) & _MEMO_MASK
        if memo_cell[slot, 0] != u or memo_cell[slot, 1] != v or memo_cell[slot, 2] != w:
            memo_cell[slot, 0], memo_cell[slot, 1], memo_cell[slot, 2] = u, v, w
            i, j, k = origin[0] + u, origin[1] + v, origin[2] + w
            for corner in range(8):
                memo[slot, corner] = _node(
                    i + (corner >> 2), j + (corner >> 1 & one), k + (corner & one), first, second
                )
        for corner in range(8):
            value = memo[slot, corner]
            for x in range(start, stop):
                nodes[corner, x] = value
        start = stop


@njit(error_model="numpy")
def _join(nodes, weight, out):  # type: ignore[no-untyped-def]
    for x in range(out.shape[0]):
        y0, y1, z0, z1 = weight[2, x], weight[3, x], weight[4, x], weight[5, x]
        low = y0 * (z0 * nodes[0, x] + z1 * nodes[1, x]) + y1 * (z0 * nodes[2, x] + z1 * nodes[3, x])
        high = y0 * (z0 * nodes[4, x] + z1 * nodes[5, x]) + y1 * (z0 * nodes[6, x] + z1 * nodes[7, x])
        out[x] = weight[0, x] * low + weight[1, x] * high


@njit(error_model="numpy")
def _evaluate(points, linear, offset, origin, first, second, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    cell, weight = np.empty((3, width), np.int32), np.empty((6, width), np.float32)
    nodes = np.empty((8, width), np.float32)
    # Rows enter the cells of the row before again; a slot that holds none has a cell that no pixel is in.
    memo_cell = np.full((_MEMO_SLOTS, 3), _NOWHERE, np.int32)
    memo = np.empty((_MEMO_SLOTS, 8), np.float32)
    for y in range(height):
        x_m, y_m, z_m = points[0, y], points[1, y], points[2, y]
        for axis in range(3):
            below, above = weight[2 * axis], weight[2 * axis + 1]
            _coordinates(x_m, y_m, z_m, linear[axis], offset[axis], cell[axis], below, above)
        _spread(cell[0], cell[1], cell[2], origin, first, second, memo_cell, memo, nodes)
        _join(nodes, weight, out[y])
