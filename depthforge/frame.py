"""The one record that flows through everything: Frame, with its Camera; and Capture, what a sensor makes of one.

Conventions, everywhere inside the house: depth is planar z in metres (never ray length), float32; validity is a
separate boolean mask (0 is never a depth); a pose is camera-to-world in OpenCV axes (x right, y down, z forward)
and metres; pixel (u, v) = (0, 0) is the *centre* of the top-left pixel; colour is RGB. Sources convert at the
door; nothing else asks which dataset a frame came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError, InputError

__all__ = [
    "RGB_FILE",
    "BoolImage",
    "Camera",
    "Capture",
    "DepthImage",
    "Finding",
    "Frame",
    "FrameRef",
    "Licence",
    "NoisyDepth",
    "require_key",
]

RGB_FILE: Final = "rgb_file"
"""What a reader of frames wants beside labels, or in place of ``rgb``, to have colour as the source ships it."""

DepthImage: TypeAlias = npt.NDArray[np.float32]
BoolImage: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera: ``fx, fy, cx, cy`` in pixels, image size, and the stereo baseline in metres if any."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    baseline_m: float | None = None

    @property
    def K(self) -> npt.NDArray[np.float64]:
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), the shape of an image array."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Where a frame is, without its pixels: what a plan holds and what travels to a worker.

    ``key`` is ``dataset/scene/frame``: exactly three parts, stable, unique and sortable. ``locator`` is whatever
    the source needs to find the frame again, relative to the source's root, never an absolute path.
    """

    key: str
    locator: str

    @property
    def scene(self) -> str:
        """``dataset/scene``: the unit that a split never divides."""
        return self.key.rsplit("/", 1)[0]


def require_key(key: str, after: str) -> None:
    """Raise InputError unless ``key`` is three parts of UTF-8 text that come after the key ``after``."""
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InputError(
            "a name is not UTF-8",
            where=ascii(key),
            expected="names of folders and files in UTF-8",
            found=f"bytes such as {key.encode(errors='surrogateescape')!r}",
            remedy="rename it (convmv -f latin1 -t utf8 renames a tree), or unpack the archive again with its encoding",
        ) from None
    if key <= after:
        raise InputError("frame keys must be unique and in order", where=key, found=f"{key!r} after {after!r}")
    if key.count("/") != 2 or not all(key.split("/")):
        raise InputError("a frame key has three parts", where=key, expected="dataset/scene/frame")


@dataclass(frozen=True, slots=True)
class Frame:
    """One clean frame with its labels.

    ``depth_m`` (H, W) float32 planar z in metres, 0.0 where invalid; ``valid`` (H, W) bool; ``rgb`` (H, W, 3) uint8 or
    None; ``T_world_cam`` (4, 4) float64 camera-to-world or None; ``labels`` name -> array exactly as its LabelSpec
    stores it (image labels (H, W, ...), ragged labels (N, ...)). A label that the source does not have for this frame
    is absent from the mapping. ``rgb_file`` is the JPEG file of ``rgb`` as it lies in the source, where that was wanted
    (:data:`RGB_FILE`) and there is one of this size; ``rgb`` itself is None then unless it was wanted. ``dropped``
    counts, in words, single values that were no values and were left out ("points of the laser that are not finite"),
    for `check` and the corpus to add up. ``reframed_from`` is the camera that the data set has for it, where the source
    block asked for another.
    """

    key: str
    depth_m: DepthImage
    valid: BoolImage
    camera: Camera
    rgb: npt.NDArray[np.uint8] | None = None
    T_world_cam: npt.NDArray[np.float64] | None = None
    labels: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    rgb_file: bytes | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    reframed_from: Camera | None = None

    def require_sound(self) -> Frame:
        """Return self; raise FrameError unless shapes and types fit and depth is finite, > 0 just where ``valid``."""
        size = self.camera.size
        for name, array, dtype in (("depth_m", self.depth_m, np.float32), ("valid", self.valid, np.bool_)):
            if array.shape != size or array.dtype != dtype:
                raise FrameError(
                    f"{name} does not fit the camera",
                    where=self.key,
                    expected=f"{size} {np.dtype(dtype)}",
                    found=f"{array.shape} {array.dtype}",
                )
        if self.rgb is not None and self.rgb.shape != (*size, 3):
            raise FrameError("rgb does not fit the camera", where=self.key, expected=(*size, 3), found=self.rgb.shape)
        if not (np.isfinite(self.depth_m).all() and np.array_equal(self.depth_m > 0, self.valid)):
            raise FrameError(
                "depth is not a positive finite number where valid and 0 elsewhere",
                where=self.key,
                remedy="mask it out in `valid`; 0, NaN and infinity are never depths",
            )
        return self


class NoisyDepth(NamedTuple):
    """What a sensor would have measured: ``depth_m`` (H, W) float32 metres, 0.0 where not ``valid`` (H, W) bool."""

    depth_m: DepthImage
    valid: BoolImage


@dataclass(frozen=True, slots=True)
class Capture:
    """What a translator made of a frame: ``depth``, or None where it makes none, and ``images`` by their names.

    An image is (H, W, ...) exactly as the LabelSpec of that name in the translator's ``produces`` stores it.
    """

    depth: NoisyDepth | None = None
    images: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of a dataset, for the card: a name, whether derived data is non-commercial, and where it is stated."""

    name: str
    non_commercial: bool
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a dataset on disk that a user should know: a broken archive, a missing list, a skipped scene.

    ``error`` findings make frames unusable; ``warning`` findings are tolerated. ``path`` is relative to the root.
    """

    severity: Literal["error", "warning"]
    path: str
    message: str
    remedy: str | None = None
