"""COCO: ``annotations/instances_<split>.json`` with every instance as a run-length mask, images beside it.

A mask is one value of ``instance``; its category is the class that most of its pixels have in ``semantic`` (``object``
where the corpus has none). Run lengths hold a mask bit for bit, where polygons would not; `pycocotools.annToMask` gives
it back. Depth goes beside the images (``<split>/depth_noisy``), and each image entry has the files, K, the pose and the
length of a step. Workers write lines, which the end puts together one at a time: memory does not grow with the corpus.
Source: cocodataset.org/#format-data; pycocotools 2.0.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from depthforge.corpus.reader import CorpusReader
from depthforge.errors import InputError, MissingDependencyError
from depthforge.export.arrays import plain
from depthforge.export.base import ExportFrame, Files, Format, Options, Part, Receipt
from depthforge.export.images import png
from depthforge.export.output import STATE
from depthforge.labels.catalogue import INSTANCE, RGB
from depthforge.labels.vocabularies import VOCABULARIES
from depthforge.registry import formats

__all__ = ["CocoInstances"]

_SEMANTIC: Final = "semantic"
_OBJECT: Final = 1
# Ids of annotations are those of their image times this, plus their number in it.
_MOST_INSTANCES: Final = 1 << 16


@formats.register("coco")
class CocoInstances(Format):
    """COCO instances: run-length masks and boxes, depth beside the images."""

    depth_kinds = ("uint16",)

    def __init__(self, reader: CorpusReader, options: Options) -> None:
        super().__init__(reader, options)
        if not self.has(INSTANCE.name):
            raise InputError(
                "COCO annotates instances, and there are none to export",
                where=reader.storage.address,
                expected="the field instance",
                found=", ".join(spec.name for spec in self.specs),
                remedy="make the corpus with `labels: {instance: required}`, or choose another format",
            )
        self._encode = _mask_encoder()

    def losses(self) -> list[str]:
        carried = {RGB.name, INSTANCE.name, _SEMANTIC}
        told = [
            f"{spec.name}: COCO has no place for it"
            for spec in self.labels
            if spec.name not in carried and spec.layout != "frame"
        ]
        if self.has(_SEMANTIC):
            told.append("semantic: carried as the category of each instance; pixels without an instance lose theirs")
        return [*super().losses(), *told]

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        kinds: set[int] = set()
        with out.stream(_lines(part, "images")) as images, out.stream(_lines(part, "annotations")) as annotations:
            for frame in frames:
                images.write(_line(self._image(frame, out)))
                for entry in self._annotations(frame):
                    kinds.add(entry["category_id"])
                    annotations.write(_line(entry))
        return {"categories": sorted(kinds)}

    def finish(self, parts: Sequence[Part], receipts: Iterator[Receipt], out: Files) -> None:
        found: dict[str, set[int]] = {}
        for part, receipt in zip(parts, receipts, strict=True):
            found.setdefault(part.split, set()).update(receipt.extra["categories"])
        # One list for all splits, so that a category has the same number in each.
        kinds = sorted(set().union(*found.values()))
        for split in found:
            own = [part for part in parts if part.split == split]
            with out.stream(f"annotations/instances_{split}.json") as file:
                file.write(b'{"info": ' + json.dumps({"description": self.reader.info.name}).encode())
                file.write(b', "licenses": [], "categories": ' + json.dumps(self._categories(kinds)).encode())
                for what in ("images", "annotations"):
                    file.write(b',\n"' + what.encode() + b'": [')
                    _join(out, (_lines(part, what) for part in own), file)
                    file.write(b"]")
                file.write(b"}\n")

    def _image(self, frame: ExportFrame, out: Files) -> dict[str, Any]:
        split, entry = frame.part.split, {"id": frame.position, "key": frame.key}
        name, depths = None, {}
        if self.has(RGB.name):
            file = frame.jpeg()
            rgb = None if file is not None else frame.label(RGB.name)
            if file is not None or rgb is not None:
                name = f"{frame.key}.{'jpg' if file is not None else 'png'}"
                out.write(f"{split}/images/{name}", png(rgb) if rgb is not None else file or b"")
        for depth in self.depths:
            depths[depth] = f"{split}/{depth}/{frame.key}.png"
            out.write(depths[depth], png(frame.depth_steps(depth, self.step_m)))
        height, width = self.reader.schema.height, self.reader.schema.width
        entry |= {"height": height, "width": width, "depth_files": depths, "metres_per_step": self.step_m}
        # An image of COCO has a file: where there is no colour it is the depth.
        entry["file_name"] = name or f"../{next(iter(depths.values()), '').partition('/')[2]}"
        for spec in self.labels:
            if spec.layout == "frame" and (array := frame.label(spec.name)) is not None:
                entry[spec.name] = plain(array)
        return entry

    def _annotations(self, frame: ExportFrame) -> Iterator[dict[str, Any]]:
        instance = frame.label(INSTANCE.name)
        if instance is None:
            return
        semantic = frame.label(_SEMANTIC) if self.has(_SEMANTIC) else None
        ids = np.unique(instance)
        for number, idx in enumerate(ids[ids > 0].tolist()):
            mask = instance == idx
            runs = self._encode(np.asfortranarray(mask, np.uint8))
            yield {
                "id": frame.position * _MOST_INSTANCES + number + 1,
                "image_id": frame.position,
                "category_id": _OBJECT if semantic is None else int(np.bincount(semantic[mask]).argmax()),
                "segmentation": {"size": runs["size"], "counts": runs["counts"].decode("ascii")},
                "area": int(np.count_nonzero(mask)),
                "bbox": _box(mask),
                "iscrowd": 0,
                "instance": idx,
            }

    def _categories(self, kinds: Sequence[int]) -> list[dict[str, Any]]:
        if not self.has(_SEMANTIC):
            return [{"id": _OBJECT, "name": "object", "supercategory": ""}]
        names = VOCABULARIES.get(self.reader.spec(_SEMANTIC).vocabulary or "", ())
        listed = sorted({*range(1, len(names)), *kinds})
        return [
            {"id": kind, "name": names[kind] if kind < len(names) else f"class {kind}", "supercategory": ""}
            for kind in listed
        ]


def _mask_encoder() -> Any:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingDependencyError(
            "COCO masks are made by pycocotools, which is not installed",
            found=error,
            remedy="pip install 'depthforge[export]'",
        ) from error
    return mask.encode


def _box(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return x, y, width, height of a mask that is not empty, in whole pixels."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def _lines(part: Part, what: str) -> str:
    return f"{STATE}/coco/{part.name}.{what}"


def _line(entry: dict[str, Any]) -> bytes:
    return (json.dumps(entry, sort_keys=True) + "\n").encode()


def _join(out: Files, names: Iterable[str], file: Any) -> None:
    """Copy the lines of some files into a JSON list."""
    joint = b"\n"
    for name in names:
        with out.storage.open(name).file() as raw, io.BufferedReader(raw) as lines:
            for line in lines:
                file.write(joint + line.rstrip(b"\n"))
                joint = b",\n"
