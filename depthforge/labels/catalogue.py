"""The labels that data sets ship, each said once; a source takes its specs from here.

``DEPTH_NOISY`` and ``RGB_NOISY`` are no labels of a source but what translators produce; the corpus stores noisy depth
in its own encoding.
"""

from __future__ import annotations

from depthforge.encoding import NORMALS_SCALE
from depthforge.labels.recomputing import count_measured_pixels
from depthforge.labels.spec import LabelSpec, NoiseRule

__all__ = [
    "BASELINE",
    "BOX_2D",
    "BOX_CLASS",
    "BOX_INSTANCE",
    "BOX_POSE",
    "BOX_SIZE",
    "DEPTH_NOISY",
    "DEPTH_RAW",
    "FLOW",
    "GRASPS",
    "INSTANCE",
    "INTRINSICS",
    "NORMALS",
    "OBJECT_ID",
    "OBJECT_POSE",
    "OBJECT_PX_COUNT_ALL",
    "OBJECT_PX_COUNT_VALID",
    "OBJECT_PX_COUNT_VISIB",
    "OBJECT_SILHOUETTES",
    "POSE",
    "RECT_GRASPS",
    "RGB",
    "RGB_NOISY",
    "RGB_RIGHT",
    "SEMANTIC_NYU40",
]

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
    noise=NoiseRule(count_measured_pixels, needs=frozenset({"object_silhouettes"})),
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
DEPTH_NOISY = LabelSpec(
    "depth_noisy",
    "float32",
    "image",
    "depth as the sensor would have measured it",
    missing=float("nan"),
    units="m",
)
RGB_NOISY = LabelSpec(
    "rgb_noisy",
    "uint8",
    "image",
    "colour as a real camera would have taken it, sRGB, RGB order",
    (3,),
    ("channel",),
    resize="area",
)
