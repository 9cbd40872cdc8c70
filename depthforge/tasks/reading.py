"""The frames of a corpus as views, through its torch dataset: what a task needs of them, and whether it is there.

Of a synthetic corpus the input is ``depth_noisy``; of a corpus of the source ``fused`` it is ``depth_raw``, what the
real sensor measured in the views whose truth is ``depth_clean``. ``depth_clean`` as the input is training on clean
depth, which needs no corpus of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from depthforge.addresses import Address
from depthforge.corpus.datasets import CorpusDataset, Sample
from depthforge.corpus.reader import CorpusReader, no_noisy_depth
from depthforge.corpus.schema import DEPTH_CLEAN, DEPTH_NOISY
from depthforge.errors import InputError, told
from depthforge.labels.catalogue import DEPTH_RAW, INTRINSICS
from depthforge.tasks.base import InputDepth, Task, View
from depthforge.tasks.labelled_sources import sources_with

__all__ = ["Frames", "view_of"]

_FEWEST: Final = 2


class Frames:
    """The frames of a corpus that have what a task needs, in key order, as views.

    ``split`` names one of its splits, None all of them; ``part`` (from, to), shares in [0, 1], takes that part of the
    frames in key order, which is time in a recording. Without ``labelled`` only labels that the task's inputs take are
    asked for and read. Pickles, and opens no array before the first read.

    Raises MissingDataError when there is no corpus, InputError when it lacks the input depth, a label that the task
    needs, or frames.
    """

    def __init__(
        self,
        corpus: Address,
        task: Task,
        input_depth: InputDepth,
        *,
        split: str | None = None,
        part: tuple[float, float] = (0.0, 1.0),
        every: int = 1,
        labelled: bool = True,
    ) -> None:
        self.corpus, self.input_depth = corpus, input_depth
        reader = CorpusReader(corpus, split)
        required = task.required if labelled else task.unlabelled
        labels = _wanted(reader, task, input_depth, required, task.optional if labelled else frozenset())
        if labelled:
            task.require_labels({name: reader.spec(name) for name in labels}, where=corpus)
        fields = [DEPTH_CLEAN, *([DEPTH_NOISY] if input_depth == DEPTH_NOISY else []), *labels]
        self._dataset = CorpusDataset(corpus, split, fields, num_threads=1)
        self._images = frozenset(name for name in labels if reader.spec(name).layout == "image")
        needed = [name for name in labels if name in required or name == input_depth]
        keys = reader.keys.to_pylist()
        having = [place for place in range(len(reader)) if all(reader.has(name, place) for name in needed)]
        ordered = sorted(having, key=keys.__getitem__)
        first, last = (round(share * len(ordered)) for share in part)
        self.positions = ordered[first:last:every]
        self.keys = [keys[place] for place in self.positions]
        self.fingerprint = reader.info.fingerprint
        if len(self.positions) < _FEWEST:
            raise InputError(
                "there are too few frames",
                where=corpus,
                expected=f"at least {_FEWEST} frames with {told(needed) if needed else 'depth'}",
                found=f"{len(self.positions)} of {len(reader)}" + (f" in the split {split}" if split else ""),
                remedy="name another split or a larger corpus",
            )
        self.size = (reader.schema.height, reader.schema.width)

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[View]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> View:
        sample = self._dataset.read(self.positions[range(len(self))[index]])
        return view_of(sample, self.input_depth, self._images)

    def require_larger_than(self, crop_px: int | None) -> None:
        """Raise InputError where crops of ``crop_px`` are larger than the frames; None, whole frames, always fits."""
        height, width = self.size
        if crop_px is not None and crop_px > min(height, width):
            raise InputError(
                "the frames are smaller than the crops",
                where=self.corpus,
                expected=f"frames of at least {crop_px}x{crop_px}",
                found=f"{height}x{width} (height x width)",
                remedy=f"crop_px: {min(height, width) // 4 * 4}",
            )


def view_of(sample: Sample, input_depth: InputDepth, images: frozenset[str] = frozenset()) -> View:
    """Return a sample of a corpus' dataset as a view whose depth is ``input_depth`` of it."""
    truth_m, truth_valid = sample[DEPTH_CLEAN], sample[f"{DEPTH_CLEAN}_valid"]
    if input_depth == DEPTH_RAW.name:
        depth_m, valid = _measured(sample[DEPTH_RAW.name])
    else:
        depth_m, valid = sample[input_depth], sample[f"{input_depth}_valid"]
    depths = {DEPTH_CLEAN, DEPTH_NOISY, DEPTH_RAW.name, INTRINSICS.name}
    labels = {
        name.removeprefix("has_"): sample[name.removeprefix("has_")]
        for name, there in sample.items()
        if name.startswith("has_") and bool(there) and name.removeprefix("has_") not in depths
    }
    return View(sample["key"], depth_m, valid, truth_m, truth_valid, sample[INTRINSICS.name].clone(), labels, images)


def _measured(raw_m: Tensor) -> tuple[Tensor, Tensor]:
    valid = torch.isfinite(raw_m) & (raw_m > 0)
    return torch.where(valid, raw_m, 0.0)[None], valid[None]


def _wanted(
    reader: CorpusReader, task: Task, input_depth: InputDepth, required: frozenset[str], optional: frozenset[str]
) -> list[str]:
    """Return the labels to read; InputError where one that is needed is not in the corpus."""
    carried = {spec.name for spec in reader.schema.fields}
    where = reader.storage.address
    if input_depth == DEPTH_NOISY and not reader.schema.noisy_depth:
        raise no_noisy_depth(where, (spec.name for spec in reader.schema.produced))
    if input_depth == DEPTH_RAW.name and DEPTH_RAW.name not in carried:
        raise InputError(
            "the corpus has no truth beside what a real sensor measured",
            where=where,
            expected=f"a corpus whose label {DEPTH_RAW.name} was measured and whose depth_clean is the truth",
            found=told(sorted(carried)) if carried else "no label",
            remedy="the source `fused` makes one of scans with poses (manifests/redkitchen-fused.yaml); it comes from "
            f"{told(sources_with(DEPTH_RAW.name))}",
        )
    if missing := sorted(required - carried):
        raise InputError(
            f"the corpus lacks what the task {task.name} needs",
            where=where,
            expected=told(missing),
            found=told(sorted(carried)) if carried else "no label",
            remedy="; ".join(f"{name} comes from the sources {told(sources_with(name))}" for name in missing),
        )
    wanted = (required | optional | {INTRINSICS.name}) & carried
    return sorted(wanted | ({DEPTH_RAW.name} if input_depth == DEPTH_RAW.name else set()))
