"""Learned translators on real data, beside identity and simulation: living room 1 (clean) against RedKitchen (real).

DATA_ROOT=... python -m benchmarks.bench_translators --out DIR [--only NAME ...] [--frames 24] [--json] [--save]

Each contestant is manifests/livingroom-redkitchen.yaml with other options, trained with the same budget into DIR/NAME
(or taken from there: a training that was interrupted goes on). The last quarter of both recordings was not trained on;
of it, the frames that chose the checkpoint are left out too. What is printed is `depthforge evaluate`'s table for all
at once, with the score of ``realism.choice``. DIR/NAME.png shows held-out frames, DIR/NAME-cloud.png one of them as a
point cloud seen from the side, DIR/NAME.ply the cloud itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import machine, print_json
from depthforge import registry
from depthforge.corpus.picture import sheet
from depthforge.corpus.reader import CorpusFrame
from depthforge.frame import Frame, NoisyDepth
from depthforge.manifest import Manifest, parse_manifest
from depthforge.manifest_file import load_manifest
from depthforge.realism.choice import score
from depthforge.realism.compare import REFERENCE, compare
from depthforge.realism.describe import describe
from depthforge.realism.views import DepthView, evenly_spaced
from depthforge.seeding import frame_words
from depthforge.stages.prepare import make_source
from depthforge.stages.train import train
from depthforge.translators.base import Translator

MANIFEST = Path(__file__).resolve().parent.parent / "manifests" / "livingroom-redkitchen.yaml"
PLAIN = {"max_depth_m": 6.0, "residual": 0.02, "validity": True}
CONTESTANTS: dict[str, dict[str, Any]] = {
    "dcl": {"name": "dcl", **PLAIN},
    "cut": {"name": "cut", **PLAIN},
    "cyclegan": {"name": "cyclegan", **PLAIN},
    "dcl-published": {"name": "dcl", "max_depth_m": 6.0},
    "dcl-noise": {"name": "dcl", **PLAIN, "noise_channels": 1},
    "dcl-noise-no-identity": {"name": "dcl", **PLAIN, "noise_channels": 1, "identity_weight": 0.0},
    "dcl-manifest": {},  # as the manifest has it, with steps, drawn holes and all that helped
}
SIMULATION = "simulation"
UNTRAINED = ("identity", SIMULATION)


def manifest_of(name: str, out: Path) -> Manifest:
    """Return the manifest of one contestant."""
    loaded = load_manifest(MANIFEST)
    value = {field: getattr(loaded, field) for field in type(loaded).model_fields}
    assert loaded.training is not None
    value["training"] = loaded.training.model_copy(update={"out": out / name})
    value["translator"] = CONTESTANTS[name] or value["translator"]
    return parse_manifest(value, where=name).with_weights()


class Stderr:
    """Progress on stderr."""

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    warn = note


def held_out_frames(block: Any, held_out: float, chosen: int, count: int) -> list[Frame]:
    """Return frames of the held-out end of a source, without the ``chosen`` ones that judged the checkpoints."""
    source = make_source(block)
    references = list(source.frames())
    end = references[round(len(references) * (1 - held_out)) :]
    judged = {end[place].key for place in evenly_spaced(len(end), chosen)}
    fresh = [reference for reference in end if reference.key not in judged]
    return [source.read(fresh[place], frozenset()) for place in evenly_spaced(len(fresh), count)]


def translated(translator: Translator, frames: Sequence[Frame]) -> list[NoisyDepth]:
    """Return what a translator makes of frames."""
    return _depths(translator, frames, [frame_words(0, frame.key, translator.fingerprint) for frame in frames])


def _depths(translator: Translator, frames: Sequence[Frame], words: Sequence[tuple[int, int]]) -> list[NoisyDepth]:
    captures = [translator.translate(frame, word) for frame, word in zip(frames, words, strict=True)]
    return [capture.depth for capture in captures if capture.depth is not None]


def views_of(frames: Sequence[Frame], noisy: Sequence[NoisyDepth]) -> list[DepthView]:
    """Return views with the clean depth beside."""
    return [
        DepthView(depth.depth_m, depth.valid, frame.camera, (frame.depth_m, frame.valid))
        for frame, depth in zip(frames, noisy, strict=True)
    ]


def bfloat16_error(translator: Translator, frames: Sequence[Frame], exact: Sequence[NoisyDepth]) -> str:
    """Return how far the conversion in bfloat16 is from that in float32, on trained weights and real frames."""
    config: Any = translator.config
    lower = type(translator)(config.model_copy(update={"precision": "bfloat16"}))
    # The same noise for both: the fingerprint, which keys it, differs.
    words = [frame_words(0, frame.key, translator.fingerprint) for frame in frames]
    rough = _depths(lower, frames, words)
    both = [e.valid & r.valid for e, r in zip(exact, rough, strict=True)]
    off_mm = np.concatenate(
        [1000 * np.abs(e.depth_m - r.depth_m)[b] for e, r, b in zip(exact, rough, both, strict=True)]
    )
    differ = np.mean([np.mean(e.valid != r.valid) for e, r in zip(exact, rough, strict=True)])
    middle, most, worst = np.percentile(off_mm, [50, 99, 100])
    return f"median {middle:.2f} mm, 99 % {most:.2f} mm, largest {worst:.1f} mm; {differ:.2%} of the holes differ"


def cloud_of(frame: Frame, depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the points (N, 3) of a depth image in camera axes, metres."""
    rows, columns = np.nonzero(depth_m > 0)
    z = depth_m[rows, columns]
    camera = frame.camera
    points = np.stack([(columns - camera.cx) * z / camera.fx, (rows - camera.cy) * z / camera.fy, z], axis=1)
    return points.astype(np.float32)


