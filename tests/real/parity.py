"""Simulated sensors held against something else: Open3D, the published Kinect code, real scans of a lidar and a D435.

What is measured is defined here once: the tests beside this file hold it to its bars, ``benchmarks/bench_parity.py``
prints it. Images are depth in metres (H, W), 0 for holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from depthforge.frame import Camera, Frame
from depthforge.sensors import structured_light as sl
from depthforge.sensors.active_stereo import ActiveStereo
from depthforge.sensors.distortion import table_text
from depthforge.sensors.dot_grid import DotGrid
from depthforge.sensors.lidar import Lidar
from depthforge.sensors.lidar import simulate as scan
from depthforge.sensors.redwood import Redwood, distortion_table, measure

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Simulator = Callable[[npt.NDArray[Any], float], npt.NDArray[Any]]


def depth_m(path: Path) -> Float32:
    """Return the depth of a 16-bit image in millimetres."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise FileNotFoundError(path)
    return np.asarray(stored / 1000, np.float32)


# Redwood beside Open3D, and beside the published noisy frames.

REDWOOD_STEPS_M = 35.130 * 8
"""Disparity steps at 1 m."""
REAL_FRAMES = (0, 60, 120, 180)
"""Of clean/livingroom1."""


def open3d_simulator(sensor: Redwood, folder: Path, *, deterministic: bool = True) -> Simulator:
    """Return Open3D's simulator with the table of ``sensor``, as a function of an image and its units in a metre.

    ``folder`` takes the table as a file. Raises ImportError or OSError where Open3D cannot be loaded.
    """
    import open3d as o3d

    path = folder / "table.txt"
    path.write_text(table_text(distortion_table(sensor)))
    simulator = o3d.t.io.DepthNoiseSimulator(str(path))
    if deterministic:
        simulator.enable_deterministic_debug_mode()

    def run(image: npt.NDArray[Any], units_per_metre: float) -> npt.NDArray[Any]:
        tensor = o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(image)[..., None]))
        return np.asarray(simulator.simulate(tensor, depth_scale=units_per_metre).as_tensor().numpy()[..., 0])

    return run


def without_noise(image_m: Float32, sensor: Redwood) -> Float32:
    """Return what ``sensor`` measures with every random number at 0, as Open3D's deterministic mode has it."""
    return measure(image_m, np.zeros((3, *image_m.shape), np.float32), sensor)


class Apart(NamedTuple):
    """Two depth images of one view: pixels, those that one alone measures, the rest in disparity steps and bits."""

    pixels: int
    holes_differ: int
    max_steps: int
    steps_differ: int
    bits_differ: int


def steps_apart(found_m: npt.NDArray[Any], expected_m: npt.NDArray[Any]) -> Apart:
    """Compare two float32 images."""
    both = (found_m > 0) & (expected_m > 0)
    first, second = (np.rint(REDWOOD_STEPS_M / image_m[both].astype(np.float64)) for image_m in (found_m, expected_m))
    return Apart(
        pixels=found_m.size,
        holes_differ=int(np.count_nonzero((found_m > 0) != (expected_m > 0))),
        max_steps=int(np.abs(first - second).max(initial=0)),
        steps_differ=int(np.count_nonzero(first != second)),
        bits_differ=int(np.count_nonzero(found_m.view(np.uint32) != expected_m.view(np.uint32))),
    )


