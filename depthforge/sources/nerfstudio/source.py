"""Folders that nerfstudio trains on, where its ``transforms.json`` names depth images.

Depth is planar z as 16-bit PNG or .npy in units that the file does not state: nerfstudio multiplies by 0.001 unless
told otherwise, floats too, and so does this (``depth_scale``); 0 is unknown. It may be smaller than colour: the camera
is scaled with it, colour is averaged to it. Masks, where they are asked for, take pixels out of depth. Frames without a
depth image are left out. See ``transforms`` for cameras and poses. One core reads 180 frames a second at 640 x 480.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

import cv2
import numpy as np
from pydantic import Field

from depthforge.addresses import Address
from depthforge.errors import DecodeError, FrameError
from depthforge.frame import RGB_FILE, Finding, Frame, FrameRef, Licence
from depthforge.jpeg import SIGNATURE as JPEG
from depthforge.jpeg import read_header
from depthforge.labels.catalogue import POSE, RGB
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, SourceConfig
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.images import Colour, decode_depth, decode_ids, decode_rgb, read_colour, require_size
from depthforge.sources.nerfstudio.transforms import Shot, Transforms, parse_transforms
from depthforge.sources.rgbd_config import LicenceBlock
from depthforge.sources.scene_folders import (
    SceneFolders,
    SceneFoldersConfig,
    folders_with,
    measured,
    path_in,
    read_listed,
)
from depthforge.sources.tree_file import names_in

__all__ = ["Nerfstudio", "NerfstudioConfig"]

_SCENES_KEPT = 8
_SUFFIXES = ("", ".png", ".jpg", ".jpeg")


class NerfstudioConfig(SceneFoldersConfig):
    """The ``source`` block of a manifest that reads nerfstudio's folders."""

    root: Address = Field(description="folder or URL with transforms.json, or that holds such; or a .zip or .tar of it")
    file: str = Field(default="transforms.json", pattern=r"^[^/]+\.json$", description="transforms_train.json, say")
    depth_scale: float = Field(
        default=1000.0, gt=0, description="units of depth per metre; of .npy in metres 1, which no file says"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    use_masks: bool = Field(default=False, description="where mask_path is 0, depth is no measurement")
    width: int | None = Field(
        default=None, gt=0, le=16384, description="of the depth images, pixels; else that of the first"
    )
    height: int | None = Field(default=None, gt=0, le=16384, description="of the depth images, pixels")
    licence: LicenceBlock = LicenceBlock(name="not stated; ask the owner of the data", non_commercial=True)


@sources.register("nerfstudio")
class Nerfstudio(SceneFolders):
    """Folders with a ``transforms.json`` that names depth images, as nerfstudio and its tools write them.

    Keys: ``nerfstudio/kitchen/frame_00012``; a frame whose name is a whole number is padded to six digits.
    """

    Config = NerfstudioConfig
    config: NerfstudioConfig
    ships_colour_files = True
    recording_is = "a folder with transforms.json"

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        assert isinstance(config, NerfstudioConfig)
        self.licence = Licence(**config.licence.model_dump())
        self._transforms = lru_cache(_SCENES_KEPT)(self._read_transforms)
        self._shots = lru_cache(_SCENES_KEPT)(lambda folder: _named(self._transforms(folder)))
        self._first_size = lru_cache(1)(self._read_first_size)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels: as stated, or that of the first depth image."""
        if self.config.width is not None and self.config.height is not None:
            return self.config.height, self.config.width
        return self._first_size()

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour and pose."""
        return MappingProxyType({spec.name: spec for spec in (RGB, POSE)})

    def recordings(self, tree: Tree) -> Iterator[tuple[str, str]]:
        """Yield every folder with the file, by its path below the root."""

        def is_scene(listing: Listing) -> bool:
            return self.config.file in listing.files

        for folder in folders_with(tree, is_scene):
            yield f"{folder.replace('/', '-') or self.name_of(folder)}/", folder

    def list_frames(self, tree: Tree, folder: str, report: Report) -> list[tuple[str, str]]:
        """Return the frames that have a depth image; see ``SceneFolders``."""
        transforms = self._transforms(folder)
        path = path_in(folder, self.config.file)
        if transforms.distortion:
            stated = ", ".join(f"{name} = {value:.3g}" for name, value in transforms.distortion.items())
            message = f"the images are distorted ({stated}); they are carried as they are"
            report(Finding("warning", path, message, "undistort colour and depth for labels that fit to the pixel"))
        names = lru_cache(None)(lambda below: names_in(tree, below))
        found, without, gone = [], 0, 0
        for name, shot in sorted(self._shots(folder).items()):
            if shot.depth is None:
                without += 1
                continue
            depth = _below(folder, shot.depth)
            if posixpath.basename(depth) not in names(posixpath.dirname(depth)):
                gone += 1
            else:
                found.append((name, f"{folder}|{name}"))
        twice = len(transforms.shots) - len(self._shots(folder))
        for count, what in (
            (without, "name no depth image"),
            (gone, "name a depth image that is not there"),
            (twice, "have the name of another"),
        ):
            if count:
                report(Finding("warning", path, f"{count} of {len(transforms.shots)} frames {what}; left out"))
        if not found:
            raise DecodeError(
                "no frame has a depth image",
                where=tree.describe(path),
                expected="depth_file_path in its frames, of files that are there",
                found=f"{without} frames without, {gone} whose file is not there",
                remedy="write depth with the images: Polycam, Record3D and ns-render can",
            )
        return found

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        tree = self._tree()
        folder, _, name = ref.locator.partition("|")
        shot = self._shots(folder).get(name)
        if shot is None or shot.depth is None:
            raise DecodeError("the frame is not in the file any more", where=path_in(folder, self.config.file))
        path = _below(folder, shot.depth)
        where = tree.describe(path)
        stored = decode_depth(read_listed(tree, path), where=where)
        require_size(stored, self.size, where=where)
        depth_m, valid = measured(
            np.divide(stored, np.float32(self.config.depth_scale), dtype=np.float32), self.config.max_depth_m
        )
        if self.config.use_masks and shot.mask is not None:
            valid &= self._mask(tree, _below(folder, shot.mask))
            depth_m[~valid] = 0.0
        needs_size = shot.intrinsics.fx is not None and None in (shot.intrinsics.width, shot.intrinsics.height)
        found = self._colour_file(tree, folder, shot) if needs_size or wanted & {RGB.name, RGB_FILE} else None
        colour_size = None if found is None or not needs_size else _size_of(*found)
        camera = shot.intrinsics.camera(self.size, colour_size, where=where)
        colour = Colour()
        if found is not None and wanted & {RGB.name, RGB_FILE}:
            colour = _colour_over_depth(*found, wanted, self.size)
        pose = self._transforms(folder).pose(shot, where=ref.key) if POSE.name in wanted else None
        return Frame(ref.key, depth_m, valid, camera, colour.rgb, pose, rgb_file=colour.rgb_file)

    def close(self) -> None:
        """Release what is open."""
        super().close()
        for cache in (self._transforms, self._shots, self._first_size):
            cache.cache_clear()

    def _read_transforms(self, folder: str) -> Transforms:
        tree, path = self._tree(), path_in(folder, self.config.file)
        return parse_transforms(read_listed(tree, path), where=tree.describe(path))

    def _read_first_size(self) -> tuple[int, int]:
        folder, _, name = next(self.frames()).locator.partition("|")
        depth = self._shots(folder)[name].depth
        assert depth is not None, "frames have depth"
        path = _below(folder, depth)
        height, width = decode_depth(read_listed(self._tree(), path), where=self._tree().describe(path)).shape
        return height, width

    def _mask(self, tree: Tree, path: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        ids = decode_ids(read_listed(tree, path), where=tree.describe(path))
        if ids.shape != self.size:
            height, width = self.size
            ids = np.asarray(cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint16)
        return np.asarray(ids > 0)

    def _colour_file(self, tree: Tree, folder: str, shot: Shot) -> tuple[bytes, str] | None:
        # Blender's scenes leave the suffix out.
        for suffix in _SUFFIXES:
            path = _below(folder, f"{shot.colour}{suffix}")
            data = tree.read_if_there(path)
            if data is not None:
                return data, tree.describe(path)
        return None


def _below(folder: str, path: str) -> str:
    return posixpath.normpath(path_in(folder, path))


def _named(transforms: Transforms) -> dict[str, Shot]:
    """Return the images by name: their file's without suffix, or their whole path where two have the same."""
    stems = [posixpath.splitext(posixpath.basename(shot.colour))[0] for shot in transforms.shots]
    if len(set(stems)) < len(stems):
        stems = [posixpath.splitext(shot.colour)[0].replace("/", "-") for shot in transforms.shots]
    names = [f"{int(stem):06d}" if stem.isascii() and stem.isdecimal() else stem for stem in stems]
    return dict(zip(names, transforms.shots, strict=True))


def _size_of(data: bytes, where: str) -> tuple[int, int]:
    if data.startswith(JPEG):
        try:
            return read_header(data)[:2]
        except ValueError as error:
            raise DecodeError("the JPEG cannot be read", where=where, found=error) from None
    height, width = decode_rgb(data, where=where).shape[:2]
    return height, width


def _colour_over_depth(data: bytes, where: str, wanted: frozenset[str], size: tuple[int, int]) -> Colour:
    """Return colour in the size of depth, averaged where it has more pixels."""
    colour = read_colour(data, wanted, size, where=where, any_size=True)
    if colour.rgb is None or colour.rgb.shape[:2] == size:
        return colour
    (height, width), (stored_height, stored_width) = size, colour.rgb.shape[:2]
    if stored_width < width or abs(stored_width * height / width - stored_height) > 1 + stored_width / width:
        raise FrameError(
            "the colour image is not the view of the depth image",
            where=where,
            expected=f"{width} x {height} pixels, or larger in the same proportion",
            found=f"{stored_width} x {stored_height}",
        )
    return Colour(np.asarray(cv2.resize(colour.rgb, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
