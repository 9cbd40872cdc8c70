"""The report of a corpus: read what it says of itself, choose frames, draw, and put the page together.

The same corpus gives the same bytes. What is read does not grow with the corpus but for the columns of its index: two
dozen frames are decoded, once for their scale and once for their pictures. 10 000 frames take seconds, and the page is
a few megabytes, nearly all of it pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from depthforge.corpus.companions import finished_on, put_report, task_tables, translator_card
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.summary import summarise
from depthforge.durable import storage_errors, write_atomically
from depthforge.errors import CorpusError
from depthforge.report.cloud import choose_cloud, make_cloud
from depthforge.report.frames import cloud_data, cloud_section, gallery_section, viewer
from depthforge.report.gallery import choose_frames, make_gallery
from depthforge.report.markup import Markup
from depthforge.report.page import page
from depthforge.report.papers import (
    manifest_section,
    provenance_section,
    rejects_section,
    sensor_of,
    summary_section,
)
from depthforge.report.realism import realism_section
from depthforge.report.statistics import frame_figures, statistics_section
from depthforge.report.tables import task_section
from depthforge.stages.evaluation import Evaluation
from depthforge.storage import Place, open_storage

__all__ = ["Report", "build_report", "write_report"]


@dataclass(frozen=True, slots=True)
class Report:
    """The page as UTF-8, and the keys of the frames that it shows."""

    content: bytes
    keys: tuple[str, ...]


def build_report(
    root: Place,
    evaluation: Evaluation | None = None,
    *,
    why_not: str | None = None,
    tasks: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
) -> Report:
    """Make the report of the finished corpus at ``root``.

    ``evaluation`` fills the section on realism; without, it says how to get one, and ``why_not`` where that failed.
    ``tasks`` are tables of rows by their titles (see ``tables.task_section``); by default those of ``tasks/*.parquet``
    in the corpus, if there are any. Raises IncompleteError for a corpus that is not finished, CorpusError for one
    without a frame, IntegrityError for one that is damaged.
    """
    reader = CorpusReader(root)
    if not len(reader):
        raise CorpusError(
            "the corpus holds no frame to report on",
            where=reader.storage.address,
            remedy=f"depthforge rejects {reader.storage.address} says why none was converted",
        )
    info, storage = reader.info, reader.storage
    summary, figures, trained = summarise(storage), frame_figures(reader), translator_card(storage)
    chosen = choose_frames(figures)
    gallery = make_gallery(reader, figures, chosen)
    position = choose_cloud(figures)
    cloud = None if position is None else make_cloud(reader, position)
    found = task_section(task_tables(storage) if tasks is None else tasks)
    sections: list[tuple[str, str, Markup]] = [
        ("summary", "Summary", summary_section(info, summary, finished_on(storage), _num_scenes(reader))),
        ("gallery", "Frames", gallery_section(gallery, len(chosen), len(reader))),
        *([("cloud", "Points", cloud_section(cloud))] if cloud is not None else []),
        ("realism", "Realism", realism_section(evaluation, why_not)),
        ("statistics", "Statistics", statistics_section(figures)),
        *([("tasks", "Tasks", found)] if found is not None else []),
        ("rejects", "Rejects", rejects_section(summary)),
        ("manifest", "Manifest", manifest_section(info)),
        ("provenance", "Provenance", provenance_section(info, trained)),
    ]
    extras = [viewer(), *([cloud_data(cloud, gallery.scales)] if cloud is not None else [])]
    described = str(info.manifest.get("description") or "").strip()
    lead = described or f"Frames of {info.source.name} through {sensor_of(info)}."
    text = page(info.name, lead, sections, extras)
    return Report(text.encode(), tuple(frame.key for frame in gallery.frames))


def write_report(root: Place, report: Report, out: Path | None = None) -> str:
    """Write a report, whole or not at all, and return where: to ``out``, or to ``report/index.html`` of the corpus.

    Raises StorageError when it cannot be written.
    """
    if out is not None:
        with storage_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, report.content)
        return str(out)
    storage = open_storage(root)
    with storage_errors(storage.address):
        return put_report(storage, report.content)


def _num_scenes(reader: CorpusReader) -> int:
    scenes = pc.replace_substring_regex(reader.keys, r"/[^/]*$", "")
    return int(pc.count_distinct(scenes).as_py())
