"""NYU Depth v2 against files written by hand: MATLAB's reversed axes, cells of references, byte-swapped disparity."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.io import savemat

from depthforge.errors import DecodeError, FrameError, MissingDataError
from depthforge.frame import Camera, Finding, Frame
from depthforge.labels.resize import resize_camera
from depthforge.sources.check import check_source
from depthforge.sources.nyu import Nyu, NyuConfig
from depthforge.sources.nyu.raw import Dump, colour_over_depth, decode_disparity, metres_of_codes
from depthforge.sources.nyu.source import numbered_instances
from depthforge.testing.sources import SourceTests

W, H, NUM = 16, 12, 4
SCENES = ["kitchen_0004", "bedroom_0001", "kitchen_0004", "bath_0002"]
LABELLED = frozenset({"rgb", "semantic", "instance", "depth_raw"})


def value_m(index: int, row: int, column: int) -> float:
    return 1.0 + index + 0.1 * row + 0.01 * column


def write_labelled(root: Path, *, swapped: bool = True) -> Path:
    """The set as MATLAB writes it: the last axis of MATLAB's (H, W, N) comes first."""
    root.mkdir(parents=True, exist_ok=True)
    shape = (NUM, W, H) if swapped else (NUM, H, W)
    depths, raw = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    labels, instances = np.zeros(shape, np.uint16), np.zeros(shape, np.uint8)
    images = np.zeros((NUM, 3, *shape[1:]), np.uint8)
    for index in range(NUM):
        for row in range(H):
            for column in range(W):
                at = (index, column, row) if swapped else (index, row, column)
                depths[at] = value_m(index, row, column)
                raw[at] = 0 if row < 2 else value_m(index, row, column)
                labels[at] = 0 if column < 4 else 894 if column < 8 else 21
                instances[at] = 0 if column == 15 else 1 if row < 6 else 2
                images[(index, 0, *at[1:])], images[(index, 2, *at[1:])] = 10 * row, 10 * column
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        file["depths"], file["rawDepths"], file["labels"], file["instances"] = depths, raw, labels, instances
        file["images"] = images
        scenes = file.create_dataset("scenes", (1, NUM), h5py.special_dtype(ref=h5py.Reference))
        for index, name in enumerate(SCENES):
            text = file.create_dataset(f"#refs#/{index}", data=np.array([[ord(c)] for c in name], np.uint16))
            scenes[0, index] = text.ref
    savemat(root / "splits.mat", {"trainNdxs": np.array([[4], [1], [2]]), "testNdxs": np.array([[3]])})
    return root


def pgm(disparity: np.ndarray) -> bytes:
    """A 16-bit PGM is big-endian; the dump holds little-endian words."""
    return b"P5 16 12 65535\n" + disparity.astype("<u2").tobytes()


DISPARITY = np.full((H, W), 900, np.uint16)
DISPARITY[0, :5] = (2047, 1092, 1093, 0, 1058)


def write_dump(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k, stamp in enumerate(("9.970000", "10.003000", "10.036000")):
        (folder / f"d-{stamp}-{k}.pgm").write_bytes(pgm(DISPARITY + np.uint16(k) * (DISPARITY == 900)))
    for k, stamp in enumerate(("9.940000", "9.981000", "10.100001")):
        (folder / f"r-{stamp}-{k}.ppm").write_bytes(b"P6 16 12 255\n" + bytes([10 * k + 1, 0, 0]) * (W * H))
    (folder / "a-10.1-7.dump").write_bytes(b"acceleration")
    return folder


def make(root: Path, **fields: Any) -> Nyu:
    return Nyu(NyuConfig(root=root, width=W, height=H, **fields))


def frame_of(source: Nyu, index: int = 0) -> Frame:
    return source.read(list(source.frames())[index], frozenset(source.labels)).require_sound()


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "nyu")


@pytest.fixture
def dumps(tmp_path: Path) -> Path:
    write_dump(tmp_path / "raw/kitchen_0004")
    write_dump(tmp_path / "raw/deeper/bath_0002")
    return tmp_path / "raw"


