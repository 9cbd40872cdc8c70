"""How a manifest describes a folder of depth images: the ``source`` block of ``rgbd_folder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from depthforge.sources.base import SourceConfig
from depthforge.sources.conventions import Axes, Direction
from depthforge.sources.templates import checked_template

__all__ = ["CameraBlock", "LicenceBlock", "PoseBlock", "RgbdFolderConfig"]

Template = Annotated[str, AfterValidator(checked_template)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraBlock(_Block):
    """The pinhole of every frame: fx, fy, cx, cy in pixels, or a text file that holds the 3 x 3 matrix."""

    width: int = Field(gt=0, description="of the depth images")
    height: int = Field(gt=0)
    fx: float | None = Field(default=None, gt=0)
    fy: float | None = Field(default=None, gt=0)
    cx: float | None = None
    cy: float | None = None
    matrix_file: Template | None = Field(default=None, description="path below root, instead of fx, fy, cx, cy")
    baseline_m: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_of_two(self) -> CameraBlock:
        given = [value is not None for value in (self.fx, self.fy, self.cx, self.cy)]
        if any(given) if self.matrix_file else not all(given):
            raise ValueError("give all of fx, fy, cx, cy, or matrix_file alone")
        return self


class PoseBlock(_Block):
    """Where poses are and what they mean."""

    file: Template = Field(description="a matrix per frame (frame-{frame}.pose.txt), or the trajectory log of a scene")
    format: Literal["matrix", "trajectory_log"] = "matrix"
    direction: Direction = "camera_to_world"
    axes: Axes = Field(
        default="opencv",
        description="of the camera: opencv looks along +z, opengl along -z, ned and robot along +x; unity and unreal "
        "are left-handed",
    )

    @model_validator(mode="after")
    def _names_the_frame(self) -> PoseBlock:
        if ("{frame}" in self.file) != (self.format == "matrix"):
            raise ValueError("a matrix file is named by {frame}; a trajectory log holds all frames of a scene")
        return self


class LicenceBlock(_Block):
    """The terms of this data, for the card of what is made from it."""

    name: str
    non_commercial: bool
    url: str | None = None


class RgbdFolderConfig(SourceConfig):
    """The ``source`` block of a manifest that reads a described folder."""

    root: Path = Field(description="the folder, or a .zip or .tar of it; templates are paths below it")
    dataset: str = Field(default="rgbd", pattern=r"^[^/]+$", description="first part of every frame key")
    scene: str = Field(default="all", pattern=r"^[^/]+$", description="name of the scene when `depth` has no {scene}")
    depth: Template = Field(description="template of the depth images; has {frame}, may have {scene}")
    rgb: Template | None = Field(default=None, description="template of the colour images, registered to depth")
    semantic: Template | None = Field(default=None, description="template of 8- or 16-bit class images")
    instance: Template | None = Field(default=None, description="template of 8- or 16-bit instance images")
    camera: CameraBlock
    pose: PoseBlock | None = None
    depth_scale: float | None = Field(default=None, gt=0, description="stored units per metre: 1000 for millimetres")
    quantity: Literal["z", "ray_length"] = Field(default="z", description="what is stored: planar z, or along the ray")
    invalid: tuple[int, ...] = Field(default=(0,), description="stored codes that are no measurement, besides 0")
    rotate_right_bits: int = Field(default=0, ge=0, lt=16, description="undo a bit rotation: 3 for SUN RGB-D")
    min_depth_m: float = Field(default=0.0, ge=0, description="nearer is no measurement")
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    assume_max_depth_m: float | None = Field(
        default=None,
        gt=0,
        description="depth is relative (8 bits, each image divided by its own maximum): the largest value is taken "
        "to be this many metres. The scale is invented, and recorded as that",
    )
    exclude: tuple[str, ...] = Field(default=(), description="globs of depth paths to leave out")
    ranges: tuple[tuple[int, int], ...] | None = Field(
        default=None, description="frame numbers, first to last, to read"
    )
    every: int = Field(default=1, ge=1, description="read every n-th frame of a scene, of those in ranges")
    licence: LicenceBlock = LicenceBlock(name="not stated; ask the owner of the data", non_commercial=True)

    @model_validator(mode="after")
    def _says_what_depth_is(self) -> RgbdFolderConfig:
        if "{frame}" not in self.depth:
            raise ValueError(f"depth needs {{frame}} in its template, not {self.depth!r}")
        if (self.depth_scale is None) == (self.assume_max_depth_m is None):
            raise ValueError("give depth_scale (units per metre), or assume_max_depth_m when depth has no scale")
        if self.assume_max_depth_m is not None and (self.rotate_right_bits or set(self.invalid) != {0}):
            raise ValueError("relative depth has no invalid codes and no bit rotation")
        return self
