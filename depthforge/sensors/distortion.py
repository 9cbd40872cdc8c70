"""Lens distortion of a depth camera as a table: 80 x 80 cells of the image times 5 distances, one factor each.

A surface at ``z`` is measured at ``z / factor``; a factor of 0 says that the cell measures nothing. The factors are of
1, 3, 5, 7 and 9 m, linear in between, constant beyond. The cells divide the image evenly, whatever its size: at the
640x480 of the camera a cell is 8 x 6 pixels.

``own_table`` is ours, from a formula: nothing is downloaded. ``read_table`` reads the text file of the Redwood
simulator for whoever has one (or another in its format), ``table_text`` writes that format.

Sources: Teichman et al., "Unsupervised intrinsic calibration of depth sensors via SLAM", RSS 2013 (distortion as a
factor per pixel and distance, growing with distance); Choi et al., "Robust reconstruction of indoor scenes", CVPR 2015
(the table and its use in the Redwood simulator).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthforge.errors import InputError, MissingDataError

__all__ = ["CELLS", "DISTANCES_M", "Table", "own_table", "read_table", "table_text"]

Table = npt.NDArray[np.float32]

CELLS = 80
"""Cells along each side of the image."""
DISTANCES_M = (1.0, 3.0, 5.0, 7.0, 9.0)

_SHAPE = (CELLS, CELLS, len(DISTANCES_M))
_HEADER_LINES = 5
_FIELDS = 23  # numbers of a cell: 3, the examples behind each factor (5), 10, the factors (5)
_EXAMPLES, _FACTORS = slice(3, 8), slice(18, 23)
_ENOUGH_EXAMPLES = 8000
_PLAUSIBLE = (0.5, 2.0)

# Relative error at 2 m: parabolas over (-1, 1) and a slope, as a lens calibrated in its middle leaves them ...
_ACROSS, _DOWN, _SLOPE, _LEVEL = 0.015, 0.004, 0.004, 0.28
# ... and ripple, which a smooth lens model leaves: amplitude, then periods across and down per image and phase.
_RIPPLE = (
    (0.0022, 3.1, 0.7, 1.4),
    (0.0020, 1.3, 2.9, 2.1),
    (0.0016, 5.3, -1.9, 4.0),
    (0.0014, 4.1, 4.7, 1.2),
    (0.0012, 9.7, 3.3, 5.5),
)
_GROWTH = 0.5  # relative error grows with the root of distance


@lru_cache(maxsize=1)
def own_table() -> Table:
    """Return our own factors (80, 80, 5) float32: smooth, all positive, 0.7 % rms at 3 m (cached, read only).

    Measured over true is 1 + sqrt(z / 2 m) x (0.015 (0.28 - u^2) + 0.004 (0.28 - v^2) + 0.004 u + ripple), with u and
    v from -1 to 1 across and down the image, and ripple five cosines of 1 to 10 periods, 0.12 to 0.22 % each. Its
    size is that of PrimeSense cameras (errors as large as in the published noisy frames), its shape is nobody's.
    """
    at = (np.arange(CELLS) + 0.5) / CELLS
    u, v = np.meshgrid(2 * at - 1, 2 * at - 1)
    error = _ACROSS * (_LEVEL - u**2) + _DOWN * (_LEVEL - v**2) + _SLOPE * u
    for amplitude, across, down, phase in _RIPPLE:
        error = error + amplitude * np.cos(np.pi * (across * u + down * v) + phase)
    growth = (np.array(DISTANCES_M) / 2) ** _GROWTH
    table: Table = (1 / (1 + error[..., None] * growth)).astype(np.float32)
    table.flags.writeable = False
    return table


def read_table(path: Path) -> Table:
    """Return the factors (80, 80, 5) float32 of a file in the format of the Redwood simulator.

    Five lines of header, then 23 numbers for each cell, row by row; a cell none of whose factors has 8000 examples
    behind it measures nothing. Raises MissingDataError when there is no such file and InputError when it is another.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    except FileNotFoundError:
        raise MissingDataError(
            "no such distortion table",
            where=path,
            expected="a text file in the format of the Redwood simulator",
            remedy="distortion: own is a table that needs no file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("the distortion table cannot be read", where=path, found=error) from None
    body = " ".join(line for line in lines[_HEADER_LINES:] if not line.lstrip().startswith("%"))
    try:
        numbers = np.array(body.split(), dtype=np.float64)
    except ValueError as error:
        raise InputError("the distortion table holds something else than numbers", where=path, found=error) from None
    if numbers.size != CELLS * CELLS * _FIELDS:
        raise InputError(
            "the distortion table is of another size",
            where=path,
            expected=f"{_HEADER_LINES} lines of header and {CELLS * CELLS * _FIELDS} numbers: {CELLS} x {CELLS} cells",
            found=f"{numbers.size} numbers",
            remedy="is it whole? The GPU variants of the table, 80 x 100 x 4, are another format",
        )
    cells = numbers.reshape(CELLS, CELLS, _FIELDS)
    factors = cells[..., _FACTORS].copy()
    factors[(cells[..., _EXAMPLES] < _ENOUGH_EXAMPLES).all(axis=-1)] = 0
    low, high = _PLAUSIBLE
    if not ((factors == 0) | ((factors >= low) & (factors <= high))).all():
        bad = factors[~((factors == 0) | ((factors >= low) & (factors <= high)))]
        raise InputError(
            "the distortion table is not one of factors near 1",
            where=path,
            expected=f"factors from {low} to {high}, or 0 for no measurement",
            found=f"{bad.size} others, from {bad.min()} to {bad.max()}",
        )
    return factors.astype(np.float32)


def table_text(table: Table) -> str:
    """Return ``table`` (80, 80, 5) as text in the format of the Redwood simulator, for other programs that read it."""
    if table.shape != _SHAPE:
        raise InputError("not a distortion table", where="table", expected=_SHAPE, found=table.shape)
    cells = np.zeros((CELLS, CELLS, _FIELDS))
    cells[..., _EXAMPLES] = np.where((table > 0).any(axis=-1), _ENOUGH_EXAMPLES, 0)[..., None]
    cells[..., _FACTORS] = table
    header = "% distortion of a depth camera\n" + "%\n" * (_HEADER_LINES - 1)
    return (
        header + "\n".join(" ".join(f"{number:.9g}" for number in cell) for cell in cells.reshape(-1, _FIELDS)) + "\n"
    )
