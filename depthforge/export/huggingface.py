"""Hugging Face datasets: ``data/<split>-00000-of-00003.parquet``, a file for each shard, a row for each frame.

``datasets.load_dataset(folder)`` opens it. Depth and ids are 16-bit PNG in ``Image`` columns, which decode to images of
mode ``I;16`` and lose nothing, or depth is float32 arrays; see ``hf_columns``. ``README.md`` is the dataset's card with
unit, scale and the value of no measurement, which the Parquet schema says too (key ``depthforge``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from depthforge.export.base import ExportFrame, Files, Format, Part, Receipt
from depthforge.export.hf_columns import Column, columns_of, feature_metadata, field_values
from depthforge.export.row_writer import write_rows
from depthforge.registry import formats

__all__ = ["HuggingFace"]

_KEY = Column("key", pa.string(), {"dtype": "string", "_type": "Value"})


@formats.register("huggingface")
class HuggingFace(Format):
    """Parquet files for `datasets.load_dataset`, 16 bits kept."""

    depth_kinds = ("uint16", "float32")

    def write(self, part: Part, frames: Iterable[ExportFrame], out: Files) -> dict[str, Any]:
        columns = [_KEY, *columns_of(self)]
        rows = ({"key": frame.key, **field_values(self, frame)} for frame in frames)
        name = f"data/{part.split}-{part.number:05d}-of-{part.num_parts:05d}.parquet"
        write_rows(out, name, columns, feature_metadata(columns, self.describe()), rows)
        return {}

    def finish(self, parts: Sequence[Part], receipts: Iterator[Receipt], out: Files) -> None:
        splits = list(dict.fromkeys(part.split for part in parts))
        paths = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in splits)
        info, about = self.reader.info, self.describe()["depth"]
        step = f" times {about['metres_per_step']:g}" if "metres_per_step" in about else ""
        licence = info.source.licence
        card = (
            f"---\npretty_name: {json.dumps(info.name)}\nconfigs:\n- config_name: default\n  data_files:\n{paths}---\n"
            f"# {info.name}\n\n"
            f"`{'`, `'.join(self.depths)}`: planar z; a stored value{step} is metres, {about['invalid']} is no "
            "measurement, and only that. Decode columns of images as 16 bits: an 8-bit path would damage them.\n\n"
            f"Source: {info.source.name}, {licence.name}{' (non-commercial)' if licence.non_commercial else ''}. "
            f"Noise: {info.translator.name}. Corpus: {info.fingerprint}.\n"
        )
        out.write("README.md", card.encode())
