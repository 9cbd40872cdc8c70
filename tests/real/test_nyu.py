"""A real frame of NYU's raw dumps: its bytes are swapped, and its colour is seen from the right of its depth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from depthforge.sources.nyu import raw as nyu_raw
from depthforge.sources.nyu.raw import DEPTH_CAMERA, RGB_CAMERA, colour_over_depth, decode_disparity, metres_of_codes


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "clean/livingroom1_redwood_kinect/other_formats"


def edges(image: np.ndarray) -> np.ndarray:
    return np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))


def beside_a_jump(depth_m: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: the nearer side of jumps by more than 15 cm within a row, holes up to 7 pixels between."""
    found = np.zeros(depth_m.shape, bool)
    for step in (1, 2, 3, 4, 6, 8):
        left, right = depth_m[:, :-step], depth_m[:, step:]
        both = (left > 0) & (right > 0)
        found[:, step:] |= both & (left - right > 0.15)
        found[:, :-step] |= both & (right - left > 0.15)
    return found & ~(cv2.erode(found.view(np.uint8), np.ones((1, 9), np.uint8)) > 0)


def test_a_real_dump(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "NYU_depth.pgm"
    data = path.read_bytes()
    disparity = decode_disparity(data, where=str(path))
    # The words of the file, read without an image library.
    words = np.frombuffer(data[len(b"P5 640 480 65535\n") :], "<u2").reshape(480, 640)
    np.testing.assert_array_equal(disparity, words)
    assert (disparity[240, 320], disparity[100, 500], disparity.max()) == (977, 1037, 2047)
    depth_m = metres_of_codes().take(disparity)
    assert depth_m[240, 320] == pytest.approx(351.3 / (1092.5 - 977))
    assert depth_m[100, 500] == pytest.approx(6.3297, abs=1e-4)
    assert (depth_m > 0).mean() == pytest.approx(0.928, abs=0.001)
    assert np.median(depth_m[depth_m > 0]) == pytest.approx(3.27, abs=0.01)

    rgb = cv2.cvtColor(cv2.imread(str(folder / "NYU_color.ppm")), cv2.COLOR_BGR2RGB)
    steps = np.minimum(edges(cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)), 120)
    near = beside_a_jump(depth_m)

    def contrast() -> float:
        """Return the mean step of colour where depth has an occluding edge."""
        over = colour_over_depth(np.dstack([steps.astype(np.uint8)] * 3), depth_m, RGB_CAMERA, DEPTH_CAMERA)
        return float(over[..., 0][near].mean())

    here = contrast()
    monkeypatch.setattr(nyu_raw, "T_RGB_DEPTH_M", tuple(-part for part in nyu_raw.T_RGB_DEPTH_M))
    assert here > 1.15 * contrast(), "colour steps where depth jumps"
