from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from depthforge.corpus.encode import encode_depth
from depthforge.corpus.schema import CorpusSchema, decode_depth
from depthforge.encoding import Codec, DepthEncoding
from depthforge.errors import CorpusError, FrameError, InputError
from depthforge.identity import changed_fields
from depthforge.labels.catalogue import INTRINSICS, OBJECT_POSE, POSE, RGB
from depthforge.labels.spec import LabelSpec
from tests.corpus.corpora import FIELDS, SCHEMA

STEPS = DepthEncoding()


def encode(values: object, valid: object = True, encoding: DepthEncoding = STEPS) -> list[float]:
    depth = np.array([values], np.float32)
    stored = encode_depth(depth, np.broadcast_to(np.array(valid), depth.shape), encoding, where="a frame")
    return stored[0].tolist()


def test_metres_become_steps_and_zero_only_means_no_measurement() -> None:
    assert encode([1.0, 0.001, 65.535], [True, True, True]) == [1000, 1, 65535]
    assert encode([1.0, 2.0], [False, True]) == [0, 2000]
    assert encode([0.0004]) == [0]  # rounds to 0: no measurement, never a depth of 0


def test_steps_round_half_to_even() -> None:
    quarter = DepthEncoding(scale_m=0.25)  # exact in binary, so that halves are halves
    assert encode([0.625, 0.875, 1.125], encoding=quarter) == [2, 4, 4]


def test_what_lies_beyond_max_depth_is_no_measurement() -> None:
    encoding = DepthEncoding(max_depth_m=10.0)
    assert encode([10.0, 10.01, 655.35, np.inf], [True, True, True, False], encoding) == [10000, 0, 0, 0]


def test_a_depth_that_no_step_reaches_names_value_limit_and_remedy() -> None:
    with pytest.raises(FrameError) as caught:
        encode([1.0, 70.0])
    text = str(caught.value)
    assert "65.535 m" in text
    assert "70 m" in text
    assert "corpus.depth.scale_m" in text
    assert "corpus.depth.max_depth_m" in text
    assert "a frame" in text


def test_few_depths_that_no_step_reaches_are_dropped_and_counted() -> None:
    depth_m = np.full((50, 50), 2.0, np.float32)
    depth_m[0, :2] = 70.0
    dropped = Counter({"others": 3})
    stored = encode_depth(depth_m, depth_m > 0, STEPS, where="a frame", dropped=dropped)
    assert stored[0, :3].tolist() == [0, 0, 2000]
    assert dropped == {"others": 3, "depths too far for uint16 steps of 0.001 m": 2}
    encode_depth(depth_m, depth_m < 10, STEPS, where="a frame", dropped=dropped)
    assert dropped["depths too far for uint16 steps of 0.001 m"] == 2


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_valid_depth_that_is_no_depth_is_refused(bad: float, dtype: str) -> None:
    with pytest.raises(FrameError, match="not positive finite"):
        encode([1.0, bad], encoding=DepthEncoding(dtype=dtype))
    assert encode([1.0, bad], [True, False])[1] == 0


def test_float32_keeps_every_bit_and_stores_nan() -> None:
    encoding = DepthEncoding(dtype="float32", max_depth_m=100.0)
    depth = np.array([[1.2345678, 3.0, 200.0]], np.float32)
    stored = encode_depth(depth, np.array([[True, False, True]]), encoding, where="")
    assert stored[0, 0] == depth[0, 0]
    assert np.isnan(stored[0, 1:]).all()
    back, valid = decode_depth(stored, encoding)
    assert back.tolist() == [[depth[0, 0], 0.0, 0.0]]
    assert valid.tolist() == [[True, False, False]]


@pytest.mark.parametrize("scale_m", [0.0001, 0.00025, 0.001, 0.01])
def test_every_step_survives_decoding_and_encoding(scale_m: float) -> None:
    encoding = DepthEncoding(scale_m=scale_m)
    steps = np.arange(65536, dtype=np.uint16)[None]
    depth_m, valid = decode_depth(steps, encoding)
    np.testing.assert_array_equal(depth_m, (steps * scale_m).astype(np.float32))
    assert not valid[0, 0]
    assert valid[0, 1:].all()
    np.testing.assert_array_equal(encode_depth(depth_m, valid, encoding, where=""), steps)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.integers(1, 2**24 + 2).map(lambda steps_per_metre: 1 / steps_per_metre),
        st.floats(1e-6, 3.0),
        st.sampled_from([0.001, 0.0001, 0.0007, 1 / 3, 1.0, 2.0, 1.5, 1 / 65536, 1 / (2**24 - 1), 1 / 2**24]),
    )
)
def test_a_step_decodes_to_the_float32_nearest_to_its_product_in_double_precision(scale_m: float) -> None:
    steps = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    depth_m, valid = decode_depth(steps, DepthEncoding(scale_m=scale_m))
    np.testing.assert_array_equal(depth_m, (steps.astype(np.float64) * np.float64(scale_m)).astype(np.float32))
    np.testing.assert_array_equal(valid, steps > 0)


