"""The one record that flows through everything: Frame, with its Camera, and LabelSpec, which says what a label is.

Conventions, everywhere inside the house: depth is planar z in metres (never ray length), float32; validity is a
separate boolean mask (0 is never a depth); a pose is camera-to-world in OpenCV axes (x right, y down, z forward)
and metres; pixel (u, v) = (0, 0) is the *centre* of the top-left pixel; colour is RGB. Sources convert at the
door; nothing else asks which dataset a frame came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from depthforge.errors import FrameError

__all__ = [
    "BASELINE",
    "BOX_2D",
    "BOX_CLASS",
    "BOX_INSTANCE",
    "BOX_POSE",
    "BOX_SIZE",
    "DEPTH_RAW",
    "FLOW",
    "GRASPS",
    "INSTANCE",
    "INTRINSICS",
    "NORMALS",
    "NORMALS_SCALE",
    "OBJECT_ID",
    "OBJECT_POSE",
    "OBJECT_PX_COUNT_ALL",
    "OBJECT_PX_COUNT_VALID",
    "OBJECT_PX_COUNT_VISIB",
    "OBJECT_SILHOUETTES",
    "POSE",
    "RECT_GRASPS",
    "RGB",
    "RGB_RIGHT",
    "SEMANTIC_NYU40",
    "BoolImage",
    "Camera",
    "DepthImage",
    "Finding",
    "Frame",
    "FrameRef",
    "LabelSpec",
    "Licence",
]

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


@dataclass(frozen=True, slots=True)
class Frame:
    """One clean frame with its labels.

    ``depth_m`` (H, W) float32 planar z in metres, 0.0 where invalid; ``valid`` (H, W) bool; ``rgb`` (H, W, 3)
    uint8 or None; ``T_world_cam`` (4, 4) float64 camera-to-world or None; ``labels`` name -> array exactly as its
    LabelSpec stores it (image labels (H, W, ...), ragged labels (N, ...)). A label that the source does not have
    for this frame is absent from the mapping.
    """

    key: str
    depth_m: DepthImage
    valid: BoolImage
    camera: Camera
    rgb: npt.NDArray[np.uint8] | None = None
    T_world_cam: npt.NDArray[np.float64] | None = None
    labels: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """What a label is, said once: how it is stored, what it means, how it resizes, whether noise changes it.

    ``layout``: ``image`` arrays are (H, W, *trailing), ``frame`` arrays (*trailing), ``ragged`` arrays
    (N, *trailing) with N varying by frame. ``missing`` is the stored value that means "no label here". A stored
    value times ``scale`` is the quantity in ``units``. ``resize`` names the only correct way to resample:
    ``nearest`` for ids and depth, ``area`` for colour, ``normals`` re-normalises, ``flow`` scales the vectors too,
    ``box_2d`` and ``rect_grasps`` scale pixel coordinates, ``count`` scales with the area, ``none`` is for what does
    not depend on the pixel grid.
    ``changed_by_noise`` labels are computed again from the noisy depth (``depthforge.labels``); no other is.
    """

    name: str
    dtype: str
    layout: Literal["image", "frame", "ragged"]
    description: str
    trailing: tuple[int, ...] = ()
    trailing_dims: tuple[str, ...] = ()
    missing: float = 0
    scale: float | None = None
    units: str | None = None
    resize: Literal["nearest", "area", "normals", "flow", "box_2d", "rect_grasps", "count", "none"] = "nearest"
    changed_by_noise: bool = False
    vocabulary: str | None = None

    def shape(self, height: int, width: int, rows: int = 0) -> tuple[int, ...]:
        """Return the shape of one frame's array (``rows`` counts for ragged labels only)."""
        if self.layout == "image":
            return (height, width, *self.trailing)
        if self.layout == "ragged":
            return (rows, *self.trailing)
        return self.trailing

    def require_fits(self, array: npt.NDArray[np.generic], height: int, width: int, *, where: str) -> None:
        """Raise FrameError when ``array`` is not what this spec stores."""
        rows = array.shape[0] if self.layout == "ragged" and array.ndim else 0
        expected = self.shape(height, width, rows)
        if array.shape != expected or array.dtype != np.dtype(self.dtype):
            raise FrameError(
                f"label {self.name!r} has the wrong shape or type",
                where=where,
                expected=f"{expected} {self.dtype}",
                found=f"{array.shape} {array.dtype}",
            )


# snorm16: a unit-vector component is stored as round(n * 32767); the angular step is 0.0017 degrees.
NORMALS_SCALE = 1.0 / 32767.0

