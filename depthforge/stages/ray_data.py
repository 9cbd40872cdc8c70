"""A corpus as a ``ray.data.Dataset``: blocks of positions travel, frames are decoded where they are used.

Images in Ray's object store are what runs out of memory, so the dataset holds key and position of each frame, and reads
its arrays in ``map_batches``, a bounded number at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from depthforge.corpus.iterating import frame_arrays
from depthforge.corpus.reader import CorpusReader
from depthforge.errors import MissingDependencyError

__all__ = ["to_ray"]


class _Decoder:
    """Decodes batches of positions; a corpus is opened once in each worker."""

    def __init__(self, root: str, split: str | None, fields: Sequence[str]) -> None:
        self._reader, self._fields = CorpusReader(root, split), tuple(fields)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        frames = [frame_arrays(self._reader, int(position), self._fields) for position in batch["position"]]
        return {**batch, **{name: np.stack([frame[name] for frame in frames]) for name in frames[0]}}


def to_ray(
    root: str, split: str | None = None, fields: Sequence[str] | None = None, *, batch_size: int = 16, workers: int = 1
) -> Any:
    """Return a ``ray.data.Dataset`` with a row a frame: ``key``, ``position`` and the arrays of :func:`frame_arrays`.

    ``fields`` are depths and images or frame labels that every frame has (default: the depths); ``batch_size`` frames
    are decoded at once, in ``workers`` processes. Rows keep the order of the corpus. ``root`` must be reachable from
    every node under the same path. Raises MissingDependencyError without ``ray[data]``, and what ``CorpusReader`` does.
    """
    try:
        import ray.data
    except ImportError as error:
        raise MissingDependencyError(
            "Ray's datasets cannot be imported", found=error, remedy="pip install 'ray[data]'"
        ) from error
    reader = CorpusReader(root, split)
    depths = [spec.name for spec in reader.schema.depth_specs]
    names = [reader.spec(name).name for name in (fields if fields is not None else depths)]
    rows = ray.data.from_items(
        [{"position": position, "key": key} for position, key in enumerate(reader.keys.to_pylist())]
    )
    return rows.map_batches(
        _Decoder,
        fn_constructor_args=(str(reader.storage.address), split, names),
        batch_size=batch_size,
        concurrency=workers,
    )
