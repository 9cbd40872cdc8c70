"""Damaged files of the sources of recordings in folders: whatever bytes they hold, what is raised is a DecodeError."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from depthforge.errors import DecodeError, InputError
from depthforge.registry import layouts, sources
from depthforge.samples.hypersim import hdf5_bytes
from depthforge.samples.tartanair2 import float_png
from depthforge.sources.hypersim.cameras import pinhole_of, read_camera_table, read_split_table
from depthforge.sources.hypersim.source import _hdf5
from depthforge.sources.nerfstudio.transforms import parse_transforms
from depthforge.sources.tartanair import _npy_ids, depth_of_bytes

BOUNDED = settings(max_examples=60, deadline=None)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


DECODERS: dict[str, tuple[Callable[..., object], bytes]] = {
    "tartanair depth": (depth_of_bytes, float_png(np.ones((4, 4), np.float32))),
    "tartanair ids": (_npy_ids, npy(np.ones((4, 4), np.uint8))),
    "hypersim data set": (_hdf5, hdf5_bytes(np.ones((4, 4), np.float16))),
    "hypersim cameras": (
        read_camera_table,
        (
            "scene_name," + ",".join(f"M_cam_from_uv_{r}{c}" for r in range(3) for c in range(3)) + "\na" + ",1" * 9
        ).encode(),
    ),
    "hypersim split": (
        lambda data, where: read_split_table(data, "train", where=where),
        b"scene_name,camera_name,frame_id,included_in_public_release,split_partition_name\na,b,1,True,train\n",
    ),
    "nerfstudio": (
        parse_transforms,
        json.dumps({"fl_x": 1, "frames": [{"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}]}).encode(),
    ),
}


@pytest.mark.parametrize("name", DECODERS)
@BOUNDED
@given(data=st.data())
def test_any_damage_is_a_decode_error(name: str, data: st.DataObject) -> None:
    """Bytes changed, cut and put in; what still decodes is as good as any."""
    decode, whole = DECODERS[name]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        cut = data.draw(st.integers(0, 8))
        damaged[at : at + cut] = data.draw(st.binary(max_size=8))
    with suppress(DecodeError):
        decode(bytes(damaged), where="x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@BOUNDED
@given(
    name=st.sampled_from(
        ["fl_x", "w", "k1", "camera_model", "is_fisheye", "applied_transform", "applied_scale", "frames"]
    ),
    of_frame=st.sampled_from([None, "file_path", "depth_file_path", "transform_matrix", "cx", "camera_angle_x"]),
    value=json_values,
)
def test_any_value_in_a_transforms_file_is_borne(name: str, of_frame: str | None, value: object) -> None:
    frame = {"file_path": "a.png", "transform_matrix": np.eye(4).tolist()}
    stated = {"fl_x": 1.0, "frames": [frame]}
    if of_frame is None:
        stated[name] = value
    else:
        frame[of_frame] = value
    with suppress(DecodeError):
        transforms = parse_transforms(json.dumps(stated).encode(), where="x")
        for shot in transforms.shots:
            transforms.pose(shot, where="x")
            shot.intrinsics.camera((12, 16), (12, 16), where="x")


@BOUNDED
@given(st.lists(st.floats(), min_size=9, max_size=9))
def test_any_matrix_is_a_pinhole_or_refused(numbers: list[float]) -> None:
    try:
        camera, turn = pinhole_of(np.array(numbers).reshape(3, 3), 64, 48, where="x")
    except DecodeError:
        return
    assert min(camera.fx, camera.fy) > 0
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("samples")
    for name in ("tum", "replica", "vmap", "tartanair"):
        layouts.get(name)().write(top / name, num_scenes=1, frames_per_scene=1, seed=0)
    return top


TEXTS = {
    "tum": ["rgbd_dataset_freiburg3_room_0000/" + name for name in ("depth.txt", "rgb.txt", "groundtruth.txt")],
    "replica": ["cam_params.json", "room0/traj.txt"],
    "vmap": ["room_0/imap/00/traj_w_c.txt"],
    "tartanair": ["room0000/Easy/P000/pose_left.txt"],
}


@pytest.mark.parametrize(("layout", "path"), [(layout, path) for layout, paths in TEXTS.items() for path in paths])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_list_is_read_or_refused(samples: Path, layout: str, path: str, data: st.DataObject) -> None:
    file = samples / layout / path
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    try:
        file.write_bytes(whole[:at] + data.draw(st.binary(max_size=12)) + whole[at + data.draw(st.integers(0, 12)) :])
        kind = sources.get({"vmap": "replica"}.get(layout, layout))
        source = kind(kind.Config(root=samples / layout))
        with suppress(InputError):
            for ref in source.frames():
                source.read(ref, frozenset({"T_world_cam"}))
    finally:
        file.write_bytes(whole)
