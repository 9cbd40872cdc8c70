"""Simulated sensors beside what they should equal: Open3D, published noisy frames, published code, real scans.

python -m benchmarks.bench_parity [--repeats 10] [--json] [--save]

Redwood: every random number at 0 on both sides, real clean frames and made-up images, 640x480, with one distortion
table; bar: one disparity step on every pixel. Its noise: five published noisy frames and the clean ones behind them,
beside ours and Open3D's simulator with our table. Lidar: the surfaces of real KITTI frames, scanned again. Kinect: the
published profile on stored runs of the published code (speed beside that: bench_simulation). RealSense: how far noise
reaches in a real frame and on a simulated wall. The real data lie beside the checkout, or where DEPTHFORGE_SHARED
says; what is missing is left out and named. ``tests/real/parity.py`` says how each figure is measured, and the tests
beside it hold them to their bars.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.parity_figures import FIGURES
from benchmarks.results import add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table, shared_folder
from depthforge.sensors.lidar import Lidar
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.redwood import Redwood, measure, simulate
from tests.real import parity

Rows = list[dict[str, Any]]
PRESETS = {"redwood": Redwood(), "primesense_redwood": parse_sensor("primesense_redwood")}
NUM_PUBLISHED = 5


def clean_frames(data: Path | None) -> list[tuple[str, parity.Float32]]:
    """Return the images that Redwood is compared on, with the kind of each."""
    real = [] if data is None else [data / "clean/livingroom1/depth" / f"{n:05d}.png" for n in parity.REAL_FRAMES]
    return [*(("real frames", parity.depth_m(path)) for path in real), *parity.made_up_images()]


def redwood_beside_open3d(data: Path | None, folder: Path, repeats: int) -> Rows:
    """Compare both presets with Open3D on every image; time both on the first one."""
    rows: Rows = []
    images = clean_frames(data)
    for name, sensor in PRESETS.items():
        open3d = parity.open3d_simulator(sensor, folder)
        kinds: dict[str, list[parity.Apart]] = defaultdict(list)
        for kind, image_m in images:
            kinds[kind].append(parity.steps_apart(parity.without_noise(image_m, sensor), open3d(image_m, 1.0)))
        first_m = images[0][1]
        no_draws = np.zeros((3, *first_m.shape), np.float32)
        seconds = in_turn(
            {"ours": partial(measure, first_m, no_draws, sensor), "open3d": partial(open3d, first_m, 1.0)},
            repeats=repeats,
        )
        rates = {who: 1 / median(times) for who, times in seconds.items()}
        everything = [each for kind in kinds.values() for each in kind]
        for kind, apart in (*kinds.items(), ("all", everything)):
            rows.append(
                {
                    "preset": name,
                    "images": kind,
                    "count": len(apart),
                    "pixels": sum(each.pixels for each in apart),
                    "max_steps": max(each.max_steps for each in apart),
                    "holes_differ": sum(each.holes_differ for each in apart),
                    "steps_differ": sum(each.steps_differ for each in apart),
                    "bits_differ": sum(each.bits_differ for each in apart),
                    **(rates if kind == "all" else {}),
                }
            )
    return rows


def noise_beside_published(data: Path, folder: Path) -> Rows:
    """Return the figures of noisy frames against the clean ones: the published ones, ours, Open3D's."""
    sensor = PRESETS["primesense_redwood"]
    assert isinstance(sensor, Redwood)
    figures: dict[str, list[parity.NoiseFigures]] = defaultdict(list)
    open3d = None
    with contextlib.suppress(ImportError, OSError):  # main says that it is missing
        open3d = parity.open3d_simulator(sensor, folder, deterministic=False)
    for number in range(NUM_PUBLISHED):
        clean_m, published_m = (
            parity.depth_m(data / "clean" / each / "depth" / f"{number:05d}.png")
            for each in ("livingroom1", "livingroom1_redwood_kinect")
        )
        ours_m = simulate(clean_m, clean_m > 0, (number, 0), sensor)[0]
        noisy = {"published frames": published_m, "primesense_redwood": ours_m}
        if open3d is not None:
            noisy["Open3D, our table"] = open3d(clean_m, 1.0)
        for name, noisy_m in noisy.items():
            figures[name].append(parity.noise_figures(clean_m, noisy_m))
    return [
        {"noisy": name, **{field: [getattr(each, field) for each in found] for field in parity.NoiseFigures._fields}}
        for name, found in figures.items()
    ]


