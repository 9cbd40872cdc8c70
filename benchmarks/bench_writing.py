"""Milliseconds a frame to write a shard, beside zarr's own writers and beside the codec alone.

python -m benchmarks.bench_writing [--frames 64] [--repeats 5] [--json] [--save]

Data: depthforge's own procedural rooms through its Kinect simulation, 640x480: both depths, semantic and instance
ids, with and without colour. *depthforge* is all of add and commit: checks, steps, statistics, hashes, compression,
sync, reading back, digests, index; the files and bytes of a shard with every label of the rooms are counted. *arrays
only* and the zarr rows write the same arrays in the same sharded layout on one thread and read nothing back (zarr with
plain zstd). *codec alone* compresses and decompresses each chunk once: the floor for any writer that verifies.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.corpus.arrays import ArrayWriter
from depthforge.corpus.chains import chain_of
from depthforge.corpus.encode import encode_depth
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.writer import ShardWriter, label_of
from depthforge.frame import Capture, Frame, FrameRef
from depthforge.labels.catalogue import INSTANCE, INTRINSICS, RGB, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.plan import WorkItem
from depthforge.seeding import frame_words
from depthforge.sources.procedural import Procedural, ProceduralConfig
from depthforge.storage import LocalFolder
from depthforge.translators.simulation import Simulation

Made = list[tuple[Frame, Capture]]
ONE_THREAD = {"threading.max_workers": 1, "codec_pipeline.max_workers": 1, "async.concurrency": 1}
PIPELINES = {
    "zarr": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarr, zarrs pipeline": "zarrs.ZarrsCodecPipeline",
}


def make_frames(count: int) -> Made:
    """Return clean frames with their noisy depth."""
    source = Procedural(ProceduralConfig(num_scenes=-(-count // 16), frames_per_scene=16))
    translator = Simulation(Simulation.Config())
    wanted = frozenset({"rgb", "semantic", "instance"})
    frames = [source.read(ref, wanted) for ref in list(source.frames())[:count]]
    return [(frame, translator.translate(frame, frame_words(0, frame.key))) for frame in frames]


def contestants(made: Made, fields: tuple[LabelSpec, ...], folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what each contestant does with all frames."""
    schema = CorpusSchema(*made[0][0].camera.size, (INTRINSICS, *fields))
    item = WorkItem("train-000000", "train", tuple(FrameRef(frame.key, "") for frame, _ in made))
    arrays: dict[str, npt.NDArray[Any]] = {
        "depth_clean": np.stack([encode_depth(f.depth_m, f.valid, schema.depth, where="") for f, _ in made]),
        "depth_noisy": np.stack(
            [encode_depth(*capture.depth, schema.depth, where="") for _, capture in made if capture.depth]
        ),
        **{spec.name: np.stack([label_of(frame, spec) for frame, _ in made]) for spec in fields},  # type: ignore[misc]
    }

    def ours() -> None:
        shutil.rmtree(folder / "ours", ignore_errors=True)
        with ShardWriter(folder / "ours", item, schema, fingerprint="0" * 32) as writer:
            for frame, capture in made:
                writer.add(frame, capture)
            writer.commit()

    def arrays_only() -> None:
        group = LocalFolder(folder).stage("arrays")
        for spec in (*schema.depth_specs, *fields):
            values = arrays[spec.name]
            codec = chain_of(schema, spec)
            writer = ArrayWriter(
                group,
                spec.name,
                dtype=values.dtype,
                chunk_shape=(1, *values.shape[1:]),
                dimension_names=schema.dimension_names(spec),
                fill_value=spec.missing,
                attributes={},
                codec=codec,
            )
            for frame in values:
                writer.append(codec.encode(frame))
            writer.finish(len(values))
        group.publish()

    def through(pipeline: str) -> Callable[[], None]:
        def write() -> None:
            with zarr.config.set({"codec_pipeline.path": pipeline, **ONE_THREAD}):
                group = zarr.create_group(str(folder / "zarr"), overwrite=True)
                for name, values in arrays.items():
                    array = group.create_array(
                        name,
                        shape=values.shape,
                        dtype=values.dtype,
                        chunks=(1, *values.shape[1:]),
                        shards=values.shape,
                        compressors=(ZstdCodec(level=1), Crc32cCodec()),
                    )
                    array[...] = values

        return write

    def codec_alone() -> None:
        for spec in (*schema.depth_specs, *fields):
            codec, values = chain_of(schema, spec), arrays[spec.name]
            scratch = np.empty_like(values[:1])
            for frame in values:
                codec.decode_into(codec.encode(frame), scratch, where=spec.name)

    return {
        "depthforge": ours,
        "depthforge, arrays only": arrays_only,
        **{name: through(pipeline) for name, pipeline in PIPELINES.items()},
        "codec alone, both ways": codec_alone,
    }


