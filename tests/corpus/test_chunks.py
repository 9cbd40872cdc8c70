from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from depthforge.corpus.chains import chunk_codec
from depthforge.corpus.chunks import ChunkCodec
from depthforge.corpus.filters import Delta, Transpose, parse_filter
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.shard import ShardArray
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import InputError, IntegrityError
from depthforge.labels.catalogue import INSTANCE, INTRINSICS, NORMALS, OBJECT_POSE, RGB, SEMANTIC_NYU40
from depthforge.labels.spec import LabelSpec
from depthforge.storage import LocalFolder
from tests.corpus.corpora import SCHEMA, build

NAMES = ("zstd", "fast", "small", "blosc-zstd", "blosc-lz4", "none")
DEPTHS = tuple(
    spec
    for depth in (DepthEncoding(), DepthEncoding(dtype="float32"))
    for spec in CorpusSchema(2, 2, (), depth=depth).depth_specs
)
SPECS = (*DEPTHS, RGB, NORMALS, SEMANTIC_NYU40, INSTANCE, INTRINSICS)


def chain(name: str, spec: LabelSpec, height: int, width: int) -> ChunkCodec:
    return chunk_codec(Codec(name=name), spec, height, width)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_chunk_of_any_field_comes_back_bit_for_bit(data: st.DataObject) -> None:
    spec, name = data.draw(st.sampled_from(SPECS)), data.draw(st.sampled_from(NAMES))
    height, width = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    shape, dtype = spec.shape(height, width), np.dtype(spec.dtype)
    raw = data.draw(hnp.arrays(np.uint8, (int(np.prod(shape)) * dtype.itemsize,)))
    values = raw.view(dtype).reshape(shape)  # every bit pattern, NaN payloads too
    codec = chain(name, spec, height, width)
    again = ChunkCodec.parse(codec.to_json(), dtype)
    assert again is not None
    assert again.to_json() == codec.to_json()
    for each in (codec, again):
        found = np.empty((1, *shape), dtype)
        each.decode_into(codec.encode(values), found, where="here")
        assert found.tobytes() == values.tobytes()


@given(hnp.arrays(st.sampled_from(["u1", "u2", "i2", "u4", "i8"]), st.integers(0, 40_000)))
@settings(deadline=None, max_examples=30)
def test_differences_wrap_and_are_undone(values: npt.NDArray[Any]) -> None:
    delta = Delta(values.dtype)
    differences = delta.apply(values)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(differences[1:], values[1:] - values[:-1])
    np.testing.assert_array_equal(delta.undo(differences.copy()), values)


def test_differences_of_numbers_that_are_not_whole_are_refused() -> None:
    with pytest.raises(ValueError, match="not exact"):
        Delta(np.dtype(np.float32))
    assert parse_filter({"name": "numcodecs.delta", "configuration": {"dtype": "<f4"}}, np.dtype("<f4")) is None


def test_an_order_of_axes_is_checked() -> None:
    with pytest.raises(ValueError, match="no order of 3 axes"):
        Transpose((0, 1, 3))
    with pytest.raises(ValueError, match="2 axes"):
        Transpose((0, 2, 1)).encoded_shape((3, 4))


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "zstd", "configuration": {"level": 1}}],
        [{"name": "bytes"}, {"name": "gzip", "configuration": {"level": 1}}],
        [{"name": "bytes", "configuration": {"endian": "big"}}],
        [{"name": "numcodecs.quantize", "configuration": {"dtype": "<u2"}}, {"name": "bytes"}],
        [{"name": "numcodecs.delta", "configuration": {"dtype": "<u4"}}, {"name": "bytes"}],
        [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}, {"name": "gzip"}],
    ],
    ids=["no bytes", "gzip", "big endian", "quantised", "another delta", "two compressors"],
)
def test_a_chain_that_is_not_known_is_left_to_zarr(codecs: list[dict[str, Any]]) -> None:
    assert ChunkCodec.parse(codecs, np.dtype("<u2")) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_chunk_is_an_integrity_error(name: str) -> None:
    codec, out = chain(name, DEPTHS[0], 4, 4), np.empty((1, 4, 4), np.uint16)
    content = bytearray(codec.encode(np.arange(16, dtype=np.uint16).reshape(4, 4)))
    content[3] ^= 1
    with pytest.raises(IntegrityError, match="here"):
        codec.decode_into(bytes(content), out, where="here")
    for shape in ((3, 4), (5, 4), (300, 4), (40_000, 4)):  # of an image of another size
        other = codec.encode(np.random.default_rng(0).integers(0, 9, shape, np.uint16))
        with pytest.raises(IntegrityError, match="here"):
            codec.decode_into(other, out, where="here")


def test_levels_left_out_are_those_of_the_codec() -> None:
    assert [Codec(name=name).level for name in NAMES] == [1, 9, 3, 1, 1, 1]  # type: ignore[arg-type]
    assert Codec(name="small", level=7).level == 7
    for name in ("fast", "small", "blosc-zstd"):
        with pytest.raises(InputError, match=f"levels of {name} end at 9"):
            CorpusSchema(4, 4, (), codec=Codec(name=name, level=10))  # type: ignore[arg-type]


WITHOUT_US = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "depthforge":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import hashlib, warnings
import numpy, zarr
warnings.simplefilter("ignore")
group = zarr.open_group(sys.argv[1], mode="r")
arrays = {name: numpy.ascontiguousarray(array[...]) for name, array in group.arrays()}
print(json.dumps({name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}))
"""


@pytest.mark.parametrize("name", ["fast", "small"])
def test_zarr_without_this_package_reads_every_field(tmp_path: Path, name: str) -> None:
    root = build(tmp_path, schema=replace(SCHEMA, codec=Codec(name=name)))  # type: ignore[arg-type]
    shard = root / "shards/train-000000.zarr"
    command = [sys.executable, "-c", WITHOUT_US, str(shard)]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout)
    assert OBJECT_POSE.name in theirs
    for field, digest in theirs.items():
        array = ShardArray(LocalFolder(shard), field)
        assert array.is_direct
        assert hashlib.sha256(array.read_rows(0, len(array)).tobytes()).hexdigest() == digest, field
