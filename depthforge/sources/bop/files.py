"""The files of a BOP data set in its scenewise layout.

::

    <root>/<split>/000048/   scene_camera.json  scene_gt.json  scene_gt_info.json
                             depth/000001.png  rgb/000001.{png,jpg,tif} or gray/...
                             mask/000001_000000.png  mask_visib/000001_000000.png     image, row of scene_gt
    <root>/models/obj_000001.ply (millimetres)   models_eval/   test_targets_bop19.json

A split is ``train``, ``val`` or ``test``, with what BOP appends (``train_pbr``, ``test_primesense``). Where several
cameras share a scene, each has its suffix: ``depth_cam1``, ``scene_gt_cam1.json``. Images are listed from the depth
folder and checked against ``scene_camera.json``; 50 scenes of 1000 images take 0.5 s, and 9 s for ``depth: rendered``,
which reads all poses.
Source: thodan/bop_toolkit, `docs/bop_datasets_format.md`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from depthforge.errors import DecodeError, MissingDataError, closest, told
from depthforge.frame import BoolImage, Finding
from depthforge.sources.base import Report
from depthforge.sources.bop.annotations import (
    ByImage,
    Objects,
    Pixels,
    View,
    parse_json,
    parse_objects,
    parse_pixels,
    parse_view,
)
from depthforge.sources.bop.object_files import At, File, ObjectFiles, folder_or_inner, read_mask
from depthforge.sources.file_tree import Tree, open_tree

__all__ = ["BopFiles"]

_SCENES_KEPT = 4
_DEPTH_SUFFIXES = (".png", ".tif", ".tiff")
_COLOUR_FILES = (
    ("rgb", ".png"),
    ("rgb", ".jpg"),
    ("gray", ".tif"),
    ("gray", ".png"),
    ("gray", ".jpg"),
    ("rgb", ".tif"),
)
_TARGETS = ("test_targets_bop19.json", "test_targets_bop24.json")
_TRY_WITHOUT_DATA = "depthforge sample --layout bop DIR, and root: DIR"


class BopFiles(ObjectFiles):
    """One split of a BOP data set in the scenewise layout.

    ``root`` is its folder, one with a folder ``inner`` that is, or a .zip or .tar of it.
    """

    def __init__(
        self,
        root: Path,
        dataset: str,
        split: str,
        *,
        inner: str = "",
        sensor: str = "",
        models: str = "models",
        only: tuple[int, ...] | None = None,
        targets: bool = False,
    ) -> None:
        self._given_root, self._inner = root, inner
        self._dataset, self._split, self._only, self._use_targets = dataset, split, only, targets
        self._suffix = f"_{sensor}" if sensor else ""
        self._models = models
        self._tree = lru_cache(1)(self._open)
        self._views = lru_cache(_SCENES_KEPT)(self._read_views)
        self._objects = lru_cache(_SCENES_KEPT)(self._read_objects)
        self._pixels = lru_cache(_SCENES_KEPT)(self._read_pixels)
        self._targets = lru_cache(1)(self._read_targets)

    @property
    def root(self) -> Path:
        return folder_or_inner(self._given_root, self._inner)

    def scenes(self, report: Report) -> list[str]:
        tree = self._tree()
        found = tree.scan_if_there(self._split)
        folders = sorted((name for name in found.folders if name.isdecimal()), key=int)
        if not folders:
            raise self._no_scenes(tree)
        for number in self._only or ():
            if number not in map(int, folders):
                report(Finding("error", self._split, f"scenes: there is no scene {number}"))
        return [name for name in folders if self._only is None or int(name) in self._only]

    def key(self, at: At) -> str:
        return f"{self._dataset}/{self._split}{self._suffix}-{int(at.scene):06d}/{at.image:06d}"

    def images(self, scene: str, report: Report, *, rendered: bool) -> list[At]:
        folder = self._path(scene)
        try:
            views = self._views(scene)
            if rendered:
                posed = self._objects(scene)
                if posed is None:
                    report(Finding("error", folder, "no scene_gt.json: nothing to render", "fetch a split with poses"))
                    return []
                stems = {image: f"{image:06d}" for image in posed.images()}
            else:
                stems = self._depth_stems(scene, report)
        except DecodeError as error:
            report(Finding("error", folder, f"skipped: {error.message} ({error.found})", error.remedy))
            return []
        self._report_scene(scene, stems, views, report, rendered=rendered)
        wanted = stems if not self._use_targets else stems.keys() & self._targets().get(int(scene), frozenset())
        return [At(scene, stems[image]) for image in sorted(wanted) if image in views]

    def view(self, at: At) -> View:
        return self._views(at.scene).get(at.image)

    def objects(self, at: At) -> Objects | None:
        objects = self._objects(at.scene)
        return None if objects is None else objects.get(at.image)

    def pixels(self, at: At) -> Pixels | None:
        pixels, objects = self._pixels(at.scene), self.objects(at)
        if pixels is None or objects is None:
            return None
        found = pixels.get(at.image)
        if len(found.count_all) != len(objects.ids):
            raise DecodeError(
                "scene_gt_info.json does not fit scene_gt.json",
                where=f"{self._describe(at.scene)}, image {at.image}",
                expected=f"{len(objects.ids)} rows",
                found=len(found.count_all),
                remedy="extract both again, or make the info anew with bop_toolkit's calc_gt_info.py",
            )
        return found

    def depth(self, at: At) -> File | None:
        names = (self._path(at.scene, f"depth{self._suffix}", at.stem + suffix) for suffix in _DEPTH_SUFFIXES)
        return self._first(*names)

    def colour(self, at: At) -> File | None:
        return self._first(
            *(self._path(at.scene, f"{f}{self._suffix}", at.stem + suffix) for f, suffix in _COLOUR_FILES)
        )

    def masks(self, at: At, rows: int, size: tuple[int, int], *, visible: bool) -> list[BoolImage] | None:
        folder = f"mask_visib{self._suffix}" if visible else f"mask{self._suffix}"
        paths = [self._path(at.scene, folder, f"{at.stem}_{row:06d}.png") for row in range(rows)]
        files = [self._first(path) for path in paths]
        there = [file for file in files if file is not None]
        if not there:
            return [] if rows == 0 else None
        if len(there) < rows:
            raise DecodeError(
                "an object of the image has no mask",
                where=self._tree().describe(paths[files.index(None)]),
                expected=f"{rows} masks, one for each row of scene_gt.json",
                found=len(there),
                remedy="the archive is extracted in part; extract it again",
            )
        return [read_mask(file, size) for file in there]

    def model(self, object_id: int) -> Path:
        return self.root / self._models / f"obj_{object_id:06d}.ply"

    def close(self) -> None:
        for cache in (self._tree, self._views, self._objects, self._pixels, self._targets):
            cache.cache_clear()

    def _open(self) -> Tree:
        if not self.root.exists():
            raise MissingDataError(
                "no such folder",
                where=self.root,
                expected="a BOP data set: camera.json, models/ and a folder for each split",
                remedy=_TRY_WITHOUT_DATA,
            )
        return open_tree(self.root)

    def _no_scenes(self, tree: Tree) -> MissingDataError:
        top = tree.scan("")
        splits = sorted(name for name in top.folders if any(n.isdecimal() for n in tree.scan_if_there(name).folders))
        packed = sorted(name for name in top.files if name.endswith((".zip", ".z01", ".tar", ".tar.gz")))
        remedy = _TRY_WITHOUT_DATA
        if packed:
            remedy = f"extract {told(packed)} here first"
        elif splits:
            remedy = f"split: {closest(self._split, splits) or splits[0]}"
        return MissingDataError(
            f"no scene in split {self._split!r}",
            where=tree.describe(self._split),
            expected="folders 000001, 000002, ... with scene_camera.json",
            found=f"splits {told(splits)}" if splits else f"no split; {told(sorted(top.folders), none='empty')}",
            remedy=remedy,
        )

    def _depth_stems(self, scene: str, report: Report) -> dict[int, str]:
        tree, folder = self._tree(), self._path(scene, f"depth{self._suffix}")
        stems: dict[int, str] = {}
        for name in sorted(tree.scan_if_there(folder).files):
            stem, dot, suffix = name.rpartition(".")
            if f"{dot}{suffix}" not in _DEPTH_SUFFIXES or not stem.isdecimal():
                report(Finding("warning", f"{folder}/{name}", "not an image of BOP; ignored"))
            elif int(stem) in stems:
                report(Finding("error", f"{folder}/{name}", f"the same image as {stems[int(stem)]}; ignored"))
            else:
                stems[int(stem)] = stem
        if not stems:
            report(Finding("error", folder, "no depth image", "depth: rendered makes depth from the models"))
        return stems

    def _report_scene(
        self, scene: str, stems: dict[int, str], views: ByImage[View], report: Report, *, rendered: bool
    ) -> None:
        """Say what a scene lacks; scans its folder once and opens nothing."""
        folder, tree = self._path(scene), self._tree()
        there = tree.scan_if_there(folder)
        for image in sorted(stems.keys() - set(views.images()))[:1]:
            count = len(stems.keys() - set(views.images()))
            report(Finding("error", folder, f"{count} images are not in scene_camera.json, such as {stems[image]}"))
        absent = len(set(views.images()) - stems.keys())
        if absent and stems:
            what = "poses" if rendered else "depth image"
            report(Finding("warning", folder, f"{absent} of {len(views.images())} images have no {what}"))
        for name in ("scene_gt", "scene_gt_info"):
            if f"{name}{self._suffix}.json" not in there.files and not rendered:
                lost = "object poses" if name == "scene_gt" else "boxes and pixel counts"
                report(Finding("warning", folder, f"no {name}{self._suffix}.json: frames have no {lost}"))
        for name in () if rendered else ("mask", "mask_visib"):
            if f"{name}{self._suffix}" not in there.folders:
                report(Finding("warning", folder, f"no folder {name}{self._suffix}"))

    def _read_views(self, scene: str) -> ByImage[View]:
        path = self._json(scene, "scene_camera")
        try:
            return parse_json(self._tree().read(path), parse_view, where=self._tree().describe(path), on_demand=True)
        except FileNotFoundError:
            raise DecodeError(
                "the scene has no scene_camera.json",
                where=self._tree().describe(path),
                found="no such file",
                remedy="extract the scene again; for one camera of several set `sensor`",
            ) from None

    def _read_objects(self, scene: str) -> ByImage[Objects] | None:
        path = self._json(scene, "scene_gt")
        file = self._first(path)
        return None if file is None else parse_json(file.data, parse_objects, where=file.where)

    def _read_pixels(self, scene: str) -> ByImage[Pixels] | None:
        file = self._first(self._json(scene, "scene_gt_info"))
        return None if file is None else parse_json(file.data, parse_pixels, where=file.where)

    def _read_targets(self) -> dict[int, frozenset[int]]:
        tree = self._tree()
        file = self._first(*_TARGETS)
        if file is None:
            raise MissingDataError(
                "no list of targets",
                where=tree.describe(_TARGETS[0]),
                remedy="extract the base archive of the data set too, or leave `targets` out",
            )
        try:
            pairs = {(int(row["scene_id"]), int(row["im_id"])) for row in json.loads(file.data)}
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError("not a list of targets", where=file.where, found=error) from None
        images: dict[int, set[int]] = {}
        for scene, image in pairs:
            images.setdefault(scene, set()).add(image)
        return {scene: frozenset(numbers) for scene, numbers in images.items()}

    def _first(self, *paths: str) -> File | None:
        tree = self._tree()
        for path in paths:
            data = tree.read_if_there(path)
            if data is not None:
                return File(data, tree.describe(path))
        return None

    def _path(self, scene: str, *parts: str) -> str:
        return "/".join((self._split, scene, *parts))

    def _json(self, scene: str, name: str) -> str:
        return self._path(scene, f"{name}{self._suffix}.json")

    def _describe(self, scene: str) -> str:
        return self._tree().describe(self._path(scene))
