"""Torch datasets over a corpus: map-style, and a stream that splits by rank and worker and continues mid-epoch.

Samples are dictionaries of tensors: depth (1, H, W) float32 metres with ``<name>_valid`` (1, H, W) bool, colour
(3, H, W) uint8, ids int32 or int64, vectors scaled to their unit; ``has_<label>`` says whether a label is there.
Nothing is normalised. Images of several channels keep their channels-last memory, which convolutions prefer and
which costs no copy.

Where time goes at 640x480: decompression 0.4 to 0.8 ms a depth image, steps to metres and mask 0.1 ms. Batches are
decoded in place: stacking samples afterwards would add a fifth. No file is opened and nothing decoded before the
first read in a process, and readers survive a fork, so any start method works for workers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.corpus.combined import CombinedReader, Places, open_corpora
from depthforge.corpus.prefetching import Prefetcher
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.sampling import FrameSampler, require_weights, weighted_order
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY, CorpusSchema, decode_depth_into, offsets_name
from depthforge.errors import InputError, MissingDependencyError
from depthforge.labels.spec import LabelSpec
from depthforge.seeding import frame_generator
from depthforge.storage import DEFAULT_CACHE_BYTES

try:
    import torch
    from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate, get_worker_info

    from depthforge.corpus.stream_position import StreamPosition
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        f"the datasets of a corpus give tensors, and {error.name} is not installed",
        expected="torch; frames as NumPy arrays need none of it: depthforge.corpus.CorpusReader",
        remedy="pip install torch",
    ) from error

__all__ = ["CorpusDataset", "CorpusStream", "Sample", "stream_order", "to_torch"]

Sample: TypeAlias = dict[str, Any]
Transform: TypeAlias = Callable[[Sample], Sample]
Shuffle: TypeAlias = Literal["none", "blocks", "full"]

_DEPTHS = (DEPTH_NOISY, DEPTH_CLEAN)
# What torch lacks or supports badly, by the next type that holds every value.
_WIDENED = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}


class _FrameDecoder:
    """Decodes some fields of some frames into one batch of tensors."""

    def __init__(self, reader: CorpusReader | CombinedReader, fields: Sequence[str], num_threads: int | None) -> None:
        self._reader = reader
        self._num_threads = num_threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._specs = [reader.spec(name) for name in fields]
        self.ragged = frozenset(spec.name for spec in self._specs if spec.layout == "ragged")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    def sample(self, position: int) -> Sample:
        """Return one frame; ragged fields as (N, ...)."""
        batch = self.batch([position])
        sample = {name: value[0] for name, value in batch.items() if name not in self.ragged}
        for name in self.ragged:
            del sample[offsets_name(name)]
            sample[name] = batch[name]
        return sample

    def batch(self, positions: Sequence[int]) -> Sample:
        """Return frames stacked; ragged fields as the rows of all with ``<name>_offsets`` (B + 1)."""
        batch: Sample = {
            "key": [self._reader.key(position) for position in positions],
            "position": torch.tensor(positions, dtype=torch.int64),
        }
        for spec in self._specs:
            name = spec.name
            if name not in _DEPTHS:
                batch[f"has_{name}"] = torch.tensor([self._reader.has(name, position) for position in positions])
            if name in _DEPTHS:
                batch[name], batch[f"{name}_valid"] = self._depth(name, positions)
            elif spec.layout == "ragged":
                rows = [self._reader.stored(name, position) for position in positions]
                offsets = np.cumsum([0, *(len(part) for part in rows)], dtype=np.int64)
                batch[name] = torch.from_numpy(_as_torch(np.concatenate(rows), spec.scale))
                batch[offsets_name(name)] = torch.from_numpy(offsets)
            else:
                batch[name] = self._images(spec, positions)
        return batch

    def _depth(self, name: str, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        size = (self._reader.schema.height, self._reader.schema.width)
        metres = torch.empty((len(positions), 1, *size), dtype=torch.float32)
        valid = torch.empty((len(positions), 1, *size), dtype=torch.bool)

        def decode(part: slice) -> None:
            buffers: dict[str, npt.NDArray[Any]] = {}
            for out, mask, position in zip(metres.numpy()[part], valid.numpy()[part], positions[part], strict=True):
                encoding = self._reader.encoding(name, position)
                stored = buffers.setdefault(encoding.dtype, np.empty(size, encoding.dtype))
                self._reader.stored(name, position, stored)
                decode_depth_into(stored, encoding, out[0], mask[0])

        self._in_parts(decode, len(positions))
        return metres, valid

    def _images(self, spec: LabelSpec, positions: Sequence[int]) -> torch.Tensor:
        shape = spec.shape(self._reader.schema.height, self._reader.schema.width)
        stored = np.empty((len(positions), *shape), np.dtype(spec.dtype))

        def decode(part: slice) -> None:
            for image, position in zip(stored[part], positions[part], strict=True):
                self._reader.stored(spec.name, position, image)

        self._in_parts(decode, len(positions))
        tensor = torch.from_numpy(_as_torch(stored, spec.scale))
        return tensor.permute(0, 3, 1, 2) if spec.layout == "image" and tensor.ndim == 4 else tensor

    def _in_parts(self, decode: Callable[[slice], None], count: int) -> None:
        """Call ``decode`` for all of ``range(count)``, in as many slices as there are threads."""
        num_threads = self._num_threads or _spare_cores()
        if num_threads == 1 or count == 1:
            decode(slice(0, count))
            return
        if self._pool is None or self._pool[0] != os.getpid():  # threads do not survive a fork
            self._pool = (os.getpid(), ThreadPoolExecutor(num_threads))
        edges = np.linspace(0, count, num_threads + 1).astype(int)
        list(self._pool[1].map(decode, (slice(a, b) for a, b in pairwise(edges))))


def _spare_cores() -> int:
    """Return the cores that this process may use, or 1 in a DataLoader worker, where workers share them out."""
    return 1 if get_worker_info() is not None else len(os.sched_getaffinity(0))


class _Samples(list[Sample]):
    """The samples of a batch that were decoded together, with that batch."""

    def __init__(self, batch: Sample, samples: list[Sample]) -> None:
        super().__init__(samples)
        self.batch = batch


class _Frames:
    """What both datasets share: the reader of a split and the decoder of its fields."""

    def __init__(
        self,
        root: Places,
        split: str | None = None,
        fields: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        weights: Sequence[float] | None = None,
        num_threads: int | None = None,
        allow_unfinished: bool = False,
        cache_dir: Path | str | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.reader = open_corpora(
            root, split, allow_unfinished=allow_unfinished, cache_dir=cache_dir, cache_bytes=cache_bytes
        )
        counts = self.reader.counts if isinstance(self.reader, CombinedReader) else (len(self.reader),)
        self.weights = require_weights(weights, counts)
        self._counts = counts
        self.transform = transform
        if fields is None:
            fields = _DEPTHS if all(schema.noisy_depth for schema in _schemas(self.reader)) else (DEPTH_CLEAN,)
        self._decoder = _FrameDecoder(self.reader, fields, num_threads)
        self._prefetcher = Prefetcher(self.reader, fields) if self.reader.is_far else None

    def _epoch_order(self, epoch: int, shuffle: Shuffle, seed: int, block_frames: int) -> npt.NDArray[np.int64]:
        """Return the order of positions of an epoch, all ranks together."""
        if self.weights is None:
            return stream_order(len(self.reader), shuffle, seed=seed, epoch=epoch, block_frames=block_frames)

        def order(count: int, number: int) -> npt.NDArray[np.int64]:
            return stream_order(count, shuffle, seed=seed, epoch=epoch, block_frames=block_frames, part=number)

        return weighted_order(self._counts, self.weights, seed=seed, epoch=epoch, order=order)

    def read(self, position: int) -> Sample:
        """Return the sample of the frame at ``position`` of the split, transformed."""
        sample = self._decoder.sample(position)
        return sample if self.transform is None else self.transform(sample)

    def read_batch(self, positions: Sequence[int]) -> Sample:
        """Return the batch of frames at ``positions``; a transform sees each sample before they are stacked."""
        self._fetch(positions)
        if self.transform is None:
            return self._decoder.batch(positions)
        return self.collate([self.read(position) for position in positions])

    def _fetch(self, positions: Sequence[int]) -> None:
        if self._prefetcher is not None:
            self._prefetcher.fetch(positions)

    def collate(self, samples: Sequence[Sample]) -> Sample:
        """Make a batch of samples: tensors stacked, ragged fields joined with ``<name>_offsets`` (B + 1).

        Use it as ``collate_fn`` of a DataLoader.
        """
        if isinstance(samples, _Samples):
            return samples.batch
        ragged = [name for name in self._decoder.ragged if name in samples[0]]
        plain: list[Sample] = [{k: v for k, v in sample.items() if k not in ragged} for sample in samples]
        batch: Sample = default_collate(plain)
        for name in ragged:
            batch[name] = torch.cat([sample[name] for sample in samples])
            lengths = [len(sample[name]) for sample in samples]
            batch[offsets_name(name)] = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int64)
        return batch


class CorpusDataset(_Frames, Dataset[Sample]):
    """The frames of one split (None: of all) by position, for a DataLoader with any sampler.

    ``fields`` names what is read (default: the depths that there are); ``transform`` maps a sample to a sample;
    ``num_threads`` decode the frames of a batch (default: one per core, a single one inside a DataLoader worker). Pass
    ``collate_fn=dataset.collate`` when a field is ragged, or to have batches decoded in place (a fifth faster).
    ``allow_unfinished`` opens a corpus that is not finished, with the frames that it has now. ``cache_dir`` and
    ``cache_bytes`` as of :class:`CorpusReader`, for a corpus in an object store.

    ``root`` may be a list of corpora of one image size: their frames follow each other, and fields are those that all
    have. ``weights``, a number for each, is how often :meth:`sampler` draws from them.
    """

    def sampler(
        self, *, seed: int, rank: int = 0, world_size: int = 1, shuffle: Shuffle = "full", block_frames: int = 16
    ) -> FrameSampler:
        """Return the sampler of one rank for a DataLoader: weighted, a function of (seed, epoch), resumable.

        Raises InputError where there are fewer frames than ranks.
        """
        identity = {
            "fingerprint": self.reader.fingerprint,
            "weights": None if self.weights is None else list(self.weights),
            "seed": seed,
            "shuffle": shuffle,
            "block_frames": block_frames,
        }
        return FrameSampler(
            identity,
            lambda epoch: self._epoch_order(epoch, shuffle, seed, block_frames),
            len(self.reader),
            rank=rank,
            world_size=world_size,
        )

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, position: int) -> Sample:
        return self.read(range(len(self))[position])

    def __getitems__(self, positions: list[int]) -> list[Sample]:
        """Return the samples of a batch, as a DataLoader asks for them."""
        self._fetch(positions)
        if self.transform is not None or self._decoder.ragged:
            return [self.read(position) for position in positions]
        batch = self._decoder.batch(positions)
        samples = [{name: value[i] for name, value in batch.items()} for i in range(len(positions))]
        return _Samples(batch, samples)


class CorpusStream(_Frames, IterableDataset[Sample]):
    """The frames of one split in an order that is a function of (seed, epoch) alone, split by rank, then by worker.

    Yields samples, or whole batches when ``batch_size`` is given; either way use ``DataLoader(stream,
    batch_size=None)``: then the DataLoader delivers the same items in the same order for any number of workers.
    Item i of all ranks together covers a contiguous piece of the order, whatever the world size.

    ``rank`` and ``world_size`` are what the caller says, never guessed. Every rank has equally many frames: what is
    left over is dropped (``uneven="drop"``) or filled up from the start of the order (``"wrap"``). ``shuffle``:
    ``none``; ``blocks`` of ``block_frames`` neighbours in random order, shuffled inside; ``full``.

    Of a list of corpora, ``weights`` says how often each is drawn from in an epoch, which has as many items as ever.

    To continue in the middle of an epoch, save ``state_dict(batch)`` with the last item that was used, and
    ``load_state_dict`` it before iterating; each item carries its ``epoch`` and its number in it as ``item``. The pass
    that follows is the rest of that epoch, any other pass is a whole one, broken off passes or not. Without workers
    ``state_dict()`` needs no item. Call ``set_epoch`` before each epoch; it reaches persistent workers too.

    Of a corpus in an object store, ``prefetch_frames`` are fetched ahead; ``cache_dir`` and ``cache_bytes`` as of
    :class:`CorpusReader`.
    """

    def __init__(
        self,
        root: Places,
        split: str,
        fields: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        seed: int,
        rank: int,
        world_size: int,
        batch_size: int | None = None,
        shuffle: Shuffle = "none",
        block_frames: int = 16,
        uneven: Literal["drop", "wrap"] = "drop",
        weights: Sequence[float] | None = None,
        num_threads: int | None = None,
        allow_unfinished: bool = False,
        cache_dir: Path | str | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        prefetch_frames: int = 64,
    ) -> None:
        super().__init__(
            root,
            split,
            fields,
            transform,
            weights=weights,
            num_threads=num_threads,
            allow_unfinished=allow_unfinished,
            cache_dir=cache_dir,
            cache_bytes=cache_bytes,
        )
        self.prefetch_frames = prefetch_frames
        if not 0 <= rank < world_size:
            raise InputError("the rank lies outside the world", found=f"rank {rank} of {world_size}")
        if uneven not in ("drop", "wrap") or shuffle not in ("none", "blocks", "full") or block_frames < 1:
            raise InputError("unknown way to shuffle or to even out", found=(shuffle, uneven, block_frames))
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.batch_size, self.shuffle, self.block_frames = batch_size, shuffle, block_frames
        total = len(self.reader)
        self.num_frames = total // world_size if uneven == "drop" else math.ceil(total / world_size)
        if self.num_frames == 0:
            raise InputError(
                "there are not enough frames for every rank",
                where=self.reader.address,
                expected=f">= {world_size}",
                found=total,
            )
        self._position = StreamPosition()

    def __len__(self) -> int:
        """Items of this rank in a whole epoch: frames, or batches of which the last may be shorter."""
        return self.num_frames if self.batch_size is None else math.ceil(self.num_frames / self.batch_size)

    @property
    def epoch(self) -> int:
        """The epoch whose order is followed."""
        return self._position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Follow the order of ``epoch`` from its start; the epoch that was loaded goes on where it was."""
        if epoch != self.epoch:
            self._position.set(epoch, 0)

    def state_dict(self, last: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return where this rank is: after the item ``last``, or after the last one yielded in this process.

        InputError without ``last`` when loader workers yield the items: this process knows none of them.
        """
        if last is not None:
            epoch, item = (int(torch.as_tensor(last[name]).max()) for name in ("epoch", "item"))
            return {**self._identity(), "epoch": epoch, "next_item": item + 1}
        if self._position.begun_by_workers:
            raise InputError(
                "loader workers do not say where they are",
                expected="the last item that was used",
                found="nothing",
                remedy="call state_dict(item)",
            )
        return {**self._identity(), "epoch": self.epoch, "next_item": self._position.following}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after a saved state; InputError when it is of another corpus, seed, order or split by rank."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise InputError(
                    f"the saved position is of another {name}", expected=value, found=state.get(name, "nothing")
                )
        self._position.set(state["epoch"], state["next_item"])

    def __iter__(self) -> Iterator[Sample]:
        # Here and not at the first item: a worker begins its pass when it is told to, however late its items are asked.
        epoch, start = self.epoch, self._position.begin_pass()
        order = self._epoch_order(epoch, self.shuffle, self.seed, self.block_frames)
        positions = np.resize(order, self.num_frames * self.world_size)[self.rank :: self.world_size]
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return self._items(range(start + first, len(self), step), epoch, positions)

    def _items(self, items: range, epoch: int, positions: npt.NDArray[np.int64]) -> Iterator[Sample]:
        ahead = self._begin_ahead(items, positions)
        for item in items:
            next(ahead, None)
            self._position.following = item + 1
            yield {**self._item(item, positions), "epoch": epoch, "item": item}
        self._position.following = 0

    def _begin_ahead(self, items: range, positions: npt.NDArray[np.int64]) -> Iterator[None]:
        """Before each item that is asked for, begin to fetch what follows, ``prefetch_frames`` ahead."""
        if self._prefetcher is None:
            return
        begun = 0
        for number in range(len(items)):
            ahead = number + 1 + max(1, self.prefetch_frames // (self.batch_size or 1))
            for item in items[begun:ahead]:
                self._prefetcher.begin(self._positions_of(item, positions))
            begun = max(begun, min(ahead, len(items)))
            yield

    def _positions_of(self, item: int, positions: npt.NDArray[np.int64]) -> list[int]:
        size = self.batch_size or 1
        return [int(position) for position in positions[item * size : (item + 1) * size]]

    def _item(self, item: int, positions: npt.NDArray[np.int64]) -> Sample:
        if self.batch_size is None:
            return self.read(int(positions[item]))
        return self.read_batch(self._positions_of(item, positions))

    def _identity(self) -> dict[str, Any]:
        return {
            "fingerprint": self.reader.fingerprint,
            "num_frames": self.num_frames,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "block_frames": self.block_frames,
            "world_size": self.world_size,
            "batch_size": self.batch_size,
            **({} if self.weights is None else {"weights": list(self.weights)}),
        }


def to_torch(
    root: Places,
    split: str | None = None,
    fields: Sequence[str] | None = None,
    *,
    batch_size: int,
    seed: int | None = None,
    num_workers: int = 0,
) -> DataLoader[Sample]:
    """Return a DataLoader of batches of a split, in the order of the corpus, or drawn by ``seed``.

    For one process that goes through a split; ``CorpusStream`` is for ranks and for continuing in an epoch. Raises what
    :class:`CorpusDataset` raises.
    """
    dataset = CorpusDataset(root, split, fields)
    sampler = None if seed is None else dataset.sampler(seed=seed)
    return DataLoader(
        dataset, batch_size=batch_size, sampler=sampler, num_workers=num_workers, collate_fn=dataset.collate
    )


def stream_order(
    num_frames: int, shuffle: Shuffle, *, seed: int, epoch: int, block_frames: int = 16, part: int = 0
) -> npt.NDArray[np.int64]:
    """Return the order of positions of an epoch: int64 (num_frames,), each position once.

    ``part`` counts the times that an epoch goes through the same frames, each in another order.
    """
    order = np.arange(num_frames, dtype=np.int64)
    if shuffle == "none":
        return order
    random = frame_generator(seed, f"epoch {epoch}" + f" part {part}" * (part > 0), "stream order")
    if shuffle == "full":
        return random.permutation(order)
    blocks = [random.permutation(order[i : i + block_frames]) for i in range(0, num_frames, block_frames)]
    return np.concatenate([blocks[i] for i in random.permutation(len(blocks))]) if blocks else order


def _schemas(reader: CorpusReader | CombinedReader) -> list[CorpusSchema]:
    return [each.schema for each in reader.readers] if isinstance(reader, CombinedReader) else [reader.schema]


def _as_torch(stored: npt.NDArray[Any], scale: float | None) -> npt.NDArray[Any]:
    """Return an array that torch can hold: scaled to float32 when it has a scale, ids widened."""
    if scale is not None:
        stored = np.multiply(stored, np.float32(scale), dtype=np.float32)
    return stored.astype(_WIDENED.get(stored.dtype.name, stored.dtype.name), copy=False)
