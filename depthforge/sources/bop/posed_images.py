"""Images of objects at known poses, whatever their layout on disk: depth as measured or rendered, and the labels.

``depth: raw`` reads what the sensor measured. ``depth: rendered`` makes the clean truth of the same image from the
models at the annotated poses (``render``): depth, normals, instances, silhouettes, boxes and counts are then of
the models, and the measured image rides along as ``depth_raw``, a pair wherever an annotated object or the plane is
seen (what has no pose is in ``depth_raw`` alone). Behind the objects there is nothing
(``background: none``) or the plane that they stand on, fitted to the measured image (``plane``).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from depthforge.errors import DecodeError, MissingDataError
from depthforge.frame import RGB_FILE, Camera, DepthImage, Finding, Frame, FrameRef
from depthforge.geometry import encode_normals
from depthforge.labels.catalogue import (
    BOX_2D,
    DEPTH_RAW,
    INSTANCE,
    NORMALS,
    OBJECT_ID,
    OBJECT_POSE,
    OBJECT_PX_COUNT_ALL,
    OBJECT_PX_COUNT_VALID,
    OBJECT_PX_COUNT_VISIB,
    OBJECT_SILHOUETTES,
    POSE,
    RGB,
)
from depthforge.labels.spec import LabelSpec
from depthforge.meshes import mesh_bytes
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.bop.annotations import Objects, Pixels, View
from depthforge.sources.bop.labels import (
    SEMANTIC,
    Labels,
    before_plane,
    labels_of_rows,
    labels_of_silhouettes,
    require_one_unit,
)
from depthforge.sources.bop.object_files import At, ObjectFiles
from depthforge.sources.bop.render import MODELS_KEPT, ModelRenderer
from depthforge.sources.images import Colour, decode_depth, decode_rgb, read_colour, require_size

__all__ = ["ObjectsConfig", "PosedObjects"]

ROW_INSTANCE = replace(INSTANCE, description="row of object_id of the object that is seen, plus 1; 0 is none")
_MEASURED = (
    RGB,
    POSE,
    SEMANTIC,
    ROW_INSTANCE,
    OBJECT_ID,
    OBJECT_POSE,
    OBJECT_SILHOUETTES,
    OBJECT_PX_COUNT_ALL,
    OBJECT_PX_COUNT_VALID,
    OBJECT_PX_COUNT_VISIB,
    BOX_2D,
)
_NEEDS_OBJECTS = frozenset(spec.name for spec in _MEASURED) - {RGB.name, POSE.name}
_NEEDS_SILHOUETTES = frozenset({OBJECT_SILHOUETTES.name, OBJECT_PX_COUNT_VALID.name})
_NEEDS_PIXELS = frozenset({OBJECT_PX_COUNT_ALL.name, OBJECT_PX_COUNT_VISIB.name, BOX_2D.name})
_NEEDS_VISIBLE = frozenset({INSTANCE.name, SEMANTIC.name})
# The size of images is that of most of the first five that can be read.
_ASKED_FOR_SIZE, _TRIED_FOR_SIZE = 5, 16


class ObjectsConfig(SourceConfig):
    """Fields that every data set of objects at known poses has."""

    root: Path = Field(description="folder of the data set")
    depth: Literal["raw", "rendered"] = Field(
        default="raw",
        description="what the sensor measured, or clean depth rendered from the models at the annotated poses "
        "(needs Open3D; the measured image becomes the label depth_raw)",
    )
    background: Literal["none", "plane"] = Field(
        default="none",
        description="behind rendered objects: nothing, or the plane that they stand on, fitted to the measured depth "
        "and drawn up to 1 m around them",
    )
    boxes: Literal["visib", "obj"] = Field(
        default="visib", description="box_2d of the visible part of an object, or of its whole silhouette"
    )
    max_depth_m: float | None = Field(default=None, gt=0, description="farther is no measurement")
    every: int = Field(default=1, ge=1, description="read every n-th image of a scene")

    @model_validator(mode="after")
    def _background_is_behind_renders(self) -> ObjectsConfig:
        if self.background != "none" and self.depth == "raw":
            raise ValueError("background is what lies behind rendered objects: set depth: rendered too")
        return self


class PosedObjects(Source):
    """Base of the sources of objects at known poses; a subclass makes the ``ObjectFiles`` of its layout."""

    config: ObjectsConfig
    # Objects on tables and in bins: a depth_scale that is off by ten shows.
    typical_depth_m = (0.15, 6.0)
    ships_colour_files = True

    def __init__(self, config: ObjectsConfig) -> None:
        self.config = config
        self._files = self._make_files()
        self._renderer = ModelRenderer(self._files.model)
        self._known_size = lru_cache(1)(self._find_size)

    @abstractmethod
    def _make_files(self) -> ObjectFiles:
        """Return the files of the data set, touching none."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of most of the first images that can be read; another size is an error of its frame."""
        return self._known_size()

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        specs = (*_MEASURED, NORMALS, DEPTH_RAW) if self._is_rendered else _MEASURED
        return MappingProxyType({spec.name: spec for spec in specs})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        found_any = False
        reported_models: set[int] = set()
        for scene in self._files.scenes(report):
            images = self._files.images(scene, report, rendered=self._is_rendered)[:: self.config.every]
            if self._is_rendered:
                self._report_models(images, reported_models, report)
            for at in images:
                found_any = True
                yield FrameRef(self._files.key(at), f"{at.scene}/{at.stem}")
        if not found_any:
            raise MissingDataError(
                f"no image of {self.name} to read",
                where=self.config.root,
                expected="scenes with depth images, or with poses for `depth: rendered`",
                remedy=f"depthforge sample --layout {self.name} DIR makes a data set to try with",
            )

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        at = At(*ref.locator.split("/"))
        view = self._files.view(at)
        camera = view.camera(self.size)
        objects = self._files.objects(at) if self._is_rendered or wanted & _NEEDS_OBJECTS else None
        if self._is_rendered:
            depth_m, labels = self._read_rendered(ref.key, at, view, camera, objects, wanted)
        else:
            measured = self._measured(at, view, camera)
            if measured is None:
                raise DecodeError("the depth image has gone since it was listed", where=ref.locator)
            depth_m = measured
            labels = {} if objects is None else self._stored(at, objects, depth_m, wanted)
        if objects is not None:
            given: Labels = {OBJECT_ID.name: objects.ids, OBJECT_POSE.name: objects.T_cam_object}
            labels.update({name: array.copy() for name, array in given.items() if name in wanted})
        colour = self._colour(at, camera, wanted)
        return Frame(
            key=ref.key,
            depth_m=depth_m,
            valid=depth_m > 0,
            camera=camera,
            rgb=colour.rgb,
            rgb_file=colour.rgb_file,
            T_world_cam=None if view.T_world_cam is None or POSE.name not in wanted else view.T_world_cam.copy(),
            labels=labels,
        )

    def working_bytes(self) -> int:
        """Return what Open3D and the largest models that are kept take, when clean depth is rendered."""
        if not self._is_rendered:
            return 0
        return mesh_bytes(self._files.model(1).parent.glob("*.ply"), MODELS_KEPT)

    def close(self) -> None:
        self._files.close()
        self._renderer.clear()
        self._known_size.cache_clear()

    @property
    def _is_rendered(self) -> bool:
        return self.config.depth == "rendered"

    def _find_size(self) -> tuple[int, int]:
        sizes: Counter[tuple[int, int]] = Counter()
        failure: DecodeError | None = None
        for ref in islice(self.frames(), _TRIED_FOR_SIZE):
            try:
                size = self._image_size(At(*ref.locator.split("/")))
            except DecodeError as error:
                failure = error
                continue
            if size is not None:
                sizes[size] += 1
            if sizes.total() == _ASKED_FOR_SIZE:
                break
        if not sizes:
            raise failure or MissingDataError("no image says how large images are", where=self.config.root)
        return sizes.most_common(1)[0][0]

    def _image_size(self, at: At) -> tuple[int, int] | None:
        depth = self._files.depth(at)
        if depth is not None:
            height, width = decode_depth(depth.data, where=depth.where).shape
            return height, width
        colour = self._files.colour(at)
        if colour is not None:
            height, width = decode_rgb(colour.data, where=colour.where).shape[:2]
            return height, width
        return None

    def _report_models(self, images: list[At], reported: set[int], report: Report) -> None:
        """Say once for each model that an image needs and that is not there."""
        for at in images:
            try:
                objects = self._files.objects(at)
            except DecodeError:
                continue  # reading the image says so
            for object_id in set() if objects is None else set(objects.ids.tolist()) - reported:
                reported.add(object_id)
                path = self._files.model(object_id)
                if not path.is_file():
                    where = path.relative_to(self._files.root).as_posix()
                    remedy = "extract the archive of the models too, and see `models` of the source block"
                    report(Finding("error", where, f"no model of object {object_id}", remedy))

    def _measured(self, at: At, view: View, camera: Camera) -> DepthImage | None:
        """Return measured depth in metres, 0 where nothing was; None when there is no depth image."""
        file = self._files.depth(at)
        if file is None:
            return None
        stored = decode_depth(file.data, where=file.where)
        require_size(stored, camera.size, where=file.where)
        if view.metres_per_unit is None:
            raise DecodeError(
                "the image has no depth_scale",
                where=file.where,
                expected="millimetres per stored unit, beside cam_K",
                remedy="take the annotation files from the data set's own archive",
            )
        # In float64, so that a code and its decimal depth agree to the last bit of float32.
        depth_m = np.multiply(stored, view.metres_per_unit, dtype=np.float64).astype(np.float32)
        usable = np.isfinite(depth_m) & (depth_m > 0)
        if self.config.max_depth_m is not None:
            usable &= depth_m <= self.config.max_depth_m
        return np.where(usable, depth_m, np.float32(0))

    def _colour(self, at: At, camera: Camera, wanted: frozenset[str]) -> Colour:
        file = self._files.colour(at) if wanted & {RGB.name, RGB_FILE} else None
        return Colour() if file is None else read_colour(file.data, wanted, camera.size, where=file.where)

    def _stored(self, at: At, objects: Objects, depth_m: DepthImage, wanted: frozenset[str]) -> Labels:
        """Return the labels that the data set's own masks and counts give."""
        labels: Labels = {}
        rows, size = len(objects.ids), self.size
        if wanted & _NEEDS_SILHOUETTES:
            masks = self._files.masks(at, rows, size, visible=False)
            if masks is not None:
                labels.update(labels_of_silhouettes(masks, depth_m > 0, wanted, where=f"{at.scene}/{at.stem}"))
        if wanted & _NEEDS_VISIBLE:
            visible = self._files.masks(at, rows, size, visible=True)
            if visible is not None:
                row = np.full(size, -1, np.int32)
                for number, mask in enumerate(visible):
                    row[mask] = number
                require_one_unit(depth_m, visible, objects, where=f"{at.scene}/{at.stem}")
                labels.update(labels_of_rows(row, objects, wanted))
        if wanted & _NEEDS_PIXELS:
            pixels = self._files.pixels(at)
            if pixels is not None:
                labels.update(self._of_pixels(pixels, wanted))
        return labels

    def _read_rendered(
        self, key: str, at: At, view: View, camera: Camera, objects: Objects | None, wanted: frozenset[str]
    ) -> tuple[DepthImage, Labels]:
        if objects is None:
            raise DecodeError("the image has no poses to render objects at", where=f"{at.scene}/{at.stem}")
        rendered = self._renderer.render(objects, camera)
        depth_m, normals = rendered.depth_m, rendered.normals
        needs_raw = self.config.background == "plane" or DEPTH_RAW.name in wanted
        measured = self._measured(at, view, camera) if needs_raw else None
        if self.config.background == "plane":
            depth_m, normals = before_plane(key, rendered, measured, camera, objects)
        labels = self._of_pixels(rendered.pixels, wanted)
        labels.update(labels_of_rows(rendered.row, objects, wanted))
        if wanted & _NEEDS_SILHOUETTES:
            labels.update(
                labels_of_silhouettes(rendered.silhouettes, depth_m > 0, wanted, where=f"{at.scene}/{at.stem}")
            )
        if NORMALS.name in wanted:
            labels[NORMALS.name] = encode_normals(normals)
        if DEPTH_RAW.name in wanted and measured is not None:
            labels[DEPTH_RAW.name] = np.where(measured > 0, measured, np.float32(np.nan))
        return depth_m, labels

    def _of_pixels(self, pixels: Pixels, wanted: frozenset[str]) -> Labels:
        found = {
            OBJECT_PX_COUNT_ALL.name: pixels.count_all,
            OBJECT_PX_COUNT_VISIB.name: pixels.count_visib,
            BOX_2D.name: pixels.box_obj if self.config.boxes == "obj" else pixels.box_visib,
        }
        return {name: array.copy() for name, array in found.items() if name in wanted}
