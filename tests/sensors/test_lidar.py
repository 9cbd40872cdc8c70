"""The spinning lidar: its beams, where they land, what hides what, noise and drop-out measured."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from depthforge.errors import FrameError
from depthforge.frame import Camera, Frame
from depthforge.sensors.base import Sensor
from depthforge.sensors.lidar import BeamBlock, Lidar, beam_biases_m, beams_in_view, lidar_rotation, simulate
from depthforge.sensors.preset import parse_sensor
from depthforge.testing.sensors import SensorTests
from depthforge.translators.simulation import Simulation

Float32 = npt.NDArray[np.float32]
# Half of a KITTI camera: the same view on a quarter of the pixels.
CAMERA = Camera(fx=362.5, fy=362.5, cx=310.0, cy=93.5, width=621, height=188)
NARROW = Camera(fx=4000.0, fy=4000.0, cx=159.5, cy=119.5, width=320, height=240)
PERFECT: dict[str, Any] = {"range_sigma_m": 0, "range_step_m": 0, "random_dropout": 0, "half_range_m": 1e12}


class TestPresetContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("hdl_64e")


class TestKittiContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("hdl_64e_kitti")


def perfect(**change: Any) -> Lidar:
    return Lidar.model_validate({**PERFECT, **change})


def scan(depth_m: Float32, camera: Camera, sensor: Lidar, seed: int = 1) -> Float32:
    return simulate(depth_m, depth_m > 0, camera, (seed, 2), sensor)[0]


def wall(z: float, camera: Camera) -> Float32:
    return np.full(camera.size, z, np.float32)


def single(elevation_deg: float = 0.0, num_beams: int = 1, **change: Any) -> Lidar:
    beams = [{"num_beams": num_beams, "highest_deg": elevation_deg, "lowest_deg": elevation_deg}]
    return perfect(beams=beams, position_m=(0, 0, 0), **change)


def test_the_beams_of_the_data_sheet() -> None:
    sensor = parse_sensor("hdl_64e")
    assert isinstance(sensor, Lidar)
    elevation_deg = np.degrees(np.concatenate([block.elevations_rad for block in sensor.beams]))
    assert elevation_deg.size == 64
    np.testing.assert_allclose(elevation_deg[[0, 1, 31, 32, 33, 63]], [2, 5 / 3, -25 / 3, -53 / 6, -28 / 3, -73 / 3])
    np.testing.assert_allclose(np.diff(elevation_deg)[:31], -1 / 3)
    np.testing.assert_allclose(np.diff(elevation_deg)[32:], -1 / 2)
    assert (sensor.azimuth_step_deg, sensor.max_range_m, sensor.range_sigma_m) == (0.1728, 120, 0.02)


def test_each_beam_has_a_bias_of_its_own_that_every_frame_repeats() -> None:
    """Rows of a wall: what a beam measures on average, less what it would without a bias."""
    camera = Camera(fx=400.0, fy=400.0, cx=199.5, cy=149.5, width=400, height=300)
    depth_m = wall(10.0, camera)
    beams = [{"num_beams": 16, "highest_deg": 14.0, "lowest_deg": -14.0}]
    sensor = perfect(beams=beams, position_m=(0, 0, 0), beam_bias_sigma_m=0.2, device_seed=4)
    biases = beam_biases_m(16, sensor)
    assert 0.1 < biases.std() < 0.3
    cosine = np.cos(np.radians(np.linspace(14, -14, 16)))
    for seed in (1, 2):
        measured = scan(depth_m, camera, sensor, seed)[:, 190:210]
        rows = np.nonzero((measured > 0).any(axis=1))[0]
        of_row = [np.mean(measured[row][measured[row] > 0]) - 10.0 for row in rows]
        expected = biases * cosine
        distance = np.abs(np.subtract.outer(of_row, expected)).min(axis=1)
        assert len(rows) >= 16
        assert distance.max() < 0.005
    other = beam_biases_m(16, sensor.model_copy(update={"device_seed": 5}))
    assert abs(np.corrcoef(biases, other)[0, 1]) < 0.7


def ray_directions(camera: Camera, sensor: Lidar, words: tuple[int, int]) -> tuple[npt.NDArray[np.float64], ...]:
    """Origin and direction of every ray in camera axes, each (n, 3)."""
    beams, num_firings = beams_in_view(camera, words, sensor)
    azimuth = beams[:, 5:] + np.arange(num_firings) * np.radians(sensor.azimuth_step_deg)
    sine, cosine = beams[:, 3:4], beams[:, 4:5]
    local = np.stack([cosine * np.sin(azimuth), np.broadcast_to(-sine, azimuth.shape), cosine * np.cos(azimuth)], -1)
    origin = np.broadcast_to(beams[:, None, :3], local.shape)
    return origin.reshape(-1, 3), (local @ lidar_rotation(sensor.rotation_deg).T).reshape(-1, 3)


def land(points: npt.NDArray[np.float64], camera: Camera) -> Float32:
    """The image (H, W) of points (n, 3), nearest first, 0 where there is none."""
    out = np.full(camera.size, np.inf)
    front = points[points[:, 2] > 0]
    column = np.floor(camera.fx * front[:, 0] / front[:, 2] + camera.cx + 0.5).astype(int)
    row = np.floor(camera.fy * front[:, 1] / front[:, 2] + camera.cy + 0.5).astype(int)
    inside = (row >= 0) & (row < camera.height) & (column >= 0) & (column < camera.width)
    np.minimum.at(out, (row[inside], column[inside]), front[inside, 2])
    return np.where(np.isfinite(out), out, 0).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    slope=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    z=st.floats(4, 40),
    position=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    rotation=st.tuples(st.floats(-4, 4), st.floats(-4, 4), st.floats(-4, 4)),
    seed=st.integers(0, 99),
)
def test_on_a_plane_every_ray_lands_where_geometry_says(
    slope: tuple[float, float], z: float, position: Any, rotation: Any, seed: int
) -> None:
    sensor = perfect(position_m=position, rotation_deg=rotation, max_range_m=1000)
    # The plane z = z0 + a x + b y: in inverse depth linear in the pixel.
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    normal = np.array([-slope[0], -slope[1], 1.0]) / z
    inverse = normal[0] * (u - CAMERA.cx) / CAMERA.fx + normal[1] * (v - CAMERA.cy) / CAMERA.fy + normal[2]
    found = scan((1 / inverse).astype(np.float32), CAMERA, sensor, seed)
    origin, direction = ray_directions(CAMERA, sensor, (seed, 2))
    distance = (1 - origin @ normal) / (direction @ normal)
    expected = land((origin + distance[:, None] * direction)[distance > 0.9], CAMERA)
    # A point at the border between two pixels may land in either.
    same = (found > 0) == (expected > 0)
    assert (~same).sum() <= 0.01 * (expected > 0).sum() + 8
    both = (found > 0) & (expected > 0)
    assert (np.abs(found / np.where(both, expected, 1) - 1)[both] < 1e-4).mean() > 0.999


def test_density_and_rows_are_those_of_the_pattern() -> None:
    found = scan(wall(20, CAMERA), CAMERA, perfect(azimuth_step_deg=0.3456)) > 0
    # Rows of a middle column: one for each beam in view, as far apart as the beams.
    row = np.flatnonzero(found[:, 300:320].any(axis=1))
    # The wall is 20.27 m before the lidar, whose emitters are 0.28 and 0.20 m above the camera.
    beams = [(2 - k / 3, 0.28) for k in range(32)] + [(-53 / 6 - k / 2, 0.20) for k in range(32)]
    above_m = np.array([emitter_m + 20.27 * np.tan(np.radians(angle_deg)) for angle_deg, emitter_m in beams])
    expected = np.floor(CAMERA.cy - CAMERA.fy * above_m / 20 + 0.5)
    expected = expected[(expected >= 0) & (expected < CAMERA.height)]
    assert row.size == expected.size == 45
    assert np.abs(row - expected).max() <= 1
    # 362.5 px x 0.3456 degrees: a return every 2.2 columns in the middle, none missing.
    for beam_row in row[10:20]:
        column = np.flatnonzero(found[beam_row - 1 : beam_row + 2, 260:360].any(axis=0))
        assert np.diff(column).max() <= 4
        assert column.size == pytest.approx(100 / 2.187, abs=2)


def test_what_the_lidar_cannot_see_or_the_camera_does_not_show_returns_nothing() -> None:
    # A box 5 m away before a wall at 20 m; the lidar is 1 m to the right.
    depth_m = wall(20, CAMERA)
    depth_m[60:140, 250:330] = 5
    sensor = perfect(position_m=(1, 0, 0), azimuth_step_deg=0.1, thickness_m=0.2)
    found = scan(depth_m, CAMERA, sensor)
    on_box, on_wall = np.abs(found - 5) < 1e-3, np.abs(found - 20) < 1e-2
    assert (on_box | on_wall)[found > 0].all(), "no return between the two surfaces"
    # Columns of the wall left of the box that the box hides from the lidar: X such that 1 + (X - 1) / 4 is on it.
    left_m = (250 - CAMERA.cx) / CAMERA.fx * 5
    hidden = CAMERA.cx + CAMERA.fx * (1 + (left_m - 1) * 4) / 20
    assert not on_wall[70:130, int(hidden) + 2 : 249].any()
    assert on_wall[70:130, int(hidden) - 40 : int(hidden) - 2].mean() > 0.02
    # Right of the box the lidar looks behind it; up to its edge all is seen by the camera too.
    assert on_wall[70:130, 333:360].any()
    assert on_box[60:140, 250:330].mean() > 0.02


def test_of_two_returns_at_one_pixel_the_nearer_is_kept() -> None:
    # Coarse pixels, a ramp across them: many returns for each.
    camera = Camera(fx=20, fy=20, cx=7.5, cy=5.5, width=16, height=12)
    u = np.arange(16) + np.zeros((12, 1))
    normal = np.array([0.05, 0.0, 0.1])
    depth_m = (1 / (normal[0] * (u - 7.5) / 20 + normal[2])).astype(np.float32)
    origin, direction = ray_directions(camera, sensor := perfect(), (1, 2))
    distance = (1 - origin @ normal) / (direction @ normal)
    expected = land(origin + distance[:, None] * direction, camera)
    found = scan(depth_m, camera, sensor)
    inner = np.s_[:, 1:-1]
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-4)


def test_range_noise_is_along_the_ray_and_of_its_sigma() -> None:
    sensor = single(azimuth_step_deg=0.03, range_sigma_m=0.05)
    sensor = sensor.model_copy(
        update={"beams": (BeamBlock(num_beams=60, highest_deg=1.5, lowest_deg=-1.5),), "range_step_m": 0.0}
    )
    found = scan(wall(20, NARROW), NARROW, sensor)
    error_m = found[found > 0].astype(np.float64) - 20  # rays within 2.5 degrees: z is the range to 0.1 %
    assert error_m.size > 5000
    assert error_m.std() == pytest.approx(0.05, rel=4 / (2 * error_m.size) ** 0.5)
    assert error_m.mean() == pytest.approx(0, abs=4 * 0.05 / error_m.size**0.5)


def test_ranges_are_rounded_to_their_step() -> None:
    tele = Camera(fx=1e5, fy=1e5, cx=49.5, cy=9.5, width=100, height=20)
    found = scan(wall(20.0131, tele), tele, single(azimuth_step_deg=0.01, range_step_m=0.05))
    np.testing.assert_allclose(found[found > 0], 20.0, atol=1e-5)
    assert (found > 0).sum() >= 5


def share_of(sensor: Lidar, z: float, slant: float = 0.0) -> tuple[float, int]:
    """The share of returns of a wall at z, turned by slant radians, and out of how many."""
    u = np.arange(NARROW.width) + np.zeros((NARROW.height, 1))
    depth_m = (z / (1 + np.tan(slant) * (u - NARROW.cx) / NARROW.fx)).astype(np.float32)
    beams = (BeamBlock(num_beams=60, highest_deg=1.5, lowest_deg=-1.5),)
    change = {"beams": beams, "azimuth_step_deg": 0.03, "position_m": (0.0, 0.0, 0.0)}
    all_of_them = scan(depth_m, NARROW, perfect().model_copy(update=change)) > 0
    left = scan(depth_m, NARROW, sensor.model_copy(update=change)) > 0
    return float(left.sum() / all_of_them.sum()), int(all_of_them.sum())


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.7, 1.0])
def test_returns_are_lost_at_random_at_their_rate(probability: float) -> None:
    share, total = share_of(perfect(random_dropout=probability), 20)
    assert share == pytest.approx(1 - probability, abs=4 * (probability * (1 - probability) / total) ** 0.5 + 1e-9)


@pytest.mark.parametrize(("z", "slant_deg"), [(20, 0), (60, 0), (100, 0), (60, 60), (30, 80)])
def test_weak_returns_are_lost_as_range_and_incidence_say(z: float, slant_deg: float) -> None:
    sensor = perfect(half_range_m=60.0, log_sigma=0.8)
    share, total = share_of(sensor, z, np.radians(slant_deg))
    expected = NormalDist().cdf(np.log(np.cos(np.radians(slant_deg)) * (60 / z) ** 2) / 0.8)
    assert share == pytest.approx(expected, abs=4 * (0.25 / total) ** 0.5 + 0.015)


def test_nothing_returns_from_outside_the_range() -> None:
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    depth_m = (1 + 0.3 * u).astype(np.float32)
    found = scan(depth_m, CAMERA, perfect(min_range_m=5, max_range_m=60, position_m=(0, 0, 0)))
    rays = np.hypot(np.hypot((u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy), 1)
    range_m = found * rays
    assert range_m[found > 0].min() > 4.7
    assert range_m[found > 0].max() < 61
    sky = wall(655.35, CAMERA)
    assert not scan(sky, CAMERA, Lidar()).any()


def test_the_phase_of_the_turn_is_of_the_frame() -> None:
    first, second = (scan(wall(20, CAMERA), CAMERA, perfect(azimuth_step_deg=0.7), s) > 0 for s in (1, 2))
    assert first.sum() == pytest.approx(second.sum(), rel=0.02)
    assert (first & second).sum() < 0.5 * first.sum()


def test_the_simulation_takes_a_scanner_for_what_it_is() -> None:
    camera = Camera(fx=2900.0, fy=2900.0, cx=320, cy=100, width=640, height=200)
    depth_m = wall(25, camera)
    translator = Simulation(Simulation.Config.model_validate({"sensor": "hdl_64e"}))
    noisy = translator.translate(Frame("test/wall/0", depth_m, depth_m > 0, camera), (1, 2)).depth
    assert 0.001 < noisy.valid.mean() < 0.01
    with pytest.raises(FrameError, match="hdl_64e"):
        translator.translate(Frame("test/wall/0", depth_m * 1000, depth_m > 0, camera), (1, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"beams": []},
        {"min_range_m": 5, "max_range_m": 4},
        {"position_m": (0, 0, 9)},
        {"rotation_deg": (90, 0, 0)},
        {"azimuth_step_deg": 0},
        {"beams": [{"num_beams": 0, "highest_deg": 1, "lowest_deg": 0}]},
    ],
)
def test_bounds_of_the_parameters(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Lidar.model_validate(change)
