"""The Redwood model against its published algorithm as a loop, Open3D's implementation, and its own parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from depthforge.errors import InputError, MissingDataError
from depthforge.sensors.base import Sensor
from depthforge.sensors.distortion import own_table, read_table, table_text
from depthforge.sensors.draws import standard_normals
from depthforge.sensors.preset import parse_sensor
from depthforge.sensors.redwood import Redwood, distortion_table, measure, simulate
from depthforge.testing.sensors import SensorTests
from depthforge.translators.simulation import Simulation
from tests.real.parity import Simulator, made_up_images, open3d_simulator, steps_apart, without_noise

Float32 = npt.NDArray[np.float32]
PLAIN = Redwood(distortion="none")


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "camera.txt"
    path.write_text(table_text(rough_table()))
    return path


def rough_table() -> Float32:
    """Factors that differ from cell to cell, some cells blind."""
    rng = np.random.default_rng(5)
    table = rng.uniform(0.9, 1.1, (80, 80, 5)).astype(np.float32)
    table[rng.random((80, 80)) < 0.05] = 0
    return table


class TestDefaultContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return Redwood()


class TestPresetContract(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return parse_sensor("primesense_redwood")


def published(depth_m: Float32, draws: Float32, table: Float32, sensor: Redwood) -> npt.NDArray[np.float64]:
    """The published loop, generalised to any size: shuffle, 2x2 sampling, table look-up, disparity steps."""
    height, width = depth_m.shape
    out = np.zeros((height, width))
    for y, x in np.ndindex(height, width):
        at_x = min(max(round_half_up(x + 0.25 * float(draws[0, y, x])), 0), width - 1)
        at_y = min(max(round_half_up(y + 0.25 * float(draws[1, y, x])), 0), height - 1)
        z = float(depth_m[at_y - at_y % 2, at_x - at_x % 2])
        upper = int((z + 1) / 2)
        share = (z - (2 * (upper - 1) + 1)) / 2
        factors = table[at_y * 80 // height, at_x * 80 // width]
        factor = (1 - share) * factors[min(max(upper - 1, 0), 4)] + share * factors[min(upper, 4)]
        if z > 0 and factor > 0:
            steps = round_half_up((35.130 / (z / factor) + sensor.noise_sigma_px * float(draws[2, y, x])) * 8)
            out[y, x] = 35.130 * 8 / steps if steps > 0 else 0
    return out


def round_half_up(value: float) -> int:
    return int(np.floor(value + 0.5))


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    seed=st.integers(0, 1000),
    farthest_m=st.sampled_from([2.0, 12.0, 400.0]),
    table=st.sampled_from([own_table(), rough_table()]),
)
def test_it_is_the_published_loop(size: tuple[int, int], seed: int, farthest_m: float, table: Float32) -> None:
    rng = np.random.default_rng(seed)
    depth_m = np.where(rng.random(size) < 0.1, 0, rng.uniform(0.2, farthest_m, size)).astype(np.float32)
    draws = standard_normals((seed, 0), (3, *size))
    expected = published(depth_m, draws, table, PLAIN)
    found = measure_with(table, depth_m, draws)
    np.testing.assert_array_equal(found > 0, expected > 0)
    # A float32 disparity at a half may round to the other side: one step, and hardly ever.
    steps = [np.where(z > 0, 35.130 * 8 / np.maximum(z, 1e-9), 0) for z in (found, expected)]
    assert np.abs(steps[0] - steps[1]).max() < 1.01
    assert (np.abs(steps[0] - steps[1]) > 0.01).sum() <= 1


def measure_with(table: Float32, depth_m: Float32, draws: Float32) -> Float32:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("depthforge.sensors.redwood.distortion_table", lambda sensor: table)
        return measure(depth_m, draws, PLAIN)


@settings(max_examples=30, deadline=None)
@given(z=st.floats(0.4, 60))
def test_a_plane_is_measured_at_the_nearest_of_its_disparity_steps(z: float) -> None:
    found = np.unique(without_noise(np.full((5, 7), z, np.float32), PLAIN))
    steps = 281.04 / float(np.float32(z))
    assert found.size == 1
    assert 281.04 / found[0] == pytest.approx(np.floor(steps + 0.5), rel=1e-6) or abs(steps % 1 - 0.5) < 1e-4


def test_golden_steps_between_depths() -> None:
    # 281.04 / 1 m rounds to 281 steps; a step at 1, 2 and 3 m is z^2 / 281.04.
    found = [float(without_noise(np.full((1, 1), z, np.float32), PLAIN)[0, 0]) for z in (1.0, 2.0, 3.0)]
    assert found == pytest.approx([281.04 / 281, 281.04 / 141, 281.04 / 94], rel=1e-6)


def test_every_block_reads_its_top_left_pixel() -> None:
    fine = PLAIN.model_copy(update={"steps_per_px": 1e4})
    ramp = np.tile(np.linspace(1, 2, 12, dtype=np.float32), (6, 1)) + np.linspace(0, 0.3, 6, dtype=np.float32)[:, None]
    found = without_noise(ramp, fine)
    np.testing.assert_allclose(found, np.repeat(np.repeat(ramp[::2, ::2], 2, 0), 2, 1), atol=1e-4)
    np.testing.assert_allclose(without_noise(ramp, fine.model_copy(update={"block_px": 1})), ramp, atol=1e-4)


def test_noise_has_the_sigma_that_the_parameters_say() -> None:
    sensor = Redwood(distortion="none", steps_per_px=1e3, noise_sigma_px=0.05)
    wall = np.full((200, 300), 2.0, np.float32)
    noisy_m, valid = simulate(wall, wall > 0, (1, 2), sensor)
    disparity_px = 35.130 / noisy_m.astype(np.float64)
    assert valid.all()
    assert disparity_px.std() == pytest.approx(0.05, rel=4 / (2 * wall.size) ** 0.5)
    assert disparity_px.mean() == pytest.approx(35.130 / 2, abs=4 * 0.05 / wall.size**0.5)


def test_shifts_move_the_share_of_pixels_that_a_normal_law_says() -> None:
    # Column x at a depth of its own: a pixel that looks beyond half a pixel aside shows its neighbour's.
    depth_m = np.tile(1 + 0.1 * np.arange(30, dtype=np.float32), (400, 1))
    sensor = Redwood(distortion="none", steps_per_px=1e4, noise_sigma_px=0, block_px=1, shift_sigma_px=0.25)
    noisy_m, _ = simulate(depth_m, depth_m > 0, (3, 4), sensor)
    moved = (np.abs(noisy_m - depth_m) > 0.05)[:, 1:-1]
    assert moved.mean() == pytest.approx(0.0455, abs=4 * (0.0455 / moved.size) ** 0.5)  # |z| > 2 sigma


@pytest.mark.parametrize("size", [(480, 640), (96, 128), (100, 333)])
def test_blind_borders_are_of_the_image_whatever_its_size(size: tuple[int, int]) -> None:
    sensor = Redwood(blind_border_cells=(1, 2, 4, 3))
    height, width = size
    found = without_noise(np.full(size, 2.0, np.float32), sensor) > 0
    cell_y, cell_x = np.arange(height) * 80 // height, np.arange(width) * 80 // width
    np.testing.assert_array_equal(found, np.outer((cell_y >= 2) & (cell_y < 77), (cell_x >= 1) & (cell_x < 76)))


def test_the_redwood_primesense_loses_the_borders_that_its_published_frames_lose() -> None:
    found = without_noise(np.full((480, 640), 2.0, np.float32), preset()) > 0
    assert found[12:468, :608].all()
    assert found.sum() == 456 * 608


def preset() -> Redwood:
    sensor = parse_sensor("primesense_redwood")
    assert isinstance(sensor, Redwood)
    return sensor


def test_strength_scales_the_departures_of_the_table() -> None:
    table = own_table()
    np.testing.assert_array_equal(distortion_table(Redwood(distortion_strength=0)), 1)
    twice = distortion_table(Redwood(distortion_strength=2))
    np.testing.assert_allclose(twice - 1, 2 * (table - 1), atol=1e-6)
    assert table[..., 1].std() == pytest.approx(0.0071, abs=2e-4)
    assert not table.flags.writeable
    # Smooth: neighbouring cells differ by far less than the table spans.
    assert np.abs(np.diff(table, axis=0)).max() < 0.004 < 0.06 < np.ptp(table)
    assert np.abs(np.diff(table, axis=1)).max() < 0.007


def test_far_depth_is_cut_where_told() -> None:
    depth_m = np.tile(np.linspace(1, 9, 40, dtype=np.float32), (4, 1))
    noisy_m, valid = simulate(depth_m, depth_m > 0, (1, 1), Redwood(max_depth_m=4.0))
    assert noisy_m.max() <= 4.0
    assert valid[:, depth_m[0] < 3.7].all()
    assert not valid[:, depth_m[0] > 4.4].any()


@pytest.mark.parametrize(
    "change",
    [
        {"blind_border_cells": (40, 0, 40, 0)},
        {"blind_border_cells": (-1, 0, 0, 0)},
        {"block_px": 0},
        {"steps_per_px": 0},
    ],
)
def test_bounds_of_the_parameters(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Redwood.model_validate(change)


def test_a_table_file_is_read_named_and_travels(table_file: Path, tmp_path: Path) -> None:
    sensor = Redwood(distortion=str(table_file))
    np.testing.assert_array_equal(distortion_table(sensor), rough_table())
    assert sensor.model_dump(mode="json")["distortion"] == "camera.txt"
    assert sensor.files() == {"camera.txt": table_file.read_bytes()}
    (tmp_path / "camera.txt").write_bytes(table_file.read_bytes())
    moved = sensor.relocated(tmp_path)
    assert isinstance(moved, Redwood)
    assert moved.distortion == str(tmp_path / "camera.txt")
    prints = [Simulation(Simulation.Config(sensor=each)).fingerprint for each in (sensor, moved, Redwood())]
    assert prints[0] == prints[1] != prints[2]
    assert Redwood().files() == {}
    assert Redwood().relocated(tmp_path) == Redwood()


def test_cells_with_too_few_examples_are_blind(tmp_path: Path) -> None:
    numbers = np.array(" ".join(table_text(own_table()).splitlines()[5:]).split(), float).reshape(80, 80, 23)
    numbers[3, 4, 3:8] = 7999
    numbers[3, 5, 3:8] = (0, 0, 8000, 0, 0)
    path = tmp_path / "few.txt"
    path.write_text("%\n" * 5 + "\n".join(map(str, numbers.ravel())))
    table = read_table(path)
    assert not table[3, 4].any()
    np.testing.assert_array_equal(table[3, 5], own_table()[3, 5])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "another size"),
        (lambda text: text.replace("8000", "many", 1), "something else than numbers"),
        (lambda text: text.replace("\n0 0 0", "\n0 0 nan", 1).replace("1.0", "1000.0"), "factors near 1"),
    ],
)
def test_a_broken_table_is_refused_by_name(damage: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.txt"
    path.write_text(damage(table_text(own_table())))
    with pytest.raises(InputError, match=message) as caught:
        Redwood(distortion=str(path)).files()
    assert "broken.txt" in str(caught.value.where)


def test_a_missing_table_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such distortion table") as caught:
        _ = Simulation(Simulation.Config(sensor=Redwood(distortion=str(tmp_path / "none.txt")))).fingerprint
    assert "own" in str(caught.value.remedy)


@pytest.fixture(scope="module")
def open3d(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    pytest.importorskip("open3d")
    return open3d_simulator(Redwood(), tmp_path_factory.mktemp("open3d"))


class TestOpen3D:
    """Parity with the independent implementation in its deterministic mode, on every pixel."""

    @settings(max_examples=8, deadline=None)
    @given(planes=st.lists(st.tuples(*[st.floats(-0.003, 0.003)] * 2, st.floats(0.5, 11)), min_size=1, max_size=4))
    def test_planes(self, open3d: Simulator, planes: list[tuple[float, float, float]]) -> None:
        depth_m = nearest(planes)
        # A wall that faces the camera can lie at the edge of a step for a whole patch of the table.
        require_one_step(without_noise(depth_m, Redwood()), open3d(depth_m, 1.0), most=1e-2)

    @pytest.mark.parametrize("sensor", [Redwood(), parse_sensor("primesense_redwood")], ids=["redwood", "primesense"])
    def test_ramps_steps_and_noise_with_holes(self, sensor: Redwood, tmp_path: Path) -> None:
        pytest.importorskip("open3d")
        run = open3d_simulator(sensor, tmp_path)
        for _, depth_m in made_up_images():
            require_one_step(without_noise(depth_m, sensor), run(depth_m, 1.0))


def nearest(planes: list[tuple[float, float, float]]) -> Float32:
    y, x = np.mgrid[:480, :640].astype(np.float32)
    depth_m = np.min([at + dx * (x - 320) + dy * (y - 240) for dx, dy, at in planes], axis=0)
    return np.where(depth_m > 0.3, depth_m, 0).astype(np.float32)


def require_one_step(found_m: Float32, expected_m: Float32, *, most: float = 1e-4) -> None:
    """All pixels within a step, and at most a share of them not the same."""
    apart = steps_apart(found_m, expected_m)
    assert apart.holes_differ == 0
    assert apart.max_steps <= 1
    assert max(apart.steps_differ, apart.bits_differ) < most * apart.pixels
