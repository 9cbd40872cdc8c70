"""Real scans against what each sensor makes of the same room: the room's fused truth, and the same cameras.

python -m benchmarks.bench_same_room [--recording NAME|all] [--sensor PRESET_OR_FILE ...] [--fit PRESET_OR_FILE ...]
                                     [--frames 12] [--half 2] [--draws 8] [--json] [--save]

Each recording (``benchmarks/recordings.py``) is fused, and its truth rendered at its own poses. Beside the real scans
stand no simulation ("none"), the default preset of earlier versions, and the camera's own; ``--sensor``, which may be
repeated, takes others in their place, as the file that `depthforge fit` wrote, or the manifest of a training, which
stands for the translator that it left. ``--fit`` adds what `depthforge fit` makes of a preset by the first half of the
recording alone, as "PRESET_fitted". Two tables: the same view, where holes
are told by ``--draws`` drawings of each sensor, and unpaired, where pixels without truth are left out on all sides and
"real, held out" is the other half of the same frames. Presets were tuned on first halves: ``--half 2`` judges.

Bars: AUC of patches 0.65 by the preset of the recording's own first half, 0.75 by another's; correlation, roughness,
blocks, outliers, shadows and bleed within 20 % of real; overlap of holes with the real ones 0.3, and between frames
within 0.1 of real.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.recordings import (
    RECORDINGS,
    Recording,
    Trained,
    View,
    fitted,
    fused,
    half_of,
    in_pairs,
    measured_by,
    same_view,
    sensor_for,
    view_of,
)
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import print_json
from depthforge.fitting.report import lines as report
from depthforge.fitting.report import to_json, write_fit
from depthforge.realism.compare import REFERENCE, Comparison, compare
from depthforge.realism.describe import Description, describe
from depthforge.realism.same_view.comparison import REAL, SameViewComparison, compare_same_views
from depthforge.realism.same_view.hole_places import frequency
from depthforge.realism.same_view.views import Measured, SameView
from depthforge.realism.views import DepthView
from depthforge.sensors.base import Sensor

NONE: Final = "none"
_FITTED: Final = "_fitted"
_AUC: Final = "patches told apart, AUC"
_AS_REAL: Final = (
    "hole_rate",
    "block_sd",
    "outlier_share",
    "pattern_sd",
    "shadow_left_10_to_16_mean",
    "shadow_right_10_to_16_mean",
    "bleed_x_mean",
    "holes_kept_iou",
)


class Texture(NamedTuple):
    """What is asked to be as the real camera's, of all frames of a set: noise's correlation in px, roughness in deg."""

    correlation_x: float
    correlation_y: float
    roughness: float

    @classmethod
    def of(cls, described: Description) -> Texture:
        """Return that of a set."""
        along_x, along_y = described.correlation_length_px
        return cls(along_x, along_y, float(np.median(described.roughness_deg)))


class Judged(NamedTuple):
    """Both tables of a recording, the texture of each side, and each sensor's processor seconds a frame."""

    same: SameViewComparison
    unpaired: Comparison
    textures: dict[str, Texture]
    seconds: dict[str, float]


def judge(
    name: str, sensors: Mapping[str, Sensor | Trained], half: int, count: int, draws: int, folder: Path
) -> Judged:
    """Measure the real scans, no simulation and each sensor on one half of a recording's frames."""
    recording = RECORDINGS[name]
    source, refs = fused(name, folder)
    seconds = dict.fromkeys(sensors, 0.0)
    kept: dict[str, list[DepthView]] = {each: [] for each in (REFERENCE, NONE, *sensors)}
    chosen = in_pairs(half_of(refs, half), count)

    def views() -> Iterator[SameView]:
        for ref in chosen:
            view = view_of(source, ref)
            candidates = {NONE: Measured(view.clean.depth_m, view.clean.valid)}
            probability = {}
            for each, sensor in sensors.items():
                start = time.process_time()
                candidates[each] = measured_by(sensor, view.clean)
                seconds[each] += (time.process_time() - start) / len(chosen)
                probability[each] = _probability(sensor, view, draws)
            for each, measured in {REFERENCE: Measured(view.real_m, view.real_m > 0), **candidates}.items():
                kept[each].append(_where_truth_is(measured, view))
            yield same_view(view, candidates, probability if draws > 1 else {})

    same = compare_same_views(views(), recording.baseline_m)
    described = {each: describe(iter(found), name=each) for each, found in kept.items()}
    textures = {each: Texture.of(found) for each, found in described.items()}
    real = described.pop(REFERENCE)
    return Judged(same, compare(described, real), textures, seconds)


def _probability(sensor: Sensor | Trained, view: View, draws: int) -> Any:
    if isinstance(sensor, Trained) and (own := sensor.hole_probability(view.clean)) is not None:
        return own
    holes = np.zeros(view.clean.camera.size, np.int64)
    for draw in range(1, draws + 1 if draws > 1 else 1):
        holes += ~measured_by(sensor, view.clean, draw).valid
    return frequency(holes, max(draws, 1))


