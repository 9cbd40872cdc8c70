"""Arrays of a .npz in slabs against ``np.load``, their memory, and files that are damaged."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from depthforge.errors import DecodeError, MissingDataError
from depthforge.sources.graspnet.npz_slabs import open_npz

VALUES = np.arange(7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "deflated"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    request.param(tmp_path / "a.npz", values=VALUES, flags=VALUES[..., 0] > 50, halves=VALUES.astype(np.float16))
    return tmp_path / "a.npz"


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_slabs_are_what_numpy_loads(path: Path, rows: int) -> None:
    with open_npz(path) as npz:
        assert npz.names == ["values", "flags", "halves"]
        slabs = list(npz.slabs("values", np.float32, (5, 3), rows))
        assert [len(slab) for slab in slabs] == [min(rows, 7 - start) for start in range(0, 7, rows)]
        np.testing.assert_array_equal(np.concatenate(slabs), VALUES, strict=True)
        np.testing.assert_array_equal(npz.array("flags", np.bool_, (5,)), VALUES[..., 0] > 50, strict=True)
        np.testing.assert_array_equal(npz.array("halves", np.float32, (5, 3)), VALUES, strict=True)


def test_members_can_be_read_side_by_side(path: Path) -> None:
    with open_npz(path) as npz:
        pairs = zip(npz.slabs("values", np.float32, (5, 3), 2), npz.slabs("flags", np.bool_, (5,), 2), strict=True)
        for values, flags in pairs:
            np.testing.assert_array_equal(flags, values[..., 0] > 50)


def test_memory_is_a_slabs(tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", values=np.zeros((1000, 4096), np.float32))  # 16 MB
    tracemalloc.start()
    with open_npz(tmp_path / "large.npz") as npz:
        total = sum(len(slab) for slab in npz.slabs("values", np.float32, (4096,), 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 1000
    assert peak < 2e6


def test_the_stamp_is_the_contents(path: Path, tmp_path: Path) -> None:
    with open_npz(path) as npz:
        stamp = npz.stamp
    path.touch()
    with open_npz(path) as npz:
        assert npz.stamp == stamp
    np.savez(tmp_path / "b.npz", values=VALUES + 1)
    with open_npz(tmp_path / "b.npz") as npz:
        assert npz.stamp != stamp


def test_a_missing_file_and_a_missing_array(path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no such file"), open_npz(tmp_path / "none.npz"):
        pass
    with open_npz(path) as npz, pytest.raises(DecodeError, match="no array 'scores'") as error:
        npz.array("scores", np.float32, ())
    assert error.value.found == "values, flags, halves"


@pytest.mark.parametrize(("name", "dtype", "trailing"), [("values", np.float32, (5,)), ("flags", np.float32, (5,))])
def test_another_shape_or_kind(path: Path, name: str, dtype: type[np.generic], trailing: tuple[int, ...]) -> None:
    with open_npz(path) as npz, pytest.raises(DecodeError, match="not what the format says"):
        npz.array(name, dtype, trailing)


def test_a_truncated_file_and_a_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, values=np.zeros((64, 64), np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match="broken or cut short") as error, open_npz(path):
        pass
    assert error.value.where == str(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DecodeError, match="broken or cut short"), open_npz(path) as npz:
        npz.array("values", np.float32, (64,))


def test_errors_of_the_block_pass_through(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="another"), open_npz(path):
        raise FileNotFoundError("another")
