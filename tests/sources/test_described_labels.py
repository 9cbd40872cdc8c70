"""Normals and boxes in the forms that people write, as the house stores them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from depthforge.errors import DecodeError, ManifestError
from depthforge.geometry import decode_normals
from tests.sources.folder_trees import HEIGHT, POSE, WIDTH, depth, make, read_first, text, write

TOWARDS = np.array([0.6, 0.0, -0.8], np.float32)


def image(normal: np.ndarray) -> np.ndarray:
    normals = np.broadcast_to(normal, (HEIGHT, WIDTH, 3)).astype(np.float32).copy()
    normals[0, 0] = 0
    return normals


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "0.txt", text(POSE))
    return tmp_path


def normals_of(folder: Path, name: str, **block: object) -> np.ndarray:
    fields = {"file": name, **block}
    frame = read_first(folder, normals=fields, pose={"file": "{frame}.txt"})
    return decode_normals(frame.labels["normals"].astype(np.int16))


def test_normals_as_they_are(folder: Path) -> None:
    write(folder / "0.npy", image(TOWARDS))
    found = normals_of(folder, "{frame}.npy", encoding="signed")
    np.testing.assert_allclose(found[1, 1], TOWARDS, atol=1e-4)
    assert found[0, 0].tolist() == [0, 0, 0]
    gl = normals_of(folder, "{frame}.npy", encoding="signed", axes="opengl")
    np.testing.assert_allclose(gl[1, 1], TOWARDS * [1, -1, -1], atol=1e-4)


def test_normals_of_the_world_are_turned_into_the_camera(folder: Path) -> None:
    write(folder / "0.npy", image(POSE[:3, :3] @ TOWARDS))
    found = normals_of(folder, "{frame}.npy", encoding="signed", space="world")
    np.testing.assert_allclose(found[1, 1], TOWARDS, atol=1e-4)
    with pytest.raises(DecodeError, match="without a pose"):
        read_first(folder, normals={"file": "{frame}.npy", "encoding": "signed", "space": "world"})


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.uint8, 0.01), (np.uint16, 1e-4)])
def test_normals_as_colours(folder: Path, dtype: type, tolerance: float) -> None:
    largest = np.iinfo(dtype).max
    colours = np.rint((image(TOWARDS) * 0.5 + 0.5) * largest).astype(dtype)
    colours[0, 0] = 0
    write(folder / "normal/0.png", colours)
    found = normals_of(folder, "normal/{frame}.png", encoding="unsigned")
    np.testing.assert_allclose(found[1, 1], TOWARDS, atol=tolerance)
    assert found[0, 0].tolist() == [0, 0, 0]


def test_normals_of_an_exr_by_the_names_of_their_channels(folder: Path) -> None:
    normals = image(TOWARDS)
    channels = {f"View.Normal.{axis}": normals[..., at].copy() for at, axis in enumerate("XYZ")}
    head = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(head, channels).write(str(folder / "0.exr"))
    found = normals_of(folder, "{frame}.exr", encoding="signed", channels=["Normal.X", "Normal.Y", "Normal.Z"])
    np.testing.assert_allclose(found[1, 1], TOWARDS, atol=1e-4)
    with pytest.raises(DecodeError, match="names of their channels"):
        normals_of(folder, "{frame}.exr", encoding="signed")


def test_what_holds_no_normals(folder: Path) -> None:
    write(folder / "0.npy", np.zeros((HEIGHT, WIDTH)))
    with pytest.raises(DecodeError, match="three numbers a pixel"):
        normals_of(folder, "{frame}.npy", encoding="signed")
    write(folder / "0.npy", image(TOWARDS)[1:])
    with pytest.raises(DecodeError, match="wrong size"):
        normals_of(folder, "{frame}.npy", encoding="signed")


@pytest.mark.parametrize(
    ("columns", "row", "normalised"),
    [
        (["class", "left", "top", "right", "bottom"], [3, 8, 12, 24, 36], False),
        (["left", "top", "width", "height", "class"], [8, 12, 16, 24, 3], False),
        (["class", "x", "y", "width", "height", "skip"], [3, 0.25, 0.5, 0.25, 0.5, 9], True),
    ],
)
def test_boxes(folder: Path, columns: list[str], row: list[float], *, normalised: bool) -> None:
    block = {"file": "box/{frame}.txt", "columns": columns, "normalised": normalised}
    write(folder / "box/0.txt", "# boxes\n" + " ".join(map(str, row)) + "\n")
    frame = read_first(folder, boxes=block)
    assert frame.labels["box_2d"].tolist() == [[8, 12, 24, 36]]
    assert frame.labels["box_2d"].dtype == np.float32
    assert frame.labels["box_class"].tolist() == [3]
    write(folder / "box/0.txt", json.dumps([row, row]))
    assert read_first(folder, boxes=block).labels["box_2d"].shape == (2, 4)
    write(folder / "box/0.txt", "")
    assert read_first(folder, boxes=block).labels["box_2d"].shape == (0, 4)


def test_what_is_no_list_of_boxes(folder: Path) -> None:
    block = {"file": "{frame}.txt", "columns": ["class", "left", "top", "right", "bottom"]}
    for data, message in (("1 2 3", "other numbers"), ("1.5 1 2 3 4", "no number"), ("a 1 2 3 4", "not a list")):
        write(folder / "0.txt", data)
        with pytest.raises(DecodeError, match=message):
            read_first(folder, boxes=block)
    with pytest.raises(ManifestError, match="columns need left and right"):
        make(folder, boxes={"file": "{frame}.txt", "columns": ["class", "left", "top", "bottom"]})
