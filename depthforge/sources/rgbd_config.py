"""How a manifest describes a folder of depth images: the ``source`` block of ``rgbd_folder``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from depthforge.addresses import Address
from depthforge.errors import closest
from depthforge.sources.base import SourceConfig
from depthforge.sources.containers import PfmRows
from depthforge.sources.encoded import Encoding
from depthforge.sources.rgbd_blocks import (
    BoxesBlock,
    CameraBlock,
    Ids,
    IdsBlock,
    LicenceBlock,
    NormalsBlock,
    PoseBlock,
    Template,
    Templates,
)
from depthforge.sources.templates import FOLDERS, PathTemplate

__all__ = ["CameraBlock", "LicenceBlock", "PoseBlock", "RgbdFolderConfig"]

Number = Annotated[int | float, Field(allow_inf_nan=False)]


class RgbdFolderConfig(SourceConfig):
    """The ``source`` block of a manifest that reads a described folder."""

    places: ClassVar[frozenset[str]] = frozenset({"root"})
    root: Address = Field(description="folder or URL, or a .zip or .tar of it; templates are paths below it")
    dataset: str = Field(default="rgbd", pattern=r"^[^/]+$", description="first part of every frame key")
    scene: str = Field(
        default="all", pattern=r"^[^/]+$", description="name of the scene when `depth` has no placeholder but {frame}"
    )
    depth: Template = Field(
        description="template of the depth images; has {frame}, may have {scene} and others, which join the scene's "
        "name, and ** for any folders. PNG, PGM, TIFF, .npy, .npz, HDF5, EXR, PFM"
    )
    rgb: Templates | None = Field(
        default=None,
        description="template of the colour images, registered to depth; {frame}.* or a list where formats are mixed",
    )
    semantic: Ids | None = Field(default=None, description="template of class images, or a block")
    instance: Ids | None = Field(default=None, description="template of instance images, or a block")
    mask: Ids | None = Field(default=None, description="template of masks: everything but 0 is in it")
    normals: NormalsBlock | None = Field(default=None, description="images of surface normals")
    boxes: BoxesBlock | None = Field(default=None, description="boxes in the image, in text or arrays")
    camera: CameraBlock
    pose: PoseBlock | None = None
    depth_scale: float | None = Field(default=None, gt=0, description="stored units per metre: 1000 for millimetres")
    quantity: Literal["z", "ray_length", "inverse_depth", "disparity"] = Field(
        default="z",
        description="what is stored: planar z, along the ray, 1 / z (depth_scale: units per 1/metre), or disparity "
        "(depth_scale: units per pixel; camera.baseline_m)",
    )
    sign: Literal["positive", "negative"] = Field(default="positive", description="negative: z is stored below 0")
    encoding: Encoding = Field(
        default="plain",
        description="of depth in a colour image: carla, tartanair, or its channels from the lowest byte, as RGB",
    )
    key: str | None = Field(default=None, description="which array of depth, where .npz or HDF5 holds several")
    channel: str | int | None = Field(default=None, description="of depth: of EXR by name, of several by number")
    pfm_rows: PfmRows = Field(default="bottom_up", description="order of rows in PFM; AirSim writes top_down")
    invalid: tuple[Number, ...] = Field(default=(0,), description="stored values that are no measurement, besides 0")
    near: float | None = Field(default=None, description="stored values of this or less are no measurement")
    far: float | None = Field(default=None, description="stored values of this or more are no measurement: backgrounds")
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
        if "frame" not in PathTemplate(self.depth).names:
            raise ValueError(f"depth needs {{frame}} in its template, not {self.depth!r}")
        scales = [self.depth_scale is not None, self.assume_max_depth_m is not None, self.encoding == "carla"]
        if sum(scales) != 1:
            raise ValueError(
                "give depth_scale (units per metre), or assume_max_depth_m when depth has no scale; carla has its own"
            )
        if self.assume_max_depth_m is not None and (
            self.rotate_right_bits or set(self.invalid) != {0} or self.encoding != "plain" or self.sign != "positive"
        ):
            raise ValueError("relative depth has no invalid codes, no bit rotation, sign or encoding")
        if isinstance(self.semantic, IdsBlock) and self.semantic.colours == "made":
            raise ValueError(
                "semantic.colours needs a table: made would number the classes of each scene by themselves"
            )
        if self.quantity == "disparity" and self.camera.baseline_m is None:
            raise ValueError("disparity needs camera.baseline_m, metres")
        return self

    @model_validator(mode="after")
    def _companions_name_what_depth_names(self) -> RgbdFolderConfig:
        known = {*PathTemplate(self.depth).names, "scene"}
        for field, text in self.companion_templates():
            for name in PathTemplate(text).names:
                if name not in known:
                    near = closest(name, known)
                    hint = f"; did you mean {{{near}}}?" if near else ""
                    shown = name if name == FOLDERS else f"{{{name}}}"
                    raise ValueError(f"{field}: unknown placeholder {shown}, which `depth` does not have{hint}")
            if "*" in text.rpartition("/")[0].replace(FOLDERS, ""):
                raise ValueError(f"{field}: * stands in the name of the file, not in {text!r}")
        return self

    def companion_templates(self) -> list[tuple[str, str]]:
        """Return (field, template) for every template beside ``depth``."""
        rgb = (self.rgb,) if isinstance(self.rgb, str) else self.rgb or ()
        found: list[tuple[str, str | None]] = [("rgb", text) for text in rgb]
        for field in ("semantic", "instance", "mask", "normals", "boxes", "pose"):
            block = getattr(self, field)
            found.append((field, block if block is None or isinstance(block, str) else block.file))
        found.append(("camera.matrix_file", self.camera.matrix_file))
        if self.pose is not None:
            found.append(("pose.stamps", self.pose.stamps))
        return [(field, text) for field, text in found if text is not None]
