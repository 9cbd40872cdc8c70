"""Depth by every quantity, sign, encoding and code that a manifest can state: exact metres."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.errors import DecodeError, ManifestError
from tests.sources.folder_trees import CAMERA, HEIGHT, WIDTH, depth, make, read_all, read_first, write


def floats(*values: float, rest: float = 2.0) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH), rest, np.float32)
    image[0, : len(values)] = values
    return image


def first_row(root: Path, image: np.ndarray, count: int, **fields: object) -> list[float]:
    if image.dtype == np.uint16:
        write(root / "0.png", image)
        frame = read_first(root, **fields)
    else:
        write(root / "0.npy", image)
        frame = read_first(root, **{"depth": "{frame}.npy", "depth_scale": 1, **fields})
    assert np.array_equal(frame.valid, frame.depth_m > 0)
    return [float(value) for value in frame.depth_m[0, :count]]


def test_backgrounds_of_renderers_are_no_measurement(tmp_path: Path) -> None:
    stored = floats(np.inf, np.nan, -np.inf, 1e10, 65504, 65503, 3)
    assert first_row(tmp_path, stored, 7) == [0, 0, 0, 0, 0, 65503, 3]
    assert first_row(tmp_path, stored.astype(np.float64), 7)[3:] == [0, 0, 65503, 3]


def test_near_far_and_invalid_are_stored_values(tmp_path: Path) -> None:
    stored = floats(0.1, 0.2, 99, 100, 50.5)
    fields = {"near": 0.1, "far": 100, "invalid": [50.5]}
    assert first_row(tmp_path, stored, 5, **fields) == pytest.approx([0, 0.2, 99, 0, 0])
    codes = depth()
    codes[0, :5] = [100, 200, 59_999, 60_000, 500]
    fields = {"near": 100, "far": 60_000, "invalid": [500.0]}
    assert first_row(tmp_path, codes, 5, **fields) == pytest.approx([0, 0.2, 59.999, 0, 0])


def test_negative_z(tmp_path: Path) -> None:
    assert first_row(tmp_path, floats(-1.5, 2, 0, -np.inf), 4, sign="negative") == [1.5, 0, 0, 0]
    whole = np.full((HEIGHT, WIDTH), -1500, np.int16)
    write(tmp_path / "0.npy", whole)
    frame = read_first(tmp_path, depth="{frame}.npy", sign="negative")
    assert frame.depth_m[0, 0] == pytest.approx(1.5)


def test_inverse_depth_and_disparity(tmp_path: Path) -> None:
    assert first_row(tmp_path, floats(0.5, 0, 4), 3, quantity="inverse_depth") == [2, 0, 0.25]
    codes = depth()
    codes[0, :3] = [500, 0, 4000]
    assert first_row(tmp_path, codes, 3, quantity="inverse_depth") == [2, 0, 0.25]
    camera = {**CAMERA, "fx": 320, "fy": 320, "baseline_m": 0.25}
    assert first_row(tmp_path, floats(10, 0), 2, quantity="disparity", camera=camera) == [8, 0]
    codes[0, :3] = [2560, 0, 5120]
    fields = {"quantity": "disparity", "camera": camera, "depth_scale": 256}
    assert first_row(tmp_path, codes, 3, **fields) == [8, 0, 4]


def test_ray_lengths_of_codes_and_floats_agree(tmp_path: Path) -> None:
    secant = math.sqrt(1 + (32 / 60) ** 2 + (24 / 60) ** 2)
    for image in (depth(), floats(2)):
        assert first_row(tmp_path, image, 1, quantity="ray_length") == pytest.approx([2 / secant], rel=1e-6)


def test_depth_in_colours(tmp_path: Path) -> None:
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:] = [92, 143, 2]
    rgb[0, 1] = 255
    write(tmp_path / "0.png", rgb)
    frame = read_first(tmp_path, encoding="carla", depth_scale=None)
    assert frame.depth_m[0, :3].tolist() == pytest.approx([10, 0, 10], abs=3e-5)
    frame = read_first(tmp_path, encoding="RG", depth_scale=1000)
    assert frame.depth_m[0, 0] == pytest.approx((92 + 256 * 143) / 1000)
    bgra = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    bgra[:] = np.array([1.0], "<f4").view(np.uint8)
    bgra[0, 0] = np.array([1e9], "<f4").view(np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), bgra)
    frame = read_first(tmp_path, encoding="tartanair", depth_scale=1)
    assert frame.depth_m[0, :2].tolist() == [0, 1]
    jpeg = cv2.imencode(".jpg", rgb)[1].tobytes()
    (tmp_path / "0.png").write_bytes(jpeg)
    with pytest.raises(DecodeError, match="JPEG"):
        read_first(tmp_path, encoding="carla", depth_scale=None)


def test_the_size_may_be_that_of_the_first_image(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    camera = {name: CAMERA[name] for name in ("fx", "fy", "cx", "cy")}
    source = make(tmp_path, camera=camera)
    assert source.size == (HEIGHT, WIDTH)
    assert read_first(tmp_path, camera=camera).camera.width == WIDTH


def test_mixed_sizes_are_named_or_resized(tmp_path: Path) -> None:
    write(tmp_path / "0.png", depth())
    write(tmp_path / "1.png", np.full((2 * HEIGHT, 2 * WIDTH), 3000, np.uint16))
    with pytest.raises(DecodeError, match="wrong size") as raised:
        read_all(tmp_path)
    assert "resize" in str(raised.value.remedy)
    assert "reframe" in str(raised.value.remedy)
    camera = {**CAMERA, "cx": 31.5, "cy": 23.5}
    frames = list(read_all(tmp_path, camera=camera, resize={"width": WIDTH, "height": HEIGHT}).values())
    large = frames[1].camera
    assert (large.width, large.fx, large.cx, large.cy) == (2 * WIDTH, 120, 63.5, 47.5)
    write(tmp_path / "1.png", np.full((HEIGHT, HEIGHT), 3000, np.uint16))
    with pytest.raises(DecodeError, match="other proportions"):
        read_all(tmp_path, camera=camera, resize={"width": WIDTH, "height": HEIGHT})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantity": "disparity"}, "baseline_m"),
        ({"encoding": "carla"}, "depth_scale"),
        ({"encoding": "carla", "depth_scale": None, "assume_max_depth_m": 4}, "depth_scale"),
        ({"encoding": "rgb"}, "encoding is"),
        ({"invalid": [float("inf")]}, "finite"),
        ({"camera": {"width": 4, "fx": 1, "fy": 1, "cx": 1, "cy": 1}}, "neither"),
    ],
)
def test_what_is_not_said_clearly_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError) as raised:
        make(Path("nowhere"), **fields)
    assert message in str(raised.value)