def _where_truth_is(measured: Measured, view: View) -> DepthView:
    clean = view.clean
    depth_m = np.where(clean.valid & measured.valid, measured.depth_m, np.float32(0))
    return DepthView(depth_m, depth_m > 0, clean.camera, (clean.depth_m, clean.valid))


def figures(name: str, judged: Judged) -> list[Figure]:
    """Return what stands on the page, of every sensor: what has a bar, and what should be as the real camera's."""
    recording, data = RECORDINGS[name], f"{name}, second half of its frames"
    out: list[Figure] = []
    for sensor in judged.seconds:
        bars = (
            (
                "patches told from real ones",
                "AUC",
                judged.unpaired.value(_AUC, sensor),
                "lower",
                _most(sensor, recording),
            ),
            ("holes met", "IoU", judged.same.value("hole_iou", sensor), "higher", 0.3),
        )
        for title, unit, value, better, bar in bars:
            if value is not None:
                figure = Figure(name=f"{title}, {sensor}", value=value, unit=unit, better=better, data=data, bar=bar)
                out.append(figure)
        for title, unit, value, real in _as_real(sensor, judged):
            if value is not None and real is not None:
                peer = {"peer": "the real camera", "peer_value": real}
                figure = Figure(name=f"{title}, {sensor}", value=value, unit=unit, better="equal", data=data, **peer)
                out.append(figure)
    return out


def _most(sensor: str, recording: Recording) -> float:
    """Return the AUC that is asked: less of a preset or a fit that was made on the recording's other half."""
    return 0.65 if sensor == recording.own or sensor.endswith(_FITTED) else 0.75


def _as_real(sensor: str, judged: Judged) -> Iterator[tuple[str, str, float | None, float | None]]:
    found, real = judged.textures[sensor], judged.textures[REFERENCE]
    yield "correlation of noise along x", "px", found.correlation_x, real.correlation_x
    yield "correlation of noise along y", "px", found.correlation_y, real.correlation_y
    yield "roughness of normals, median", "deg", found.roughness, real.roughness
    for figure in _AS_REAL:
        row = judged.same.row(figure)
        yield row.title, row.unit or "-", row.values.get(sensor), row.values.get(REAL)


def main() -> None:
    """Print both tables of each recording."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--recording", choices=[*RECORDINGS, "all"], default="all")
    parser.add_argument("--sensor", action="append", default=[], metavar="PRESET_OR_FILE")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--half", type=int, choices=(0, 1, 2), default=2)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--prepared", type=Path, help="where fused meshes are kept for the next run")
    add_result_options(parser)
    parser.add_argument("--fit", action="append", default=[], metavar="PRESET_OR_FILE")
    parser.add_argument("--fit-frames", type=int, default=16, help="of the first half, to fit and as many to hold out")
    options = parser.parse_args()
    names = list(RECORDINGS) if options.recording == "all" else [options.recording]
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        for name in names:
            prepared = options.prepared or Path(folder)
            sensors = [*(options.sensor or RECORDINGS[name].presets)]
            fits = {}
            for preset in options.fit:
                began = time.perf_counter()
                fit = fitted(name, preset, prepared, options.fit_frames)
                file, _ = write_fit(fit, Path(folder) / f"{Path(preset).stem}{_FITTED}.yaml")
                fits[file.stem] = {"seconds": time.perf_counter() - began, **to_json(fit)}
                if not options.json:
                    print("\n".join(report(fit)))
                sensors.append(str(file))
            made = {Path(each).stem: sensor_for(each, RECORDINGS[name]) for each in sensors}
            found = judge(name, made, options.half, options.frames, options.draws, prepared)
            plain = {
                "half": options.half,
                "same view": found.same.to_json(),
                "unpaired": found.unpaired.to_json(),
                "textures": {each: texture._asdict() for each, texture in found.textures.items()},
                "seconds": found.seconds,
                "fits": {each: {key: of[key] for key in ("seconds", "parameters", "fit")} for each, of in fits.items()},
            }
            if options.json:
                print_json({"recording": name, **plain})
            else:
                print("\n".join(lines(name, options.half, found)))
            if options.save:
                save_run("bench_same_room", plain, figures(name, found), part=name)


def lines(name: str, half: int, found: Judged) -> list[str]:
    """Return what is printed of a recording."""
    return [
        f"\n{name}, {'all frames' if half == 0 else f'half {half}'}",
        *found.same.lines(),
        *found.unpaired.lines(),
        "all frames: noise's correlation along x / y, px; roughness, deg:",
        *(
            f"  {each}: {t.correlation_x:.2f} / {t.correlation_y:.2f}; {t.roughness:.1f}"
            for each, t in found.textures.items()
        ),
        "ms a frame: " + ", ".join(f"{each} {1000 * s:.0f}" for each, s in found.seconds.items()),
    ]


if __name__ == "__main__":
    main()
