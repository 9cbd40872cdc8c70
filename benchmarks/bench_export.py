"""Frames a second of every export, beside that ecosystem's own writer given the same arrays or files.

python -m benchmarks.bench_export [--frames 24] [--repeats 3] [--json] [--save]

Data: depthforge's own procedural rooms through its Kinect simulation, 640x480: both depths, colour, semantic and
instance ids, K and pose. *depthforge* is all of `depthforge export` in one process: it reads and decodes the corpus,
encodes, writes durably, and commits. The peer has the decoded arrays in memory and writes the same images with the same
PNG encoder and level: webdataset's ``TarWriter``, `datasets`' ``to_parquet``, ``numpy.savez_compressed`` in a tar,
files one by one, h5py with the same gzip, pycocotools' masks with ``json``.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from itertools import count as count_up
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table
from depthforge.corpus.iterating import iter_frames
from depthforge.export.base import Options
from depthforge.export.images import png
from depthforge.manifest import parse_manifest
from depthforge.stages.convert import convert
from depthforge.stages.exporting import export_corpus
from depthforge.stages.prepare import prepare

BAR = 0.7


def make_corpus(folder: Path, count: int) -> Path:
    """Return a finished corpus of ``count`` frames."""
    manifest = parse_manifest(
        {
            "name": "export",
            "source": {"name": "procedural", "num_scenes": -(-count // 12), "frames_per_scene": 12},
            "translator": {"name": "simulation"},
            "labels": {"normals": "off"},
            "splits": {"train": 1.0},
            "corpus": {"out": str(folder / "corpus"), "shard_frames": 12},
        },
        where="bench_export",
    )
    with prepare(manifest) as prepared:
        convert(prepared, out=manifest.corpus.out, num_workers=1, inline=True)
    return manifest.corpus.out


def peers(frames: list[dict[str, Any]], folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what each ecosystem's own writer does with all frames, by the name of the export."""

    def webdataset_writer() -> None:
        import webdataset

        with webdataset.TarWriter(str(folder / "peer.tar")) as sink:
            for frame in frames:
                images = {f"{name}.png16": png(frame[name]) for name in IMAGES}
                about = {"K": frame["K"].tolist(), "T_world_cam": frame["T_world_cam"].tolist()}
                sink.write({"__key__": frame["key"], **images, "rgb.png": png(frame["rgb"]), "json": about})

    def datasets_writer() -> None:
        import datasets

        columns = {name: [{"bytes": png(frame[name]), "path": None} for frame in frames] for name in (*IMAGES, "rgb")}
        features = datasets.Features({name: datasets.Image() for name in columns})
        datasets.Dataset.from_dict(columns, features=features).to_parquet(str(folder / "peer.parquet"))

    def numpy_writer() -> None:
        with tarfile.open(folder / "peer-npz.tar", "w") as tar:
            for frame in frames:
                content = io.BytesIO()
                np.savez_compressed(content, **{name: frame[name] for name in frame if name != "key"})
                member = tarfile.TarInfo(frame["key"] + ".npz")
                member.size = content.tell()
                content.seek(0)
                tar.addfile(member, content)

    def opencv_writer(images: tuple[str, ...] = (*IMAGES, "rgb")) -> None:
        for frame in frames:
            for name in images:
                path = folder / "peer-png" / name / f"{frame['key'].replace('/', '_')}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(frame[name]))

    def no_ids() -> None:
        opencv_writer((*IMAGES[:2], "rgb"))

    def h5py_writer() -> None:
        import h5py

        for number, frame in enumerate(frames):
            with h5py.File(folder / f"peer-{number}.hdf5", "w") as file:
                for name in (*IMAGES, "rgb"):
                    metres = np.float32(frame[name] * 1e-3) if name.startswith("depth") else frame[name]
                    file.create_dataset(name, data=metres, compression="gzip", compression_opts=1, shuffle=True)

    def coco_writer() -> None:
        from pycocotools import mask

        no_ids()
        entries = []
        for number, frame in enumerate(frames):
            for idx in np.unique(frame["instance"])[1:]:
                runs = mask.encode(np.asfortranarray(frame["instance"] == idx, np.uint8))
                runs["counts"] = runs["counts"].decode()
                box = mask.toBbox(runs).tolist()
                entries.append({"image_id": number, "segmentation": runs, "bbox": box, "area": int(mask.area(runs))})
        (folder / "peer.json").write_text(json.dumps(entries))

    return {
        "webdataset": webdataset_writer,
        "huggingface": datasets_writer,
        "npz": numpy_writer,
        "png": opencv_writer,
        "hdf5": h5py_writer,
        "coco": coco_writer,
        "kitti": no_ids,
        "bop": no_ids,
        "lerobot": datasets_writer,
    }


IMAGES = ("depth_noisy", "depth_clean", "semantic", "instance")
WRITERS = {
    "webdataset": "webdataset.TarWriter",
    "huggingface": "datasets.to_parquet",
    "npz": "numpy.savez_compressed",
    "png": "files of OpenCV's PNG",
    "hdf5": "h5py, gzip",
    "coco": "pycocotools, and files of PNG",
    "kitti": "files of OpenCV's PNG",
    "bop": "files of OpenCV's PNG",
    "lerobot": "datasets.to_parquet",
}


def measure(count: int, repeats: int) -> dict[str, dict[str, float]]:
    """Return frames a second of every export, of its peer, and the ratio, by format."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), count_up()
        corpus = make_corpus(folder, count)
        frames = list(iter_frames(corpus, fields=(*IMAGES, "rgb", "K", "T_world_cam")))
        for frame in frames:
            for depth in IMAGES[:2]:
                frame[depth] = np.rint(np.nan_to_num(frame[depth]) * 1000).astype(np.uint16)
        for form, writer in peers(frames, folder).items():

            def ours(form: str = form) -> None:
                export_corpus(corpus, form, folder / f"ours-{next(numbers)}", Options(), inline=True)

            seconds = in_turn({"depthforge": ours, "peer": writer}, repeats=repeats)
            rate = {who: count / median(times) for who, times in seconds.items()}
            found[form] = {**rate, "ratio": rate["depthforge"] / rate["peer"]}
    return found


def figures(found: dict[str, dict[str, float]], count: int) -> list[Figure]:
    """Return what stands on the page."""
    return [
        Figure(
            name=f"export to {form}",
            value=round(rate["depthforge"], 2),
            unit="frames/s",
            better="higher",
            data=f"{count} frames, 640x480, two depths, colour, two label images",
            peer=WRITERS[form],
            peer_value=round(rate["peer"], 2),
            bar=BAR,
            bar_of="ratio",
        )
        for form, rate in found.items()
    ]


def main() -> None:
    """Measure, print, and keep what is asked to be kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    add_result_options(parser)
    arguments = parser.parse_args()
    found = measure(arguments.frames, arguments.repeats)
    if arguments.json:
        print_json({"formats": found})
    else:
        rows = [
            [form, WRITERS[form], *(f"{rate[key]:.2f}" for key in ("depthforge", "peer", "ratio"))]
            for form, rate in found.items()
        ]
        print_table(
            f"Frames a second, one process ({machine()})", rows, ["format", "peer", "depthforge", "peer", "ratio"]
        )
    if arguments.save:
        kept = {"frames": arguments.frames, "formats": found}
        save_run("bench_export", kept, figures(found, arguments.frames), note=arguments.note)


if __name__ == "__main__":
    main()
