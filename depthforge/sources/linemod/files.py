"""LineMOD as DenseFusion prepared it: a folder for each object, annotations in YAML, one mask for each image.

::

    <root>/data/01/  rgb/0000.png  depth/0000.png (mm)  mask/0000.png (255 = the object)
                     gt.yml  info.yml  train.txt  test.txt
    <root>/models/obj_01.ply (millimetres)              objects 3 and 7 are absent

``gt.yml``: image -> rows of ``cam_R_m2c`` (9), ``cam_t_m2c`` (3, mm), ``obj_bb`` (x, y, width, height), ``obj_id``.
Folder 02 annotates every object in view, but the masks are those of object 2: of each image the row of the folder's
own object is read. ``info.yml`` gives ``cam_K`` and ``depth_scale``; without it the camera is LineMOD's. libyaml
parses the 1214 images of a folder in 0.2 s (folder 02 with nine objects in 2.4 s), and once in a process; PyYAML
alone takes four times as long.
Source: j96w/DenseFusion, `datasets/linemod/dataset.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from depthforge.errors import DecodeError, MissingDataError, told
from depthforge.frame import BoolImage, Finding
from depthforge.sources.base import Report
from depthforge.sources.bop.annotations import (
    ByImage,
    Objects,
    Pixels,
    View,
    boxes_of,
    parse_objects,
    parse_view,
)
from depthforge.sources.bop.object_files import At, File, ObjectFiles, folder_or_inner, read_mask
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.images import decode_ids

__all__ = ["LINEMOD_VIEW", "PreprocessedFiles"]

LINEMOD_VIEW = View(572.4114, 573.57043, 325.2611, 242.04899, metres_per_unit=1e-3, size=(480, 640))
"""The camera of every LineMOD image, 640x480 (DenseFusion, `datasets/linemod/dataset.py`); depth in millimetres."""

_OBJECTS_KEPT = 15
# libyaml is part of every wheel of PyYAML; a build without it is four times as slow, and right as well.
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T")
Own = tuple[Objects, np.ndarray]


class PreprocessedFiles(ObjectFiles):
    """The folder Linemod_preprocessed, the one that holds it, or a .zip or .tar of it."""

    def __init__(self, root: Path, subset: str, objects: tuple[int, ...] | None) -> None:
        self._given_root = root
        self._subset, self._only = subset, objects
        self._tree = lru_cache(1)(lambda: _open(self.root))
        self._views = lru_cache(_OBJECTS_KEPT)(self._read_views)
        self._annotated = lru_cache(_OBJECTS_KEPT)(self._read_objects)

    @property
    def root(self) -> Path:
        return folder_or_inner(self._given_root, "Linemod_preprocessed")

    def scenes(self, report: Report) -> list[str]:
        tree = self._tree()
        folders = sorted((name for name in tree.scan_if_there("data").folders if name.isdecimal()), key=int)
        if not folders:
            top = tree.scan_if_there("")
            raise MissingDataError(
                "no object of LineMOD",
                where=tree.describe("data"),
                expected="folders data/01, data/02, ... with rgb, depth, mask and gt.yml",
                found=told(sorted([f"{name}/" for name in top.folders] + top.files), none="an empty folder"),
                remedy="name the folder Linemod_preprocessed itself; for a BOP data set set layout: bop. "
                "depthforge sample --layout linemod DIR makes both",
            )
        for number in self._only or ():
            if number not in map(int, folders):
                report(Finding("error", "data", f"objects: there is no object {number}"))
        return [name for name in folders if self._only is None or int(name) in self._only]

    def key(self, at: At) -> str:
        return f"linemod/object-{int(at.scene):02d}/{at.image:06d}"

    def images(self, scene: str, report: Report, *, rendered: bool) -> list[At]:
        tree, folder = self._tree(), f"data/{scene}"
        names = tree.scan_if_there(f"{folder}/depth").files
        stems = {int(name[:-4]): name[:-4] for name in names if name.endswith(".png") and name[:-4].isdecimal()}
        there = tree.scan_if_there(folder)
        if "gt.yml" not in there.files:
            report(_no_poses(folder))
            return []
        if "info.yml" not in there.files:
            report(Finding("warning", folder, "no info.yml: the camera is taken to be LineMOD's, depth millimetres"))
        wanted = set(stems)
        if self._subset != "all":
            try:
                listed = self._listed(scene)
            except DecodeError as error:
                report(Finding("error", folder, f"skipped: {error.message}", error.remedy))
                return []
            absent = listed - wanted
            if absent:
                what = f"{len(absent)} of the {len(listed)} images of {self._subset}.txt have no depth image"
                report(Finding("warning", folder, what))
            wanted &= listed
        if not stems:
            report(Finding("error", f"{folder}/depth", "no depth image"))
        return [At(scene, stems[image]) for image in sorted(wanted)]

    def view(self, at: At) -> View:
        views = self._views(at.scene)
        return LINEMOD_VIEW if views is None else views.get(at.image)

    def objects(self, at: At) -> Objects:
        return self._annotated(at.scene).get(at.image)[0]

    def pixels(self, at: At) -> Pixels | None:
        file = self._read(at, "mask")
        if file is None:
            return None
        # The object is never hidden, so its mask is its silhouette.
        count = np.array([np.count_nonzero(decode_ids(file.data, where=file.where))], np.uint32)
        box = self._annotated(at.scene).get(at.image)[1]
        return Pixels(count, count, box, box)

    def depth(self, at: At) -> File | None:
        return self._read(at, "depth")

    def colour(self, at: At) -> File | None:
        return self._read(at, "rgb")

    def masks(self, at: At, rows: int, size: tuple[int, int], *, visible: bool) -> list[BoolImage] | None:
        file = self._read(at, "mask")
        return None if file is None else [read_mask(file, size)]

    def model(self, object_id: int) -> Path:
        return self.root / "models" / f"obj_{object_id:02d}.ply"

    def close(self) -> None:
        for cache in (self._tree, self._views, self._annotated):
            cache.cache_clear()

    def _read(self, at: At, folder: str) -> File | None:
        tree, path = self._tree(), f"data/{at.scene}/{folder}/{at.stem}.png"
        data = tree.read_if_there(path)
        return None if data is None else File(data, tree.describe(path))

    def _listed(self, scene: str) -> set[int]:
        tree, path = self._tree(), f"data/{scene}/{self._subset}.txt"
        try:
            return {int(word) for word in tree.read(path).split()}
        except FileNotFoundError:
            remedy = "split: all reads every image"
            raise DecodeError(f"no {self._subset}.txt", where=tree.describe(path), remedy=remedy) from None
        except ValueError as error:
            raise DecodeError(
                f"{self._subset}.txt is not a list of image numbers", where=tree.describe(path), found=error
            ) from None

    def _read_views(self, scene: str) -> ByImage[View] | None:
        return self._parsed(f"data/{scene}/info.yml", parse_view)

    def _read_objects(self, scene: str) -> ByImage[Own]:
        number = int(scene)
        parsed = self._parsed(f"data/{scene}/gt.yml", lambda rows: _own_row(rows, number))
        if parsed is None:
            raise DecodeError("no gt.yml", where=self._tree().describe(f"data/{scene}"), remedy=_no_poses("").remedy)
        return parsed

    def _parsed(self, path: str, parse: Callable[[Any], T]) -> ByImage[T] | None:
        tree = self._tree()
        where = tree.describe(path)
        try:
            content = yaml.load(tree.read(path), Loader=YAML_LOADER)
            entries = {int(image): entry for image, entry in content.items()}
        except FileNotFoundError:
            return None
        except (yaml.YAMLError, ValueError, AttributeError, TypeError) as error:
            raise DecodeError(
                "the YAML file cannot be read",
                where=where,
                expected="a mapping with one entry for each image number",
                found=str(error).replace("\n", " "),
                remedy="extract the archive again",
            ) from None
        return ByImage(entries, parse, where=where)


def _own_row(rows: Any, number: int) -> Own:
    own = [row for row in rows if int(row["obj_id"]) == number][:1]
    if not own:
        raise DecodeError(
            f"no pose of object {number}",
            expected=f"a row with obj_id {number}",
            found=[row["obj_id"] for row in rows],
        )
    return parse_objects(own), boxes_of([own[0]["obj_bb"]])


def _no_poses(folder: str) -> Finding:
    return Finding("error", folder, "skipped: no gt.yml", "extract Linemod_preprocessed.zip again, all of it")


def _open(root: Path) -> Tree:
    if not root.exists():
        raise MissingDataError(
            "no such folder",
            where=root,
            expected="the folder Linemod_preprocessed, with data/ and models/",
            remedy="depthforge sample --layout linemod DIR, then export LINEMOD_ROOT=DIR",
        )
    return open_tree(root)