@given(
    hnp.arrays(np.float32, (5, 7), elements=st.floats(0.0009765625, 60, width=32)),
    hnp.arrays(np.bool_, (5, 7)),
)
def test_a_depth_comes_back_within_half_a_step(depth_m: np.ndarray, valid: np.ndarray) -> None:
    back, known = decode_depth(encode_depth(depth_m, valid, STEPS, where=""), STEPS)
    np.testing.assert_array_equal(known, valid)
    assert (np.abs(back - depth_m)[valid] <= 0.000501 + 1e-6 * depth_m[valid]).all()
    assert (back[~valid] == 0).all()


def test_arrays_that_are_not_contiguous_encode_alike() -> None:
    depth = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    valid = depth % 5 > 0
    expected = encode_depth(depth, valid, STEPS, where="").T
    np.testing.assert_array_equal(encode_depth(depth.T, valid.T, STEPS, where=""), expected)


def test_a_schema_survives_json() -> None:
    schema = CorpusSchema(
        480, 640, FIELDS, DepthEncoding(scale_m=0.0001, max_depth_m=5.0), Codec(name="fast", level=5), 16
    )
    again = CorpusSchema.from_json(schema.to_json())
    assert again.to_json() == schema.to_json()
    assert again.depth == schema.depth
    assert again.fields[:1] == FIELDS[:1]
    assert np.isnan(again.fields[1].missing)  # T_world_cam


def test_json_that_is_no_schema_is_an_error() -> None:
    with pytest.raises(CorpusError, match="schema"):
        CorpusSchema.from_json({"height": 4})


def test_bytes_per_frame_count_both_depths_and_every_label() -> None:
    schema = CorpusSchema(480, 640, (INTRINSICS, POSE, RGB, OBJECT_POSE))
    assert schema.bytes_per_frame == 480 * 640 * (2 + 2 + 3) + 9 * 8 + 16 * 8 + 32 * 16 * 8


def test_matrices_of_different_size_share_no_dimension() -> None:
    names = {spec.name: SCHEMA.dimension_names(spec) for spec in SCHEMA.stored}
    assert names["K"] == ("frame", "row_3", "column_3")
    assert names["T_world_cam"] == ("frame", "row_4", "column_4")
    assert names["object_pose"] == ("object_pose_row", "row_4", "column_4")
    assert names["rgb"] == ("frame", "y", "x", "channel")


@pytest.mark.parametrize(
    "fields",
    [
        (RGB, RGB),
        (LabelSpec("depth_clean", "uint8", "image", ""),),
        (OBJECT_POSE, LabelSpec("object_pose_offsets", "int64", "frame", "")),
        (LabelSpec("a/b", "uint8", "image", ""),),
        (LabelSpec("wide", "uint8", "image", "", trailing=(3,)),),
        (RGB, LabelSpec("alpha", "uint8", "image", "", (1,), ("channel",))),
    ],
)
def test_fields_that_collide_are_refused(fields: tuple[LabelSpec, ...]) -> None:
    with pytest.raises(InputError):
        CorpusSchema(4, 4, fields)


@pytest.mark.parametrize("name", ["fast", "small"])
def test_blosc_levels_end_at_nine(name: str) -> None:
    assert CorpusSchema(4, 4, (), codec=Codec(name=name, level=9)).codec.level == 9
    with pytest.raises(InputError, match=f"{name} end at 9"):
        CorpusSchema(4, 4, (), codec=Codec(name=name, level=10))


def test_a_codec_has_a_level_of_its_own() -> None:
    levels = {"zstd": 1, "fast": 9, "small": 3, "none": 1}
    for name, level in levels.items():
        assert Codec.model_validate({"name": name}).level == Codec(name=name).level == level
        assert changed_fields(Codec(name=name)) == changed_fields(Codec(name=name, level=level))
        assert Codec(name=name, level=2).level == 2
    assert changed_fields(Codec()) == {}
    assert changed_fields(Codec(name="small")) == {"name": "small", "level": 3}
