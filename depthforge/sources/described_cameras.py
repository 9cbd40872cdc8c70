"""The camera of each frame as a manifest describes it: in its own words, or in a file for the set, scene or frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from depthforge.errors import DecodeError, told
from depthforge.frame import Camera
from depthforge.sources.colmap_files import parse_colmap_cameras, parse_colmap_images
from depthforge.sources.companions import Listings
from depthforge.sources.described_poses import FrameFiles
from depthforge.sources.image_names import ByName
from depthforge.sources.intrinsics import Intrinsics, parse_intrinsics
from depthforge.sources.rgbd_blocks import CameraBlock
from depthforge.sources.templates import PathTemplate
from depthforge.sources.transforms_json import named_images

__all__ = ["DescribedCameras"]


class DescribedCameras:
    """How the intrinsics of one manifest are read; the files of the last 16 scenes, or frames, are kept."""

    def __init__(self, block: CameraBlock, listings: Listings) -> None:
        self._block = block
        self._listings = listings
        self._template = None if block.matrix_file is None else PathTemplate(block.matrix_file)
        self._file = lru_cache(16)(self._read)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that the manifest states for all frames, None when it does not."""
        height, width = self._block.height, self._block.width
        return None if height is None or width is None else (height, width)

    def of(self, fields: Mapping[str, str], files: FrameFiles, size: tuple[int, int]) -> Camera:
        """Return the camera of a frame whose depth image is of ``size`` (height, width).

        Raises DecodeError when there is no such file, for what is no pinhole, and for intrinsics of an image of other
        proportions.
        """
        block = self._block
        if self._template is None:
            fx, fy, cx, cy = (float(value or 0.0) for value in (block.fx, block.fy, block.cx, block.cy))
            return self._own(Intrinsics(fx, fy, cx, cy, self.size)).camera(size, block.baseline_m, where="camera")
        path = self._template.fill(fields)
        where = self._listings.tree.describe(path)
        known = self._file(path)
        found = known if isinstance(known, Intrinsics) else known.find(files, fields["frame"])
        if found is None:
            raise DecodeError(
                "the file of intrinsics does not name this image",
                where=where,
                expected=f"{fields['frame']} or one of {', '.join(files)}",
                found=told(known.items) if isinstance(known, ByName) else None,
            )
        if found.distortion and not block.ignore_distortion:
            raise DecodeError(
                "a camera with distortion",
                where=where,
                expected="a pinhole",
                found=told(f"{name} {value:g}" for name, value in found.distortion.items()),
                remedy="undistort the images, or say camera.ignore_distortion: true where depth is of a pinhole",
            )
        if found.size is None and self.size is not None:
            found = found._replace(size=self.size)
        return found.camera(size, block.baseline_m, where=where)

    def _own(self, stored: Intrinsics) -> Intrinsics:
        return stored.counted_from_centre() if self._block.pixel_origin == "corner" else stored

    def _read(self, path: str) -> Intrinsics | ByName[Intrinsics]:
        block, tree = self._block, self._listings.tree
        data, where = tree.read_if_there(path), tree.describe(path)
        if data is None:
            raise DecodeError("no file of intrinsics", where=where, expected="what camera.matrix_file names")
        if block.format == "colmap":
            return self._colmap(path, data, where)
        if block.format == "matrix":
            return self._own(parse_intrinsics(data, block.key, where=where))
        named = {name: image.intrinsics for name, image in named_images(data, where=where).items()}
        if None in named.values():
            raise DecodeError("no intrinsics in this file", where=where, expected="fl_x, fl_y, cx, cy")
        by_corner = block.format == "nerfstudio" or block.pixel_origin == "corner"
        found = {
            name: stored.counted_from_centre() if by_corner else stored
            for name, stored in named.items()
            if stored is not None
        }
        first = next(iter(found.values()))
        return first if all(stored == first for stored in found.values()) else ByName(found)

    def _colmap(self, path: str, data: bytes, where: str) -> Intrinsics | ByName[Intrinsics]:
        binary = path.endswith(".bin")
        cameras = parse_colmap_cameras(data, binary=binary, where=where)
        if len(cameras) == 1:
            return next(iter(cameras.values()))
        beside = str(PurePosixPath(path).with_name("images.bin" if binary else "images.txt"))
        listed = self._listings.tree.read_if_there(beside)
        if listed is None:
            raise DecodeError(
                "several cameras, and no file that says which image has which",
                where=self._listings.tree.describe(beside),
                found=f"{len(cameras)} cameras in {path}",
            )
        images = parse_colmap_images(listed, binary=binary, where=self._listings.tree.describe(beside))
        unknown = {image.camera for image in images.values()} - cameras.keys()
        if unknown:
            raise DecodeError("images of cameras that are not listed", where=where, found=told(sorted(unknown)))
        return ByName({name: cameras[image.camera] for name, image in images.items()})
