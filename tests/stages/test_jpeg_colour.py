"""Colour that a data set ships as JPEG: the same bytes in the corpus, the same pixels for whoever reads it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import zarr

from depthforge.corpus.chunks import with_crc32c
from depthforge.corpus.reader import CorpusReader
from depthforge.corpus.shard import ShardReader
from depthforge.corpus.verify import verify_corpus
from depthforge.errors import IntegrityError, MissingDependencyError
from depthforge.frame import RGB_FILE, Frame, FrameRef
from depthforge.manifest import Manifest, parse_manifest
from depthforge.sources.procedural import Procedural
from depthforge.stages.convert import finished
from depthforge.stages.prepare import make_source, prepare
from depthforge.storage import LocalFolder
from tests.stages.runs import contents, run

HEIGHT, WIDTH, COUNT = 48, 64, 6
Make = Callable[..., Manifest]


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 + number, y * 5, x + y], axis=-1).astype(np.uint8)


def jpeg(image: npt.NDArray[np.uint8], *options: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, list(options))[1].tobytes())


def cmyk() -> bytes:
    stream = io.BytesIO()
    pytest.importorskip("PIL.Image").new("CMYK", (WIDTH, HEIGHT), (10, 20, 30, 40)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Depth as PNG and colour as JPEG: baseline, progressive, grey, and a frame without."""
    root = tmp_path / "recording"
    for folder in ("depth", "rgb"):
        (root / folder).mkdir(parents=True)
    for number in range(COUNT):
        depth = np.full((HEIGHT, WIDTH), 1500 + 10 * number, np.uint16)
        (root / f"depth/{number:04d}.png").write_bytes(cv2.imencode(".png", depth)[1].tobytes())
        if number != 3:
            image = picture(number)[..., 0] if number == 2 else picture(number)
            options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1] if number == 1 else []
            (root / f"rgb/{number:04d}.jpg").write_bytes(jpeg(image, *options))
    return root


@pytest.fixture
def make(recording: Path, tmp_path: Path) -> Make:
    def manifest(
        *, source: dict[str, Any] | None = None, corpus: dict[str, Any] | None = None, **changes: Any
    ) -> Manifest:
        described = {
            "name": "rgbd_folder",
            "root": str(recording),
            "depth": "depth/{frame}.png",
            "rgb": "rgb/{frame}.jpg",
            "depth_scale": 1000,
            "camera": {"width": WIDTH, "height": HEIGHT, "fx": 60, "fy": 60, "cx": 32, "cy": 24},
            **(source or {}),
        }
        block = {"out": str(tmp_path / "corpus"), "shard_frames": 4, **(corpus or {})}
        value = {"name": "jpeg", "source": described, "translator": {"name": "simulation"}, "corpus": block, **changes}
        return parse_manifest(value, where="test")

    return manifest


def shard_of(manifest: Manifest, shard: str = "train-000000") -> ShardReader:
    return ShardReader(LocalFolder(manifest.corpus.out), f"shards/{shard}.zarr")


def test_the_files_are_carried_byte_for_byte_and_read_as_the_source_reads_them(make: Make, recording: Path) -> None:
    manifest = make()
    assert run(manifest).num_frames == COUNT
    source, reader = make_source(manifest.source), CorpusReader(manifest.corpus.out)
    for ref in source.frames():
        position = reader.position(ref.key)
        shard, row = reader.index.place(position)
        path = recording / f"rgb/{ref.key[-4:]}.jpg"
        file = shard_of(manifest, shard).array("rgb").read_file(row)
        assert file == (path.read_bytes() if path.exists() else None)
        frame, record = source.read(ref, frozenset(["rgb"])), reader.read(position)
        if frame.rgb is None:
            assert "rgb" not in record.labels
        else:
            np.testing.assert_array_equal(record.labels["rgb"], frame.rgb)
    assert reader.info.corpus_schema.colour.format == "jpeg"
    verdict = verify_corpus(manifest.corpus.out, source=source)
    assert verdict.ok, verdict.lines()


