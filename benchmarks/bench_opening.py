"""Opening a finished corpus of many frames, and finding that there is nothing to do: seconds and peak memory.

python -m benchmarks.bench_opening [--frames 5000000] [--shards 3125] [--done-frames 1000000] [--json] [--save]

Data: index parts as the writer makes them (12 fields, all columns), their index.parquet, corpus.json and empty shard
folders; no pixel. Each figure is that of a fresh process, imports apart from the seconds: a reader of all frames; the
same with one key looked up and the presence of one label asked for; the same corpus from its parts alone, as an
unfinished one opens; and, for a corpus of --done-frames in shards of 256, what a second `depthforge synthesize` does
before it says that there is nothing to do. Bars: opening 5 M frames of 3125 shards under 1 s and 1 GB; nothing to do on
1 M frames under 2 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json, print_table
from depthforge.corpus.frame_index import write_index
from depthforge.corpus.index import ShardCommit, commit_metadata, index_columns
from depthforge.corpus.layout import CorpusInfo, Layout
from depthforge.corpus.plan_file import PlanSummary
from depthforge.manifest import Manifest, parse_manifest
from depthforge.stages.prepare import describe, make_source, make_translator, schema_of
from depthforge.storage import LocalFolder

BAR_FRAMES, BAR_OPEN_S, BAR_OPEN_MB = 5_000_000, 1.0, 1000.0
BAR_DONE_FRAMES, BAR_DONE_S = 1_000_000, 2.0
DONE_SHARD = 256
CHILD = """
import json, resource, sys, time
what, root, manifest = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from depthforge.corpus.reader import CorpusReader
from depthforge.manifest import parse_manifest
from depthforge.stages.convert import finished
imported_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = time.perf_counter()
if what == "done":
    report = finished(parse_manifest(manifest, where="benchmark"))
    frames = report.num_frames
else:
    reader = CorpusReader(root, allow_unfinished=what == "parts")
    frames = len(reader)
    if what == "looked up":
        reader.has("rgb", frames - 1)
        key = reader.keys[frames // 3].as_py()
        assert reader.position(key) == frames // 3
print(json.dumps({
    "frames": frames, "seconds": time.perf_counter() - start,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "imported_mb": imported_mb,
}))
"""


def manifest_of(root: Path) -> Manifest:
    """Return the manifest of the corpus at ``root``: procedural rooms with every label."""
    value = {
        "name": "opening",
        "source": {"name": "procedural"},
        "translator": {"name": "identity"},
        "corpus": {"out": str(root)},
    }
    return parse_manifest(value, where="benchmark")


def make_corpus(root: Path, num_frames: int, num_shards: int) -> None:
    """Write what a finished corpus of so many frames has besides its pixels."""
    root.mkdir(parents=True)
    storage, manifest = LocalFolder(root), manifest_of(root)
    source, translator = make_source(manifest.source), make_translator(manifest.translator)
    plan = PlanSummary(num_frames, num_shards, {"train": num_frames}, "0" * 32)
    info = describe(manifest, source, translator, schema_of(manifest, source, translator), plan)
    storage.write(Layout.info, info.to_bytes())
    (root / Layout.index).mkdir()
    commits = {}
    each = num_frames // num_shards
    base = _columns(info, each)
    for number in range(num_shards):
        shard = f"train-{number:06d}"
        commit = ShardCommit(info.fingerprint, shard, "train", each, 0, {}, {})
        commits[shard] = commit
        keys = [f"procedural/room-{number:06d}/{row:06d}" for row in range(each)]
        table = base.set_column(0, "key", pa.array(keys)).set_column(2, "shard", pa.array([shard] * each))
        table = table.replace_schema_metadata(commit_metadata(commit))
        path = root / Layout.index_part(shard)
        pq.write_table(table, path, compression="zstd", use_dictionary=["split", "shard"])
        (root / Layout.shard(shard)).mkdir(parents=True)
    write_index(storage, info, commits)
    storage.write(Layout.sums, b"")


def _columns(info: CorpusInfo, rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    arrays: dict[str, pa.Array] = {}
    for column in index_columns(info.corpus_schema):
        if column.name == "row":
            arrays[column.name] = pa.array(np.arange(rows, dtype=np.int32))
        elif pa.types.is_floating(column.type):
            arrays[column.name] = pa.array(random.random(rows))
        elif pa.types.is_boolean(column.type):
            arrays[column.name] = pa.array(random.random(rows) < 0.9)
        elif column.name.startswith("hash_"):
            arrays[column.name] = pa.array([random.bytes(16).hex() for _ in range(rows)])
        else:
            arrays[column.name] = pa.array(["train"] * rows)
    return pa.table(arrays).cast(index_columns(info.corpus_schema))


def measure(what: str, root: Path) -> dict[str, float]:
    """Return frames, seconds and peak MB of a fresh process that does ``what``."""
    command = [sys.executable, "-c", CHILD, what, str(root), manifest_of(root).model_dump_json()]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def figures(found: Mapping[str, Mapping[str, float]], data: str, done_data: str) -> list[Figure]:
    """Return what the page shows; the bars are for so many frames, and no fewer."""
    opened, parts, done = found["opened"], found["parts"], found["done"]
    full, done_full = opened["frames"] >= BAR_FRAMES, done["frames"] >= BAR_DONE_FRAMES
    return [
        Figure(
            name="opening",
            value=opened["seconds"],
            unit="s",
            better="lower",
            peer="from its parts",
            peer_value=parts["seconds"],
            bar=BAR_OPEN_S if full else None,
            data=data,
        ),
        Figure(
            name="opening, peak memory",
            value=opened["peak_mb"],
            unit="MB",
            better="lower",
            bar=BAR_OPEN_MB if full else None,
            data=data,
        ),
        Figure(
            name="nothing to do",
            value=done["seconds"],
            unit="s",
            better="lower",
            bar=BAR_DONE_S if done_full else None,
            data=done_data,
        ),
    ]


def main() -> None:
    """Make both corpora, open them, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=BAR_FRAMES)
    parser.add_argument("--shards", type=int, default=3125)
    parser.add_argument("--done-frames", type=int, default=BAR_DONE_FRAMES)
    add_result_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        many, done = Path(folder) / "many", Path(folder) / "done"
        make_corpus(many, options.frames, options.shards)
        make_corpus(done, options.done_frames, options.done_frames // DONE_SHARD)
        found: dict[str, Any] = {what: measure(what, many) for what in ("opened", "looked up")}
        index_mb = (many / Layout.index_whole).stat().st_size / 2**20
        (many / Layout.index_whole).unlink()
        found |= {"parts": measure("parts", many), "done": measure("done", done), "index_mb": index_mb}
    data = f"{found['opened']['frames']:,} frames in {options.shards:,} shards"
    done_data = f"{found['done']['frames']:,} frames in shards of {DONE_SHARD}"
    if options.save:
        save_run("bench_opening", found, figures(found, data, done_data), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; {data}, index.parquet of {index_mb:.0f} MiB; nothing to do: {done_data}")
    rows = [
        [what, f"{found[what]['seconds']:.2f}", f"{found[what]['peak_mb']:.0f}", f"{found[what]['imported_mb']:.0f}"]
        for what in ("opened", "looked up", "parts", "done")
    ]
    print_table("Opening", rows, ["what", "seconds", "peak MB", "of which imports MB"])
    print(f"\n  bars: opening {BAR_OPEN_S:g} s and {BAR_OPEN_MB:g} MB for {BAR_FRAMES:,}; done {BAR_DONE_S:g} s")


if __name__ == "__main__":
    main()
