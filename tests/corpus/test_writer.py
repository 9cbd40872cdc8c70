from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash
import zarr

from depthforge.corpus.layout import Layout
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.shard import ShardArray
from depthforge.corpus.writer import ShardWriter
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import CorpusError, DecodeError, FrameError, IntegrityError, MissingLabelError
from depthforge.frame import Frame
from depthforge.labels.catalogue import INTRINSICS
from tests.corpus.corpora import (
    CAMERA,
    FIELDS,
    HEIGHT,
    SCHEMA,
    WIDTH,
    clean_mm,
    files_of,
    index_of,
    make_frame,
    metres,
    new_root,
    noisy,
    noisy_mm,
    one_item,
    ref,
    write_shard,
)


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


def test_k_is_stored_even_when_nothing_else_is(tmp_path: Path) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(0), CorpusSchema(HEIGHT, WIDTH, (INTRINSICS,)))
    assert index_of(root)[0]["has_K"] is True