def test_hashes_of_the_index_are_those_of_the_files(make: Make, recording: Path) -> None:
    import xxhash

    manifest = make()
    run(manifest)
    for row in pq.read_table(manifest.corpus.out / "index.parquet").to_pylist():
        path = recording / f"rgb/{row['key'][-4:]}.jpg"
        assert row["has_rgb"] == path.exists()
        assert row["hash_rgb"] == (xxhash.xxh3_128_hexdigest(path.read_bytes()) if path.exists() else None)


def test_nothing_is_decoded_on_the_way_unless_the_translator_looks_at_colour(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    monkeypatch.setattr("depthforge.jpeg.decode_jpeg", lambda data: decoded.append(data))
    monkeypatch.setattr("depthforge.corpus.jpeg_chunks.decode_jpeg", lambda data: decoded.append(data))
    monkeypatch.setattr("depthforge.sources.images.decode_rgb", lambda data, where: decoded.append(data))
    assert run(make(translator={"name": "identity"})).num_frames == COUNT
    assert not decoded


def test_colour_reaches_a_translator_that_looks_at_it(make: Make) -> None:
    """Structured light of active stereo shades its noise by colour: the same noise from pixels and from files."""
    translator = {"name": "simulation", "sensor": "d435"}
    shipped = make(translator=translator)
    lossless = make(translator=translator, corpus={"colour": "lossless", "out": str(shipped.corpus.out) + "-lossless"})
    run(shipped)
    run(lossless)
    one, other = CorpusReader(shipped.corpus.out), CorpusReader(lossless.corpus.out)
    for position in range(len(one)):
        np.testing.assert_array_equal(one.stored("depth_noisy", position), other.stored("depth_noisy", position))
        if one.has("rgb", position):
            np.testing.assert_array_equal(one.stored("rgb", position), other.stored("rgb", position))


def test_bytes_are_the_same_on_every_run_and_a_finished_corpus_is_known(make: Make) -> None:
    manifest = make()
    run(manifest)
    report = finished(manifest)
    assert report is not None
    assert report.nothing_to_do
    assert finished(make(corpus={"colour": "lossless"})) is None
    before = contents(manifest.corpus.out)
    (manifest.corpus.out / "index/train-000000.parquet").unlink()
    run(manifest)
    assert contents(manifest.corpus.out) == before


def test_lossless_compresses_pixels(make: Make) -> None:
    manifest = make(corpus={"colour": "lossless"})
    run(manifest)
    array = shard_of(manifest).array("rgb")
    assert not array.is_jpeg
    assert "zstd" in array.codecs


def test_jpeg_makes_files_of_pixels_where_a_source_ships_none(tmp_path: Path, make: Make) -> None:
    rooms = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 3, "width": 96, "height": 72, "focal_px": 90.0}
    block = {"colour": "jpeg", "jpeg_quality": 90, "out": str(tmp_path / "rooms")}
    manifest = parse_manifest(
        {"name": "rooms", "source": rooms, "translator": {"name": "simulation"}, "corpus": block}, where="test"
    )
    run(manifest)
    source, reader = make_source(manifest.source), CorpusReader(manifest.corpus.out)
    for ref in source.frames():
        rgb = source.read(ref, frozenset(["rgb"])).rgb
        assert rgb is not None
        assert 0 < np.abs(reader.read(ref.key).labels["rgb"].astype(int) - rgb).mean() < 5
    assert verify_corpus(manifest.corpus.out, source=source).ok
    mixed = make(corpus=block | {"out": str(tmp_path / "mixed")})
    run(mixed)
    assert shard_of(mixed).array("rgb").read_file(0) == jpeg(picture(0)), "what is shipped is carried all the same"


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda path: path.write_bytes(cv2.imencode(".png", picture(4))[1].tobytes()), "FrameError", "no JPEG file"),
        (lambda path: path.write_bytes(jpeg(picture(4, 96, 128))), "FrameError", "no JPEG file"),
        (lambda path: path.write_bytes(cmyk()), "FrameError", "no JPEG file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), "DecodeError", "truncated"),
        (lambda path: path.write_bytes(b""), "DecodeError", "empty"),
    ],
    ids=["a PNG by name of JPEG", "a larger file", "CMYK", "cut", "empty"],
)
def test_a_file_that_cannot_be_carried_is_a_reject_with_a_way_out(
    make: Make, recording: Path, change: Callable[[Path], None], error: str, says: str
) -> None:
    change(recording / "rgb/0004.jpg")
    manifest = make(max_reject_fraction=0.5)
    assert run(manifest).rejects_by_error == {error: 1}
    (path,) = manifest.corpus.out.glob("rejects/*")
    (row,) = pq.read_table(path).to_pylist()
    assert row["key"].endswith("0004")
    assert says in row["message"]
    assert error != "FrameError" or "corpus.colour: lossless" in row["remedy"]


