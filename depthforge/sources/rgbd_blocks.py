"""The blocks within the ``source`` block of ``rgbd_folder``: camera, poses, ids, normals, boxes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from depthforge.sources.conventions import Axes, Direction
from depthforge.sources.encoded import Encoding
from depthforge.sources.templates import checked_template
from depthforge.sources.trajectories import QuaternionOrder

__all__ = [
    "BoxesBlock",
    "CameraBlock",
    "Ids",
    "IdsBlock",
    "LicenceBlock",
    "NormalsBlock",
    "PoseBlock",
    "Template",
    "Templates",
]

Template = Annotated[str, AfterValidator(checked_template)]
Key = Annotated[str | None, Field(description="which array, where a file holds several; of JSON a path, as a.b")]
# A union says which of its forms was tried, so that an error is about that one.
_is_text = Discriminator(lambda value: "template" if isinstance(value, str) else "block")
Templates: TypeAlias = Annotated[
    Annotated[Template, Tag("template")] | Annotated[tuple[Template, ...], Tag("block")], _is_text
]
Matrix4 = tuple[tuple[float, float, float, float], ...]

_LISTS = ("rows", "trajectory_log", "tum", "euroc", "colmap", "nerfstudio", "transforms_json")


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CameraBlock(_Block):
    """The pinhole of every frame: fx, fy, cx, cy in pixels, or a file for the set, the scene or the frame."""

    width: int | None = Field(default=None, gt=0, description="of the depth images; left out: that of the first one")
    height: int | None = Field(default=None, gt=0)
    fx: float | None = Field(default=None, gt=0)
    fy: float | None = Field(default=None, gt=0)
    cx: float | None = None
    cy: float | None = None
    matrix_file: Template | None = Field(
        default=None,
        description="template, instead of fx, fy, cx, cy: text, .npy, .npz or JSON of 3 x 3, 3 x 4 or 4 x 4 numbers, "
        "of fx fy cx cy or f cx cy, or of names as fx, fl_x; {scene} and {frame} where each has its own",
    )
    key: Key = None
    format: Literal["matrix", "colmap", "nerfstudio", "transforms_json"] = Field(
        default="matrix",
        description="of matrix_file: colmap is cameras.txt or .bin, its images file beside it; nerfstudio is "
        "transforms.json as it writes it, transforms_json one with the conventions stated here",
    )
    pixel_origin: Literal["centre", "corner"] = Field(
        default="centre",
        description="whether (0, 0) is the centre or the corner of the first pixel (Unreal, Unity, Isaac); "
        "colmap and nerfstudio count from the corner, whatever stands here",
    )
    ignore_distortion: bool = Field(default=False, description="read a distorted camera of a file as a pinhole")
    baseline_m: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> CameraBlock:
        given = [value is not None for value in (self.fx, self.fy, self.cx, self.cy)]
        if any(given) if self.matrix_file else not all(given):
            raise ValueError("give all of fx, fy, cx, cy, or matrix_file alone")
        if (self.width is None) != (self.height is None):
            raise ValueError("give width and height, or neither")
        return self


class PoseBlock(_Block):
    """Where poses are and what they mean."""

    file: Template = Field(
        description="a file per frame (frame-{frame}.pose.txt), or the list of a scene (format says which)"
    )
    format: Literal["matrix", "rows", "trajectory_log", "tum", "euroc", "colmap", "nerfstudio", "transforms_json"] = (
        Field(
            default="matrix",
            description="matrix: a file per frame, text, .npy, .npz or JSON of 4 x 4 or 3 x 4 numbers; rows: one file "
            "of them, row k is frame k; trajectory_log (Redwood); tum and euroc: lines with stamps; colmap: images.txt "
            "or .bin; nerfstudio: transforms.json as it writes it; transforms_json: with the axes stated here",
        )
    )
    key: Key = None
    direction: Direction = Field(
        default="camera_to_world", description="colmap is world_to_camera, whatever stands here"
    )
    axes: Axes = Field(
        default="opencv",
        description="of the camera: opencv looks along +z, opengl along -z, ned and robot along +x; unity and unreal "
        "are left-handed. nerfstudio is opengl, whatever stands here",
    )
    quaternion: QuaternionOrder | None = Field(
        default=None, description="order in a tum or euroc list, where it is not that of the format (xyzw; wxyz)"
    )
    match: Literal["stamp", "line"] = Field(
        default="stamp", description="how a line of a tum or euroc list is a frame's: by time, or line k is frame k"
    )
    offset: int = Field(default=0, description="added to the number of a frame to find its pose: -1 where poses lag")
    stamps: Template | None = Field(
        default=None,
        description="list of the frames' stamps: lines `stamp path`, or line k the stamp of frame k; without it the "
        "frame's name is its stamp",
    )
    stamp_scale: float = Field(
        default=1.0, gt=0, description="times the number of a frame gives its stamp: 1e-9, or seconds between frames"
    )
    tolerance_s: float = Field(default=0.02, ge=0, description="how far apart two stamps may be")
    translation_scale: float = Field(default=1.0, gt=0, description="metres per unit of the translation")
    T_hand_cam: Annotated[Annotated[Template, Tag("template")] | Annotated[Matrix4, Tag("block")], _is_text] | None = (
        Field(
            default=None,
            description="poses are of a robot's hand: the camera in the hand, four rows or a file",
        )
    )

    @model_validator(mode="after")
    def _names_the_frame(self) -> PoseBlock:
        if ("{frame" in self.file) != (self.format == "matrix"):
            raise ValueError("a matrix file is named by {frame}; a trajectory log or list holds all frames of a scene")
        if isinstance(self.T_hand_cam, tuple) and len(self.T_hand_cam) != 4:
            raise ValueError("T_hand_cam has four rows of four numbers")
        if self.offset and self.format in ("colmap", "nerfstudio", "transforms_json"):
            raise ValueError(f"offset is for poses that are counted; {self.format} names its images")
        return self

    @property
    def is_list(self) -> bool:
        """Whether one file holds the poses of a scene."""
        return self.format in _LISTS


class IdsBlock(_Block):
    """An id image that needs more than its name: where its numbers are and which numbers are meant."""

    file: Template
    key: Key = None
    channel: str | int | None = Field(default=None, description="of EXR by name, of an array of several by number")
    encoding: Encoding = Field(
        default="plain", description="plain, or the channels of a colour image from the lowest byte: RGB, GB, R"
    )
    colours: dict[str, int] | Literal["made"] | None = Field(
        default=None,
        description='ids of the colours of a picture, {"128,64,0": 3}; made: numbered from 1 in sorted order over the '
        "scene, black is 0",
    )
    negative: Literal["refuse", "none"] = Field(default="refuse", description="what a negative id is")
    dtype: Literal["uint16", "uint32"] = Field(default="uint16", description="of the label; uint32 for ids over 65535")

    @model_validator(mode="after")
    def _one_meaning(self) -> IdsBlock:
        if self.encoding in ("carla", "tartanair"):
            raise ValueError("ids in colour channels are named by letters: RGB, GB, R")
        if self.colours is not None and self.encoding != "plain":
            raise ValueError("give encoding or colours: both say what a colour means")
        if isinstance(self.colours, dict):
            for colour, number in self.colours.items():
                parts = colour.split(",")
                if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) < 256 for part in parts):
                    raise ValueError(f"a colour is three numbers of 0 to 255, as 128,64,0; not {colour!r}")
                if not 0 <= number <= (65535 if self.dtype == "uint16" else 0xFFFFFFFF):
                    raise ValueError(f"id {number} does not fit {self.dtype}")
        return self


Ids: TypeAlias = Annotated[Annotated[Template, Tag("template")] | Annotated[IdsBlock, Tag("block")], _is_text]


class NormalsBlock(_Block):
    """Images of surface normals."""

    file: Template = Field(description="PNG of 8 or 16 bits, .npy, .npz, HDF5 (H, W, 3), or EXR")
    key: Key = None
    channels: tuple[str, str, str] | None = Field(default=None, description="of EXR: the names of x, y and z")
    encoding: Literal["signed", "unsigned"] = Field(
        description="signed: the numbers are the normal; unsigned: 0 to 1, or 0 to the largest integer, is -1 to 1"
    )
    space: Literal["camera", "world"] = Field(default="camera", description="world needs the frame's pose")
    axes: Literal["opencv", "opengl"] = Field(
        default="opencv", description="of the camera, where space is camera: opengl is y up, z back"
    )


class BoxesBlock(_Block):
    """Boxes in the image, a row each."""

    file: Template = Field(description="text, .npy, .npz or JSON: a row of numbers for each box")
    key: Key = None
    columns: tuple[
        Literal["class", "instance", "left", "top", "right", "bottom", "width", "height", "x", "y", "skip"], ...
    ] = Field(description="what the numbers of a row are; x and y are the centre")
    normalised: bool = Field(default=False, description="numbers are shares of the image's size (YOLO)")

    @model_validator(mode="after")
    def _four_edges(self) -> BoxesBlock:
        names = set(self.columns)
        for near, far, size, centre in (("left", "right", "width", "x"), ("top", "bottom", "height", "y")):
            if not ({near, far} <= names or {near, size} <= names or {centre, size} <= names):
                raise ValueError(f"columns need {near} and {far}, {near} and {size}, or {centre} and {size}")
        return self


class LicenceBlock(_Block):
    """The terms of this data, for the card of what is made from it."""

    name: str
    non_commercial: bool
    url: str | None = None