class TestLabelled(SourceTests):
    @pytest.fixture(params=["raw", "inpainted"])
    def source(self, labelled: Path, request: pytest.FixtureRequest) -> Nyu:
        return make(labelled, depth=request.param)


class TestDumps(SourceTests):
    @pytest.fixture
    def source(self, dumps: Path) -> Nyu:
        return make(dumps, files="raw")


def test_keys_are_by_scene_and_count_from_one(labelled: Path) -> None:
    keys = ["nyu/bath_0002/000004", "nyu/bedroom_0001/000002", "nyu/kitchen_0004/000001", "nyu/kitchen_0004/000003"]
    assert [ref.key for ref in make(labelled).frames()] == keys
    assert [ref.key for ref in make(labelled, split="train").frames()] == keys[:3]
    assert [ref.key for ref in make(labelled, split="test").frames()] == keys[3:]
    assert [ref.key for ref in make(labelled, include=("b*",), exclude=("bath*",)).frames()] == keys[1:2]


def test_axes_are_turned_back(labelled: Path) -> None:
    frame = frame_of(make(labelled, depth="inpainted"), 3)
    assert frame.key == "nyu/kitchen_0004/000003"
    assert frame.depth_m[5, 7] == pytest.approx(value_m(2, 5, 7))
    assert frame.depth_m[11, 15] == pytest.approx(3.0 + 1.1 + 0.15)
    assert frame.rgb is not None
    np.testing.assert_array_equal(frame.rgb[5, 7], [50, 0, 70])
    assert (frame.labels["semantic"][0, 3], frame.labels["semantic"][0, 4]) == (0, 894)
    assert frame.labels["semantic"].dtype == np.uint16


def test_raw_depth_has_holes_and_the_inpainted_carries_it(labelled: Path) -> None:
    raw, filled = frame_of(make(labelled)), frame_of(make(labelled, depth="inpainted"))
    assert not raw.valid[:2].any()
    assert raw.valid[2:].all()
    assert filled.valid.all()
    measured = filled.labels["depth_raw"]
    assert np.isnan(measured[:2]).all()
    np.testing.assert_array_equal(measured[2:], raw.depth_m[2:])
    assert "depth_raw" not in raw.labels
    assert make(labelled).labels.keys() == {"rgb", "semantic", "instance"}
    far = frame_of(make(labelled, depth="inpainted", max_depth_m=4.5))
    assert far.depth_m.max() <= 4.5


def test_instances_are_counted_over_classes(labelled: Path) -> None:
    """Pairs in order: (21, 1), (21, 2), (894, 1), (894, 2); none without a class or an instance."""
    instance = frame_of(make(labelled)).labels["instance"]
    assert (instance[0, 0], instance[0, 15]) == (0, 0)
    assert (instance[0, 9], instance[8, 9], instance[0, 5], instance[8, 5]) == (1, 2, 3, 4)


@given(st.integers(0, 2**32))
def test_instances_tell_pairs_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    semantic = rng.integers(0, 6, (5, 7)).astype(np.uint16)
    instances = rng.integers(0, 4, (5, 7)).astype(np.uint8)
    numbers = numbered_instances(semantic, instances)
    pairs = {(int(s), int(i)) if s and i else (0, 0) for s, i in zip(semantic.flat, instances.flat, strict=True)}
    ranked = {pair: rank for rank, pair in enumerate(sorted(pairs - {(0, 0)}), start=1)} | {(0, 0): 0}
    for s, i, number in zip(semantic.flat, instances.flat, numbers.flat, strict=True):
        assert number == ranked[(int(s), int(i)) if s and i else (0, 0)]


def test_the_camera_is_colours_for_the_labelled_and_depths_for_dumps(dumps: Path, labelled: Path) -> None:
    full = Camera(518.8579, 519.4696, 325.5824, 253.7362, 640, 480)
    camera = frame_of(make(labelled)).camera
    assert camera == resize_camera(full, camera.width, camera.height)
    assert camera.fx == pytest.approx(518.8579 / 40)
    assert frame_of(make(dumps, files="raw")).camera.fx == pytest.approx(582.6245 / 40)


