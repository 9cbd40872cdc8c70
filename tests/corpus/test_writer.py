from __future__ import annotations

import errno
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
import zarr

from depthforge import durable
from depthforge.corpus.layout import Layout
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.shard import ShardArray
from depthforge.corpus.verify import verify_corpus
from depthforge.corpus.writer import ShardWriter
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import CorpusError, DecodeError, FrameError, IntegrityError, MissingLabelError, StorageError
from depthforge.frame import Frame
from depthforge.labels.catalogue import INTRINSICS
from depthforge.storage import local
from tests.corpus.corpora import (
    CAMERA,
    FIELDS,
    HEIGHT,
    KILLS,
    SCHEMA,
    WIDTH,
    build,
    clean_mm,
    files_of,
    items,
    make_frame,
    metres,
    new_root,
    noisy,
    noisy_mm,
    one_item,
    ref,
    write_shard,
)


def index_of(root: Path, shard: str = "train-000000") -> list[dict[str, object]]:
    return pq.read_table(root / Layout.index_part(shard)).to_pylist()


def test_plain_zarr_reads_what_was_added(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    receipt = write_shard(root, one_item(1, 2, 3), rejected=[2])
    assert (receipt.num_frames, receipt.num_rejects) == (2, 1)
    group = zarr.open_group(str(root / "shards/train-000000.zarr"), mode="r")
    for row, number in enumerate((1, 3)):  # a reject leaves no gap
        frame = make_frame(number)
        np.testing.assert_array_equal(group["depth_clean"][row], clean_mm(number))
        np.testing.assert_array_equal(group["depth_noisy"][row], noisy_mm(number))
        np.testing.assert_array_equal(group["normals"][row], frame.labels["normals"])
        np.testing.assert_array_equal(group["semantic"][row], frame.labels["semantic"])
        np.testing.assert_array_equal(group["K"][row], CAMERA.K)
        np.testing.assert_array_equal(group["T_world_cam"][row], frame.T_world_cam)
        start, stop = group["object_pose"].attrs["offsets"][row : row + 2]
        np.testing.assert_array_equal(group["object_pose"][start:stop], frame.labels["object_pose"])
    np.testing.assert_array_equal(group["rgb"][0], make_frame(1).rgb)
    assert not group["rgb"][1].any()  # frame 3 has none
    assert group.attrs["keys"] == [ref(1).key, ref(3).key]
    assert dict(group["depth_noisy"].attrs) == {
        "long_name": "depth as the sensor would have measured it",
        "units": "m",
        "scale_factor": 0.001,
        "quantity": "planar z",
        "_FillValue": 0,
    }


def test_one_file_holds_an_array_and_a_chunk_a_frame(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(1, 2, 3))
    array = root / "shards/train-000000.zarr/depth_noisy"
    assert [p.relative_to(array).as_posix() for p in sorted(array.rglob("*")) if p.is_file()] == [
        "c.0.0.0",
        "zarr.json",
    ]
    opened = zarr.open_array(str(array), mode="r")
    assert opened.shards == (3, HEIGHT, WIDTH)
    assert opened.chunks == (1, HEIGHT, WIDTH)


def test_the_index_says_what_is_in_a_frame(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(3, 4))
    first, second = index_of(root)
    assert (first["key"], first["split"], first["shard"], first["row"]) == (ref(3).key, "train", "train-000000", 0)
    assert (first["has_rgb"], second["has_rgb"], first["has_K"]) == (False, True, True)
    assert first["hash_rgb"] is None
    assert second["hash_rgb"] == xxhash.xxh3_128_hexdigest(make_frame(4).rgb.tobytes())
    assert second["hash_depth_clean"] == xxhash.xxh3_128_hexdigest(clean_mm(4).astype("<u2").tobytes())
    assert second["hash_object_pose"] == xxhash.xxh3_128_hexdigest(make_frame(4).labels["object_pose"].tobytes())
    assert first["hole_fraction_clean"] == pytest.approx(6 / (HEIGHT * WIDTH))
    assert first["hole_fraction_noisy"] == pytest.approx((6 + WIDTH) / (HEIGHT * WIDTH))
    measured = clean_mm(3)[clean_mm(3) > 0]
    assert first["depth_min_m"] == pytest.approx(measured.min() / 1000)
    assert first["depth_max_m"] == pytest.approx(measured.max() / 1000)
    assert first["noise_mean_abs_m"] == first["noise_rmse_m"] == first["noise_bias_m"] == pytest.approx(0.005)


def test_a_reject_keeps_what_is_needed_to_mend_it_and_no_local_path(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    with ShardWriter(root, one_item(1, 2), SCHEMA, fingerprint="f" * 32) as shard:
        error = DecodeError("the file is cut short", where="/data/secret/2.png", expected=9, found=4, remedy="fetch it")
        shard.reject(ref(1), "read", error)
        shard.reject(ref(2), "read", FileNotFoundError(2, "No such file", "/home/somebody/data/x.png"))
        receipt = shard.commit()
    first, second = pq.read_table(root / Layout.rejects_part("train-000000")).to_pylist()
    assert first == {
        "key": ref(1).key,
        "split": "train",
        "shard": "train-000000",
        "locator": "1",
        "stage": "read",
        "error": "DecodeError",
        "message": "the file is cut short; expected 9; found 4",
        "remedy": "fetch it",
    }
    assert second["message"] == "[Errno 2] No such file: 'x.png'"
    assert receipt.rejects_by_error == {"DecodeError": 1, "FileNotFoundError": 1}
    assert pickle.loads(pickle.dumps(receipt)) == receipt


def test_a_shard_without_a_frame_has_an_index_part_and_no_zarr(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    receipt = write_shard(root, one_item(1, 2), rejected=[1, 2])
    assert receipt.num_frames == 0
    assert index_of(root) == []
    assert list((root / "shards").iterdir()) == []


def bad_frames() -> Iterator[tuple[str, Frame, type[Exception]]]:
    frame = make_frame(1)
    yield "smaller depth", replace(frame, depth_m=frame.depth_m[1:], valid=frame.valid[1:]), FrameError
    yield "NaN where valid", replace(frame, depth_m=np.full_like(frame.depth_m, np.nan)), FrameError
    yield "too far", replace(frame, depth_m=frame.depth_m + 70), FrameError
    yield "rgb of another type", replace(frame, rgb=frame.rgb.astype(np.uint16)), FrameError  # type: ignore[union-attr]
    yield (
        "a label of another size",
        replace(frame, labels={**frame.labels, "semantic": np.zeros((1, 1), np.uint16)}),
        FrameError,
    )
    yield (
        "ragged rows of another shape",
        replace(frame, labels={**frame.labels, "object_pose": np.zeros((2, 3))}),
        FrameError,
    )


@pytest.mark.parametrize(("frame", "error"), [(f, e) for _, f, e in bad_frames()], ids=[n for n, _, _ in bad_frames()])
def test_a_bad_frame_leaves_no_trace(tmp_path: Path, frame: Frame, error: type[Exception]) -> None:
    root = new_root(tmp_path)
    with ShardWriter(root, one_item(0, 1, 2), SCHEMA, fingerprint="f" * 32) as shard:
        shard.add(make_frame(0), noisy(0))
        with pytest.raises(error) as caught:
            shard.add(frame, noisy(1))
        shard.reject(ref(1), "write", caught.value)
        shard.add(make_frame(2), noisy(2))
        shard.commit()
    (tmp_path / "other").mkdir()
    expected = new_root(tmp_path / "other")
    write_shard(expected, one_item(0, 1, 2), rejected=[1])
    assert files_of(root / "shards") == files_of(expected / "shards")


def test_a_label_that_counts_as_present_must_be_there(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    with ShardWriter(root, one_item(0, 1), SCHEMA, fingerprint="f" * 32) as shard:
        with pytest.raises(MissingLabelError, match="rgb"):
            shard.add(make_frame(0), noisy(0), frozenset({"rgb"}))
        shard.add(make_frame(0), noisy(0), frozenset({"semantic", "of no field"}))
        shard.add(make_frame(1), noisy(1), frozenset())
        shard.commit()
    first, second = index_of(root)
    assert (first["has_semantic"], first["has_instance"], second["has_semantic"]) == (True, False, False)


def test_frames_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    with ShardWriter(root, one_item(0, 1), SCHEMA, fingerprint="f" * 32) as shard:
        with pytest.raises(CorpusError, match="order"):
            shard.add(make_frame(1), noisy(1))
        shard.add(make_frame(0), noisy(0))
        with pytest.raises(CorpusError, match="neither added nor rejected"):
            shard.commit()
    assert files_of(root) == {}


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    root = new_root(tmp_path)

    def interrupted() -> None:
        with ShardWriter(root, one_item(0, 1), SCHEMA, fingerprint="f" * 32) as shard:
            shard.add(make_frame(0), noisy(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((root / "shards").iterdir()) == []


def test_the_same_shard_gives_the_same_bytes_and_the_second_writer_gives_way(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    first = write_shard(root, one_item(0, 1, 2), rejected=[1])
    before = files_of(root)
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    second = write_shard(root, one_item(0, 1, 2), rejected=[0, 1])  # even when it saw other failures
    assert (second.num_frames, second.stored_bytes) == (first.num_frames, first.stored_bytes)
    assert files_of(root) == before
    assert stamps == {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_an_uncommitted_shard_is_replaced(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(0, 1, 2), rejected=[0])
    (root / Layout.index_part("train-000000")).unlink()
    write_shard(root, one_item(0, 1, 2))
    assert [row["key"] for row in index_of(root)] == [ref(0).key, ref(1).key, ref(2).key]
    assert not (root / Layout.rejects_part("train-000000")).exists()


@pytest.mark.parametrize("codec", ["zstd", "fast", "small", "none"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_codec_and_encoding_reads_back(tmp_path: Path, codec: str, dtype: str) -> None:
    schema = CorpusSchema(HEIGHT, WIDTH, FIELDS, DepthEncoding(dtype=dtype), Codec(name=codec), 4)
    root = new_root(tmp_path)
    write_shard(root, one_item(1, 2), schema)
    group = zarr.open_group(str(root / "shards/train-000000.zarr"), mode="r")
    stored = group["depth_noisy"][:]
    expected = np.stack([noisy_mm(1), noisy_mm(2)])
    if dtype == "float32":
        expected = np.where(expected > 0, metres(expected), np.nan)
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(group["rgb"][1], make_frame(2).rgb)


def test_a_write_that_does_not_read_back_is_not_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = new_root(tmp_path)
    honest = ShardArray.read_row

    def lying(self: ShardArray, row: int, out: np.ndarray | None = None) -> np.ndarray:
        array = honest(self, row, out)
        if self.name.endswith("/rgb") and row == 1:
            array[0, 0, 0] ^= 1
        return array

    monkeypatch.setattr(ShardArray, "read_row", lying)
    with pytest.raises(IntegrityError, match="rgb does not read back"):
        write_shard(root, one_item(1, 2))
    assert files_of(root) == {}
    assert list((root / "shards").iterdir()) == []


def write_all(folder: Path, number: int, workers: int) -> None:
    for item in items(40)[number::workers]:
        write_shard(folder, item, rejected=[5])


def test_eight_processes_write_what_one_writes(tmp_path: Path) -> None:
    (tmp_path / "serial").mkdir()
    (tmp_path / "parallel").mkdir()
    serial, parallel = new_root(tmp_path / "serial"), new_root(tmp_path / "parallel")
    write_all(serial, 0, 1)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_all, args=(parallel, number, 8)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert files_of(parallel) == files_of(serial)


def test_two_writers_of_one_shard_both_end_fine(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        processes = [context.Process(target=write_shard, args=(root, one_item(*range(8)))) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert len(index_of(root)) == 8
        assert [path.name for path in (root / "shards").iterdir()] == ["train-000000.zarr"]
        assert [path.name for path in (root / "index").iterdir()] == ["train-000000.parquet"]
        (root / Layout.index_part("train-000000")).unlink()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(build(tmp_path_factory.mktemp("undisturbed")))


@pytest.mark.parametrize("point", KILLS)
def test_a_killed_run_goes_on_to_the_same_corpus(
    tmp_path: Path, point: str, undisturbed: dict[str, bytes], repository: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-m", "tests.corpus.corpora", str(tmp_path), point],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    root = tmp_path / "corpus"
    committed = {path.stem for path in (root / "index").glob("*.parquet")}
    assert len(committed) == (6 if point in ("while writing the index of the whole", "before the checksums") else 1)
    assert not (root / "SHA256SUMS").exists()
    assert not verify_corpus(root).ok
    assert files_of(build(tmp_path)) == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_one_clear_error_and_nothing_half_written(small_disk: Path) -> None:
    root = new_root(small_disk)

    def fill_the_disk() -> None:
        for number in range(1000):
            write_shard(root, replace(one_item(*range(20)), shard=f"train-{number:06d}"))

    with pytest.raises(StorageError, match="no room left") as caught:
        fill_the_disk()
    assert caught.value.exit_code == 5
    committed = {path.stem for path in (root / "index").iterdir()}
    assert committed
    assert {path.stem for path in (root / "shards").iterdir()} >= committed
    assert not [path for path in root.rglob("*") if durable.is_temporary(path.name)]


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir", "write"])
def test_every_failing_system_call_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    root = new_root(tmp_path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    elif call == "write":

        class Full(io.BytesIO):
            write = fail  # type: ignore[assignment]

        monkeypatch.setattr(local, "open", lambda *_: Full(), raising=False)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match="no room left"):
        write_shard(root, one_item(0, 1))
    monkeypatch.undo()
    assert not (root / "index/train-000000.parquet").exists()
    assert not [path for path in root.rglob("*") if durable.is_temporary(path.name)]
    write_shard(root, one_item(0, 1))
    assert len(index_of(root)) == 2


def test_a_disk_that_is_full_when_the_index_of_the_whole_is_written_leaves_a_corpus_to_be_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full(io.BytesIO):
        write = fail  # type: ignore[assignment]

    def opened(path: Path, mode: str) -> object:
        return Full() if "index.parquet" in path.name else open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(local, "open", opened, raising=False)
        with pytest.raises(StorageError, match="no room left") as caught:
            build(tmp_path)
    assert "index.parquet" in str(caught.value)
    root = tmp_path / "corpus"
    assert not (root / "index.parquet").exists()
    assert not (root / "SHA256SUMS").exists()
    assert files_of(build(tmp_path)) == files_of(build(tmp_path / "undisturbed"))


def test_k_is_stored_even_when_nothing_else_is(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(0), CorpusSchema(HEIGHT, WIDTH, (INTRINSICS,)))
    assert index_of(root)[0]["has_K"] is True