RGB = LabelSpec("rgb", "uint8", "image", "colour, sRGB, RGB order", (3,), ("channel",), resize="area")
NORMALS = LabelSpec(
    "normals",
    "int16",
    "image",
    "unit surface normals towards the camera, OpenCV camera axes; (0, 0, 0) where there is none",
    (3,),
    ("axis",),
    scale=NORMALS_SCALE,
    units="1",
    resize="normals",
)
SEMANTIC_NYU40 = LabelSpec("semantic", "uint16", "image", "NYU40 class ids, 0 is unlabelled", vocabulary="nyu40")
INSTANCE = LabelSpec("instance", "uint16", "image", "instance ids within the scene, 0 is none")
OBJECT_ID = LabelSpec(
    "object_id", "uint32", "ragged", "ids of the objects in view, row for row with object_pose", resize="none"
)
OBJECT_POSE = LabelSpec(
    "object_pose",
    "float64",
    "ragged",
    "T_cam_object: object to camera, OpenCV camera axes, metres",
    (4, 4),
    ("row", "column"),
    units="m",
    resize="none",
)
OBJECT_PX_COUNT_ALL = LabelSpec(
    "object_px_count_all",
    "uint32",
    "ragged",
    "pixels of each object's silhouette, hidden ones and those beyond the image too; row for row with object_id",
    resize="count",
    units="px",
)
OBJECT_PX_COUNT_VALID = LabelSpec(
    "object_px_count_valid",
    "uint32",
    "ragged",
    "those of object_px_count_all at which depth_noisy has a measurement",
    resize="count",
    units="px",
    changed_by_noise=True,
)
OBJECT_PX_COUNT_VISIB = LabelSpec(
    "object_px_count_visib",
    "uint32",
    "ragged",
    "pixels of the visible part of each object's silhouette",
    resize="count",
    units="px",
)
OBJECT_SILHOUETTES = LabelSpec(
    "object_silhouettes",
    "uint64",
    "image",
    "bit k is set where the pixel lies in the silhouette, hidden or not, of the object in row k of object_id",
)
RGB_RIGHT = LabelSpec(
    "rgb_right",
    "uint8",
    "image",
    "colour of the right camera of a rectified stereo pair, sRGB, RGB order",
    (3,),
    ("channel",),
    resize="area",
)
BASELINE = LabelSpec(
    "baseline_m",
    "float64",
    "frame",
    "distance from the camera to its right stereo partner",
    missing=float("nan"),
    units="m",
    resize="none",
)
FLOW = LabelSpec(
    "flow",
    "float32",
    "image",
    "optical flow to the next frame, x and y; NaN where there is none",
    (2,),
    ("vector",),
    missing=float("nan"),
    units="px",
    resize="flow",
)
BOX_CLASS = LabelSpec("box_class", "uint16", "ragged", "class of each box", resize="none")
BOX_INSTANCE = LabelSpec(
    "box_instance", "uint32", "ragged", "track or instance id of each box, 0 is none", resize="none"
)
BOX_2D = LabelSpec(
    "box_2d",
    "float32",
    "ragged",
    "left, top, right, bottom of each box; NaN where there is none",
    (4,),
    ("edge",),
    missing=float("nan"),
    units="px",
    resize="box_2d",
)
BOX_POSE = LabelSpec(
    "box_pose",
    "float64",
    "ragged",
    "T_cam_box of each 3-D box: its centre, x along its length, y down its height, "
    "z along its width; NaN where there is none",
    (4, 4),
    ("row", "column"),
    missing=float("nan"),
    units="m",
    resize="none",
)
BOX_SIZE = LabelSpec(
    "box_size",
    "float64",
    "ragged",
    "length, height and width of each 3-D box; NaN where there is none",
    (3,),
    ("extent",),
    missing=float("nan"),
    units="m",
    resize="none",
)
GRASPS = LabelSpec(
    "grasps",
    "float32",
    "ragged",
    "6-D grasps as GraspNet's GraspGroup: score (1.1 - friction, higher is better), "
    "width, height, depth, rotation (9, row by row; columns approach, binormal, other), translation (3), object id; "
    "camera frame, metres",
    (17,),
    ("grasp",),
    resize="none",
)
RECT_GRASPS = LabelSpec(
    "rect_grasps",
    "float32",
    "ragged",
    "rectangle grasps as GraspNet's RectGraspGroup: centre x, y, open x, y, height (pixels), score, object id",
    (7,),
    ("rectangle",),
    resize="rect_grasps",
)
DEPTH_RAW = LabelSpec(
    "depth_raw",
    "float32",
    "image",
    "what the real sensor measured in this view, planar z; NaN where nothing",
    missing=float("nan"),
    units="m",
)
INTRINSICS = LabelSpec(
    "K",
    "float64",
    "frame",
    "pinhole intrinsics in pixels, pixel centres at integers",
    (3, 3),
    ("row", "column"),
    units="px",
    resize="none",
)
POSE = LabelSpec(
    "T_world_cam",
    "float64",
    "frame",
    "camera to world, OpenCV axes, metres; NaN where unknown",
    (4, 4),
    ("row", "column"),
    missing=float("nan"),
    units="m",
    resize="none",
)


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
