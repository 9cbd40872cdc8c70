"""Every export, opened again by the library that it is for: values equal, whatever the format knows."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from depthforge.corpus.reader import CorpusReader
from depthforge.export.webdataset import decode_png16
from depthforge.geometry import opengl_to_opencv
from tests.corpus.corpora import HEIGHT, WIDTH, make_frame
from tests.export.exports import export, numbers, steps

DEPTHS = ("depth_noisy", "depth_clean")


def metres(name: str, number: int, missing: float) -> npt.NDArray[np.float32]:
    stored = steps(name, number)
    return np.where(stored > 0, stored / 1000, missing).astype(np.float32)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("invalid", ["0", "nan"])
def test_webdataset_reads_what_was_stored(corpus: Path, tmp_path: Path, invalid: str) -> None:
    wds = pytest.importorskip("webdataset")
    report = export(corpus, "webdataset", tmp_path / "out", invalid=invalid)
    assert report.losses == []
    tars = sorted(str(path) for path in (tmp_path / "out").glob("*.tar"))
    found, png16 = {}, wds.handle_extension("png16", decode_png16)
    for sample in wds.WebDataset(tars, shardshuffle=False).decode(png16, "pil"):
        found[sample["json"]["key"]] = sample
    assert found.keys() == numbers(corpus).keys()
    for key, number in numbers(corpus).items():
        sample, frame = found[key], make_frame(number)
        assert sample["__key__"] == key
        for name in DEPTHS:
            if invalid == "0":
                np.testing.assert_array_equal(sample[f"{name}.png16"], steps(name, number))
                assert sample["json"]["depth"]["metres_per_step"] == 0.001
            else:
                np.testing.assert_array_equal(sample[f"{name}.npy"], metres(name, number, np.nan))
        if frame.rgb is None:
            assert "rgb.png" not in sample
        else:
            np.testing.assert_array_equal(np.array(sample["rgb.png"]), frame.rgb)
        for name in ("semantic", "instance"):
            np.testing.assert_array_equal(sample[f"{name}.png16"], frame.labels[name])
        for name in ("normals", "object_id", "object_pose"):
            np.testing.assert_array_equal(sample[f"{name}.npy"], frame.labels[name])
        np.testing.assert_array_equal(sample["json"]["K"], frame.camera.K)
        np.testing.assert_array_equal(sample["json"]["T_world_cam"], frame.T_world_cam)


@pytest.mark.parametrize("depth", ["uint16", "float32"])
def test_datasets_load_every_column_with_all_its_bits(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    invalid = "0" if depth == "uint16" else "inf"
    assert export(corpus, "huggingface", tmp_path / "out", depth=depth, invalid=invalid).losses == []
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "val"}
    for split in loaded:
        expected = numbers(corpus, split)
        assert loaded[split]["key"] == list(expected)
        for row, number in zip(loaded[split].with_format("python"), expected.values(), strict=True):
            frame = make_frame(number)
            for name in DEPTHS:
                if depth == "uint16":
                    assert row[name].mode == "I;16"
                    np.testing.assert_array_equal(np.array(row[name]), steps(name, number))
                else:
                    np.testing.assert_array_equal(np.float32(row[name]), metres(name, number, np.inf))
            assert (row["rgb"] is None) == (frame.rgb is None)
            if frame.rgb is not None:
                np.testing.assert_array_equal(np.array(row["rgb"]), frame.rgb)
            np.testing.assert_array_equal(np.array(row["semantic"]), frame.labels["semantic"])
            np.testing.assert_array_equal(np.int16(row["normals"]), frame.labels["normals"])
            np.testing.assert_array_equal(np.uint32(row["object_id"]), frame.labels["object_id"])
            np.testing.assert_array_equal(np.array(row["object_pose"]).reshape(-1, 4, 4), frame.labels["object_pose"])
            np.testing.assert_array_equal(row["K"], frame.camera.K)
            np.testing.assert_array_equal(row["T_world_cam"], frame.T_world_cam)


def test_npz_needs_numpy_alone(corpus: Path, tmp_path: Path) -> None:
    assert export(corpus, "npz", tmp_path / "out").losses == []
    seen = 0
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                arrays = np.load(io.BytesIO(file.read()))
                number = numbers(corpus)[member.name.removesuffix(".npz")]
                frame = make_frame(number)
                for name in DEPTHS:
                    np.testing.assert_array_equal(arrays[name], steps(name, number))
                assert arrays["depth_scale_m"] == 0.001
                for name, label in frame.labels.items():
                    np.testing.assert_array_equal(arrays[name], label)
                    assert arrays[name].dtype == label.dtype
                assert ("rgb" in arrays) == (frame.rgb is not None)
                seen += 1
    assert seen == 22


def test_a_tree_of_png_in_millimetres(corpus: Path, tmp_path: Path) -> None:
    assert export(corpus, "png", tmp_path / "out", split="val").losses == []
    expected = numbers(corpus, "val")
    assert len(expected) > 0
    for key, number in expected.items():
        dataset, scene, name = key.split("/")
        folder, frame = tmp_path / "out" / "val" / dataset / scene, make_frame(number)
        for depth in DEPTHS:
            found = cv2.imread(str(folder / depth / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(found, steps(depth, number))
        if frame.rgb is not None:
            np.testing.assert_array_equal(cv2.imread(str(folder / "rgb" / f"{name}.png"))[..., ::-1], frame.rgb)
        np.testing.assert_array_equal(np.load(folder / "normals" / f"{name}.npy"), frame.labels["normals"])
        camera = json.loads((folder / "camera.json").read_text())
        assert camera["depth"]["unit"] == "mm"
        np.testing.assert_array_equal(camera["frames"][name]["K"], frame.camera.K)
        np.testing.assert_array_equal(camera["frames"][name]["T_world_cam"], frame.T_world_cam)


@pytest.mark.parametrize(("invalid", "missing"), [("0", 0.0), ("nan", np.nan), ("inf", np.inf)])
def test_hdf5_has_the_keys_of_blenderproc(corpus: Path, tmp_path: Path, invalid: str, missing: float) -> None:
    assert export(corpus, "hdf5", tmp_path / "out", invalid=invalid).losses == []
    files = list((tmp_path / "out").rglob("*.hdf5"))
    assert len(files) == 22
    for path in files:
        with h5py.File(path) as file:
            number = numbers(corpus)[file.attrs["key"]]
            frame = make_frame(number)
            np.testing.assert_array_equal(file["depth"][()], metres("depth_clean", number, missing))
            np.testing.assert_array_equal(file["depth_noisy"][()], metres("depth_noisy", number, missing))
            assert file["depth"].attrs["units"] == "m"
            if frame.rgb is not None:
                np.testing.assert_array_equal(file["colors"][()], frame.rgb)
            np.testing.assert_array_equal(file["instance_segmaps"][()], frame.labels["instance"])
            np.testing.assert_array_equal(file["class_segmaps"][()], frame.labels["semantic"])
            np.testing.assert_array_equal(file["cam_K"][()], frame.camera.K)
            np.testing.assert_array_equal(opengl_to_opencv(file["cam2world_matrix"][()]), frame.T_world_cam)
            normals = (2 * file["normals"][()] - 1) * [1, -1, -1]
            np.testing.assert_allclose(normals, frame.labels["normals"] / 32767, atol=1e-6)


def test_pycocotools_gives_every_mask_back(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    report = export(corpus, "coco", tmp_path / "out")
    assert any(line.startswith("normals: ") for line in report.losses)
    for split in ("train", "val"):
        opened = coco.COCO(tmp_path / "out" / "annotations" / f"instances_{split}.json")
        expected = numbers(corpus, split)
        assert [image["key"] for image in opened.loadImgs(opened.getImgIds())] == list(expected)
        for image in opened.loadImgs(opened.getImgIds()):
            number = expected[image["key"]]
            frame, instance = make_frame(number), np.zeros((HEIGHT, WIDTH), np.uint16)
            entries = opened.loadAnns(opened.getAnnIds([image["id"]]))
            for entry in entries:
                mask = opened.annToMask(entry).astype(bool)
                instance[mask] = entry["instance"]
                assert (entry["area"], entry["category_id"]) == (mask.sum(), number)
                rows, columns = np.nonzero(mask)
                assert entry["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            np.testing.assert_array_equal(instance, frame.labels["instance"])
            depth = cv2.imread(str(tmp_path / "out" / image["depth_files"]["depth_noisy"]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(depth, steps("depth_noisy", number))
            assert image["metres_per_step"] == 0.001
            named = tmp_path / "out" / split / "images" / image["file_name"]
            assert named.resolve().is_file()
            if frame.rgb is not None:
                np.testing.assert_array_equal(cv2.imread(str(named))[..., ::-1], frame.rgb)


def test_pykitti_reads_poses_and_calibration_and_depth_is_in_256ths(corpus: Path, tmp_path: Path) -> None:
    pykitti = pytest.importorskip("pykitti")
    report = export(corpus, "kitti", tmp_path / "out")
    assert any("rounded to steps of 0.00390625 m" in line for line in report.losses)
    for split in ("train", "val"):
        base = tmp_path / "out" / split
        for path in sorted((base / "poses").rglob("*.txt")):
            scene = path.relative_to(base / "poses").with_suffix("").as_posix()
            opened = pykitti.odometry(str(base), scene)
            own = [number for key, number in numbers(corpus, split).items() if key.rsplit("/", 1)[0] == scene]
            assert len(opened.poses) == len(own) > 0
            np.testing.assert_array_equal(opened.calib.K_cam2, make_frame(own[0]).camera.K)
            for index, (pose, number) in enumerate(zip(opened.poses, own, strict=True)):
                np.testing.assert_array_equal(pose, make_frame(number).T_world_cam)
                stored = cv2.imread(str(base / "sequences" / scene / f"depth/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
                expected = metres("depth_noisy", number, 0)
                np.testing.assert_array_equal(stored > 0, expected > 0)
                np.testing.assert_allclose(stored / 256, expected, atol=1 / 512)


def test_lerobot_has_its_published_tables_and_16_bit_depth(corpus: Path, tmp_path: Path) -> None:
    """Against the published format with `datasets`, which LeRobot reads by; LeRobot itself would bring CUDA."""
    datasets = pytest.importorskip("datasets")
    pandas = pytest.importorskip("pandas")
    report = export(corpus, "lerobot", tmp_path / "out")
    assert sorted(line.split(":")[0] for line in report.losses) == ["object_id", "object_pose", "rgb"]
    root = tmp_path / "out"
    info = json.loads((root / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_frames"], info["total_episodes"]) == ("v3.0", 22, 3)
    depth = info["features"]["observation.images.depth_noisy"]
    assert (depth["shape"], depth["info"]["is_depth_map"], depth["info"]["depth_unit"]) == ([12, 16, 1], True, "mm")
    assert list(pandas.read_parquet(root / "meta/tasks.parquet").index) == ["depth"]
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    expected = list(numbers(corpus).values())
    index = 0
    for episode in episodes:
        path = info["data_path"].format(chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"])
        rows = datasets.Dataset.from_parquet(str(root / path), cache_dir=str(tmp_path / "cache"))
        assert (len(rows), episode["dataset_from_index"]) == (episode["length"], index)
        for frame_index, row in enumerate(rows):
            number = expected[index]
            assert set(row) == set(info["features"])
            assert (row["index"], row["episode_index"]) == (index, episode["episode_index"])
            assert (row["frame_index"], row["timestamp"]) == (frame_index, frame_index)
            np.testing.assert_array_equal(np.array(row["observation.images.depth_noisy"]), steps("depth_noisy", number))
            np.testing.assert_array_equal(row["observation.camera.K"], make_frame(number).camera.K)
            np.testing.assert_array_equal(row["observation.camera.T_world_cam"], make_frame(number).T_world_cam)
            index += 1
    assert index == 22


def test_what_bop_has_no_place_for_is_told(corpus: Path, tmp_path: Path) -> None:
    report = export(corpus, "bop", tmp_path / "out")
    assert {line.split(":")[0] for line in report.losses} >= {"normals", "semantic", "models/"}
    assert "22 frames without mask_visib: `instance` does not number the rows of `object_id`" in report.losses
    folders = sorted((tmp_path / "out").glob("*/*/scene_camera.json"))
    assert len(folders) == 3
    for path in folders:
        keys = json.loads((path.parent / "scene_keys.json").read_text())
        for image, camera in json.loads(path.read_text()).items():
            number = numbers(corpus)[keys[image]]
            assert camera["depth_scale"] == 1.0
            stem = f"{int(image):06d}.png"
            for folder, name in (("depth", "depth_noisy"), ("depth_clean", "depth_clean")):
                found = cv2.imread(str(path.parent / folder / stem), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(found, steps(name, number))


def test_a_corpus_reader_and_an_export_agree_on_what_there_is(corpus: Path, tmp_path: Path) -> None:
    export(corpus, "npz", tmp_path / "out", fields=("depth_noisy", "semantic"))
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert list(about["fields"]) == ["semantic"]
    assert about["corpus"]["fingerprint"] == CorpusReader(corpus).info.fingerprint
    with tarfile.open(next((tmp_path / "out").glob("*.tar"))) as tar:
        file = tar.extractfile(tar.next() or "")
        assert file is not None
        assert sorted(np.load(io.BytesIO(file.read()))) == ["depth_noisy", "depth_scale_m", "semantic"]
