"""The sample layouts against their own format page, and there and back through the reader; small images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from depthforge.errors import InputError
from depthforge.frame import Finding
from depthforge.registry import layouts
from depthforge.samples.nyu import NyuLayout
from depthforge.samples.room_views import RoomViews
from depthforge.sources.nyu import Nyu, NyuConfig

W, H, SCENES, FRAMES, SEED = 80, 60, 2, 2, 4


def write(root: Path) -> Path:
    assert NyuLayout(W, H).write(root, num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED) == 4
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("nyu"))


def make(root: Path, **fields: object) -> Nyu:
    return Nyu(NyuConfig.model_validate({"root": root, "width": W, "height": H, **fields}))


def test_the_files_are_nyus(root: Path) -> None:
    assert isinstance(layouts.get("nyu")(), NyuLayout)
    path = root / "nyu_depth_v2_labeled.mat"
    assert path.read_bytes()[:19] == b"MATLAB 7.3 MAT-file"
    with h5py.File(path) as file:
        shapes = {name: (file[name].shape, file[name].dtype.name) for name in ("images", "depths", "rawDepths")}
        assert shapes == {
            "images": ((4, 3, W, H), "uint8"),
            "depths": ((4, W, H), "float32"),
            "rawDepths": ((4, W, H), "float32"),
        }
        assert (file["labels"].dtype.name, file["instances"].dtype.name) == ("uint16", "uint8")
        assert (file["scenes"].shape, file["names"].shape) == ((1, 4), (1, 40))
        assert "".join(map(chr, np.ravel(file[file["scenes"][0, 3]]))) == "living_room_0001"
        assert "".join(map(chr, np.ravel(file[file["names"][0, 0]]))) == "wall"
        assert (np.asarray(file["rawDepths"]) == 0).any()
        assert (np.asarray(file["depths"]) > 0).all()
    splits = loadmat(root / "splits.mat")
    assert splits["trainNdxs"].tolist() == [[1], [2]]
    assert splits["testNdxs"].tolist() == [[3], [4]]
    folder = root / "raw/living_room_0000"
    names = sorted(item.name for item in folder.iterdir())
    assert names[0] == "d-1294886363.000000-3164794231.pgm"
    assert names[2] == "r-1294886363.012000-3164900000.ppm"
    data = (folder / names[0]).read_bytes()
    head = f"P5 {W} {H} 65535\n".encode()
    assert data.startswith(head)
    words = np.frombuffer(data[len(head) :], "<u2")
    assert words.max() <= 2047
    assert 300 < np.median(words) < 1057, "disparity, in little-endian words"


def test_the_labelled_set_gives_the_room_back(root: Path) -> None:
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    source = make(root, depth="inpainted", split="test")
    refs = list(source.frames())
    assert [ref.key for ref in refs] == ["nyu/living_room_0001/000003", "nyu/living_room_0001/000004"]
    frame = source.read(refs[1], frozenset(source.labels)).require_sound()
    truth = rooms.see(1, 1, frame.camera)
    np.testing.assert_array_equal(frame.depth_m[truth.valid], truth.depth_m[truth.valid])
    np.testing.assert_array_equal(frame.labels["semantic"], truth.labels["semantic"])
    np.testing.assert_array_equal(frame.rgb, truth.rgb)
    inside = frame.labels["semantic"] > 0
    pairs = set(zip(frame.labels["instance"][inside], truth.labels["instance"][inside], strict=True))
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}), "one to one"
    raw = frame.labels["depth_raw"]
    assert 0.0 < np.isnan(raw).mean() < 0.6
    assert np.nanmedian(np.abs(raw - frame.depth_m)) < 0.05


def test_the_dump_gives_the_room_back(root: Path) -> None:
    rooms = RoomViews(num_scenes=SCENES, frames_per_scene=FRAMES, seed=SEED)
    source = make(root, files="raw")
    findings: list[Finding] = []
    refs = list(source.frames(findings.append))
    assert (len(refs), findings) == (2, [])
    frame = source.read(refs[1], frozenset({"rgb"})).require_sound()
    truth = rooms.see(0, 1, frame.camera)
    both = frame.valid & truth.valid
    assert both.mean() > 0.4
    # Of so short a focal length the steps of disparity are coarse.
    assert np.median(np.abs(frame.depth_m - truth.depth_m)[both] / truth.depth_m[both]) < 0.03
    assert frame.rgb is not None
    assert truth.rgb is not None
    close = np.abs(frame.rgb.astype(int) - truth.rgb.astype(int)).max(axis=2)[both]
    assert np.median(close) < 12, "colour of the other camera lies on this one's depth"


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    def digests(top: Path) -> dict[str, str]:
        files = sorted(path for path in top.rglob("*") if path.is_file() and path.suffix != ".mat")
        return {path.relative_to(top).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    again = write(tmp_path / "again")
    assert digests(again) == digests(root)
    name = "nyu_depth_v2_labeled.mat"
    assert (again / name).read_bytes() == (root / name).read_bytes()


def test_only_an_empty_folder_is_written_to(root: Path) -> None:
    with pytest.raises(InputError, match="empty"):
        NyuLayout(W, H).write(root, num_scenes=1, frames_per_scene=1, seed=0)