def lidar_beside_kitti(data: Path) -> Rows:
    """Describe the pattern of real scans, and of their surfaces scanned again by the presets."""
    rows: Rows = []
    for name in parity.KITTI_FRAMES:
        real_m, camera = parity.kitti_scan(data / "outdoor" / "kitti_object", name)
        real = real_m > 0
        rows.append({"frame": name, "scanner": "real", **_pattern(parity.pattern_of(real))})
        for preset in ("hdl_64e", "hdl_64e_kitti"):
            sensor = parse_sensor(preset)
            assert isinstance(sensor, Lidar)
            found_m, valid = parity.rescanned(real_m, camera, sensor)
            agreement = parity.row_agreement(valid, real)
            best = max(agreement, key=lambda shift: agreement[shift])
            rows.append(
                {
                    "frame": name,
                    "scanner": preset,
                    **_pattern(parity.pattern_of(valid)),
                    "row_correlation": agreement[0],
                    "best_shift_rows": best,
                    "median_apart_mm": 1000 * float(np.median(np.abs(found_m - real_m)[valid & real])),
                }
            )
    return rows


def _pattern(pattern: parity.Pattern) -> dict[str, float]:
    return {
        "density": pattern.density,
        "near_density": pattern.near_density,
        "rows_in_columns": pattern.rows_in_columns,
        "first_row": pattern.first_row,
    }


def kinect_beside_published(golden: Path) -> Rows:
    """Return the share of pixels that equal the stored output, and the largest difference, in double and single."""
    rows: Rows = []
    grid = parity.simkinect_grid(golden)
    for name in parity.SIMKINECT_RUNS:
        run = parity.simkinect_run(golden, name)
        expected = run["noisy_depth_m"]
        for dtype in (np.float64, np.float32):
            found = parity.simkinect_measured(run, grid, dtype)
            both = (found > 0) & (expected > 0)
            rows.append(
                {
                    "run": name,
                    "precision": np.dtype(dtype).name,
                    "pixels": expected.size,
                    "not_equal": int(np.count_nonzero(found != expected.astype(dtype))),
                    "holes_differ": int(np.count_nonzero((found > 0) != (expected > 0))),
                    "largest_apart_mm": 1000 * float(np.abs(found - expected)[both].max(initial=0)),
                    "largest_apart_steps": float(_kinect_steps_apart(found, expected)[both].max(initial=0)),
                }
            )
    return rows


def _kinect_steps_apart(found: parity.Float64, expected: parity.Float64) -> parity.Float64:
    steps_m = 8 * parity.PUBLISHED.depth_disparity_m_px
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(steps_m / found.astype(np.float64) - steps_m / expected)


def noise_beside_realsense(data: Path) -> Rows:
    """Return how far the noise of a real frame and of a simulated wall reaches."""
    real = parity.realsense_noise(data / "real" / "graspnet_realsense")
    simulated = parity.simulated_realsense_noise(real.sigma_px)
    return [
        {
            "frame": name,
            "sigma_px": reach.sigma_px,
            "along_rows": list(reach.correlation[0]),
            "along_columns": list(reach.correlation[1]),
        }
        for name, reach in (("real RealSense", real), ("active_stereo", simulated))
    ]


