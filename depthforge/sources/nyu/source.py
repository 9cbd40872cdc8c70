"""NYU Depth v2: real Kinect frames of 464 indoor scenes, 1449 of them labelled, or the raw dumps.

``files: labelled`` reads ``nyu_depth_v2_labeled.mat`` in place: ``depth: raw`` is what the Kinect measured, projected
to the colour camera, with holes; ``depth: inpainted`` is that with its holes filled by colourisation, and then
``depth_raw`` carries the measurement: a free pair, though no truth where it was filled. Classes are the data set's own
894 names. ``files: raw`` reads the dumps, 407 thousand frames with the intrinsics of the depth camera. See
``labelled`` and ``raw`` for the formats. There are no poses. It is *real* depth, the real side of a training.
One core reads 500 frames a second of either (uncompressed, in memory), 150 dumps with colour, and 150 labelled frames
with colour and labels.
Paper: Silberman et al., "Indoor segmentation and support inference from RGBD images", ECCV 2012.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from depthforge.errors import DecodeError, MissingDataError, told
from depthforge.frame import Camera, Finding, Frame, FrameRef, Licence
from depthforge.labels.catalogue import DEPTH_RAW, INSTANCE, RGB
from depthforge.labels.resize import resize_camera
from depthforge.labels.spec import LabelSpec
from depthforge.registry import sources
from depthforge.sources.base import Report, Source, SourceConfig, ignore_findings
from depthforge.sources.images import decode_rgb, require_size
from depthforge.sources.nyu.labelled import LABELLED_FILE, SPLITS_FILE, LabelledSet, read_split
from depthforge.sources.nyu.raw import (
    DEPTH_CAMERA,
    RGB_CAMERA,
    Dump,
    colour_over_depth,
    decode_disparity,
    find_dumps,
    metres_of_codes,
    require_whole,
)

__all__ = ["Nyu", "NyuConfig"]

SEMANTIC = LabelSpec("semantic", "uint16", "image", "NYU Depth v2's own 894 classes, 0 is unlabelled")
_TRY_WITHOUT_DATA = "depthforge sample --layout nyu DIR, then export NYU_ROOT=DIR"


class NyuConfig(SourceConfig):
    """The ``source`` block of a manifest that reads NYU Depth v2."""

    root: Path = Field(description=f"folder that holds {LABELLED_FILE} (and {SPLITS_FILE}), or the scenes of raw dumps")
    files: Literal["labelled", "raw"] = Field(default="labelled", description="the labelled .mat, or raw dumps")
    depth: Literal["raw", "inpainted"] = Field(
        default="raw", description="of the labelled set: as measured, or with holes filled and `depth_raw` beside it"
    )
    split: Literal["all", "train", "test"] = Field(
        default="all", description=f"of the labelled set: every frame, or those that {SPLITS_FILE} lists"
    )
    include: tuple[str, ...] = Field(default=("*",), description="globs of scene names to read, like kitchen_*")
    exclude: tuple[str, ...] = Field(default=(), description="globs of scene names to leave out")
    every: int = Field(default=1, ge=1, description="read every n-th frame of a scene")
    max_colour_delay_s: float = Field(
        default=0.05, ge=0, description="of raw dumps: a frame whose nearest colour image is later has none"
    )
    max_depth_m: float = Field(default=10.0, gt=0, le=10, description="farther is no measurement")
    width: int = Field(default=640, gt=0, le=8192, description="of the images, pixels")
    height: int = Field(default=480, gt=0, le=8192, description="of the images, pixels")

    @model_validator(mode="after")
    def _raw_has_one_kind(self) -> NyuConfig:
        if self.files == "raw" and (self.depth != "raw" or self.split != "all"):
            raise ValueError("raw dumps are neither in-painted nor split: leave `depth` and `split` out")
        return self


@sources.register("nyu")
class Nyu(Source):
    """NYU Depth v2 as it lies on disk.

    Keys: ``nyu/kitchen_0004/000012`` is frame 12 of the labelled set, counted from 1 as the data set does;
    ``nyu/kitchen_0004/1294886363011060`` is a dump, by its time in microseconds.
    """

    Config = NyuConfig
    config: NyuConfig
    typical_depth_m = (0.4, 8.0)
    licence: Licence = Licence(
        "NYU Depth v2 states none; research use", True, "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
    )

    def __init__(self, config: SourceConfig) -> None:
        assert isinstance(config, NyuConfig)
        self.config = config
        self._root = config.root.expanduser()
        self._labelled = LabelledSet(self._root / LABELLED_FILE, self.size)
        self._metres = metres_of_codes()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every frame, in pixels."""
        return self.config.height, self.config.width

    @property
    def labels(self) -> Mapping[str, LabelSpec]:
        """Colour; of the labelled set also classes and instances, and of in-painted depth what was measured."""
        specs = [RGB]
        if self.config.files == "labelled":
            specs += [SEMANTIC, INSTANCE]
        if self.config.depth == "inpainted":
            specs.append(DEPTH_RAW)
        return MappingProxyType({spec.name: spec for spec in specs})

    def frames(self, report: Report = ignore_findings) -> Iterator[FrameRef]:
        """Yield every frame in key order; see ``Source.frames``."""
        num_frames = 0
        for ref in self._labelled_frames() if self.config.files == "labelled" else self._dumped_frames(report):
            num_frames += 1
            yield ref
        if num_frames == 0:
            raise self._nothing()

    def read(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        """Return one frame; see ``Source.read``."""
        if self.config.files == "labelled":
            return self._read_labelled(ref, int(ref.locator), wanted)
        return self._read_dumped(ref, wanted)

    def close(self) -> None:
        """Close the labelled set."""
        self._labelled.close()

    def _labelled_frames(self) -> Iterator[FrameRef]:
        scenes = self._labelled.scenes()
        chosen = range(len(scenes))
        if self.config.split != "all":
            chosen = read_split(self._root / SPLITS_FILE, self.config.split, len(scenes)).tolist()
        by_scene: dict[str, list[int]] = {}
        for index in chosen:
            by_scene.setdefault(scenes[index], []).append(index)
        for scene in sorted(by_scene, key=lambda name: f"{name}/"):
            if self._is_asked_for(scene):
                for index in by_scene[scene][:: self.config.every]:
                    yield FrameRef(f"{self.name}/{scene}/{index + 1:06d}", str(index))

    def _dumped_frames(self, report: Report) -> Iterator[FrameRef]:
        dumps: dict[str, Dump] = {}
        for dump in find_dumps(self._root):
            scene = dump.folder.rpartition("/")[2] or self._root.resolve().name
            if scene in dumps:
                report(Finding("warning", dump.folder, f"the same scene as {dumps[scene].folder}; ignored"))
            elif self._is_asked_for(scene):
                dumps[scene] = dump
        for scene in sorted(dumps, key=lambda name: f"{name}/"):
            yield from self._dump_frames(scene, dumps[scene], report)

    def _dump_frames(self, scene: str, dump: Dump, report: Report) -> Iterator[FrameRef]:
        alone = 0
        depth = [
            entry for number, entry in enumerate(dump.depth) if number == 0 or entry[0] != dump.depth[number - 1][0]
        ]
        if len(depth) < len(dump.depth):
            report(Finding("warning", dump.folder, f"{len(dump.depth) - len(depth)} depth images of the same time"))
        depth = depth[:: self.config.every]
        for time_us, name in depth:
            colour = dump.nearest_colour(time_us)
            is_paired = colour is not None and colour[0] <= self.config.max_colour_delay_s * 1e6
            alone += not is_paired
            # Two file names in a locator: only the listing knows which picture is nearest.
            paired = colour[1] if colour is not None and is_paired else ""
            folder = f"{dump.folder}/" if dump.folder else ""
            yield FrameRef(f"{self.name}/{scene}/{time_us:016d}", f"{folder}{name}|{paired}")
        if alone:
            delay_ms = 1000 * self.config.max_colour_delay_s
            message = f"{alone} of {len(depth)} frames have no colour image within {delay_ms:g} ms"
            report(Finding("warning", dump.folder, message))

    def _is_asked_for(self, scene: str) -> bool:
        config = self.config
        return any(fnmatchcase(scene, pattern) for pattern in config.include) and not any(
            fnmatchcase(scene, pattern) for pattern in config.exclude
        )

    def _read_labelled(self, ref: FrameRef, index: int, wanted: frozenset[str]) -> Frame:
        is_raw = self.config.depth == "raw"
        depth_m = self._measured(self._labelled.image("rawDepths" if is_raw else "depths", index))
        labels: dict[str, npt.NDArray[np.generic]] = {}
        if wanted & {"semantic", "instance"}:
            semantic = self._labelled.image("labels", index).astype(np.uint16)
            if "semantic" in wanted:
                labels["semantic"] = semantic
            if "instance" in wanted:
                labels["instance"] = numbered_instances(semantic, self._labelled.image("instances", index))
        if DEPTH_RAW.name in wanted and not is_raw:
            raw_m = self._measured(self._labelled.image("rawDepths", index))
            labels[DEPTH_RAW.name] = np.where(raw_m > 0, raw_m, np.float32(np.nan))
        rgb = np.asarray(self._labelled.image("images", index), np.uint8) if "rgb" in wanted else None
        return Frame(ref.key, depth_m, depth_m > 0, self._camera(RGB_CAMERA), rgb=rgb, labels=labels)

    def _read_dumped(self, ref: FrameRef, wanted: frozenset[str]) -> Frame:
        path, _, colour = ref.locator.partition("|")
        where = self._root / path
        try:
            disparity = decode_disparity(where.read_bytes(), where=str(where))
        except FileNotFoundError:
            raise DecodeError("the depth image has gone since it was listed", where=where) from None
        require_size(disparity, self.size, where=str(where))
        depth_m = self._measured(self._metres.take(disparity))
        camera, rgb = self._camera(DEPTH_CAMERA), None
        if colour and "rgb" in wanted:
            beside = where.with_name(colour)
            try:
                data = beside.read_bytes()
            except FileNotFoundError:
                data = None
            if data is not None:
                require_whole(data, where=str(beside))
                stored = decode_rgb(data, where=str(beside))
                require_size(stored, self.size, where=str(beside))
                rgb = colour_over_depth(stored, depth_m, self._camera(RGB_CAMERA), camera)
        return Frame(ref.key, depth_m, depth_m > 0, camera, rgb=rgb)

    def _measured(self, stored_m: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return metres with 0 for what is not finite, not above 0 or too far."""
        depth_m = stored_m.astype(np.float32)
        with np.errstate(invalid="ignore"):
            depth_m[~((depth_m > 0) & (depth_m <= self.config.max_depth_m))] = 0
        return depth_m

    def _camera(self, camera: Camera) -> Camera:
        return camera if camera.size == self.size else resize_camera(camera, self.config.width, self.config.height)

    def _nothing(self) -> MissingDataError:
        try:
            names = sorted(path.name for path in self._root.iterdir())
        except OSError as error:
            found = f"no such folder ({error.strerror})"
        else:
            found = told(names, none="an empty folder")
        is_raw = self.config.files == "raw"
        return MissingDataError(
            "no NYU frames",
            where=self._root,
            expected="<scene>/d-<time>-<number>.pgm"
            if is_raw
            else "frames that include, exclude and split let through",
            found=found,
            remedy=_TRY_WITHOUT_DATA,
        )


def numbered_instances(semantic: npt.NDArray[np.uint16], instances: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Number the pairs of class and instance of a frame from 1: the data set counts instances anew for each class."""
    pairs = semantic.astype(np.intp) << 8 | instances
    pairs[(semantic == 0) | (instances == 0)] = 0
    # A table over all pairs: sorting the pixels instead takes 30 ms of the 36 that a frame then costs.
    is_seen = np.zeros(int(pairs.max()) + 1, bool)
    is_seen[pairs] = True
    is_seen[0] = False
    numbers = np.cumsum(is_seen, dtype=np.uint16)
    numbers[0] = 0
    return np.asarray(numbers[pairs], np.uint16)
