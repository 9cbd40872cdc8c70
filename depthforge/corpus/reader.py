"""Read a corpus: frames by position or key, depth decoded to metres. No torch; see datasets.py for training.

Opening reads ``corpus.json`` and the footer of the index, whatever the number of frames, and no array; a column of the
index is read when something in it is asked for. Readers survive a fork, go through pickle, and may be used from several
threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from depthforge.corpus.frame_index import FrameIndex
from depthforge.corpus.layout import QUANTITY, CorpusInfo, Layout
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, decode_depth
from depthforge.corpus.shard import ShardArray, ShardReader
from depthforge.encoding import DepthEncoding
from depthforge.errors import CorpusError, InputError, MissingDataError, UnknownNameError
from depthforge.frame import BoolImage, DepthImage, NoisyDepth
from depthforge.labels.spec import LabelSpec
from depthforge.storage import DEFAULT_CACHE_BYTES, DiskCache, Place, open_storage

__all__ = ["CorpusFrame", "CorpusReader", "depth_encoding", "no_noisy_depth"]

# Shards whose files stay open: with eight fields each, half of the usual limit of 1024 open files.
_MAX_OPEN_SHARDS: Final = 64
# Beyond so many frames a key is searched for (10 ms a million) instead of kept in a dictionary (150 bytes each).
_MAX_IN_DICTIONARY: Final = 2**18


@dataclass(frozen=True, slots=True)
class CorpusFrame:
    """A frame as read: depth (H, W) float32 metres, 0.0 where not valid, and its labels as stored.

    ``noisy`` is None in a corpus whose translator produced no depth; ``images`` is what it produced besides, as stored.
    """

    key: str
    clean_depth_m: DepthImage
    clean_valid: BoolImage
    noisy: NoisyDepth | None
    labels: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    images: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def noisy_depth_m(self) -> DepthImage:
        """Noisy depth, 0.0 where not ``noisy_valid``; InputError where there is none."""
        return self._noisy().depth_m

    @property
    def noisy_valid(self) -> BoolImage:
        """Where noisy depth is measured; InputError where there is none."""
        return self._noisy().valid

    def _noisy(self) -> NoisyDepth:
        if self.noisy is None:
            raise no_noisy_depth(self.key, self.images)
        return self.noisy


def no_noisy_depth(where: object, produced: Iterable[str]) -> InputError:
    """Return the error for whoever needs noisy depth of a corpus that has none."""
    return InputError(
        "there is no noisy depth: the translator of this corpus made none",
        where=where,
        expected="a corpus of a translator that produces depth",
        found=", ".join(produced) or "nothing",
    )


class CorpusReader:
    """The committed frames of a corpus (or one ``split`` of it), ordered by split, shard and row.

    ``root`` is a folder (a path, or its text) or a storage. Raises MissingDataError when it holds no corpus,
    CorpusError when it cannot be read, UnknownNameError for a split that it does not have, IncompleteError when it is
    not finished: then ``allow_unfinished`` opens what is committed by now.

    What is read of the shards of a finished corpus in an object store is kept in ``cache_dir`` (default: with the
    temporary files of this user), of which all readers of the machine share the ``cache_bytes``; 0 keeps nothing.
    """

    def __init__(
        self,
        root: Place,
        split: str | None = None,
        *,
        allow_unfinished: bool = False,
        cache_dir: Path | str | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.storage = open_storage(root)
        self.info = CorpusInfo.load(self.storage)
        self.schema = self.info.corpus_schema
        splits = self.info.plan.frames_per_split
        if split is not None and split not in splits:
            raise UnknownNameError("split", split, splits, where=self.storage.address)
        self.index = FrameIndex(self.storage, self.info, split, allow_unfinished=allow_unfinished)
        self._shards = self.storage
        if self.index.is_whole:  # what an unfinished corpus holds may still be made anew
            stored_bytes = sum(shard.stored_bytes for shard in self.index.shards)
            cache = DiskCache(cache_dir, cache_bytes)
            self._shards = self.storage.cached(Layout.index_whole, cache, fits=stored_bytes <= cache_bytes)
        self._specs = {spec.name: spec for spec in self.schema.stored}
        self._labels = frozenset(spec.name for spec in self.schema.fields)
        self._open: OrderedDict[str, ShardReader] = OrderedDict()
        self._encodings: dict[tuple[str, str], DepthEncoding] = {}
        self._has: dict[str, npt.NDArray[np.bool_]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Whoever it goes to reads anew what it needs of the index.
        kept = {name: value for name, value in self.__dict__.items() if name not in ("keys", "_positions")}
        return {**kept, "_open": OrderedDict(), "_has": {}}

    def __len__(self) -> int:
        return len(self.index)

    @property
    def fingerprint(self) -> str:
        """What this corpus is told from others by."""
        return self.info.fingerprint

    @property
    def address(self) -> str:
        """Where it lies, for messages."""
        return self.storage.address

    @property
    def translator_folder(self) -> Path:
        """A folder of this machine with the files of the corpus' translator: its own, or one of copies."""
        return self.storage.local_copy(Layout.translator)

    @cached_property
    def keys(self) -> pa.ChunkedArray:
        """The key of every frame, by position: read when first asked for, some 40 bytes a frame."""
        return self.index.table(["key"])["key"]

    def key(self, position: int) -> str:
        """Return the key of the frame at ``position``."""
        shard, row = self._place(position)
        keys: list[str] = shard.attributes["keys"]
        return keys[row]

    def position(self, key: str) -> int:
        """Return where the frame of ``key`` is; MissingDataError when it is not in the corpus."""
        position = self._positions.get(key) if len(self) <= _MAX_IN_DICTIONARY else _scanned(self.keys, key)
        if position is None:
            raise MissingDataError(
                f"the corpus has no frame {key!r}",
                where=self.storage.address,
                expected="a key of its index, such as " + (self.key(0) if len(self) else "(it is empty)"),
                remedy="frames that could not be converted are in rejects/*.parquet",
            )
        return position

    def spec(self, name: str) -> LabelSpec:
        """Return what a stored field is; UnknownNameError lists those that there are."""
        if name not in self._specs:
            raise UnknownNameError("field", name, self._specs, where=self.storage.address)
        return self._specs[name]

    def has(self, name: str, position: int) -> bool:
        """Say whether the frame at ``position`` has a label; what the corpus makes itself, every frame has."""
        if name not in self._labels:
            return True
        if name not in self._has:
            self._has[name] = self.index.table([f"has_{name}"])[0].to_numpy()
        return bool(self._has[name][position])

    def read(self, frame: int | str, labels: Sequence[str] | None = None) -> CorpusFrame:
        """Return the frame at a position or with a key, with those of ``labels`` (default: all) that it has.

        ``labels`` may name images that the translator produced, too. Raises IntegrityError when a chunk is damaged.
        """
        position = self.position(frame) if isinstance(frame, str) else range(len(self))[frame]
        beside_depth = (*self.schema.produced, *self.schema.fields)
        wanted = [spec.name for spec in beside_depth] if labels is None else [self.spec(name).name for name in labels]
        found = {name: self.stored(name, position) for name in wanted if self.has(name, position)}
        produced = {spec.name for spec in self.schema.produced}
        return CorpusFrame(
            self.key(position),
            *self._depth(DEPTH_CLEAN, position),
            NoisyDepth(*self._depth(DEPTH_NOISY, position)) if self.schema.noisy_depth else None,
            labels={name: value for name, value in found.items() if name not in produced},
            images={name: value for name, value in found.items() if name in produced},
        )

    def _depth(self, name: str, position: int) -> tuple[DepthImage, BoolImage]:
        return decode_depth(self.stored(name, position), self.encoding(name, position))

    def stored(self, name: str, position: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Return one field of a frame as stored (in ``out`` when given, not for ragged fields)."""
        shard, row = self._place(position)
        if self._specs[name].layout == "ragged":
            return shard.read_ragged(name, row)
        return shard.read(name, row, out)

    @property
    def is_far(self) -> bool:
        """True where reading means waiting, so that :meth:`prepare` in other threads pays."""
        return self._shards.local_path(Layout.shards) is None

    def prepare(self, name: str, position: int) -> None:
        """Get what :meth:`stored` would read of a frame to this machine, if it is not there."""
        shard, row = self._place(position)
        if self._specs[name].layout != "ragged":
            shard.array(name).prepare_row(row)

    def jpeg_file(self, name: str, position: int) -> bytes | None:
        """Return the JPEG file that holds a field of a frame, None where it has none; see ``schema.is_jpeg``."""
        shard, row = self._place(position)
        return shard.array(name).read_file(row)

    def chunk(self, name: str, position: int, chain: list[dict[str, Any]]) -> bytes | None:
        """Return the stored bytes of a field of a frame, None unless ``chain`` (zarr metadata) is what encodes them."""
        shard, row = self._place(position)
        return shard.array(name).read_encoded(row, chain)

    def encoding(self, name: str, position: int) -> DepthEncoding:
        """Return how the depth array ``name`` of the frame's shard says that it is encoded."""
        shard, _ = self._place(position)
        place = (shard.name, name)
        if place not in self._encodings:
            self._encodings[place] = depth_encoding(shard.array(name))
        return self._encodings[place]

    def _place(self, position: int) -> tuple[ShardReader, int]:
        name, row = self.index.place(position)
        shard = self._open.get(name)
        if shard is None:
            shard = self._open[name] = ShardReader(self._shards, Layout.shard(name))
        with suppress(KeyError):  # another thread has let go of it, or of all
            self._open.move_to_end(name)
            if len(self._open) > _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        return shard, row

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {key: position for position, key in enumerate(self.keys.to_pylist())}


def _scanned(keys: pa.ChunkedArray, key: str) -> int | None:
    position: int = pc.index(keys, key).as_py()
    return None if position < 0 else position


def depth_encoding(array: ShardArray) -> DepthEncoding:
    """Return the encoding that a depth array declares.

    Raises CorpusError when its attributes do not say units, quantity, scale and the value of no measurement, or say
    something else than metres of planar z.
    """
    found = array.attributes
    for name, expected in (("units", "m"), ("quantity", QUANTITY)):
        if found.get(name) != expected:
            raise CorpusError(
                f"a depth array does not say its {name}",
                where=f"{array.where}: {name}",
                expected=expected,
                found=found.get(name, "nothing"),
                remedy="depth without it cannot be used; restore zarr.json (its hash is in SHA256SUMS)",
            )
    scale = found.get("scale_factor")
    if not isinstance(scale, int | float) or not scale > 0 or "_FillValue" not in found:
        raise CorpusError(
            "a depth array does not say its scale_factor and _FillValue",
            where=array.where,
            found=sorted(found),
            remedy="depth without them cannot be used; restore zarr.json (its hash is in SHA256SUMS)",
        )
    if array.dtype == np.uint16 and found["_FillValue"] == 0:
        return DepthEncoding(dtype="uint16", scale_m=float(scale))
    if array.dtype == np.float32 and scale == 1:
        return DepthEncoding(dtype="float32")
    raise CorpusError("a depth array is in no known encoding", where=array.where, found=array.dtype)
