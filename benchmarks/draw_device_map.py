"""What a real device's own error looks like: the map that is read off each half of a recording, and off both.

python -m benchmarks.draw_device_map --recording redkitchen_kinect --out FILE.png [--shape 60x80]

The recording (data/real beside the checkout, or under DEPTHFORGE_SHARED) is fused, its truth rendered at its own poses,
and the error of every scan averaged (``depthforge.fitting.device_map``). From left to right: mean error of the first
half of the frames, of the second, and the map that a sensor would get from both. Red is nearer than the truth (more
disparity), blue farther, white 0; the colours end at two and a half deviations. What both halves show is the device's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.recordings import RECORDINGS, fused, same_view, view_of
from benchmarks.timing import print_json
from depthforge.fitting.device_map import device_map_of, error_maps_px, halves_of
from depthforge.realism.same_view import pattern
from depthforge.realism.same_view.views import SameView

Float32 = npt.NDArray[np.float32]

_WIDTH: Final = 640
_DEVIATIONS: Final = 2.5


def views_of(name: str, folder: Path) -> Iterator[SameView]:
    """Yield every scan of a recording with its fused truth; SystemExit where it is not at hand."""
    source, refs = fused(name, folder)
    for ref in refs:
        yield same_view(view_of(source, ref), {}, {})


def drawn(error: Float32, most: float, caption: str) -> npt.NDArray[np.uint8]:
    """Return a map (rows, columns) in colours (H, W, 3) BGR, grey where not known."""
    height = round(_WIDTH * error.shape[0] / error.shape[1])
    share = np.clip(np.nan_to_num(error) / most, -1, 1)
    fading = 1 - np.abs(share)
    blue, red = np.where(share > 0, fading, 1), np.where(share < 0, fading, 1)
    colours = np.stack([blue, fading, red], axis=-1)
    colours[np.isnan(error)] = 0.5
    picture = cv2.resize((255 * colours).astype(np.uint8), (_WIDTH, height), interpolation=cv2.INTER_NEAREST)
    strip = np.full((36, _WIDTH, 3), 255, np.uint8)
    cv2.putText(strip, caption, (8, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return np.asarray(np.vstack([strip, picture]), np.uint8)


def picture_of(maps_px: Sequence[Float32], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the maps of both halves and of all frames side by side, as (H, W, 3) BGR."""
    first, second = halves_of(maps_px)
    correlation = pattern.summarise(maps_px).get("pattern_correlation", float("nan"))
    found = device_map_of(maps_px, shape)
    both = np.zeros(shape, np.float32) if found is None else np.array(found, np.float32)
    most = _DEVIATIONS * float(np.nanstd(np.stack([first, second])))
    last = "none: nothing repeats" if found is None else f"map of both, sd {both.std():.3f} px"
    pictures = [
        drawn(first, most, f"first half, {(len(maps_px) + 1) // 2} frames, sd {np.nanstd(first):.3f} px"),
        drawn(second, most, f"second half, {len(maps_px) // 2} frames, correlation {correlation:.2f}"),
        drawn(both, most, f"{last} (colours end at {most:.2f} px)"),
    ]
    height = max(picture.shape[0] for picture in pictures)
    same = [
        cv2.copyMakeBorder(p, 0, height - p.shape[0], 0, 8, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in pictures
    ]
    return np.asarray(np.hstack(same), np.uint8)


def main() -> None:
    """Read the maps off a recording, draw them and say how far the halves agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", choices=list(RECORDINGS), default="redkitchen_kinect")
    parser.add_argument("--out", type=Path, required=True, help="where the picture goes, .png")
    parser.add_argument("--shape", default="60x80", help="rows x columns of the map")
    options = parser.parse_args()
    rows, columns = (int(each) for each in options.shape.split("x"))
    baseline_m = RECORDINGS[options.recording].baseline_m
    with tempfile.TemporaryDirectory(prefix="depthforge-bench-") as folder:
        maps_px = error_maps_px(views_of(options.recording, Path(folder)), baseline_m)
    if not cv2.imwrite(str(options.out), picture_of(maps_px, (rows, columns))):
        raise SystemExit(f"cannot write {options.out}")
    print_json({"recording": options.recording, "frames": len(maps_px), **pattern.summarise(maps_px)})


if __name__ == "__main__":
    main()
