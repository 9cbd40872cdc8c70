"""Chunks to bytes and back, by this package and by zarr alone."""

import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from depthforge.corpus.arrays import ArrayWriter
from depthforge.corpus.chains import chunk_codec
from depthforge.corpus.chunks import ChunkCodec, codec_names
from depthforge.corpus.filters import Delta, Transpose
from depthforge.corpus.shard import ShardArray
from depthforge.encoding import Codec
from depthforge.errors import IntegrityError, MissingDependencyError
from depthforge.labels.catalogue import FLOW, INSTANCE, NORMALS, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.storage import LocalFolder

NAMES = ("zstd", "fast", "small", "none")
DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
CLEAN, NOISY = (LabelSpec(name, "uint16", "image", "") for name in ("depth_clean", "depth_noisy"))
CLEAN_F32, NOISY_F32 = (LabelSpec(name, "float32", "image", "") for name in ("depth_clean", "depth_noisy"))
GREY = LabelSpec("grey", "uint8", "image", "", resize="area")


def spec_of(dtype: str, name: str, resize: str, trailing: tuple[int, ...]) -> LabelSpec:
    dims = tuple("abc"[: len(trailing)])
    return LabelSpec(name, dtype, "image", "", trailing, dims, resize=resize)  # type: ignore[arg-type]


def write(root: Path, spec: LabelSpec, codec: Codec, frames: list[np.ndarray]) -> Path:
    """Write the frames of one image field as a corpus does."""
    height, width = frames[0].shape[:2]
    chain = chunk_codec(codec, spec, height, width)
    group = LocalFolder(root).stage("shard")
    writer = ArrayWriter(
        group,
        spec.name,
        dtype=np.dtype(spec.dtype),
        chunk_shape=(1, *frames[0].shape),
        dimension_names=("frame", "y", "x", *spec.trailing_dims),
        fill_value=0,
        attributes={},
        codec=chain,
    )
    for frame in frames:
        writer.append(chain.encode(frame))
    writer.finish(len(frames))
    group.write("zarr.json", json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}).encode())
    group.publish()
    return root / "shard" / spec.name