def test_disparity_is_swapped_and_becomes_metres() -> None:
    """351.3 / (1092.5 - 900) = 1.8249 m; 2047 and 1093 come out negative, 1092 and 1058 beyond 10 m."""
    codes = decode_disparity(pgm(DISPARITY), where="x")
    np.testing.assert_array_equal(codes, DISPARITY)
    metres = metres_of_codes().take(codes)
    np.testing.assert_allclose(metres[0, :6], [0, 0, 0, 351.3 / 1092.5, 0, 1.824935], rtol=1e-6)
    assert metres_of_codes()[1057] == pytest.approx(351.3 / 35.5)


def test_a_dump_and_its_nearest_colour(dumps: Path) -> None:
    source = make(dumps, files="raw")
    refs = list(source.frames())
    assert [ref.key for ref in refs[:3]] == [f"nyu/bath_0002/{t:016d}" for t in (9970000, 10003000, 10036000)]
    assert refs[3].scene == "nyu/kitchen_0004"
    assert refs[0].locator == "deeper/bath_0002/d-9.970000-0.pgm|r-9.981000-1.ppm"
    assert refs[2].locator.endswith("d-10.036000-2.pgm|"), "55 and 64 ms away"
    first, last = (source.read(refs[index], frozenset({"rgb"})) for index in (0, 2))
    assert first.rgb is not None
    assert set(np.unique(first.rgb[..., 0])) <= set(range(12))
    assert first.rgb[6, 8, 0] == 11
    assert last.rgb is None
    assert last.depth_m[6, 8] == pytest.approx(351.3 / (1092.5 - 902))
    findings: list[Finding] = []
    assert len(list(make(dumps, files="raw", max_colour_delay_s=0.01).frames(findings.append))) == 6
    assert {finding.message for finding in findings} == {"3 of 3 frames have no colour image within 10 ms"}


@given(st.lists(st.integers(0, 1000), max_size=6), st.integers(0, 1000))
def test_the_nearest_is_nearest(stamps: list[int], time_us: int) -> None:
    dump = Dump("", [], sorted((stamp, f"{stamp}") for stamp in stamps))
    found = dump.nearest_colour(time_us)
    if not stamps:
        assert found is None
    else:
        assert found is not None
        assert found[0] == min(abs(stamp - time_us) for stamp in stamps)


def test_colour_comes_from_the_camera_to_the_right() -> None:
    """A point 1 m ahead of the depth camera is 25 mm to the left for the colour camera: 2.5 pixels of 100."""
    camera = Camera(100.0, 100.0, 31.5, 23.5, 64, 48)
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[..., 0] = np.arange(64) * 4
    over = colour_over_depth(rgb, np.full((48, 64), 1.0, np.float32), camera, camera)
    assert over[24, 40, 0] == pytest.approx((40 - 2.5) * 4, abs=1.1)
    assert over[24, 0, 0] == 0


def test_a_dump_may_be_the_root_itself(dumps: Path) -> None:
    refs = list(make(dumps / "kitchen_0004", files="raw").frames())
    assert refs[0].key.startswith("nyu/kitchen_0004/")
    assert refs[0].locator.startswith("d-")
    (dumps / "other/kitchen_0004").mkdir(parents=True)
    (dumps / "other/kitchen_0004/d-1.5-1.pgm").write_bytes(pgm(DISPARITY))
    findings: list[Finding] = []
    list(make(dumps, files="raw").frames(findings.append))
    assert any(f.path == "other/kitchen_0004" and "same scene" in f.message for f in findings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pgm(DISPARITY)[:-7], "truncated"),
        (b"P5 16 12 65535\n" + DISPARITY.astype(">u2").tobytes(), "not disparity"),
        (b"P5 16 11 65535\n" + DISPARITY[1:].astype("<u2").tobytes(), "wrong size"),
        (b"P5 16 12 255\n" + bytes(W * H), "precision"),
        (b"", "empty"),
    ],
)
def test_a_bad_dump_is_an_error_of_its_frame(dumps: Path, content: bytes, message: str) -> None:
    path = dumps / "deeper/bath_0002/d-9.970000-0.pgm"
    path.write_bytes(content)
    source = make(dumps, files="raw")
    refs = list(source.frames())
    with pytest.raises(FrameError, match=message) as caught:
        source.read(refs[0], frozenset())
    assert str(path) in str(caught.value)
    source.read(refs[1], frozenset())