def from_the_side(points: npt.NDArray[np.float32], size: int = 700) -> npt.NDArray[np.uint8]:
    """Draw a cloud seen from 60 degrees to the left, nearer points over farther ones, coloured by depth."""
    angle = np.radians(60)
    centre = np.array([0, 0, 2.0], np.float32)
    turned = (points - centre) @ np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]], np.float32
    )
    u, v = (turned[:, :2] * (size / 4) + size / 2).round().astype(int).T
    inside = (u >= 0) & (u < size) & (v >= 0) & (v < size)
    order = np.argsort(-turned[inside, 2])
    steps = np.clip(points[inside, 2][order] * (255 / 5), 0, 255).astype(np.uint8)
    picture = np.full((size, size, 3), 24, np.uint8)
    picture[v[inside][order], u[inside][order]] = cv2.applyColorMap(steps[:, None], cv2.COLORMAP_TURBO)[:, 0]
    return picture


def write_ply(path: Path, points: npt.NDArray[np.float32]) -> None:
    """Write a cloud as binary PLY."""
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    path.write_bytes(header.encode() + points.astype("<f4").tobytes())


def score_figure(name: str, total: float, of_simulation: float, num_frames: int) -> Figure:
    """Return what the page shows of a contestant."""
    beside = name != SIMULATION
    return Figure(
        name=f"realism of {name}",
        value=total,
        unit="of 7",
        better="lower",
        peer=SIMULATION if beside else None,
        peer_value=of_simulation if beside else None,
        data=f"{num_frames} held-out frames of living room 1, against RedKitchen",
    )


def main() -> None:
    """Train what is not trained, compare all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=[*CONTESTANTS], default=[*CONTESTANTS])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--train-only", action="store_true")
    add_result_options(parser)
    arguments = parser.parse_args()
    manifests = {name: manifest_of(name, arguments.out) for name in arguments.only}
    seconds = {}
    for name, manifest in manifests.items():
        print(f"--- {name}: {yaml.safe_dump(manifest.translator.portable(), default_flow_style=True)}", file=sys.stderr)
        seconds[name] = train(manifest, inline=True, progress=Stderr()).seconds
    if arguments.train_only:
        return

    base = load_manifest(MANIFEST)
    assert base.training is not None
    chosen = base.training.evaluation_frames
    clean = held_out_frames(base.source, base.training.held_out, chosen, arguments.frames)
    real = held_out_frames(base.training.real, base.training.held_out, 2 * chosen, 2 * arguments.frames)
    plugins = {name: registry.translators.get(name)(registry.translators.get(name).Config()) for name in UNTRAINED}
    for name, manifest in manifests.items():
        plugins[name] = registry.translators.get(manifest.translator.name)(manifest.translator.config)
    described, rounding = {}, {}
    scans = [real[place] for place in evenly_spaced(len(real), 4)]
    beside = [CorpusFrame(f.key, f.depth_m, f.valid, NoisyDepth(f.depth_m, f.valid)) for f in scans]
    write_ply(arguments.out / "real.ply", cloud_of(real[0], real[0].depth_m))
    cv2.imwrite(str(arguments.out / "real-cloud.png"), from_the_side(cloud_of(real[0], real[0].depth_m)))
    for name, translator in plugins.items():
        noisy = translated(translator, clean)
        described[name] = describe(views_of(clean, noisy), name=name)
        if name in manifests:
            rounding[name] = bfloat16_error(translator, clean[:4], noisy[:4])
        places = evenly_spaced(len(clean), 4)
        shown = [CorpusFrame(clean[p].key, clean[p].depth_m, clean[p].valid, noisy[p]) for p in places]
        sheet(shown, arguments.out / f"{name}.png", beside=beside)
        points = cloud_of(clean[0], noisy[0].depth_m)
        write_ply(arguments.out / f"{name}.ply", points)
        cv2.imwrite(str(arguments.out / f"{name}-cloud.png"), from_the_side(points))
    comparison = compare(described, describe((DepthView(f.depth_m, f.valid, f.camera) for f in real), name=REFERENCE))
    scores = {name: score(comparison, name) for name in described}
    if arguments.save:
        for name, judged in scores.items():
            measured = {"total": judged.total, "terms": judged.terms, "training_s": seconds.get(name)}
            figure = score_figure(name, judged.total, scores[SIMULATION].total, arguments.frames)
            save_run("bench_translators", measured, [figure], part=name, note=arguments.note)
    if arguments.json:
        print_json({"comparison": comparison.to_json(), "scores": {n: s.terms for n, s in scores.items()}})
        return
    print(machine())
    print("\n".join(comparison.lines()))
    for name, judged in scores.items():
        print(f"score of {name}: {judged.total:.2f}  " + ", ".join(f"{t} {v:.2f}" for t, v in judged.terms.items()))
    for name, error in rounding.items():
        print(f"{name} in bfloat16 against float32: {error}")
    for name, taken in seconds.items():
        print(f"training of {name}: {taken:.0f} s (0: it was there)")


if __name__ == "__main__":
    main()