def made_up_images() -> Iterator[tuple[str, Float32]]:
    """Yield (kind, image 480x640): planes, ramps, steps, and depth at random with holes, near and beyond the range."""
    y, x = np.mgrid[:480, :640].astype(np.float32)
    rng = np.random.default_rng(0)
    for z in (0.5, 1.0, 2.71, 6.3):
        yield "planes", np.full((480, 640), z, np.float32)
    for across, down, z in ((0.003, 0.0, 1.5), (-0.002, 0.003, 4.0), (0.0004, -0.0011, 0.9)):
        ramp = z + across * (x - 320) + down * (y - 240)
        yield "ramps", np.where(ramp > 0.3, ramp, 0).astype(np.float32)
    for width, height in ((37, 23), (8, 6)):
        yield "steps", np.where((x // width) % 2 == 0, 1.0, 3.3).astype(np.float32) + y // height * np.float32(0.1)
    for share in (0.02, 0.4):
        image = rng.uniform(0.3, 15, (480, 640)).astype(np.float32)
        image[rng.random(image.shape) < share] = 0
        yield "noise with holes", image


class NoiseFigures(NamedTuple):
    """Noisy against clean: mean and median |difference|, mean difference, and the share of holes."""

    mean_abs_mm: float
    median_abs_mm: float
    bias_mm: float
    holes: float


def noise_figures(clean_m: Float32, noisy_m: Float32) -> NoiseFigures:
    """Compare where both have depth."""
    both = (clean_m > 0) & (noisy_m > 0)
    error_mm = (noisy_m - clean_m)[both].astype(np.float64) * 1000
    holes = float((noisy_m == 0).mean())
    return NoiseFigures(
        float(np.abs(error_mm).mean()), float(np.median(np.abs(error_mm))), float(error_mm.mean()), holes
    )


# The lidar beside KITTI's.

KITTI_FRAMES = ("000000", "000001", "000002")
NEAR_ROW = 220
"""From here down an image shows road and near walls only."""


def kitti_scan(folder: Path, name: str) -> tuple[Float32, Camera]:
    """Return a real scan in the left colour image, planar z (H, W), nearest first; and the camera."""
    lines = (folder / "calib" / f"{name}.txt").read_text().splitlines()
    calibration = {key: np.array(text.split(), float) for key, text in (line.split(":") for line in lines if line)}
    projection = calibration["P2"].reshape(3, 4)
    to_camera = np.eye(4)
    to_camera[:3] = calibration["R0_rect"].reshape(3, 3) @ calibration["Tr_velo_to_cam"].reshape(3, 4)
    points = np.fromfile(folder / "velodyne" / f"{name}.bin", np.float32).reshape(-1, 4).astype(float)
    points[:, 3] = 1
    x, y, z = projection @ to_camera @ points.T
    image = cv2.imread(str(folder / "image_2" / f"{name}.png"))
    assert image is not None
    height, width = image.shape[:2]
    column, row = (np.floor(at / z + 0.5).astype(int) for at in (x, y))
    inside = (z > 0.5) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    depth = np.full((height, width), np.inf)
    np.minimum.at(depth, (row[inside], column[inside]), z[inside])
    (fx, _, cx), (_, fy, cy) = projection[0, :3], projection[1, :3]
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32), Camera(fx, fy, cx, cy, width, height)


def surfaces(scanned_m: Float32) -> Float32:
    """Return dense depth (H, W): planes in inverse depth between the returns of a scan."""
    from scipy.interpolate import LinearNDInterpolator

    at = np.nonzero(scanned_m)
    grid = np.mgrid[: scanned_m.shape[0], : scanned_m.shape[1]]
    inverse = LinearNDInterpolator(np.stack(at, -1), 1 / scanned_m[at].astype(float), fill_value=0)(tuple(grid))
    return np.where(inverse > 0, 1 / np.maximum(inverse, 1e-9), 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Where returns lie in an image: their share of it and of its lower part, and how many lines cross a column."""

    density: float
    near_density: float
    rows_in_columns: float
    first_row: int


def pattern_of(valid: Bool) -> Pattern:
    """Describe the returns of a scan (H, W)."""
    strips = [np.asarray(valid[:, at : at + 6].any(axis=1)) for at in range(20, valid.shape[1] - 20, 40)]
    return Pattern(
        density=float(valid.mean()),
        near_density=float(valid[NEAR_ROW:].mean()),
        # Lines that cross a strip of 6 columns.
        rows_in_columns=float(np.mean([np.count_nonzero(strip[1:] & ~strip[:-1]) + strip[0] for strip in strips])),
        first_row=int(np.flatnonzero(valid.any(axis=1))[0]),
    )


def rescanned(real_m: Float32, camera: Camera, sensor: Lidar) -> tuple[Float32, Bool]:
    """Return what ``sensor`` measures of the surfaces that a real scan has hit, and where."""
    dense_m = surfaces(real_m)
    return scan(dense_m, dense_m > 0, camera, (1, 2), sensor)


def row_agreement(valid: Bool, real: Bool, *, farthest: int = 8) -> dict[int, float]:
    """Return the correlation of returns per image row with the real ones, by rows that ours are shifted up."""
    inner = slice(pattern_of(real).first_row + farthest, real.shape[0] - farthest)
    expected, found = real.mean(axis=1)[inner], valid.mean(axis=1)
    return {
        shift: float(np.corrcoef(expected, np.roll(found, -shift)[inner])[0, 1])
        for shift in range(-farthest, farthest + 1)
    }


# Kinect v1 beside stored runs of the published code.

PUBLISHED = sl.StructuredLight(published=True)
INVALID_DISPARITY = 99999999.9
SIMKINECT_RUNS = ("frame_181_seed1181", "holes_block_seed7", "holes_speckle_seed7")

Run = dict[str, npt.NDArray[Any]]


def simkinect_run(golden: Path, name: str) -> Run:
    """Return the stored stages of one run."""
    with np.load(golden / "simkinect" / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def simkinect_grid(golden: Path) -> DotGrid:
    """Return the published dot pattern as the published code uses it."""
    pattern = np.load(golden / "simkinect" / "pattern.npz")["dot_pattern"]
    return DotGrid.from_pattern(pattern, (480, 640), window=9, radius=3, mass_fraction=1 / 1.2, skip_last=True)


def draws_of(run: Run) -> Float64:
    """Return the (3, H, W) draws behind the stored shifts (sigma 0.5 px) and the stored normals."""
    return np.stack([*np.moveaxis(run["shifts"] / PUBLISHED.shift_sigma_px, -1, 0), run["final_normal"]])


def simkinect_measured(run: Run, grid: DotGrid, dtype: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return depth (H, W) in metres as our kernel measures it from the draws of a run, computed in ``dtype``."""
    return sl.measure(run["input_depth_m"].astype(dtype), draws_of(run).astype(dtype), PUBLISHED, grid)


# Active stereo beside a real RealSense frame.

NOISE_LAGS_PX = (1, 2, 3, 4)
_HALF_WINDOW = 24
_FOCAL_PX, _BASELINE_M = 927.0, 0.05


class NoiseReach(NamedTuple):
    """Autocorrelation (2, 4) of disparity noise at ``NOISE_LAGS_PX`` along rows and columns, and its sigma in px."""

    correlation: Float64
    sigma_px: float


def realsense_noise(folder: Path) -> NoiseReach:
    """Return the noise of the frame of ``real/graspnet_realsense``."""
    return noise_reach(depth_m(folder / "depth.png"))


def simulated_realsense_noise(sigma_px: float) -> NoiseReach:
    """Return the noise of a wall at 0.46 m, 640x480, as active stereo with the D435's baseline measures it."""
    height, width = 480, 640
    wall = np.full((height, width), 0.46, np.float32)
    camera = Camera(_FOCAL_PX, _FOCAL_PX, width / 2, height / 2, width, height)
    sensor = ActiveStereo(baseline_m=_BASELINE_M, noise_sigma_px=sigma_px, noise_correlation_px=4.0, blank_band=False)
    measured = sensor.measure(Frame("a/b/c", wall, wall > 0, camera), (1, 2)).depth_m
    # The sensor of that set reports whole millimetres.
    return noise_reach(np.rint(measured.astype(np.float64) * 1000) / 1000)


def noise_reach(image_m: npt.NDArray[Any]) -> NoiseReach:
    """Return how far the noise about quadrics reaches in windows of 49 x 49 pixels.

    Of the windows without holes the flattest 40 % count: the others hold edges.
    """
    disparity = np.where(image_m > 0, _FOCAL_PX * _BASELINE_M / np.maximum(image_m, 1e-6), 0.0)
    y, x = (
        grid.ravel() / _HALF_WINDOW
        for grid in np.mgrid[-_HALF_WINDOW : _HALF_WINDOW + 1, -_HALF_WINDOW : _HALF_WINDOW + 1]
    )
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)
    remover = np.eye(x.size) - design @ np.linalg.pinv(design)
    size = 2 * _HALF_WINDOW + 1
    windows = [
        disparity[top : top + size, left : left + size]
        for top in range(0, disparity.shape[0] - size, size)
        for left in range(0, disparity.shape[1] - size, size)
    ]
    whole = np.array([window.ravel() for window in windows if (window > 0).all()])
    residual = (whole @ remover).reshape(-1, size, size)
    sigma = residual.std(axis=(1, 2))
    flat = residual[sigma < np.percentile(sigma, 40)] if sigma.std() > 0.1 * sigma.mean() else residual
    variance = (flat**2).mean(axis=(1, 2))
    shares = [
        [((flat[:, :, :-lag] * flat[:, :, lag:]).mean(axis=(1, 2)) / variance) for lag in NOISE_LAGS_PX],
        [((flat[:, :-lag] * flat[:, lag:]).mean(axis=(1, 2)) / variance) for lag in NOISE_LAGS_PX],
    ]
    return NoiseReach(np.median(shares, axis=2), float(np.median(np.sqrt(variance))))
