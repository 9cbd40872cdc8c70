"""Each stage against the published algorithm written as a loop, and what must hold for any sensor and any image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks import peers_simulation as peers
from depthforge.errors import InputError
from depthforge.sensors import structured_light as sl
from depthforge.sensors.dot_grid import DotGrid
from depthforge.sensors.dot_pattern import tiled_dots
from depthforge.sensors.draws import standard_normals

OURS = sl.StructuredLight()
PUBLISHED = sl.StructuredLight(published=True)
WORDS = (11, 22)

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def scene(size: tuple[int, int], seed: int, hole_share: float = 0.0) -> npt.NDArray[np.float32]:
    """Depth of a slanted wall with boxes before it, and random holes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    depth = 3.0 + 0.01 * x + 0.004 * y
    for _ in range(3):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        depth[top : top + 15, left : left + 15] = rng.uniform(0.4, 2.5)
    depth[rng.random(size) < hole_share] = 0.0
    return depth.astype(np.float32)


def random_pattern(size: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    pattern = tiled_dots(*size) | (rng.random(size) < 0.01)
    return np.where(pattern, rng.choice([241, 255], size), 0).astype(np.uint8)


def published_grid(pattern: npt.NDArray[np.uint8], size: tuple[int, int]) -> DotGrid:
    return DotGrid.from_pattern(pattern, size, window=9, radius=3, mass_fraction=1 / 1.2, skip_last=True)


@settings(max_examples=25, deadline=None)
@given(size=sizes, pattern_size=sizes, seed=st.integers(0, 1000), hole_share=st.sampled_from([0.0, 0.01, 0.3]))
def test_published_profile_is_the_published_loop_bit_for_bit(
    size: tuple[int, int], pattern_size: tuple[int, int], seed: int, hole_share: float
) -> None:
    depth_m = scene(size, seed, hole_share).astype(np.float64)
    draws = standard_normals((seed, 0), (3, *size)).astype(np.float64)
    pattern = random_pattern(pattern_size, seed)
    shifts_px = np.moveaxis(draws[:2] * 0.5, 0, -1).astype(np.float32)
    expected = peers.simulate_loop(depth_m, shifts_px, draws[2], pattern)
    np.testing.assert_array_equal(peers.simulate_numpy(depth_m, shifts_px, draws[2], pattern), expected)
    found = sl.measure(depth_m, draws, PUBLISHED, published_grid(pattern, size))
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(size=sizes, seed=st.integers(0, 1000))
def test_match_and_fill_are_the_loop_on_the_image_with_its_margin(size: tuple[int, int], seed: int) -> None:
    depth_m = scene(size, seed, 0.02)
    margin = OURS.margin_px
    steps = sl.quantise(depth_m, OURS)
    np.testing.assert_array_equal(steps, np.pad(steps[margin:-margin, margin:-margin], margin, mode="edge"))
    grid = sl.dot_grid(*size, OURS)
    found = sl.fill_from_dots(sl.match_dots(steps, grid, OURS), grid, OURS)
    # One more row and column, because the loop leaves out the last window.
    disparity = np.pad(np.where(steps > 0, steps / 8, peers.INVALID), (0, 1), mode="edge")
    pattern = np.pad(tiled_dots(*steps.shape), (0, 1)).astype(np.uint8) * np.uint8(255)
    filled = peers.loop_fill(disparity, pattern)[margin : margin + size[0], margin : margin + size[1]]
    np.testing.assert_array_equal(found, np.where(filled < peers.INVALID, filled * 8, 0))


@settings(max_examples=20, deadline=None)
@given(size=sizes, seed=st.integers(0, 1000))
def test_resampling_gives_holes_no_weight(size: tuple[int, int], seed: int) -> None:
    depth_m = scene(size, seed, 0.2)
    draws = standard_normals((seed, 1), (2, *size))
    found = sl.resample(depth_m, draws, OURS)
    for y, x in np.ndindex(size):
        assert found[y, x] == pytest.approx(plain_sample(depth_m, y, x, draws[:, y, x] * np.float32(0.5)), rel=1e-6)


def plain_sample(depth_m: npt.NDArray[np.float32], y: int, x: int, shift: npt.NDArray[np.float32]) -> float:
    """The weighted mean of the measured ones among four neighbours, positions in 1/32 px."""
    height, width = depth_m.shape
    at_x, at_y = (
        np.rint(np.clip(np.float32(at) + by, np.float32(0), np.float32(extent - 1)) * np.float32(32)) / 32
        for at, by, extent in ((x, shift[0], width), (y, shift[1], height))
    )
    total = weight = 0.0
    for row in {int(at_y), min(int(at_y) + 1, height - 1)}:
        for column in {int(at_x), min(int(at_x) + 1, width - 1)}:
            share = max(0.0, 1 - abs(at_y - row)) * max(0.0, 1 - abs(at_x - column))
            if depth_m[row, column] > 0:
                total, weight = total + share * float(depth_m[row, column]), weight + share
    return total / weight if weight > 0 and depth_m[y, x] > 0 else 0.0


@settings(max_examples=40, deadline=None)
@given(
    size=sizes,
    seed=st.integers(0, 1000),
    published=st.booleans(),
    window=st.sampled_from([3, 9, 15]),
    radius=st.floats(0, 7),
)
def test_any_image_gives_finite_depth_where_valid_and_zero_elsewhere(
    size: tuple[int, int], seed: int, published: bool, window: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    odd = [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-30, 1e-6, 0.5, 2.0, 80.0, 655.35, 1e30, 3e38]
    depth_m = rng.choice(np.array(odd, np.float32), size)
    valid = rng.random(size) < 0.8
    before = depth_m.tobytes(), valid.tobytes()
    sensor = sl.StructuredLight(published=published, window_px=window, fill_radius_px=radius)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noisy_m, seen = sl.simulate(depth_m, valid, (seed, 0), sensor)
    assert (depth_m.tobytes(), valid.tobytes()) == before
    assert (noisy_m.shape, noisy_m.dtype, seen.shape, seen.dtype) == (size, np.float32, size, np.bool_)
    assert np.isfinite(noisy_m).all()
    np.testing.assert_array_equal(noisy_m > 0, seen)
    assert not (noisy_m < 0).any()
    assert not (seen & ~valid).any()
    assert not seen[~(depth_m > 0)].any()


@settings(max_examples=20, deadline=None)
@given(size=sizes, seed=st.integers(0, 1000))
def test_what_lies_in_a_hole_changes_nothing(size: tuple[int, int], seed: int) -> None:
    depth_m = scene(size, seed)
    valid = np.random.default_rng(seed).random(size) < 0.9
    scribbled = np.where(valid, depth_m, np.float32(np.nan))
    np.testing.assert_array_equal(sl.simulate(scribbled, valid, WORDS, OURS), sl.simulate(depth_m, valid, WORDS, OURS))


def test_no_measurement_in_none_out() -> None:
    empty = np.zeros((48, 64), np.float32)
    for sensor in (OURS, PUBLISHED):
        noisy_m, seen = sl.simulate(empty, np.ones(empty.shape, np.bool_), WORDS, sensor)
        assert not seen.any()
        assert not noisy_m.any()


@pytest.mark.parametrize("distance_m", [0.6, 1.0, 2.0, 3.5])
def test_depth_of_a_wall_is_unbiased_in_steps_that_grow_with_z_squared(distance_m: float) -> None:
    x = np.arange(320, dtype=np.float32) - 160
    depth_m = np.tile(distance_m * (1 + x / 4000), (240, 1)).astype(np.float32)
    noisy_m, seen = sl.simulate(depth_m, np.ones(depth_m.shape, np.bool_), WORDS, OURS)
    assert seen.all(), "a wall has no holes, at the border neither"
    step_m = distance_m**2 / OURS.raw_scale_m
    assert np.median(np.diff(np.unique(noisy_m))) == pytest.approx(step_m, rel=0.1)
    error_m = noisy_m.astype(np.float64) - depth_m
    assert abs(error_m.mean()) < 0.1 * step_m
    # Two roundings (1/12 of a step squared each, 1.22 raw steps in one of the matcher's) and the noise of 1/6 step.
    expected = step_m * np.sqrt(1.22**2 / 12 + 1 / 12 + 1 / 36)
    assert error_m.std() == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("sigma_steps", [0.0, 0.5, 2.0])
def test_jitter_has_the_asked_sigma(sigma_steps: float) -> None:
    sensor = sl.StructuredLight(noise_sigma_steps=sigma_steps)
    steps = np.full((200, 300), 144, np.int32)  # 2 m
    depth_m = sl.jitter(steps, standard_normals(WORDS, steps.shape), sensor)
    raw = 351.3 / depth_m.astype(np.float64)
    assert raw.std() == pytest.approx(np.sqrt(sigma_steps**2 + (1 / 12 if sigma_steps else 0)), rel=0.2)
    assert raw.mean() == pytest.approx(351.3 / 2, abs=0.5 if sigma_steps == 0 else 0.1)


def test_quantise_rounds_to_eighths_and_knows_no_measurement_at_either_end() -> None:
    depth_m = 36.0 / np.array([[2.0, 2.06, 2.07, 0.06, 0.07, 0.01, 2.0**21, np.inf]])
    np.testing.assert_array_equal(sl.quantise(depth_m, PUBLISHED), [[16, 16, 17, 0, 1, 0, 0, 0]])


def test_step_edges_lose_pixels_and_flat_ground_does_not() -> None:
    depth_m = np.full((120, 160), 3.0, np.float32)
    depth_m[30:90, 50:110] = 1.0
    seen = np.mean([sl.simulate(depth_m, depth_m > 0, (n, 0), OURS)[1] for n in range(8)], axis=0)
    assert seen[50:70, 70:90].all()
    assert seen[:15].all()
    assert seen[50:70, 46:54].mean() < 0.9


def test_same_bytes_from_any_thread() -> None:
    depth_m = scene((120, 160), 5, 0.01)
    valid = depth_m > 0
    expected = sl.simulate(depth_m, valid, WORDS, OURS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: sl.simulate(depth_m, valid, WORDS, OURS), range(16)):
            np.testing.assert_array_equal(found, expected)
    assert (sl.simulate(depth_m, valid, (11, 23), OURS)[0] != expected[0]).any()


@pytest.mark.slow
def test_same_bytes_in_processes_that_start_together_on_one_empty_cache(tmp_path: Path) -> None:
    """Of the kernel that has the most threads to go wrong; compiling all of them takes half a minute."""
    code = (
        "import hashlib, numpy as np\n"
        "from depthforge.sensors import structured_light as sl\n"
        "ours = sl.StructuredLight()\n"
        "steps = sl.quantise(np.linspace(1, 3, 96 * 64, dtype=np.float32).reshape(64, 96), ours)\n"
        "print(hashlib.sha256(sl.match_dots(steps, sl.dot_grid(64, 96, ours), ours).tobytes()).hexdigest())"
    )
    steps = sl.quantise(np.linspace(1, 3, 96 * 64, dtype=np.float32).reshape(64, 96), OURS)
    expected = hashlib.sha256(sl.match_dots(steps, sl.dot_grid(64, 96, OURS), OURS).tobytes()).hexdigest()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads in (1, 2)
    ]
    for process in running:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert out.strip() == expected


def test_wrong_shapes_and_even_windows_are_refused() -> None:
    depth_m = np.ones((20, 30), np.float32)
    grid = sl.dot_grid(20, 31, OURS)
    with pytest.raises(InputError, match="draws does not fit"):
        sl.resample(depth_m, np.zeros((2, 20, 31), np.float32), OURS)
    with pytest.raises(InputError, match="steps does not fit"):
        sl.match_dots(sl.quantise(depth_m, OURS), grid, OURS)
    with pytest.raises(InputError, match="dots does not fit"):
        sl.fill_from_dots(sl.quantise(depth_m, OURS), grid, OURS)
    with pytest.raises(InputError, match="draws does not fit"):
        sl.jitter(np.ones((20, 30), np.int32), np.zeros((20, 31), np.float32), OURS)
    with pytest.raises(ValidationError, match="its side is odd"):
        sl.StructuredLight(window_px=8)
    with pytest.raises(ValidationError, match="finite"):
        sl.StructuredLight(baseline_m=float("inf"))