def files_of_a_shard(count: int, folder: Path) -> dict[str, float]:
    """Return what a shard of ``count`` frames with every label of the rooms is made of."""
    source = Procedural(ProceduralConfig(num_scenes=-(-count // 16), frames_per_scene=16))
    translator = Simulation(Simulation.Config())
    wanted = frozenset(source.labels)
    frames = [source.read(ref, wanted) for ref in list(source.frames())[:count]]
    schema = CorpusSchema(*frames[0].camera.size, (INTRINSICS, *source.labels.values()))
    item = WorkItem("train-000000", "train", tuple(FrameRef(frame.key, "") for frame in frames))
    with ShardWriter(folder / "whole", item, schema, fingerprint="0" * 32) as writer:
        for frame in frames:
            writer.add(frame, translator.translate(frame, frame_words(0, frame.key)))
        writer.commit()
    made = list((folder / "whole" / "shards").rglob("*"))
    sizes = [path.stat().st_size for path in made if path.is_file()]
    return {
        "fields": len(schema.depth_specs) + len(schema.fields),
        "ragged_fields": sum(spec.layout == "ragged" for spec in schema.fields),
        "files": len(sizes),
        "folders": len(made) - len(sizes),
        "kib_per_frame": sum(sizes) / count / 1024,
    }


def figures(milliseconds: Mapping[str, Mapping[str, float]], num_frames: int) -> list[Figure]:
    """Return what the page shows: the whole shard beside every other contestant, with colour and without."""
    return [
        Figure(
            name="a committed, re-read shard, a frame",
            value=each["depthforge"],
            unit="ms",
            better="lower",
            peer=peer,
            peer_value=each[peer],
            data=f"{num_frames} frames of 640x480, {name}, one core",
        )
        for name, each in milliseconds.items()
        for peer in (*PIPELINES, "codec alone, both ways")
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    add_result_options(parser)
    arguments = parser.parse_args()
    made = make_frames(arguments.frames)
    labels = (SEMANTIC_NYU40, INSTANCE)
    milliseconds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="depthforge-writing-") as folder:
        for name, fields in (("without colour", labels), ("with colour", (*labels, RGB))):
            seconds = in_turn(contestants(made, fields, Path(folder)), repeats=arguments.repeats)
            milliseconds[name] = {who: median(runs) / arguments.frames * 1000 for who, runs in seconds.items()}
        shard = files_of_a_shard(arguments.frames, Path(folder))
    found = {"frames": arguments.frames, "ms_per_frame": milliseconds, "shard": shard}
    if arguments.save:
        save_run("bench_writing", found, figures(milliseconds, arguments.frames), note=arguments.note)
    if arguments.json:
        print_json(found)
        return
    print(f"{machine()}; a shard of {arguments.frames} frames, 640x480, one core, zstd 1")
    for name, each in milliseconds.items():
        floor = each["codec alone, both ways"]
        rows = [(who, f"{value:.1f}", f"{value / floor:.2f}") for who, value in each.items()]
        print_table(name, rows, ("writer", "ms a frame", "x codec alone"))
    print_table("a shard with every label", [(name, f"{value:g}") for name, value in shard.items()], ("of", "number"))


if __name__ == "__main__":
    main()
