"""Simulated sensors beside independent implementations and real scans: Redwood by Open3D, the lidar by KITTI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from depthforge.frame import Camera
from depthforge.sensors._distortion import own_table, table_text
from depthforge.sensors._presets import parse_sensor
from depthforge.sensors.lidar import Lidar
from depthforge.sensors.lidar import simulate as scan
from depthforge.sensors.redwood import Redwood, measure, simulate

Float32 = npt.NDArray[np.float32]


def depth_m(path: Path) -> Float32:
    """Depth in metres of a 16-bit image in millimetres."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert stored is not None, path
    return np.asarray(stored / 1000, np.float32)


@pytest.fixture(scope="module")
def open3d_simulator(tmp_path_factory: pytest.TempPathFactory) -> Any:
    o3d = pytest.importorskip("open3d")
    path = tmp_path_factory.mktemp("open3d") / "own.txt"
    path.write_text(table_text(own_table()))
    simulator = o3d.t.io.DepthNoiseSimulator(str(path))
    simulator.enable_deterministic_debug_mode()

    def run(image: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
        source = o3d.t.geometry.Image(o3d.core.Tensor(np.ascontiguousarray(image)[..., None]))
        return np.asarray(simulator.simulate(source, depth_scale=scale).as_tensor().numpy()[..., 0])

    return run


@pytest.mark.parametrize("number", [0, 60, 120, 180])
def test_redwood_is_open3d_to_one_disparity_step_on_every_pixel(
    number: int, shared_data: Path, open3d_simulator: Any
) -> None:
    clean_m = depth_m(shared_data / "clean" / "livingroom1" / "depth" / f"{number:05d}.png")
    expected_m = open3d_simulator(clean_m, 1.0)
    found_m = measure(clean_m, np.zeros((3, *clean_m.shape), np.float32), Redwood())
    np.testing.assert_array_equal(found_m > 0, expected_m > 0)
    steps = [np.rint(281.04 / z[expected_m > 0].astype(np.float64)) for z in (found_m, expected_m)]
    assert np.abs(steps[0] - steps[1]).max() <= 1
    assert (steps[0] != steps[1]).mean() < 1e-4
    # As it is mostly used, on whole millimetres, which it cuts off.
    expected_mm = open3d_simulator(np.rint(clean_m * 1000).astype(np.uint16), 1000.0)
    apart_m = np.abs(np.trunc(found_m * 1000) - expected_mm) / 1000
    assert (apart_m <= found_m**2 / 281.04 * 1.02 + 0.001).all()
    assert (apart_m > 0.001).mean() < 1e-4


def test_primesense_is_as_noisy_as_the_published_noisy_frames(shared_data: Path) -> None:
    sensor = parse_sensor("primesense")
    assert isinstance(sensor, Redwood)
    figures = []
    for number in range(5):
        clean_m, noisy_m = (
            depth_m(shared_data / "clean" / folder / "depth" / f"{number:05d}.png")
            for folder in ("livingroom1", "livingroom1_redwood_kinect")
        )
        ours_m, valid = simulate(clean_m, clean_m > 0, (number, 0), sensor)
        figures.append([figures_of(clean_m, z) for z in (noisy_m, ours_m)])
        # Their blind border and ours.
        rows, columns = slice(14, 466), slice(60, 606)
        assert valid[rows, columns].mean() == pytest.approx((noisy_m > 0)[rows, columns].mean(), abs=0.03)
    theirs, ours = np.mean(figures, axis=0)
    for name, found, expected, tolerance in zip(
        ("mean abs mm", "median abs mm", "bias mm", "holes"), ours, theirs, (2.0, 1.0, 2.0, 0.03), strict=True
    ):
        assert found == pytest.approx(expected, abs=tolerance), name


def figures_of(clean_m: Float32, noisy_m: Float32) -> tuple[float, float, float, float]:
    both = (clean_m > 0) & (noisy_m > 0)
    error_mm = (noisy_m - clean_m)[both].astype(np.float64) * 1000
    holes = float((noisy_m == 0).mean())
    return float(np.abs(error_mm).mean()), float(np.median(np.abs(error_mm))), float(error_mm.mean()), holes


def kitti_scan(folder: Path, name: str) -> tuple[Float32, Camera]:
    """A real scan in the left colour image: planar z (H, W), 0 where none, nearest first; and the camera."""
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
    """Dense depth (H, W): planes in inverse depth between the returns of a scan."""
    from scipy.interpolate import LinearNDInterpolator

    at = np.nonzero(scanned_m)
    grid = np.mgrid[: scanned_m.shape[0], : scanned_m.shape[1]]
    inverse = LinearNDInterpolator(np.stack(at, -1), 1 / scanned_m[at].astype(float), fill_value=0)(tuple(grid))
    return np.where(inverse > 0, 1 / np.maximum(inverse, 1e-9), 0).astype(np.float32)


def rows_in_columns(valid: npt.NDArray[np.bool_]) -> float:
    """How many scan lines cross a strip of 6 columns, on average over the image."""
    strips = [np.asarray(valid[:, at : at + 6].any(axis=1)) for at in range(20, valid.shape[1] - 20, 40)]
    return float(np.mean([np.count_nonzero(strip[1:] & ~strip[:-1]) + strip[0] for strip in strips]))


# Density of a frame, of its lower part (all of it road and near walls), and scan lines in a column.
@pytest.mark.parametrize("name", ["000000", "000001", "000002"])
def test_the_lidar_scans_the_surfaces_of_a_kitti_frame_as_densely_as_the_real_one(name: str, shared_data: Path) -> None:
    real_m, camera = kitti_scan(shared_data / "outdoor" / "kitti_object", name)
    dense_m = surfaces(real_m)
    for preset in ("hdl_64e", "hdl_64e_kitti"):
        sensor = parse_sensor(preset)
        assert isinstance(sensor, Lidar)
        valid = scan(dense_m, dense_m > 0, camera, (1, 2), sensor)[1]
        real = real_m > 0
        assert valid.mean() == pytest.approx(real.mean(), rel=0.10)
        assert 0.038 < valid.mean() < 0.046
        assert valid[220:].mean() == pytest.approx(real[220:].mean(), rel=0.12)
        assert rows_in_columns(valid) == pytest.approx(rows_in_columns(real), abs=3)


@pytest.mark.parametrize("name", ["000001", "000002"])  # of the day whose calibration the preset has
def test_the_kitti_preset_lays_its_rows_where_the_real_scanner_does(name: str, shared_data: Path) -> None:
    real_m, camera = kitti_scan(shared_data / "outdoor" / "kitti_object", name)
    sensor = parse_sensor("hdl_64e_kitti")
    assert isinstance(sensor, Lidar)
    dense_m = surfaces(real_m)
    noisy_m, valid = scan(dense_m, dense_m > 0, camera, (1, 2), sensor)
    first = int(np.flatnonzero((real_m > 0).any(axis=1))[0])
    assert int(np.flatnonzero(valid.any(axis=1))[0]) == pytest.approx(first, abs=2)
    # Returns per image row: the two patterns agree best without a shift, and well.
    inner = slice(first + 8, camera.height - 8)
    real = (real_m > 0).mean(axis=1)[inner]
    agreement = {shift: np.corrcoef(real, np.roll(valid.mean(axis=1), -shift)[inner])[0, 1] for shift in range(-8, 9)}
    assert max(agreement, key=lambda shift: agreement[shift]) == 0
    assert agreement[0] > 0.65
    # Where both have a return, they differ by range noise and the half pixel that a pixel cannot tell.
    both = valid & (real_m > 0)
    assert np.median(np.abs(noisy_m - real_m)[both]) < 0.05