def through_zarr(array: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Numcodecs codecs are not in the Zarr version 3", UserWarning)
        return np.asarray(zarr.open_array(str(array), mode="r")[...])


def opened(array: Path) -> ShardArray:
    return ShardArray(LocalFolder(array.parent), array.name)


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two arrays agree bit for bit, payloads of NaN and signs of zero included."""
    return found.dtype == wanted.dtype and found.shape == wanted.shape and found.tobytes() == wanted.tobytes()


def fields_of(rng: np.random.Generator, height: int = 12, width: int = 17) -> list[tuple[LabelSpec, np.ndarray]]:
    """One frame of every kind of field, over the whole range of its dtype."""
    specs = (CLEAN, NOISY, NORMALS, RGB, GREY, INSTANCE, CLEAN_F32, NOISY_F32, FLOW)
    made = []
    for spec in specs:
        shape = spec.shape(height, width)
        raw = rng.integers(0, 256, int(np.prod(shape)) * np.dtype(spec.dtype).itemsize, np.uint8)
        made.append((spec, raw.view(spec.dtype).reshape(shape)))
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_array_of_any_chain_comes_back_bit_for_bit_here_and_through_zarr(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    name = data.draw(st.sampled_from(["depth_clean", "depth_noisy", "a"]))
    resize = data.draw(st.sampled_from(["nearest", "area", "normals"]))
    trailing = data.draw(st.sampled_from([(), (1,), (2,), (3,), (2, 3), (9,)]))
    spec = spec_of(dtype, name, resize, trailing)
    codec = Codec.model_validate({"name": data.draw(st.sampled_from(NAMES))})
    shape = spec.shape(data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    bits = hnp.arrays(
        np.uint8, (*shape, np.dtype(dtype).itemsize), elements=st.integers(0, 1 if dtype == "bool" else 255)
    )
    frames = [data.draw(bits).view(dtype)[..., 0].copy() for _ in range(2)]
    array = write(tmp_path_factory.mktemp("any"), spec, codec, frames)
    mine = opened(array)
    assert mine.is_direct
    assert same(mine.read_rows(0, 2), np.stack(frames))
    assert same(mine.read_row(1), frames[1])
    assert same(through_zarr(array), np.stack(frames))


def test_every_field_opens_with_zarr_and_xarray_where_depthforge_is_not_imported(tmp_path: Path) -> None:
    wanted = {}
    for codec, height, width in (("fast", 12, 17), ("small", 1, 17), ("small", 17, 1), ("small", 300, 211)):
        for spec, frame in fields_of(np.random.default_rng(1), height, width):
            folder = f"{codec}{height}-{spec.name}-{spec.dtype}"
            write(tmp_path / folder, spec, Codec.model_validate({"name": codec}), [frame, frame[::-1].copy()])
            wanted[f"{folder}/shard:{spec.name}"] = np.stack([frame, frame[::-1]])
    np.savez(tmp_path / "wanted.npz", **{key.replace("/", "|"): value for key, value in wanted.items()})
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, xarray, zarr
root = sys.argv[1]
checked = 0
for key, value in np.load(root + "/wanted.npz").items():
    group, name = key.replace("|", "/").split(":")
    by_xarray = xarray.open_zarr(root + "/" + group, consolidated=False, mask_and_scale=False)[name].values
    for found in (zarr.open_group(root + "/" + group, mode="r")[name][...], by_xarray):
        assert found.dtype == value.dtype and found.tobytes() == value.tobytes(), key
    checked += 1
assert "depthforge" not in sys.modules
print(checked)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, str(len(wanted))), result.stderr


def test_tensorstore_reads_every_field_of_fast_and_those_of_small_without_differences(tmp_path: Path) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    read = set()
    for codec in ("fast", "small"):
        for spec, frame in fields_of(np.random.default_rng(2)):
            array = write(tmp_path / f"{codec}{spec.name}{spec.dtype}", spec, Codec(name=codec), [frame])
            options = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}}
            if "numcodecs.delta" in opened(array).codecs:
                with pytest.raises(ValueError, match="delta"):
                    tensorstore.open(options, read=True).result()
                continue
            assert same(tensorstore.open(options, read=True).result().read().result()[0], frame)
            read.add((codec, spec.name))
    assert {spec.name for spec, _ in fields_of(np.random.default_rng(2))} == {n for c, n in read if c == "fast"}
    assert ("small", "depth_noisy") in read
    assert ("small", "instance") in read


def test_which_fields_are_stored_as_differences() -> None:
    small = Codec.model_validate({"name": "small"})
    expected = {
        CLEAN: (Transpose((0, 2, 1)), Delta(np.dtype("<u2"))),
        NORMALS: (Transpose((0, 3, 2, 1)), Delta(np.dtype("<i2"))),
        RGB: (Delta(np.dtype("u1")), Transpose((0, 3, 1, 2)), Delta(np.dtype("u1"))),
        GREY: (Transpose((0, 2, 1)), Delta(np.dtype("u1"))),
        **dict.fromkeys((NOISY, INSTANCE, CLEAN_F32, NOISY_F32, FLOW), ()),
    }
    for spec, filters in expected.items():
        assert chunk_codec(small, spec, 480, 640).filters == filters, spec.name
        assert chunk_codec(small, spec, 1, 640).filters == chunk_codec(small, spec, 480, 1).filters == ()
        for other in ("zstd", "fast", "none"):
            assert chunk_codec(Codec(name=other), spec, 480, 640).filters == (), (other, spec.name)


def test_noise_of_few_values_keeps_its_repeats_in_float32() -> None:
    steps = np.random.default_rng(3).choice(np.float32([0.8, 0.81, 1.25, np.nan]), (480, 640))
    small = Codec.model_validate({"name": "small"})
    noisy, clean = (chunk_codec(small, spec, 480, 640) for spec in (NOISY_F32, CLEAN_F32))
    assert [step["name"] for step in noisy.to_json()] == ["bytes", "zstd", "crc32c"]
    assert len(noisy.encode(steps)) < len(clean.encode(steps))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int64"])
def test_differences_wrap_and_are_those_of_numcodecs(dtype: str) -> None:
    from numcodecs.delta import Delta as Theirs

    # More than one block, and sums that leave the range on both sides.
    information = np.iinfo(dtype)
    values = np.random.default_rng(4).integers(information.min, information.max, (5, 20_011), dtype, endpoint=True)
    values[0, :4] = information.max, information.min, information.max, 0
    mine, theirs = Delta(np.dtype(dtype)), Theirs(dtype)
    stored = mine.apply(values)
    assert stored.tobytes() == theirs.encode(values).tobytes()
    assert theirs.decode(stored).tobytes() == values.tobytes()
    assert same(mine.undo(stored), values)


def test_floats_have_no_differences() -> None:
    with pytest.raises(ValueError, match="not exact"):
        Delta(np.dtype("<f4"))


@pytest.mark.parametrize("name", NAMES)
def test_a_chain_is_parsed_from_its_metadata(name: str) -> None:
    for spec, frame in fields_of(np.random.default_rng(5)):
        chain = chunk_codec(Codec.model_validate({"name": name}), spec, *frame.shape[:2])
        parsed = ChunkCodec.parse(json.loads(json.dumps(chain.to_json())), frame.dtype)
        assert parsed is not None
        assert parsed.to_json() == chain.to_json()
        assert parsed.encode(frame) == chain.encode(frame)


BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
BIG: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "big"}}


def delta(dtype: str, astype: str | None = None) -> dict[str, Any]:
    return {"name": "numcodecs.delta", "configuration": {"dtype": dtype, **({"astype": astype} if astype else {})}}


def test_chains_that_zarr_writes_are_known_and_others_are_left_to_zarr() -> None:
    uint16 = np.dtype("<u2")
    blosc = {"cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "typesize": 2}
    parsed = ChunkCodec.parse([delta("uint16"), BYTES, {"name": "blosc", "configuration": blosc}], uint16)
    assert parsed is not None
    assert parsed.filters == (Delta(uint16),)
    assert parsed.to_json()[2]["configuration"] == {**blosc, "blocksize": 0}
    unknown: list[list[dict[str, Any]]] = [
        [{"name": "crc32c"}],
        [BIG],
        [delta("<u2", "<u4"), BYTES],
        [delta("<i2"), BYTES],
        [delta(">u2"), BYTES],
        [{"name": "transpose", "configuration": {"order": "F"}}, BYTES],
        [{"name": "numcodecs.bitround", "configuration": {"keepbits": 3}}, BYTES],
        [BYTES, {"name": "gzip", "configuration": {"level": 1}}],
        [BYTES, {"name": "blosc", "configuration": {**blosc, "cname": "nosuch"}}],
        [BYTES, {"name": "zstd", "configuration": {"level": 1}}, {"name": "gzip", "configuration": {"level": 1}}],
    ]
    assert [ChunkCodec.parse(chain, uint16) for chain in unknown] == [None] * len(unknown)
    assert ChunkCodec.parse([delta("<f4"), BYTES], np.dtype("<f4")) is None


def test_a_damaged_chunk_with_differences_is_an_integrity_error() -> None:
    chain = chunk_codec(Codec.model_validate({"name": "small"}), NORMALS, 12, 17)
    frame = fields_of(np.random.default_rng(6))[2][1]
    content, out = bytearray(chain.encode(frame)), np.empty((1, *frame.shape), frame.dtype)
    chain.decode_into(bytes(content), out, where="here")
    assert same(out[0], frame)
    content[7] ^= 1
    with pytest.raises(IntegrityError, match="checksum"):
        chain.decode_into(bytes(content), out, where="here")
    with pytest.raises(IntegrityError, match="cannot be decoded"):
        chain.decode_into(chain.encode(frame), np.empty(frame.shape, frame.dtype), where="here")


def test_many_threads_decode_at_once() -> None:
    jobs = []
    for codec in ("fast", "small"):
        for spec, frame in fields_of(np.random.default_rng(7), 90, 120):
            chain = chunk_codec(Codec.model_validate({"name": codec}), spec, 90, 120)
            jobs.append((chain, frame, chain.encode(frame)))

    def decode(job: tuple[ChunkCodec, np.ndarray, bytes]) -> bool:
        chain, frame, content = job
        out = np.empty((1, *frame.shape), frame.dtype)
        chain.decode_into(content, out, where="here")
        return same(out[0], frame)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(decode, jobs * 20))


def replace_codecs(array: Path, change: list[dict[str, Any]]) -> None:
    path = array / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["codecs"][0]["configuration"]["codecs"] = change
    path.write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("chain", "named"),
    [
        ([BYTES, {"name": "acme.wavelet", "configuration": {}}, {"name": "crc32c"}], "acme.wavelet"),
        ([{"name": "numcodecs.acme", "configuration": {}}, BYTES], "numcodecs.acme"),
        ([BYTES, {"name": "numcodecs.pcodec", "configuration": {}}], "numcodecs.pcodec"),
        # zarr knows this name, and numcodecs lacks the package that decodes it.
        ([{"name": "numcodecs.zfpy", "configuration": {}}], "numcodecs.zfpy"),
    ],
)
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
def test_a_codec_that_is_not_installed_is_named_with_its_array(
    tmp_path: Path, chain: list[dict[str, Any]], named: str
) -> None:
    array = write(tmp_path, NOISY, Codec(), [np.ones((3, 4), np.uint16)])
    replace_codecs(array, chain)
    mine = opened(array)
    assert not mine.is_direct
    with pytest.raises(MissingDependencyError) as caught:
        mine.read_row(0)
    assert caught.value.where == str(array)
    assert named in str(caught.value.found)


def test_a_codec_without_zarr_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = write(tmp_path, NOISY, Codec(), [np.ones((3, 4), np.uint16)])
    replace_codecs(array, [BYTES, {"name": "acme.wavelet", "configuration": {}}])
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingDependencyError, match=r"acme\.wavelet"):
        opened(array).read_row(0)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
def test_rows_that_zarr_cannot_decode_are_an_integrity_error(tmp_path: Path) -> None:
    array = write(tmp_path, NOISY, Codec(), [np.ones((3, 4), np.uint16)])
    replace_codecs(array, [BYTES, {"name": "gzip", "configuration": {"level": 1}}])
    with pytest.raises(IntegrityError, match="decoded"):
        opened(array).read_row(0)


def test_names_of_codecs_are_found_inside_the_sharding_codec() -> None:
    inner = chunk_codec(Codec.model_validate({"name": "small"}), CLEAN, 4, 4).to_json()
    chain = [{"name": "sharding_indexed", "configuration": {"codecs": inner}}]
    assert codec_names(chain) == ("sharding_indexed", "transpose", "numcodecs.delta", "bytes", "blosc", "crc32c")


def test_smooth_images_are_smaller_and_xarray_scales_them(tmp_path: Path) -> None:
    y, x = np.mgrid[:96, :128]
    smooth = (800 + 2 * y + 3 * x + 40 * np.sin(x / 9)).astype(np.uint16)
    sizes = {name: len(chunk_codec(Codec(name=name), CLEAN, 96, 128).encode(smooth)) for name in ("zstd", "small")}
    assert sizes["small"] < 0.8 * sizes["zstd"]
    array = write(tmp_path, CLEAN, Codec(name="small"), [smooth])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = xarray.open_zarr(str(array.parent), consolidated=False)["depth_clean"].values
    np.testing.assert_array_equal(found[0], smooth)


@pytest.mark.parametrize(("level", "within"), [(0, 2), (1, 1), (2, 2), (3, 2), (9, 5), (22, 9)])
def test_bytes_of_clean_depth_are_shuffled_by_default(level: int, within: int) -> None:
    """At the level of zstd that was asked for, or the next that blosc has; it is smaller so, and noisy depth is not."""
    chain = chunk_codec(Codec(level=level), CLEAN, 240, 320)
    assert chain.to_json()[1]["configuration"]["clevel"] == within
    assert chain.to_json()[1]["configuration"]["shuffle"] == "shuffle"
    y, x = np.mgrid[:240, :320]
    smooth = (800 + 2 * y + 3 * x + 40 * np.sin(x / 9)).astype(np.uint16)
    plain = chunk_codec(Codec(level=level), NOISY, 240, 320)
    assert plain.to_json()[1] == {"name": "zstd", "configuration": {"level": level, "checksum": False}}
    assert len(chain.encode(smooth)) < 0.7 * len(plain.encode(smooth))


@pytest.mark.parametrize("name", ["zstd", "fast", "small", "none"])
def test_a_chunk_of_another_size_is_an_integrity_error(name: str) -> None:
    """Decoders would leave the rest of the array as it was."""
    codec, out = ChunkCodec.of(Codec(name=name), 2), np.empty((1, 4, 4), np.uint16)  # type: ignore[arg-type]
    for shape in ((3, 4), (5, 4), (300, 4), (40_000, 4)):
        other = codec.encode(np.random.default_rng(0).integers(0, 9, shape, np.uint16))
        with pytest.raises(IntegrityError, match="here"):
            codec.decode_into(other, out, where="here")