def main() -> None:
    """Compare every sensor that can be compared here, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    add_result_options(parser)
    options = parser.parse_args()

    this_machine = machine()
    # One core for everybody; before Open3D is loaded, because OpenMP counts the cores then.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)

    data, golden = shared_folder("data"), shared_folder("golden")
    found: dict[str, Rows] = {}
    missing = []
    if data is None:
        missing.append("real frames: no folder `data` beside the checkout; set DEPTHFORGE_SHARED to what holds it")
    if golden is None:
        missing.append("stored runs of the published Kinect code: no folder `golden`; set DEPTHFORGE_SHARED likewise")
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        try:
            found["redwood"] = redwood_beside_open3d(data, Path(folder), options.repeats)
        except (ImportError, OSError) as error:
            missing.append(f"Open3D: {str(error).splitlines()[0]}")
        if data is not None:
            found["noise"] = noise_beside_published(data, Path(folder))
            found["lidar"] = lidar_beside_kitti(data)
            found["realsense"] = noise_beside_realsense(data)
        if golden is not None:
            found["kinect"] = kinect_beside_published(golden)
    if options.save:
        for name, rows in found.items():
            save_run("bench_parity", {name: rows}, FIGURES[name](rows), part=name, note=options.note)
    if options.json:
        print_json({**found, "left_out": missing})
        return
    print(f"{this_machine}, one of them used")
    for name, show in SHOWN.items():
        if name in found:
            show(found[name])
    for each in missing:
        print(f"\n  left out: {each}")


def _show_redwood(rows: Rows) -> None:
    table = [
        [
            row["preset"],
            f"{row['count']} {row['images']}",
            f"{row['pixels'] / 1e6:.1f}",
            row["max_steps"],
            row["holes_differ"],
            row["steps_differ"],
            f"{row['bits_differ']} ({row['bits_differ'] / row['pixels']:.1e})",
            f"{row['ours']:.0f}" if "ours" in row else "",
            f"{row['open3d']:.0f}" if "open3d" in row else "",
        ]
        for row in rows
    ]
    header = ["preset", "images", "Mpx", "steps apart at most", "holes differ", "a step apart", "not the same bits"]
    print_table(
        "Redwood beside Open3D, without random numbers: pixels (bar: at most one step)",
        table,
        [*header, "frames/s", "Open3D's"],
    )


def _show_noise(rows: Rows) -> None:
    table = [
        [
            row["noisy"],
            *(f"{min(row[name]):.2f} .. {max(row[name]):.2f}" for name in ("mean_abs_mm", "median_abs_mm")),
            f"{min(row['bias_mm']):+.2f} .. {max(row['bias_mm']):+.2f}",
            f"{np.mean(row['holes']):.1%}",
        ]
        for row in rows
    ]
    header = ["noisy frames", "mean abs, mm", "median abs, mm", "bias, mm", "holes"]
    print_table(f"Noise of {NUM_PUBLISHED} frames against the clean ones, least .. most", table, header)


def _show_lidar(rows: Rows) -> None:
    table = [
        [
            row["frame"],
            row["scanner"],
            f"{row['density']:.2%}",
            f"{row['near_density']:.2%}",
            f"{row['rows_in_columns']:.1f}",
            row["first_row"],
            f"{row['row_correlation']:.2f}" if "row_correlation" in row else "",
            f"{row['best_shift_rows']:+d}" if "best_shift_rows" in row else "",
            f"{row['median_apart_mm']:.0f}" if "median_apart_mm" in row else "",
        ]
        for row in rows
    ]
    header = ["frame", "scanner", "density", f"below row {parity.NEAR_ROW}", "rows a column", "first row"]
    print_table(
        "Lidar beside KITTI (hdl_64e_kitti has the calibration of the day of 000001 and 000002)",
        table,
        [*header, "correlation by row", "best at shift", "depth apart, median mm"],
    )


def _show_kinect(rows: Rows) -> None:
    table = [
        [
            row["run"],
            row["precision"],
            f"{1 - row['not_equal'] / row['pixels']:.4%}",
            row["not_equal"],
            row["holes_differ"],
            f"{row['largest_apart_mm']:.2g}",
            f"{row['largest_apart_steps']:.2g}",
        ]
        for row in rows
    ]
    header = ["run", "computed in", "equal pixels", "not equal", "holes differ", "apart at most, mm", "in steps"]
    print_table("kinect_v1_published, published profile, beside stored runs of the published code", table, header)


def _show_realsense(rows: Rows) -> None:
    table = [
        [
            row["frame"],
            f"{row['sigma_px']:.3f}",
            *(" ".join(f"{value:.2f}" for value in row[name]) for name in ("along_rows", "along_columns")),
        ]
        for row in rows
    ]
    lags = ", ".join(str(lag) for lag in parity.NOISE_LAGS_PX)
    header = ["frame", "sigma, px of disparity", f"correlation at {lags} px along rows", "along columns"]
    print_table("D435: how far noise reaches (sigma is given to the simulation)", table, header)


SHOWN = {
    "redwood": _show_redwood,
    "noise": _show_noise,
    "lidar": _show_lidar,
    "kinect": _show_kinect,
    "realsense": _show_realsense,
}


if __name__ == "__main__":
    main()