def test_larger_colour_is_averaged_and_therefore_lossless(make: Make, recording: Path) -> None:
    for path in (recording / "rgb").iterdir():
        path.write_bytes(jpeg(picture(0, 96, 128)))
    manifest = make()
    run(manifest)
    assert not shard_of(manifest).array("rgb").is_jpeg


def test_a_source_that_ships_no_files_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    read = Procedural.read

    def spied(self: Procedural, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        asked.update(wanted)
        return read(self, ref, wanted)

    monkeypatch.setattr(Procedural, "read", spied)
    block = {"name": "procedural", "num_scenes": 1, "frames_per_scene": 2}
    value = {"name": "a", "source": block, "translator": {"name": "identity"}, "corpus": {"out": str(tmp_path / "a")}}
    with prepare(parse_manifest(value, where="test")) as prepared:
        assert prepared.schema.colour.format == "lossless"
    assert asked
    assert RGB_FILE not in asked


def test_a_tag_of_orientation_turns_nothing(make: Make, recording: Path) -> None:
    path = recording / "rgb/0000.jpg"
    plain, tiff = path.read_bytes(), b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
    exif = b"Exif\x00\x00" + tiff + bytes(4)
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    path.write_bytes(turned)
    manifest = make()
    run(manifest)
    assert shard_of(manifest).array("rgb").read_file(0) == turned
    expected = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(CorpusReader(manifest.corpus.out).read(0).labels["rgb"], expected)


def test_resized_colour_is_lossless(make: Make) -> None:
    manifest = make(source={"resize": {"width": 32, "height": 24}})
    run(manifest)
    array = shard_of(manifest).array("rgb")
    assert not array.is_jpeg
    assert array.shape[1:] == (24, 32, 3)


def test_zarr_reads_it_with_this_package(make: Make) -> None:
    manifest = make()
    run(manifest)
    group = zarr.open_group(str(manifest.corpus.out / "shards/train-000000.zarr"), mode="r")
    array = shard_of(manifest).array("rgb")
    np.testing.assert_array_equal(group["rgb"][...], array.read_rows(0, len(array)))


def test_without_this_package_zarr_names_what_is_missing_and_reads_the_rest(make: Make, tmp_path: Path) -> None:
    manifest = make()
    run(manifest)
    script = (
        "import sys\n"
        "from importlib import metadata\n"
        "select = metadata.EntryPoints.select\n"
        "metadata.EntryPoints.select = lambda points, **of: metadata.EntryPoints(\n"
        "    point for point in select(points, **of) if not point.value.startswith('depthforge'))\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'depthforge':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import hashlib, json, zarr\n"
        "depth = zarr.open_array(sys.argv[1] + '/depth_noisy', mode='r')[...]\n"
        "try:\n"
        "    zarr.open_array(sys.argv[1] + '/rgb', mode='r')[...]\n"
        "    error = None\n"
        "except Exception as caught:\n"
        "    error = f'{type(caught).__name__}: {caught}'\n"
        "print(json.dumps([hashlib.sha256(depth.tobytes()).hexdigest(), error]))\n"
    )
    command = [sys.executable, "-c", script, str(manifest.corpus.out / "shards/train-000000.zarr")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    digest, error = json.loads(done.stdout)
    array = shard_of(manifest).array("depth_noisy")
    assert digest == hashlib.sha256(array.read_rows(0, len(array)).tobytes()).hexdigest()
    assert "depthforge.jpeg" in error


def test_without_opencv_every_other_field_is_read(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make()
    run(manifest)
    monkeypatch.setitem(sys.modules, "cv2", None)
    reader = CorpusReader(manifest.corpus.out)
    assert reader.read(0, []).clean_valid.all()
    with pytest.raises(MissingDependencyError, match="decoded by OpenCV") as caught:
        reader.read(0, ["rgb"])
    assert "pip install opencv-python-headless" in str(caught.value)


def damage(manifest: Manifest, change: Callable[[bytearray], bytes]) -> None:
    """Replace the file of the first frame by another of the same length."""
    array = shard_of(manifest).array("rgb")
    file = array.read_file(0)
    assert file is not None
    new = change(bytearray(file))
    assert len(new) == len(file)
    path = manifest.corpus.out / "shards/train-000000.zarr/rgb/c.0.0.0.0"
    content = path.read_bytes()
    path.write_bytes(content.replace(with_crc32c(file), new if len(new) > len(file) else with_crc32c(bytes(new))))


def test_a_flipped_bit_in_a_file_is_an_integrity_error_for_the_reader_and_found(make: Make) -> None:
    manifest = make()
    run(manifest)
    path = manifest.corpus.out / "shards/train-000000.zarr/rgb/c.0.0.0.0"
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    reader = CorpusReader(manifest.corpus.out)
    with pytest.raises(IntegrityError, match="a checksum does not match"):
        reader.read(0)
    assert reader.read(1).labels["rgb"].shape == (HEIGHT, WIDTH, 3), "the other frames are read"
    assert any("rgb" in problem.where for problem in verify_corpus(manifest.corpus.out).problems)


def test_a_file_that_is_broken_inside_is_found_by_verify_and_is_one_frames_error(make: Make) -> None:
    """Its checksum holds, its pixels do not: as a source may have it."""

    def without_tables(file: bytearray) -> bytes:
        at = file.index(b"\xff\xdb")
        file[at : at + 2] = b"\xff\xfe"  # a table of steps becomes a comment
        return bytes(file)

    manifest = make()
    run(manifest)
    damage(manifest, without_tables)
    reader = CorpusReader(manifest.corpus.out)
    with pytest.raises(IntegrityError, match="cannot be decoded"):
        reader.read(0)
    assert reader.read(1).labels["rgb"].shape == (HEIGHT, WIDTH, 3)
    found = [str(problem) for problem in verify_corpus(manifest.corpus.out).problems]
    assert any("rgb" in text and "cannot be decoded" in text for text in found), found


def test_another_file_in_the_source_is_found_by_its_bytes(make: Make, recording: Path) -> None:
    manifest = make()
    run(manifest)
    path = recording / "rgb/0000.jpg"
    path.write_bytes(
        path.read_bytes()[:2] + b"\xff\xfe\x00\x04hi" + path.read_bytes()[2:]
    )  # a comment, the same pixels
    report = verify_corpus(manifest.corpus.out, source=make_source(manifest.source))
    assert [problem.message for problem in report.problems] == ["rgb differs from the source"]


def test_datasets_give_its_pixels(make: Make) -> None:
    from depthforge.corpus.datasets import CorpusDataset

    manifest = make()
    run(manifest)
    dataset, reader = CorpusDataset(manifest.corpus.out, "train", ("rgb",)), CorpusReader(manifest.corpus.out)
    batch = dataset.read_batch([0, 1, 2])
    for number in range(3):
        np.testing.assert_array_equal(batch["rgb"][number].permute(1, 2, 0).numpy(), reader.read(number).labels["rgb"])
