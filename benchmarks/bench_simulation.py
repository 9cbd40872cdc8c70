"""The Kinect v1 simulation on one core, a 640x480 frame at a time, random numbers included, beside its peers.

python -m benchmarks.bench_simulation [--repeats 10] [--json] [--save]

Peers: the published algorithm as a loop over windows and as plain NumPy (both give the published output bit for bit),
and Open3D's DepthNoiseSimulator, another noise model of the same sensor, with a distortion table that changes nothing.
Bars: 60 times the loop, 6 times NumPy, as fast as Open3D. Also printed: what the first frame of a process costs,
with the compiled code on disk and without.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.peers_simulation import simulate_loop, simulate_numpy
from benchmarks.results import Figure, add_result_options, save_run
from benchmarks.timing import in_turn, machine, median, print_json, print_table, shared_folder
from depthforge.frame import Camera, Frame
from depthforge.sensors.dot_pattern import tiled_dots
from depthforge.translators.simulation import Simulation

HEIGHT, WIDTH = 480, 640
BARS = {"loop over windows": 60.0, "NumPy": 6.0, "Open3D DepthNoiseSimulator": 1.0}
FIRST_FRAME = """
import time
start = time.perf_counter()
import numpy as np
from depthforge.sensors.structured_light import StructuredLight, simulate
simulate(np.full((480, 640), 2, np.float32), np.ones((480, 640), np.bool_), (1, 2), StructuredLight())
print(time.perf_counter() - start)
"""


def clean_depth() -> npt.NDArray[np.float32]:
    """Return a clean (480, 640) depth image in metres: a real render where there is one, else boxes in a room."""
    folder = shared_folder("data", "clean", "icl_simkinect", "depth")
    if folder is not None:
        stored = cv2.imread(str(sorted(folder.glob("*.png"))[0]), cv2.IMREAD_UNCHANGED)
        return (stored / 5000.0).astype(np.float32)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    room = np.minimum(4.0 - np.abs(x - WIDTH / 2) / 400, 480 / np.maximum(y - 200, 120))
    for top, left, size, near in ((220, 80, 140, 1.6), (260, 300, 120, 1.9), (180, 460, 160, 2.4)):
        room[top : top + size, left : left + size] = near + 0.001 * x[:size, :size]
    return room.astype(np.float32)


def open3d_simulator(depth_m: npt.NDArray[np.float32]) -> Callable[[], Any]:
    """Return a call of Open3D's simulator on ``depth_m``; ImportError or OSError where Open3D cannot be loaded."""
    import open3d as o3d

    # Its table: 5 lines of header, then 23 numbers for each of 80 x 80 cells, 5 of them limits and 5 factors.
    cell = ["0"] * 3 + ["8000"] * 5 + ["0"] * 10 + ["1"] * 5
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        table = Path(folder) / "flat.txt"
        table.write_text("%\n" * 5 + "\n".join(cell * 80 * 80) + "\n")
        simulator = o3d.t.io.DepthNoiseSimulator(str(table))
    image = o3d.t.geometry.Image(o3d.core.Tensor(np.rint(depth_m * 1000).astype(np.uint16)[..., None]))
    if not simulator.simulate(image, depth_scale=1000.0).as_tensor().numpy().any():
        raise OSError("Open3D did not take the distortion table")
    return lambda: simulator.simulate(image, depth_scale=1000.0)


def contestants() -> tuple[dict[str, Callable[[], Any]], str | None]:
    """Return every contestant by name, and why Open3D is not among them if so."""
    depth_m = clean_depth()
    camera = Camera(480.0, 480.0, 319.5, 239.5, WIDTH, HEIGHT)
    frame = Frame("benchmark/room/0", depth_m, np.ones(camera.size, np.bool_), camera)
    ours = Simulation(Simulation.Config())
    pattern = tiled_dots(HEIGHT, WIDTH).astype(np.uint8) * np.uint8(255)
    exact = depth_m.astype(np.float64)
    rng = np.random.default_rng(0)

    def peer(simulate: Callable[..., Any]) -> Callable[[], Any]:
        def run() -> Any:
            shifts = rng.normal(0.0, 0.5, (HEIGHT, WIDTH, 2)).astype(np.float32)
            return simulate(exact, shifts, rng.standard_normal((HEIGHT, WIDTH)), pattern)

        return run

    found: dict[str, Callable[[], Any]] = {
        "depthforge": lambda: ours.translate(frame, (1, 2)),
        "loop over windows": peer(simulate_loop),
        "NumPy": peer(simulate_numpy),
    }
    try:
        found["Open3D DepthNoiseSimulator"] = open3d_simulator(depth_m)
    except (ImportError, OSError) as error:
        return found, str(error).splitlines()[0]
    return found, None


def first_frame_s() -> tuple[float, float]:
    """Return the seconds from import to the first frame in a new process: nothing compiled, then all on disk."""
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        cold, warm = (
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_FRAME], env=environment, capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(2)
        )
    return cold, warm


def figures(seconds: Mapping[str, float], first_frame_from_disk_s: float) -> list[Figure]:
    """Return what the page shows of the medians."""
    data = f"a frame of {WIDTH}x{HEIGHT}, one core"
    beside = [
        Figure(
            name="Kinect v1 simulation",
            value=seconds["depthforge"] * 1e3,
            unit="ms",
            better="lower",
            peer=peer,
            peer_value=seconds[peer] * 1e3,
            bar=bar,
            bar_of="ratio",
            data=data,
        )
        for peer, bar in BARS.items()
        if peer in seconds
    ]
    first = "first frame of a process, imports included, compiled code on disk"
    return [*beside, Figure(name=first, value=first_frame_from_disk_s, unit="s", better="lower", data=data)]


def main() -> None:
    """Time all contestants in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    add_result_options(parser)
    options = parser.parse_args()

    # One core for everybody; before Open3D is loaded, because OpenMP counts the cores then.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.environ["OMP_NUM_THREADS"] = "1"
    cv2.setNumThreads(1)

    runs, no_open3d = contestants()
    medians = {name: median(seconds) for name, seconds in in_turn(runs, repeats=options.repeats).items()}
    ratios = {name: seconds / medians["depthforge"] for name, seconds in medians.items()}
    cold_s, warm_s = first_frame_s()
    found = {
        "milliseconds": {name: seconds * 1e3 for name, seconds in medians.items()},
        "times_depthforge": ratios,
        "bars": BARS,
        "first_frame_s": {"compiling": cold_s, "from_disk": warm_s},
        "open3d_missing": no_open3d,
    }
    if options.save:
        save_run("bench_simulation", found, figures(medians, warm_s), note=options.note)
    if options.json:
        print_json(found)
        return
    print(f"{machine()}; {WIDTH}x{HEIGHT}, {options.repeats} repeats in turn")
    rows = [
        [name, f"{seconds * 1e3:.1f}", f"{ratios[name]:.1f}", f"{BARS[name]:.0f}" if name in BARS else ""]
        for name, seconds in medians.items()
    ]
    print_table("Kinect v1 simulation of one frame", rows, ["", "ms", "times ours", "bar"])
    if no_open3d:
        print(f"\n  Open3D was left out: {no_open3d}")
    print(f"\n  first frame of a process: {warm_s:.1f} s, {cold_s:.1f} s when nothing is compiled yet")


if __name__ == "__main__":
    main()
