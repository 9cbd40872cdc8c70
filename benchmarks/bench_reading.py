"""Frames per second of noisy depth into torch, one process, beside what else one could read it from.

python -m benchmarks.bench_reading [--frames 512] [--repeats 5] [--codec zstd] [--json] [--save]

Data: depthforge's own procedural rooms through its Kinect simulation, 640x480 uint16 millimetres. Every contestant
delivers batches of 16 of the same tensors, float32 metres and a validity mask, through DataLoader(num_workers=0); the
peers share one conversion and torch's collate. Ours decodes a batch on every core of the process, its default; the
PNG folder is measured both as one writes it and with as many threads. *blocks* is the order of a block shuffle with
16 neighbours. LitData (where it is installed) shuffles its chunks of 16 frames and the frames of each, which stands
beside our blocks. MosaicML streaming is no peer here: it imports torchvision, which has no build for torch on a CPU
in the package index. Files are in the page cache. Bars: random >= 3 times and blocks >= 5 times the PNG folder in the
same order, and sequential more than WebDataset.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tensorstore
import torch
import webdataset
import zarr
from numcodecs.zstd import Zstd
from torch.utils.data import DataLoader, Dataset

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.corpus.datasets import CorpusDataset, CorpusStream, Shuffle, stream_order
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_NOISY
from depthforge.manifest import parse_manifest
from depthforge.stages.convert import convert
from depthforge.stages.prepare import prepare

Steps = npt.NDArray[np.uint16]
BATCH = 16
PNG = "PNG folder"
TAR = "WebDataset tar of PNG"
OURS = "depthforge stream"
SINGLE = "depthforge stream, 1 thread"
BARS = {"random": 3.0, "blocks": 5.0, "sequential": 1.0}
SPLIT = "train"
FIELDS = (DEPTH_NOISY,)
FRAMES_PER_SCENE = 16


class Peer(Dataset[dict[str, torch.Tensor]]):
    """Frames from any function that returns the stored steps of one."""

    def __init__(self, num_frames: int, read: Callable[[int], Steps], pool: ThreadPoolExecutor | None = None) -> None:
        self.num_frames = num_frames
        self.read = read
        self.pool = pool

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        return as_sample(self.read(position))

    def __getitems__(self, positions: list[int]) -> list[dict[str, torch.Tensor]]:
        """Return the samples of a batch, as a DataLoader asks for them."""
        mapped = map if self.pool is None else self.pool.map
        return list(mapped(self.__getitem__, positions))


def as_sample(steps: Steps) -> dict[str, torch.Tensor]:
    """Return float32 metres and validity, (1, H, W) each."""
    metres = np.multiply(steps, np.float32(0.001), dtype=np.float32)
    return {"depth": torch.from_numpy(metres)[None], "valid": torch.from_numpy(steps != 0)[None]}


def make_corpus(root: Path, num_frames: int, codec: str = "zstd", shard_frames: int = 256) -> None:
    """Convert ``num_frames`` procedural frames, depth only."""
    labels = ("rgb", "T_world_cam", "normals", "semantic", "instance", "object_id", "object_pose")
    manifest = parse_manifest(
        {
            "name": "bench-reading",
            "source": {
                "name": "procedural",
                "num_scenes": -(-num_frames // FRAMES_PER_SCENE),
                "frames_per_scene": FRAMES_PER_SCENE,
            },
            "translator": "simulation",
            "labels": dict.fromkeys(labels, "off"),
            "limit": num_frames,
            "max_reject_fraction": 0.0,
            "corpus": {"out": str(root), "codec": {"name": codec}, "shard_frames": shard_frames},
        },
        where="bench_reading",
    )
    with prepare(manifest) as prepared:
        convert(prepared, out=root, num_workers=1, inline=True)


def peers(folder: Path, reader: CorpusReader) -> dict[str, Callable[[int], Steps]]:
    """Lay the same frames out for every random-access peer and return how each reads one."""
    steps = np.stack([reader.stored(DEPTH_NOISY, position) for position in range(len(reader))])
    np.save(folder / "steps.npy", steps)
    mapped = np.load(folder / "steps.npy", mmap_mode="r")
    for position, image in enumerate(steps):
        cv2.imwrite(str(folder / f"{position:06d}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    shards = sorted(Path(reader.storage.address, "shards").iterdir())
    per_shard = reader.schema.shard_frames
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        through_zarrs = [zarr.open_array(str(shard / DEPTH_NOISY), mode="r") for shard in shards]
    through_tensorstore = [
        tensorstore.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(shard / DEPTH_NOISY)}}, read=True
        ).result()
        for shard in shards
    ]
    return {
        PNG: lambda i: cv2.imread(str(folder / f"{i:06d}.png"), cv2.IMREAD_UNCHANGED),
        "zarr, zarrs pipeline": lambda i: through_zarrs[i // per_shard][i % per_shard],
        "tensorstore": lambda i: through_tensorstore[i // per_shard][i % per_shard].read().result(),
        "npy memory map": lambda i: mapped[i],
    }


def write_tar(folder: Path, num_frames: int) -> Path:
    """Pack the PNG files as WebDataset likes them."""
    path = folder / "frames.tar"
    with tarfile.open(path, "w") as tar:
        for position in range(num_frames):
            content = (folder / f"{position:06d}.png").read_bytes()
            info = tarfile.TarInfo(f"{position:06d}.depth.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def webdataset_samples(path: Path) -> Iterable[dict[str, torch.Tensor]]:
    """Return a WebDataset pipeline over the tar, in order."""

    def decode(sample: dict[str, Any]) -> dict[str, torch.Tensor]:
        return as_sample(cv2.imdecode(np.frombuffer(sample["depth.png"], np.uint8), cv2.IMREAD_UNCHANGED))

    pipeline: Iterable[dict[str, torch.Tensor]] = webdataset.WebDataset(str(path), shardshuffle=False).map(decode)
    return pipeline


def litdata_epochs(folder: Path, frames: Iterable[Steps]) -> dict[str, Callable[[], int]]:
    """Lay the frames out as LitData does, plain and with zstd, and return how an epoch of each is read."""
    if importlib.util.find_spec("litdata") is None:
        return {}
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    kept = list(frames)

    def epoch(place: Path, *, shuffle: bool) -> int:
        dataset = StreamingDataset(str(place), shuffle=shuffle, transform=lambda item: as_sample(item["steps"].numpy()))
        return drain(StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0), "depth")

    found = {}
    for compression in (None, "zstd"):
        place = folder / f"litdata-{compression}"
        place.mkdir()
        writer = BinaryWriter(str(place), chunk_size=BATCH, compression=compression)
        for position, steps in enumerate(kept):
            writer.add_item(position, {"steps": torch.from_numpy(steps)})
        writer.done()
        writer.merge(1)
        name = "LitData" if compression is None else f"LitData, {compression}"
        found[f"{name} | blocks"] = partial(epoch, place, shuffle=True)
        found[f"{name} | none"] = partial(epoch, place, shuffle=False)
    return found


def drain(loader: Iterable[dict[str, Any]], name: str) -> int:
    """Consume an epoch and return its frames."""
    return sum(len(batch[name]) for batch in loader)


def contestants(root: Path, folder: Path) -> dict[str, Callable[[], int]]:
    """Return a function for each contestant and order that reads all frames once."""
    reader = CorpusReader(root, SPLIT)
    total = len(reader)
    found: dict[str, Callable[[], int]] = {}

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def peer_epoch(read: Callable[[int], Steps], shuffle: Shuffle, *, threaded: bool) -> Callable[[], int]:
        order = stream_order(total, shuffle, seed=0, epoch=0, block_frames=BATCH).tolist()
        return lambda: drain(DataLoader(Peer(total, read, pool if threaded else None), BATCH, sampler=order), "depth")

    for name, read in peers(folder, reader).items():
        for shuffle in ("full", "blocks"):
            found[f"{name} | {shuffle}"] = peer_epoch(read, shuffle, threaded=False)
            if name == PNG:
                found[f"{name}, threads | {shuffle}"] = peer_epoch(read, shuffle, threaded=True)
    tar = write_tar(folder, total)
    found[f"{TAR} | none"] = lambda: drain(DataLoader(webdataset_samples(tar), BATCH), "depth")
    found |= litdata_epochs(folder, (reader.stored(DEPTH_NOISY, position) for position in range(total)))
    compressed = [Zstd(level=1).encode(reader.stored(DEPTH_NOISY, position)) for position in range(total)]
    scratch = np.empty((reader.schema.height, reader.schema.width), np.uint16)

    def decode_all() -> int:
        for content in compressed:
            Zstd().decode(content, scratch)
        return total

    found["zstd decode alone (ceiling) | none"] = decode_all

    def stream_epoch(shuffle: Shuffle, num_threads: int | None) -> Callable[[], int]:
        stream = CorpusStream(
            root,
            SPLIT,
            FIELDS,
            seed=0,
            rank=0,
            world_size=1,
            batch_size=BATCH,
            shuffle=shuffle,
            block_frames=BATCH,
            num_threads=num_threads,
        )
        return lambda: drain(DataLoader(stream, batch_size=None), DEPTH_NOISY)

    for num_threads, name in ((None, OURS), (1, SINGLE)):
        for shuffle in ("full", "blocks", "none"):
            found[f"{name} | {shuffle}"] = stream_epoch(shuffle, num_threads)
    dataset = CorpusDataset(root, SPLIT, FIELDS)
    order = stream_order(total, "full", seed=0, epoch=0).tolist()
    found["depthforge map-style | full"] = lambda: drain(
        DataLoader(dataset, BATCH, sampler=order, collate_fn=dataset.collate), DEPTH_NOISY
    )
    return found


def measure(num_frames: int, repeats: int, codec: str) -> Iterator[tuple[str, str, float]]:
    """Yield (contestant, order, frames per second), medians of interleaved repeats."""
    # tmpfs when there is one: this measures decoding, not a disk.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="depthforge-reading-", dir=place) as folder:
        root = Path(folder) / "corpus"
        make_corpus(root, num_frames, codec)
        seconds = in_turn(contestants(root, Path(folder)), repeats=repeats)
        for name, runs in seconds.items():
            contestant, order = name.split(" | ")
            yield (
                contestant,
                {"full": "random", "blocks": "blocks", "none": "sequential"}[order],
                num_frames / median(runs),
            )


def figures(rates: Mapping[tuple[str, str], float], num_frames: int) -> list[Figure]:
    """Return what the page shows of the frames per second by contestant and order."""

    def beside(ours: str, order: str, peer: str, bar: float | None = None) -> Figure:
        return Figure(
            name=f"{ours}, {order}",
            value=rates[ours, order],
            unit="frames/s",
            better="higher",
            peer=peer,
            peer_value=rates[peer, order],
            bar=bar,
            bar_of="ratio",
            data=f"{num_frames} frames of 640x480, in the page cache",
        )

    return [
        beside(OURS, "random", PNG, BARS["random"]),
        beside(OURS, "blocks", PNG, BARS["blocks"]),
        beside(OURS, "blocks", f"{PNG}, threads"),
        beside(OURS, "random", "zarr, zarrs pipeline"),
        beside(OURS, "random", "tensorstore"),
        beside(OURS, "random", "npy memory map"),
        beside(OURS, "sequential", TAR, BARS["sequential"]),
        *(beside(OURS, order, name) for name, order in rates if name.startswith("LitData")),
        beside(SINGLE, "random", PNG),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--codec", default="zstd", help="of the corpus; the peers keep theirs")
    add_result_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates = {(name, order): rate for name, order, rate in measure(arguments.frames, arguments.repeats, arguments.codec)}
    png, png_blocks = rates[PNG, "random"], rates[PNG, "blocks"]
    ceiling = rates["zstd decode alone (ceiling)", "sequential"]
    bars = {
        f"random / PNG random (bar {BARS['random']:g})": rates[OURS, "random"] / png,
        f"blocks / PNG blocks (bar {BARS['blocks']:g})": rates[OURS, "blocks"] / png_blocks,
        f"sequential / WebDataset (bar {BARS['sequential']:g})": rates[OURS, "sequential"] / rates[TAR, "sequential"],
        "random on 1 thread / PNG random": rates[SINGLE, "random"] / png,
        "blocks on 1 thread / PNG blocks": rates[SINGLE, "blocks"] / png_blocks,
        "blocks / PNG blocks with as many threads": rates[OURS, "blocks"] / rates[f"{PNG}, threads", "blocks"],
        "zstd decode alone / PNG blocks: no single thread can do more": ceiling / png_blocks,
    }
    decoding = rates[SINGLE, "random"] / ceiling
    found = {
        "frames": arguments.frames,
        "codec": arguments.codec,
        "frames_per_second": {f"{name}, {order}": rate for (name, order), rate in rates.items()},
        "ratios": bars,
        "decompression_share": decoding,
    }
    if arguments.save:
        save_run("bench_reading", found, figures(rates, arguments.frames), note=arguments.note)
    if arguments.json:
        print_json(found)
        return
    what = "procedural frames through the Kinect simulation, 640x480"
    print(f"{machine()}; {arguments.frames} {what}, {arguments.codec}, one process")
    rows = [(name, order, f"{rate:.0f}", f"{rate / png:.2f}") for (name, order), rate in rates.items()]
    print_table("noisy depth into torch", rows, ("from", "order", "frames/s", "x PNG random"))
    print_table("bars", [(name, f"{ratio:.2f}") for name, ratio in bars.items()], ("ours", "ratio"))
    share = f"zstd decompression is {decoding:.0%} of a frame on one thread"
    print(f"\nWhat limits ours: {share}; the rest is steps to metres and mask.")


if __name__ == "__main__":
    main()
