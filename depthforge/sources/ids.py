"""Id images as a manifest describes them: plain numbers, numbers in colour channels, or colours that stand for ids.

Plain ids are read exactly as they are stored (``images.decode_integers``). A table of colours is looked up by a binary
search, 8 ms for 640x480; a colour that the table lacks is an error, never a nearest match: it is what antialiasing or
JPEG leave. ``made`` numbers the colours of a scene in sorted order from 1, black being 0, and therefore decodes each id
image of a scene once more before its first frame is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.errors import DecodeError
from depthforge.sources.containers import Form
from depthforge.sources.encoded import decode_encoded_integers
from depthforge.sources.images import decode_integers
from depthforge.sources.rgbd_blocks import IdsBlock

__all__ = ["ColourTable", "DescribedIds", "as_ids", "made_table"]

Ids = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

_BLACK = 0


class ColourTable:
    """Ids of colours. Colours are numbers, R + 256 G + 65536 B."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        self._colours = np.array(sorted(ids), dtype=np.uint32)
        self._ids = np.array([ids[colour] for colour in sorted(ids)], dtype=np.int64)

    def ids_of(self, colours: npt.NDArray[np.uint32], *, where: str) -> npt.NDArray[np.int64]:
        """Return the ids (H, W) of colours (H, W); raise DecodeError for one that is not in the table."""
        at = np.searchsorted(self._colours, colours)
        np.minimum(at, max(self._colours.size - 1, 0), out=at)
        unknown = self._colours[at] != colours if self._colours.size else np.ones_like(colours, dtype=np.bool_)
        if unknown.any():
            found = np.unique(colours[unknown])
            shown = "; ".join(f"{c & 255},{c >> 8 & 255},{c >> 16}" for c in found[:20].tolist())
            shown += f" and {found.size - 20} more" if found.size > 20 else ""
            raise DecodeError(
                "a colour that stands for no id",
                where=where,
                expected=f"the {self._colours.size} colours of the table",
                found=f"{shown}, in {np.count_nonzero(unknown)} pixels",
                remedy="add it to `colours`; blends of two colours at edges come from antialiasing, resizing or JPEG",
            )
        return self._ids[at]


def made_table(images: Iterable[tuple[bytes, str]]) -> ColourTable:
    """Return the table of all colours in ``images`` (bytes, where): 0 for black, then 1, 2, ... in sorted order."""
    seen: set[int] = set()
    for data, where in images:
        seen.update(np.unique(decode_encoded_integers(data, "RGB", where=where)).tolist())
    ordered = sorted(seen - {_BLACK})
    return ColourTable({_BLACK: 0} | {colour: index for index, colour in enumerate(ordered, 1)})


class DescribedIds:
    """How the id images of one field are read; its template alone means plain ids."""

    def __init__(self, block: str | IdsBlock) -> None:
        self.block = block if isinstance(block, IdsBlock) else IdsBlock(file=block)
        self._form = Form(self.block.key, self.block.channel)
        self._table = None
        if isinstance(self.block.colours, dict):
            named = (
                (tuple(int(part) for part in text.split(",")), number) for text, number in self.block.colours.items()
            )
            self._table = ColourTable({r | g << 8 | b << 16: number for (r, g, b), number in named})

    def read(self, data: bytes, made: Callable[[], ColourTable], *, where: str) -> Ids:
        """Return the ids (H, W) of a file, uint16 or uint32; ``made`` is asked for the table where colours are made.

        Raises DecodeError naming ``where``: for a picture, for ids that do not fit, for a colour without an id.
        """
        block = self.block
        ids: npt.NDArray[Any]
        if block.colours is not None:
            table = made() if self._table is None else self._table
            ids = table.ids_of(decode_encoded_integers(data, "RGB", where=where), where=where)
        elif block.encoding != "plain":
            ids = decode_encoded_integers(data, block.encoding, where=where)
        else:
            ids = decode_integers(data, where=where, form=self._form)
        return as_ids(ids, block.dtype, block.negative == "none", where=where)


def as_ids(ids: npt.NDArray[Any], dtype: str, negative_is_none: bool, *, where: str) -> Ids:
    """Return ids as ``dtype``; raise DecodeError for one that it cannot hold."""
    if negative_is_none and ids.dtype.kind == "i":
        ids = np.maximum(ids, 0)
    largest = np.iinfo(dtype).max
    if ids.dtype != dtype and ids.size and (int(ids.min()) < 0 or int(ids.max()) > largest):
        raise DecodeError(
            "ids do not fit",
            where=where,
            expected=f"0 to {largest}",
            found=f"{ids.min()} to {ids.max()}, {ids.dtype}",
            remedy="`negative: none` where a negative id means none, `dtype: uint32` for large ids",
        )
    converted: Ids = ids.astype(dtype, copy=False)
    return converted
