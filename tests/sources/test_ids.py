"""Id images that need more than their name: channels of colour, tables of colours, large and negative numbers."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import DecodeError, ManifestError
from depthforge.sources.encoded import CARLA_SKY, decode_encoded_depth, decode_encoded_integers, integers_of
from depthforge.sources.ids import ColourTable, DescribedIds, made_table
from depthforge.sources.rgbd_blocks import IdsBlock
from tests.sources.folder_trees import depth, make, read_first, write


def png(rgba: list[int] | np.ndarray) -> bytes:
    pixels = np.array(rgba, np.uint8).reshape(1, -1, len(rgba) if isinstance(rgba, list) else rgba.shape[-1])
    order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.imencode(".png", cv2.cvtColor(pixels, order))[1].tobytes()


def no_table() -> ColourTable:
    raise AssertionError


@pytest.mark.parametrize(
    ("letters", "number"), [("RGB", 1 + 256 * 2 + 65536 * 3), ("GB", 2 + 256 * 3), ("R", 1), ("BGRA", 0x04010203)]
)
def test_numbers_in_channels(letters: str, number: int) -> None:
    assert decode_encoded_integers(png([1, 2, 3, 4]), letters, where="").tolist() == [[number]]


def test_golden_values_of_carla_and_tartanair() -> None:
    ten_metres = decode_encoded_depth(png([92, 143, 2]), "carla", where="")[0, 0] * 1000 / CARLA_SKY
    assert ten_metres == pytest.approx(10, abs=3e-5)
    assert decode_encoded_depth(png([128, 0, 0, 63]), "tartanair", where="").tolist() == [[1.0]]


@given(st.integers(0, (1 << 24) - 1))
def test_channels_and_numbers_are_inverse(number: int) -> None:
    pixel = np.array([[[number & 255, number >> 8 & 255, number >> 16]]], np.uint8)
    assert integers_of(pixel, "RGB", where="")[0, 0] == number


def test_what_is_no_number_in_channels() -> None:
    with pytest.raises(DecodeError, match="channel A"):
        decode_encoded_integers(png([1, 2, 3]), "BGRA", where="")
    grey = np.repeat(np.arange(9, dtype=np.uint8)[:, None], 3, axis=1)
    with pytest.raises(DecodeError, match="picture for viewing"):
        decode_encoded_depth(png(grey), "carla", where="")
    with pytest.raises(DecodeError, match="four channels"):
        decode_encoded_depth(png([1, 2, 3]), "tartanair", where="")


def test_a_table_of_colours() -> None:
    ids = DescribedIds(IdsBlock(file="x", colours={"0,0,0": 0, "128, 64, 0": 3, "255,255,255": 65535}))
    pixels = np.array([[0, 0, 0], [255, 255, 255], [128, 64, 0]], np.uint8)
    np.testing.assert_array_equal(ids.read(png(pixels), no_table, where=""), np.uint16([[0, 65535, 3]]), strict=True)
    with pytest.raises(DecodeError, match="stands for no id") as raised:
        ids.read(png(np.array([[0, 0, 0], [127, 64, 0], [127, 64, 0]], np.uint8)), no_table, where="")
    assert raised.value.found == "127,64,0, in 2 pixels"


def test_a_table_is_made_in_order_of_the_colours() -> None:
    table = made_table([(png([9, 0, 0]), "a"), (png(np.array([[0, 1, 0], [7, 0, 0]], np.uint8)), "b")])
    assert table.ids_of(np.array([[7, 9, 256, 0]], np.uint32), where="").tolist() == [[1, 2, 3, 0]]
    with pytest.raises(DecodeError, match="stands for no id"):
        ColourTable({}).ids_of(np.array([[1]], np.uint32), where="")


def test_large_and_negative_ids(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[-1, 70_000]]))
    data = buffer.getvalue()
    wide = DescribedIds(IdsBlock(file="x", dtype="uint32", negative="none"))
    np.testing.assert_array_equal(wide.read(data, no_table, where=""), np.uint32([[0, 70_000]]), strict=True)
    for block in (IdsBlock(file="x"), IdsBlock(file="x", negative="none"), IdsBlock(file="x", dtype="uint32")):
        with pytest.raises(DecodeError, match="do not fit") as raised:
            DescribedIds(block).read(data, no_table, where="")
        assert "negative: none" in str(raised.value.remedy)


def test_masks_are_true_where_there_is_something(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    image = depth(0).astype(np.uint8)
    image[0, :2] = [1, 255]
    write(tmp_path / "0.bmp", image)
    mask = read_first(tmp_path, mask="{frame}.bmp").labels["mask"]
    assert mask.dtype == np.bool_
    assert (mask[0, :3].tolist(), mask.sum()) == ([True, True, False], 2)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"encoding": "RGBRGB"}, "encoding is"),
        ({"encoding": "carla"}, "letters"),
        ({"encoding": "RGB", "colours": "made"}, "both say"),
        ({"colours": {"1,2": 3}}, "three numbers"),
        ({"colours": {"1,2,256": 3}}, "three numbers"),
        ({"colours": {"1,2,3": 70000}}, "does not fit"),
        ({"colours": "made"}, "needs a table"),
    ],
)
def test_what_is_not_said_clearly_is_refused(block: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        make(Path("nowhere"), semantic={"file": "{frame}.png", **block})
    assert message in str(raised.value)
