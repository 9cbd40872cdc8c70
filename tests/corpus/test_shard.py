from __future__ import annotations

import gc
import json
import os
import pickle
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from depthforge.corpus.chunks import ChunkCodec, with_crc32c
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.shard import ShardArray, ShardReader
from depthforge.corpus.writer import ShardWriter
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import (
    CorpusError,
    IncompleteError,
    IntegrityError,
    MissingDataError,
    MissingDependencyError,
    UnknownNameError,
)
from depthforge.frame import Camera, Capture, Frame, FrameRef, NoisyDepth
from depthforge.labels.spec import LabelSpec
from depthforge.plan import WorkItem
from depthforge.storage import LocalFolder
from tests.corpus.corpora import clean_mm, make_frame, metres, new_root, noisy_mm, one_item, ref, write_shard

pytestmark = pytest.mark.filterwarnings("ignore:.*Zarr format 3 specification.*")


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = new_root(tmp_path_factory.mktemp("shard"))
    write_shard(root, one_item(1, 2, 3, 4, 5))
    return root / "shards/train-000000.zarr"


def opened(array: Path) -> ShardArray:
    return ShardArray(LocalFolder(array.parent), array.name)


def opened_shard(shard: Path) -> ShardReader:
    return ShardReader(LocalFolder(shard.parent), shard.name)


def open_with_zarr(shard: Path, pipeline: str) -> zarr.Group:
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        return zarr.open_group(str(shard), mode="r")


@pytest.mark.parametrize(
    "pipeline", ["zarr.core.codec_pipeline.BatchedCodecPipeline", "zarrs.ZarrsCodecPipeline"], ids=["zarr", "zarrs"]
)
def test_every_array_reads_as_through_zarr(shard: Path, pipeline: str) -> None:
    group = open_with_zarr(shard, pipeline)
    assert len(list(group)) == 10
    for name in group:
        mine, theirs = opened(shard / name), group[name][...]
        assert mine.is_direct
        assert (mine.shape, mine.dtype, mine.attributes) == (theirs.shape, theirs.dtype, dict(group[name].attrs))
        np.testing.assert_array_equal(mine.read_rows(0, len(mine)), theirs)


def test_every_array_reads_as_through_tensorstore(shard: Path) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    for directory in (path for path in shard.iterdir() if path.is_dir()):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(directory)}}
        theirs = tensorstore.open(spec, read=True).result().read().result()
        mine = opened(directory)
        np.testing.assert_array_equal(mine.read_rows(0, len(mine)), theirs)


@pytest.mark.parametrize(
    "compressors",
    [ZstdCodec(level=3), BloscCodec(cname="lz4", shuffle="shuffle", typesize=2), (ZstdCodec(), Crc32cCodec()), None],
)
def test_what_zarr_writes_with_known_codecs_is_read_directly(tmp_path: Path, compressors: object) -> None:
    data = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)
    # Creating with data= once wrote broken shards (zarr-python 3169): create empty, then assign.
    array = zarr.create_array(
        str(tmp_path / "a"),
        shape=data.shape,
        dtype="uint16",
        chunks=(2, 4, 6),
        shards=(6, 4, 6),
        compressors=compressors,
    )
    array[...] = data
    mine = opened(tmp_path / "a")
    assert mine.is_direct
    np.testing.assert_array_equal(mine.read_rows(0, 5), data)
    np.testing.assert_array_equal(mine.read_rows(1, 4), data[1:4])
    np.testing.assert_array_equal(mine.read_row(4), data[4])


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": GzipCodec(), "chunks": (1, 4, 6), "shards": (5, 4, 6)},
        {"chunks": (1, 4, 6)},
        {"chunks": (1, 2, 6), "shards": (5, 4, 6)},
        {"chunks": (1, 4, 6), "shards": (2, 4, 6)},
    ],
)
def test_any_other_layout_is_read_through_zarr(tmp_path: Path, options: dict[str, object]) -> None:
    data = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)
    array = zarr.create_array(str(tmp_path / "a"), shape=data.shape, dtype="uint16", **options)
    array[...] = data
    mine = pickle.loads(pickle.dumps(opened(tmp_path / "a")))
    assert not mine.is_direct
    np.testing.assert_array_equal(mine.read_rows(1, 5), data[1:5])


