"""Arrays in .npy, .npz, HDF5, EXR, PFM and TIFF: exact values, named faults, and nothing but DecodeError from junk."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import OpenEXR
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError
from depthforge.sources.containers import WHOLE, Form, read_container
from depthforge.sources.images import decode_depth, decode_integers

METRES = np.linspace(0.5, 3, 6 * 8, dtype=np.float32).reshape(6, 8)


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def hdf5(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return buffer.getvalue()


def exr(folder: Path, compression: object = OpenEXR.ZIP_COMPRESSION, **channels: np.ndarray) -> bytes:
    head = {"compression": compression, "type": OpenEXR.scanlineimage}
    named = {name.replace("_", "."): array for name, array in channels.items()}
    OpenEXR.File(head, named).write(str(folder / "x.exr"))
    return (folder / "x.exr").read_bytes()


def pfm(metres: np.ndarray, *, little: bool = True, bottom_up: bool = True) -> bytes:
    rows = metres[::-1] if bottom_up else metres
    head = f"Pf\n{metres.shape[1]} {metres.shape[0]}\n{-1.0 if little else 1.0}\n".encode()
    return head + rows.astype("<f4" if little else ">f4").tobytes()


def tiff(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def fails(data: bytes, message: str, form: Form = WHOLE) -> DecodeError:
    with pytest.raises(DecodeError, match=message) as raised:
        decode_depth(data, where="7.x", form=form)
    assert raised.value.where == "7.x"
    return raised.value


def test_npz_by_its_only_array_or_by_key() -> None:
    np.testing.assert_array_equal(decode_depth(npz(depth=METRES), where=""), METRES, strict=True)
    both = npz(depth=METRES, other=METRES + 1)
    np.testing.assert_array_equal(decode_depth(both, where="", form=Form(key="other")), METRES + 1, strict=True)
    error = fails(both, "several arrays")
    assert (error.found, error.remedy) == ("depth, other", "key: depth")
    assert fails(both, "without that array", Form(key="dpth")).found == "depth, other"
    fails(npz(depth=METRES)[:-40], "NPZ")


def test_hdf5_by_its_only_image_or_by_key() -> None:
    np.testing.assert_array_equal(decode_depth(hdf5(depth=METRES, version=b"1"), where=""), METRES, strict=True)
    both = hdf5(depth=METRES, **{"passes/distance": METRES * 2})
    form = Form(key="/passes/distance")
    np.testing.assert_array_equal(decode_depth(both, where="", form=form), METRES * 2, strict=True)
    assert fails(both, "several arrays").found == "depth, passes/distance"
    fails(hdf5(depth=METRES)[:600], "HDF5")


@pytest.mark.parametrize(
    ("names", "channel", "chosen"),
    [
        (["Z"], None, "Z"),
        (["V"], None, "V"),
        (["ViewLayer_Depth_Z", "ViewLayer_Combined_R"], None, "ViewLayer_Depth_Z"),
        (["View_depth_V", "View_Mist_Z"], None, "View_depth_V"),
        (["A_Depth_Z", "B_Depth_Z"], "B.Depth.Z", "B_Depth_Z"),
        (["range"], None, "range"),
    ],
)
def test_the_depth_channel_of_an_exr(tmp_path: Path, names: list[str], channel: str | None, chosen: str) -> None:
    images = {name: METRES + at for at, name in enumerate(names)}
    depth = decode_depth(exr(tmp_path, **images), where="", form=Form(channel=channel))
    np.testing.assert_array_equal(depth, images[chosen], strict=True)


def test_an_exr_that_does_not_say_which_channel_is_depth(tmp_path: Path) -> None:
    error = fails(exr(tmp_path, A_Depth_Z=METRES, B_Depth_Z=METRES), "several channels")
    assert (error.found, error.remedy) == ("A.Depth.Z, B.Depth.Z", "name it in the manifest, `channel: A.Depth.Z`")
    fails(exr(tmp_path, R=METRES, G=METRES, B=METRES + 1), "no channel")
    grey = exr(tmp_path, R=METRES, G=METRES, B=METRES)
    np.testing.assert_array_equal(decode_depth(grey, where=""), METRES, strict=True)
    fails(exr(tmp_path, OpenEXR.B44_COMPRESSION, Z=METRES.astype(np.float16)), "loss")
    fails(exr(tmp_path, Z=METRES)[:-30], "EXR")


def test_half_floats_of_an_exr_and_of_a_tiff(tmp_path: Path) -> None:
    half = METRES.astype(np.float16)
    half[0, 0] = np.inf
    np.testing.assert_array_equal(decode_depth(exr(tmp_path, Z=half), where=""), half.astype(np.float32), strict=True)
    np.testing.assert_array_equal(decode_depth(tiff(half), where=""), half.astype(np.float32), strict=True)


def test_ids_that_an_exr_holds_as_floats(tmp_path: Path) -> None:
    ids = np.arange(48, dtype=np.float32).reshape(6, 8)
    stored = exr(tmp_path, ViewLayer_IndexOB_X=ids, ViewLayer_Depth_Z=METRES)
    np.testing.assert_array_equal(decode_integers(stored, where="", form=Form(channel="IndexOB.X")), ids)


@pytest.mark.parametrize("compression", ["zstd", "lzw", "deflate", None])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u2", "i2", "i4"])
def test_tiff_of_any_compression_and_number(compression: str | None, dtype: str) -> None:
    values = (np.arange(48).reshape(6, 8) + 100).astype(dtype)
    depth = decode_depth(tiff(values, compression=compression), where="")
    np.testing.assert_array_equal(depth, values.astype(np.float32 if dtype[0] == "f" else np.uint16), strict=True)


@pytest.mark.parametrize("little", [True, False])
def test_pfm_of_either_byte_order_and_either_row_order(*, little: bool) -> None:
    np.testing.assert_array_equal(decode_depth(pfm(METRES, little=little), where=""), METRES, strict=True)
    stored = pfm(METRES, little=little, bottom_up=False)
    np.testing.assert_array_equal(decode_depth(stored, where="", form=Form(pfm_rows="top_down")), METRES, strict=True)
    fails(stored[:-4], "truncated")
    fails(b"Pf\nwide 3\n1\n", "not a PFM")


def test_a_channel_by_number() -> None:
    stereo = np.stack([METRES, METRES + 1])
    assert fails(npz(depth=stereo), "one value per pixel").remedy == "choose one with `channel: 0`"
    np.testing.assert_array_equal(decode_depth(npz(d=stereo), where="", form=Form(channel=1)), METRES + 1, strict=True)
    fails(npz(depth=stereo), "no such channel", Form(channel=2))


def test_python_objects_are_never_loaded() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}]), allow_pickle=True)
    assert "can run code" in str(fails(buffer.getvalue(), "NPY").found)


def test_a_damaged_header_asks_for_no_memory() -> None:
    buffer = io.BytesIO()
    np.save(buffer, METRES)
    huge = buffer.getvalue().replace(b"(6, 8), }", b"(9999999999999, 8), }"[:21]).replace(b"(6, 8)", b"(6, 9)")
    fails(huge, "NPY")


def seeds(folder: Path) -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, METRES)
    return {
        "npy": buffer.getvalue(),
        "npz": npz(depth=METRES),
        "hdf5": hdf5(depth=METRES),
        "exr": exr(folder, Z=METRES),
        "pfm": pfm(METRES),
        "tiff": tiff(METRES.astype(np.float16), compression="zstd"),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return seeds(tmp_path_factory.mktemp("exr"))


def decodes_or_says_why(data: bytes, form: Form = WHOLE) -> None:
    for decode in (decode_depth, decode_integers):
        try:
            image = decode(data, where="x", form=form)
        except DecodeError:
            continue
        assert image.ndim == 2


@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5", "exr", "pfm", "tiff"])
def test_damaged_files_are_arrays_or_decode_errors(whole: dict[str, bytes], kind: str) -> None:
    @settings(max_examples=60, deadline=4000)
    @given(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=6), st.booleans())
    def damage(at: int, junk: bytes, cut: bool) -> None:
        data = whole[kind]
        at %= len(data)
        decodes_or_says_why(data[:at] if cut else data[:at] + junk + data[at + len(junk) :])

    damage()


@settings(max_examples=150, deadline=4000)
@given(
    st.sampled_from(
        [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"v/1\x01", b"Pf\n", b"PF ", b"II*\0", b"MM\0*", b"\x89PNG"]
    ),
    st.binary(max_size=120),
    st.sampled_from([WHOLE, Form(key="a"), Form(channel="Z"), Form(channel=1)]),
)
def test_arbitrary_bytes_are_arrays_or_decode_errors(magic: bytes, rest: bytes, form: Form) -> None:
    decodes_or_says_why(magic + rest, form)


def test_a_picture_is_no_container() -> None:
    assert read_container(b"\x89PNG\r\n\x1a\n", WHOLE, where="") is None
