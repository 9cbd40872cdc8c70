"""Philox against published vectors; draws against the normal law, out to the tails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from statistics import NormalDist

import numpy as np
import pytest

from depthforge.seeding import frame_words
from depthforge.sensors import draws as gaussian
from depthforge.sensors.draws import philox_words, standard_normals, uniforms

WORDS = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


# Random123's kat_vectors for philox4x32, 10 rounds: (counter, key, output).
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_words(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert plain_philox(counter, key) == expected
    assert gaussian.philox(*map(np.uint32, (*counter, *key))) == expected


def plain_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox 4x32-10 in Python integers."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * a, 1 << 32)
        high_1, low_1 = divmod(0xCD9E8D57 * c, 1 << 32)
        a, b, c, d = high_1 ^ b ^ k, low_1, high_0 ^ d ^ m, low_0
        k, m = (k + 0x9E3779B9) % (1 << 32), (m + 0xBB67AE85) % (1 << 32)
    return a, b, c, d


def test_words_are_philox_of_block_row_and_key() -> None:
    words = philox_words(WORDS, row=7, num_blocks=5)
    for block in range(5):
        plain = plain_philox((block, 7, 0x76543210, 0xFEDCBA98), (0x89ABCDEF, 0x01234567))
        assert tuple(int(word) for word in words[:, block]) == plain


def test_quantiles_are_exact_from_the_median_to_the_last_word() -> None:
    near_ends = np.concatenate([np.arange(4096), (1 << 32) - 1 - np.arange(4096), (1 << 31) + np.arange(-64, 64)])
    spread = np.exp2(np.linspace(0, 32, 20_000)).astype(np.int64) - 1
    words = np.unique(np.concatenate([near_ends, spread])).astype(np.uint32)
    found = np.empty(words.size, np.float32)
    gaussian.fill_quantiles(words, found)
    below = [NormalDist().inv_cdf(((int(word) >> 1) + 0.5) / 2**32) for word in words]
    expected = np.where(words & 1, np.negative(below), below)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    assert np.abs(found).max() == pytest.approx(6.338, abs=1e-3)


def test_draws_follow_the_normal_law_into_the_tails() -> None:
    draws = standard_normals(WORDS, (4000, 1000)).ravel().astype(np.float64)
    num = draws.size
    assert abs(draws.mean()) < 4 / np.sqrt(num)
    assert abs(draws.var() - 1) < 4 * np.sqrt(2 / num)
    assert abs((draws**3).mean()) < 4 * np.sqrt(15 / num)
    assert abs((draws**4).mean() - 3) < 4 * np.sqrt(96 / num)
    for sigmas in (1.0, 2.0, 3.0, 4.0, 4.5):
        expected = 2 * NormalDist().cdf(-sigmas) * num
        assert abs((np.abs(draws) > sigmas).sum() - expected) < 4 * np.sqrt(expected), sigmas


def test_draws_pass_kolmogorov_smirnov() -> None:
    draws = np.sort(standard_normals(WORDS, (200, 1000)).ravel().astype(np.float64))
    cdf = np.vectorize(NormalDist().cdf)(draws)
    steps = np.arange(draws.size + 1) / draws.size
    distance = max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max())
    assert distance < 1.95 / np.sqrt(draws.size)  # one in a thousand


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_fields_and_frames_are_uncorrelated(axis: int) -> None:
    draws = standard_normals(WORDS, (3, 300, 1000))
    after = np.roll(draws, 1, axis)
    assert abs((draws * after).mean()) < 4 / np.sqrt(draws.size)
    other = standard_normals(frame_words(0, "a/b/c"), (3, 300, 1000))
    assert abs((draws * other).mean()) < 4 / np.sqrt(draws.size)


def test_every_bit_of_both_words_matters() -> None:
    base = standard_normals(WORDS, (1, 64))
    for index in (0, 1):
        for bit in (0, 31, 32, 63):
            words = list(WORDS)
            words[index] ^= 1 << bit
            assert (standard_normals((words[0], words[1]), (1, 64)) != base).mean() > 0.9


def test_draws_depend_on_key_and_place_alone() -> None:
    whole = standard_normals(WORDS, (3, 20, 33))
    np.testing.assert_array_equal(standard_normals(WORDS, (2, 20, 33)), whole[:2])
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: standard_normals(WORDS, (3, 20, 33)), range(16)):
            np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 17])
def test_any_width(columns: int) -> None:
    draws = standard_normals(WORDS, (5, columns))
    assert draws.shape == (5, columns)
    assert draws.dtype == np.float32
    assert np.unique(draws).size == draws.size


def test_uniforms_are_the_upper_bits_of_the_words() -> None:
    found = uniforms(WORDS, (2, 3, 6))
    words = philox_words(WORDS, row=4, num_blocks=2).reshape(-1)[:6]  # field 1, row 1
    np.testing.assert_array_equal(found[1, 1], (words >> np.uint32(8)) / 2**24)
    many = uniforms(WORDS, (300, 1000))
    assert 0 <= many.min() < 1e-4
    assert 1 - 1e-4 < many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=4 * 12**-0.5 / many.size**0.5)
    # Empty or full tenths would be 5 sigma off.
    np.testing.assert_allclose(np.histogram(many, 10, (0, 1))[0] / many.size, 0.1, atol=5 * (0.09 / many.size) ** 0.5)


def test_streams_of_one_frame_are_independent() -> None:
    fields = [standard_normals(WORDS, (100, 200), stream=stream).ravel() for stream in (0, 1, 255)]
    np.testing.assert_array_equal(fields[0], standard_normals(WORDS, (100, 200)).ravel())
    np.testing.assert_allclose(np.corrcoef(fields), np.eye(3), atol=5 / 20000**0.5)
    row = philox_words(WORDS, row=255 << 24, num_blocks=50).reshape(-1)
    np.testing.assert_array_equal(uniforms(WORDS, (1, 200), stream=255)[0], (row >> np.uint32(8)) / 2**24)
    for stream in (-1, 256):
        with pytest.raises(ValueError, match="streams are 0 to 255"):
            uniforms(WORDS, (2, 2), stream=stream)