def test_another_layout_without_zarr_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(str(tmp_path / "a"), shape=(5, 4, 6), dtype="uint16", chunks=(1, 4, 6))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError) as caught:
        opened(tmp_path / "a").read_row(0)
    assert "pip install zarr" in str(caught.value)
    assert str(tmp_path / "a") in str(caught.value)


def test_rows_that_are_not_there_are_an_index_error(shard: Path) -> None:
    with pytest.raises(IndexError):
        opened(shard / "K").read_row(5)
    with pytest.raises(IndexError):
        opened(shard / "K").read_row(-1)


@pytest.mark.parametrize("place", ["first chunk", "index", "cut"])
def test_a_damaged_file_is_never_decoded(shard: Path, tmp_path: Path, place: str) -> None:
    root = new_root(tmp_path)
    write_shard(root, one_item(1, 2))
    path = root / "shards/train-000000.zarr/depth_clean/c.0.0.0"
    content = bytearray(path.read_bytes())
    if place == "cut":
        del content[10:]
    else:
        content[3 if place == "first chunk" else -7] ^= 4
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        opened(path.parent).read_row(0)


def test_missing_things_say_what_is_missing(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no zarr array"):
        opened_shard(shard).array("nothing")
    with pytest.raises(MissingDataError, match="no zarr group"):
        opened_shard(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(CorpusError, match="cannot be read"):
        opened_shard(tmp_path)
    (tmp_path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "array"}))
    with pytest.raises(CorpusError, match="zarr v3 group"):
        opened_shard(tmp_path)