def test_a_truncated_picture_says_so(dumps: Path) -> None:
    path = dumps / "deeper/bath_0002/r-9.981000-1.ppm"
    path.write_bytes(path.read_bytes()[:-1])
    source = make(dumps, files="raw")
    with pytest.raises(DecodeError, match="truncated") as caught:
        source.read(next(iter(source.frames())), frozenset({"rgb"}))
    assert path.name in str(caught.value)


def test_the_labelled_set_that_is_missing_cut_or_of_another_kind(labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="not there") as caught:
        list(make(tmp_path / "absent").frames())
    assert "--layout nyu" in str(caught.value)
    path = labelled / "nyu_depth_v2_labeled.mat"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"MATLAB 5.0 MAT-file".ljust(512), b""):
        path.write_bytes(content)
        with pytest.raises(DecodeError, match="cannot be opened") as caught:
            list(make(labelled).frames())
        assert str(path) in str(caught.value)
        assert "again" in str(caught.value)


def test_arrays_of_other_axes_or_absent_say_so(tmp_path: Path) -> None:
    write_labelled(tmp_path, swapped=False)
    source = make(tmp_path)
    with pytest.raises(DecodeError, match="other axes") as caught:
        frame_of(source)
    assert "rawDepths" in str(caught.value)
    source.close()
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["rawDepths"], file["scenes"]
    with pytest.raises(DecodeError, match="cannot be read") as caught:
        list(make(tmp_path).frames())
    assert "scenes" in str(caught.value)


def test_nan_is_no_measurement(labelled: Path) -> None:
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        file["rawDepths"][0, 3, 4] = np.nan
        file["rawDepths"][0, 3, 5] = np.inf
        file["rawDepths"][0, 3, 6] = -1
    frame = frame_of(make(labelled), 2)
    assert not frame.valid[4:7, 3].any()
    assert frame.valid[7, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trainNdxs": np.array([[0], [1]])}, "not the split"),
        ({"other": np.ones(3)}, "not the split"),
        (None, "no list"),
    ],
)
def test_splits_that_do_not_fit(labelled: Path, content: dict[str, Any] | None, message: str) -> None:
    (labelled / "splits.mat").unlink()
    if content is not None:
        savemat(labelled / "splits.mat", content)
    with pytest.raises((MissingDataError, DecodeError), match=message) as caught:
        list(make(labelled, split="train").frames())
    assert "splits.mat" in str(caught.value)
    assert len(list(make(labelled).frames())) == NUM


def test_a_split_that_is_no_mat_file(labelled: Path) -> None:
    (labelled / "splits.mat").write_bytes(b"not a file of MATLAB's at all" * 9)
    with pytest.raises(DecodeError, match="cannot be read"):
        list(make(labelled, split="test").frames())


def test_nothing_to_read(dumps: Path, labelled: Path) -> None:
    with pytest.raises(MissingDataError, match="no NYU frames") as caught:
        list(make(labelled, files="raw").frames())
    assert "nyu_depth_v2_labeled.mat" in str(caught.value)
    with pytest.raises(MissingDataError):
        list(make(labelled, include=("zoo*",)).frames())
    with pytest.raises(ValidationError, match="neither"):
        NyuConfig(root=dumps, files="raw", split="train")


def read_depth(source: Nyu) -> float:
    return float(frame_of(source).depth_m.sum())


def test_a_forked_process_opens_its_own_file(labelled: Path) -> None:
    source = make(labelled)
    here = read_depth(source)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(read_depth, (source,)) == here
    assert read_depth(source) == here


def test_millimetres_are_noticed(labelled: Path) -> None:
    with h5py.File(labelled / "nyu_depth_v2_labeled.mat", "a") as file:
        file["rawDepths"][...] = file["rawDepths"][...] / 1000
    assert any("unit of depth" in issue.message for issue in check_source(make(labelled)).issues)
