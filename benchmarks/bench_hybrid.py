"""What each part of a trained ``hybrid`` adds: physics, learned holes, their copula and its anchor, the residual head.

python -m benchmarks.bench_hybrid MANIFEST --recording NAME [--frames 16] [--half 2] [--prepared DIR] [--json] [--save]

MANIFEST is that of the training, which says where its translator lies. Each row has all parts of the rows before it but
the last two: *in the camera* leaves poses out, so that the long field is of each frame alone, and *without the residual
head* is the whole without what that head adds. The views are those of ``bench_same_room``: a half of a recording that
the manifest should not have been trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import torch

from benchmarks.bench_same_room import Judged, judge
from benchmarks.recordings import RECORDINGS, Trained, fused, view_of
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, median, print_json, print_table
from depthforge.frame import Frame, NoisyDepth
from depthforge.seeding import frame_words
from depthforge.sensors.base import Sensor
from depthforge.translators.hybrid import Hybrid
from depthforge.translators.hybrid_network import HybridNetwork

PHYSICS: Final = "physics alone"
ALONE: Final = "and holes, each pixel for itself"
SHORT: Final = "and a short field"
CAMERA: Final = "and a long field in the camera"
WHOLE: Final = "and it in the world: the whole"
UNDISTURBED: Final = "the whole without the residual head"

SAME_VIEW: Final = (
    "hole_rate",
    "hole_iou",
    "hole_auc",
    "hole_average_precision",
    "hole_log_loss",
    "holes_kept_iou",
    "block_sd",
    "error_correlation",
)
UNPAIRED: Final = (
    "patches told apart, AUC",
    "hole sizes, Wasserstein",
    "noise against depth",
    "roughness, Wasserstein",
)


class InTheCamera(Trained):
    """A trained translator that is told no pose."""

    def measure(self, frame: Frame, words: tuple[int, int]) -> NoisyDepth:
        """Return the noisy depth that it makes of a frame as if the camera were nowhere."""
        return super().measure(replace(frame, T_world_cam=None), words)


def parts(manifest: Path) -> dict[str, Sensor | Trained]:
    """Return what is compared, by name."""
    whole = Trained(manifest)
    assert isinstance(whole.translator, Hybrid)
    found: dict[str, Sensor | Trained] = {
        PHYSICS: whole.translator.config.physics,
        ALONE: Trained(manifest, short_px=0.0, long_share=0.0, persistence=0.0),
        SHORT: Trained(manifest, long_share=0.0, persistence=0.0),
        CAMERA: InTheCamera(manifest),
        WHOLE: whole,
    }
    if whole.translator.config.residual:
        found[UNDISTURBED] = undisturbed = Trained(manifest)
        network = undisturbed.translator.loaded()["holes"]  # type: ignore[attr-defined]
        assert isinstance(network, HybridNetwork)
        network.residual = None
    return found


def rows(judged: Judged) -> list[list[str]]:
    """Return a row for each figure: real, each part, and the floor."""
    names = list(judged.seconds)
    out = []
    for each in SAME_VIEW:
        row = judged.same.row(each)
        values = [row.values.get("real"), *(row.values.get(name) for name in names), row.floor]
        out.append(
            [f"{row.title}{f', {row.unit}' if row.unit else ''}", *("-" if v is None else f"{v:.3g}" for v in values)]
        )
    for each in UNPAIRED:
        found = [judged.unpaired.value(each, name) for name in (*names, "real, held out")]
        out.append([each, "-", *("-" if v is None else f"{v:.3g}" for v in found)])
    return out


def speed(manifest: Path, recording: str, folder: Path, repeats: int = 7) -> dict[str, float]:
    """Return frames/s of one core, by the whole and by the physics alone, in turn; five frames in a row each."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    source, refs = fused(recording, folder)
    frame = view_of(source, refs[0]).clean
    whole = Trained(manifest)
    assert isinstance(whole.translator, Hybrid)
    physics = whole.translator.config.physics
    words = frame_words(0, frame.key)
    seconds = in_turn(
        {WHOLE: lambda: whole.measure(frame, words), PHYSICS: lambda: physics.measure(frame, words)},
        repeats=repeats,
        calls=5,
    )
    return {name: 1 / median(each) for name, each in seconds.items()}


def figures(recording: str, judged: Judged, rates: dict[str, float]) -> list[Figure]:
    """Return what stands on the page: of each part, how well it knows holes and how easily it is told; and speed."""
    data = f"{recording}, half of it that the translator was not trained on"
    found = [
        Figure(name=f"640x480 on one core, {name}", value=rate, unit="frames/s", better="higher", data=recording)
        for name, rate in rates.items()
    ]
    for name in judged.seconds:
        for title, unit, value, better in (
            ("probability of holes", "AUC", judged.same.value("hole_auc", name), "higher"),
            ("patches told from real ones", "AUC", judged.unpaired.value(UNPAIRED[0], name), "lower"),
        ):
            if value is not None:
                found.append(Figure(name=f"{title}, {name}", value=value, unit=unit, better=better, data=data))
    return found


def main() -> None:
    """Judge the parts and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--recording", choices=list(RECORDINGS), required=True)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--half", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--draws", type=int, default=4, help="drawings of the physics alone that tell its holes")
    parser.add_argument("--prepared", type=Path, help="where fused meshes are kept for the next run")
    add_result_options(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        where = options.prepared or Path(folder)
        judged = judge(options.recording, parts(options.manifest), options.half, options.frames, options.draws, where)
        rates = speed(options.manifest, options.recording, where)
    plain = {"same view": judged.same.to_json(), "unpaired": judged.unpaired.to_json(), "frames/s": rates}
    if options.json:
        print_json({"recording": options.recording, **plain})
    else:
        print_table(
            f"{options.manifest.stem} on {options.recording}, half {options.half}",
            rows(judged),
            ["", "real", *judged.seconds, "floor"],
        )
        print("frames/s of one core (bar 10): " + ", ".join(f"{name} {rate:.3g}" for name, rate in rates.items()))
    if options.save:
        save_run(
            "bench_hybrid", plain, figures(options.recording, judged, rates), part=options.recording, note=options.note
        )


if __name__ == "__main__":
    main()