def test_readers_survive_fork_and_threads_and_close_their_files(shard: Path) -> None:
    reader = opened_shard(shard)
    expected = reader.read("depth_clean", 3)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(reader.read("depth_clean", 3), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    wrong: list[int] = []

    def read_many() -> None:
        for i in range(100):
            if not np.array_equal(reader.read("depth_clean", i % 5), clean_mm(1 + i % 5)):
                wrong.append(i)
            if i % 10 == 0:
                reader.close()

    threads = [threading.Thread(target=read_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    reader.close()
    gc.collect()
    assert str(shard) not in "".join(
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    )


def test_a_checksum_is_that_of_zarr() -> None:
    assert with_crc32c(b"123456789") == b"123456789" + (0xE3069283).to_bytes(4, "little")
    with pytest.raises(IntegrityError, match="checksum"):
        ChunkCodec.of(Codec(), 2).decode_into(b"", np.empty(3, np.uint16), where="here")


RAGGED = LabelSpec("points", "float32", "ragged", "", (2,), ("axis",), resize="none")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_frames_come_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    schema = CorpusSchema(
        height,
        width,
        (LabelSpec("ids", "uint32", "image", ""), RAGGED),
        data.draw(st.sampled_from([DepthEncoding(), DepthEncoding(dtype="float32"), DepthEncoding(scale_m=0.0001)])),
        Codec(name=data.draw(st.sampled_from(["zstd", "fast", "small", "none"]))),
        8,
    )
    depths = hnp.arrays(np.float32, (height, width), elements=st.floats(0.0009765625, 6, width=32))
    masks = hnp.arrays(np.bool_, (height, width))
    camera = Camera(1, 1, 0, 0, width, height)
    frames, noisy = [], []
    for number in range(data.draw(st.integers(1, 5))):
        labels: dict[str, np.ndarray] = {}
        if data.draw(st.booleans()):
            labels["ids"] = data.draw(hnp.arrays(np.uint32, (height, width)))
        if data.draw(st.booleans()):
            labels["points"] = data.draw(
                hnp.arrays(np.float32, (data.draw(st.sampled_from([0, 1, 3, 9000])), 2), fill=st.just(1.5))
            )
        frames.append(Frame(f"a/b/{number}", data.draw(depths), data.draw(masks), camera, labels=labels))
        noisy.append((data.draw(depths), data.draw(masks)))
    root = new_root(tmp_path_factory.mktemp("any"))
    item = WorkItem("train-000000", "train", tuple(FrameRef(frame.key, "") for frame in frames))
    with ShardWriter(root, item, schema, fingerprint="f" * 32) as writer:
        for frame, (depth_m, valid) in zip(frames, noisy, strict=True):
            writer.add(frame, Capture(NoisyDepth(depth_m, valid)))
        writer.commit()
    reader = opened_shard(root / "shards/train-000000.zarr")
    for row, frame in enumerate(frames):
        ids = frame.labels.get("ids", np.zeros((height, width), np.uint32))
        np.testing.assert_array_equal(reader.read("ids", row), ids)
        points = frame.labels.get("points", np.zeros((0, 2), np.float32))
        np.testing.assert_array_equal(reader.read_ragged("points", row), points)
        stored = reader.read("depth_noisy", row)
        np.testing.assert_array_equal(np.isfinite(stored) & (stored > 0), noisy[row][1])


def test_a_corpus_reads_by_position_and_by_key(corpus: Path) -> None:
    reader = pickle.loads(pickle.dumps(CorpusReader(corpus)))
    assert len(reader) == 21
    frame = reader.read(ref(12).key)
    assert frame.key == reader.key(reader.position(ref(12).key)) == ref(12).key
    np.testing.assert_array_equal(frame.clean_depth_m, metres(clean_mm(12)))
    np.testing.assert_array_equal(frame.noisy_depth_m, metres(noisy_mm(12)))
    np.testing.assert_array_equal(frame.noisy_valid, noisy_mm(12) > 0)
    assert "rgb" not in frame.labels  # frame 12 has none
    np.testing.assert_array_equal(frame.labels["object_id"], make_frame(12).labels["object_id"])
    assert reader.read(-1, ["semantic"]).labels.keys() == {"semantic"}
    assert len(CorpusReader(corpus, "train")) + len(CorpusReader(corpus, "val")) == 21


def test_keys_of_a_large_corpus_are_found_without_a_dictionary(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [CorpusReader(corpus).position(ref(number).key) for number in (0, 12, 21)]
    monkeypatch.setattr("depthforge.corpus.reader._MAX_IN_DICTIONARY", 0)
    assert [CorpusReader(corpus).position(ref(number).key) for number in (0, 12, 21)] == expected
    with pytest.raises(MissingDataError, match="has no frame"):
        CorpusReader(corpus).position("tiny/scene-00/0007")


def test_unknown_names_are_errors_that_list_the_known(corpus: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown split"):
        CorpusReader(corpus, "test")
    with pytest.raises(MissingDataError, match="has no frame"):
        CorpusReader(corpus).read("tiny/scene-00/0007")  # rejected
    with pytest.raises(UnknownNameError, match="semantic"):
        CorpusReader(corpus).read(0, ["semantics"])


@pytest.mark.parametrize("content", [b"", b"PAR1", "cut"])
def test_a_damaged_index_is_an_integrity_error(own_corpus: Path, content: bytes | str) -> None:
    path = own_corpus / "index.parquet"
    path.write_bytes(path.read_bytes()[:-40] if isinstance(content, str) else content)
    with pytest.raises(IntegrityError, match=r"the index cannot be read") as caught:
        CorpusReader(own_corpus)
    assert "remove SHA256SUMS from the corpus and run the conversion again" in str(caught.value)


def test_a_damaged_part_of_the_index_is_passed_over_where_a_corpus_is_unfinished(own_corpus: Path) -> None:
    """Such a shard does not exist: the run that goes on makes it anew."""
    (own_corpus / "SHA256SUMS").unlink()
    (own_corpus / "index.parquet").unlink()
    (own_corpus / "index/train-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(IncompleteError, match="not finished") as caught:
        CorpusReader(own_corpus)
    assert "allow_unfinished" in str(caught.value)
    reader = CorpusReader(own_corpus, allow_unfinished=True)
    assert len(reader) < 21
    assert "train-000001" not in {at.shard for at in reader.index.shards}


@pytest.mark.parametrize("attribute", ["units", "quantity", "scale_factor", "_FillValue"])
def test_depth_without_its_meaning_is_not_opened(own_corpus: Path, attribute: str) -> None:
    for path in own_corpus.glob("shards/*/depth_noisy/zarr.json"):
        metadata = json.loads(path.read_text())
        del metadata["attributes"][attribute]
        path.write_text(json.dumps(metadata))
    with pytest.raises(CorpusError, match="does not say its"):
        CorpusReader(own_corpus).read(0)
