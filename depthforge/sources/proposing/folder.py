"""A folder of depth images that no known layout describes, as a block of ``rgbd_folder`` with the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from depthforge.errors import DepthforgeError, MissingDataError
from depthforge.frame import Finding, Frame
from depthforge.geometry import decode_normals, normals_from_depth
from depthforge.sources.base import Source
from depthforge.sources.file_tree import Tree, open_tree
from depthforge.sources.proposing.cameras import cameras_in
from depthforge.sources.proposing.contents import Content, Looked, look_at
from depthforge.sources.proposing.groups import Group, groups_of
from depthforge.sources.proposing.pose_files import hands_in, pose_blocks
from depthforge.sources.proposing.pose_trials import Runs, Tried, best_reading, moves
from depthforge.sources.proposing.scales import Scale, scale_of
from depthforge.sources.resized import build_source
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.soundness import RunSampler, require_sound
from depthforge.sources.templates import PathTemplate

__all__ = ["FILL_IN", "Described", "describe_folder"]

FILL_IN: Final = "FILL_IN"
"""What stands in a manifest where a number has to be filled in: no number, so that `check` refuses it."""

_FOCAL_GUESS: Final = 0.9


@dataclass
class Described:
    """The fields of a source block in order, comments before each, what is to fill in, what could not be known."""

    block: dict[str, Any]
    comments: dict[str, list[str]] = field(default_factory=dict)
    fill_in: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    greatest_m: float = 0.0

    def say(self, name: str, *lines: str) -> None:
        """Add comments to a field."""
        self.comments.setdefault(name, []).extend(lines)


def describe_folder(root: Path, dataset: str) -> Described:
    """Return how ``root`` (a folder or archive) would be read as ``rgbd_folder``.

    Raises MissingDataError where nothing in it is depth.
    """
    tree = open_tree(root)
    looked = look_at(tree, groups_of(tree))
    depths = looked.of("depth") or looked.of("relative_depth")
    if not depths:
        raise _no_depth(root, tree, looked)
    return _Folder(root, dataset, tree, looked, depths).described()


def _no_depth(root: Path, tree: Tree, looked: Looked) -> MissingDataError:
    lines = [
        f"{each.group.template} ({each.kind}, {len(each.group.files)} files, {each.says})" for each in looked.images
    ]
    lines += [f"{group.template} ({len(group.files)} files)" for group in looked.numbers]
    listing = tree.scan_if_there("")
    found = "; ".join(lines[:12]) or ", ".join(sorted([*listing.folders, *listing.files])[:12]) or "an empty folder"
    return MissingDataError(
        "no depth in this folder",
        where=root,
        expected="images or arrays of 16 bits or more, or a layout that `depthforge list` names",
        found=found,
        remedy="point to the folder that holds depth, or describe it by hand: docs/manifest.md, rgbd_folder",
    )


class _Folder:
    def __init__(self, root: Path, dataset: str, tree: Tree, looked: Looked, depths: Sequence[Content]) -> None:
        self._root, self._tree, self._looked, self._depths = root, tree, looked, depths
        self._depth = depths[0]
        self._found = Described({"name": "rgbd_folder", "root": str(root), "dataset": dataset})
        self._names = {*self._depth.group.names}
        self._groups: dict[str, Group] = {each.template: each for each in looked.numbers}

    def described(self) -> Described:
        found, block = self._found, self._found.block
        height, width = self._depth.planes[0].shape
        self._say_depth()
        scale = scale_of(self._depth.planes)
        self._scale(scale)
        guess = {"width": width, "height": height, "fx": _FOCAL_GUESS * width, "fy": _FOCAL_GUESS * width}
        guess |= {"cx": (width - 1) / 2, "cy": (height - 1) / 2}
        cameras = cameras_in(self._tree, self._looked.numbers, (height, width), self._names)
        block["camera"] = cameras[0].block if cameras else guess
        self._companions()
        self._poses(scale, knows_camera=bool(cameras))
        self._normals()
        if cameras:
            found.say("camera", cameras[0].says)
            found.say("camera", *(f"not used: {each.says}" for each in cameras[1:4]))
            block["camera"] |= {} if "fx" not in block["camera"] else {"width": width, "height": height}
        else:
            block["camera"] = {"width": width, "height": height, **dict.fromkeys(("fx", "fy", "cx", "cy"), FILL_IN)}
            found.say("camera", "no file of intrinsics was found: pixels, (0, 0) is the centre of the first pixel")
            found.fill_in.append("the intrinsics: source.camera fx, fy, cx, cy")
        return found

    def _say_depth(self) -> None:
        found, chosen, group = self._found, self._depth, self._depth.group
        template = group.template
        if not group.has_frame:
            template = self._name_frames(group)
        found.block["depth"] = template
        found.say("depth", f"{len(group.files)} files, {chosen.says}")
        for name, value in (("key", chosen.form.key), ("channel", chosen.form.channel)):
            if value is not None:
                found.block[name] = value
        for other in self._depths[1:]:
            found.say("depth", f"also depth, not used: {other.group.template} ({other.says})")

    def _name_frames(self, group: Group) -> str:
        """Return a template whose frames are named by a folder, or by the name of the file itself."""
        folder, _, name = group.template.rpartition("/")
        self._names = {*self._names, "frame"}
        if group.names:
            last = f"{{{group.names[-1]}}}"
            self._renamed = last
            return group.template.replace(last, "{frame}")
        stem = name.removesuffix(group.suffix)
        others = [
            path
            for each in (*self._looked.images,)
            for path in each.group.files
            if path.endswith(group.suffix) and path.rpartition("/")[0] == folder and path not in group.files
        ]
        if others:
            self._found.block["exclude"] = others
        self._found.say("depth", f"a lone image: {stem} is the name of its frame")
        return f"{folder}/{{frame}}{group.suffix}" if folder else f"{{frame}}{group.suffix}"

    _renamed: str | None = None

    def _template(self, group: Group) -> str:
        return group.template if self._renamed is None else group.template.replace(self._renamed, "{frame}")

    def _scale(self, scale: Scale) -> None:
        found, block = self._found, self._found.block
        if self._depth.kind == "relative_depth":
            block["assume_max_depth_m"] = FILL_IN
            found.say("assume_max_depth_m", "8 bits have no unit: how many metres is the largest value?")
            found.fill_in.append("the depth of the largest value: source.assume_max_depth_m, metres")
            return
        block["depth_scale"] = _number(scale.units[0]) if scale.units else FILL_IN
        found.say("depth_scale", *scale.reasons)
        if not scale.units:
            found.say("depth_scale", f"no usual unit makes the median of {scale.median:.4g} a plausible depth")
            found.fill_in.append("the unit of depth: source.depth_scale, stored units per metre")
        elif len(scale.units) > 1:
            found.unknown.append(f"the unit of depth for certain: {scale.reasons[-1 if scale.far_m is None else -2]}")
        if scale.invalid:
            block["invalid"] = [0, *scale.invalid]
        if scale.is_negative:
            block["sign"] = "negative"

    def _companions(self) -> None:
        """Add colour and ids whose templates fit the frames of depth."""
        found = self._found
        for kind in ("rgb", "instance", "semantic", "mask"):
            fitting = [each for each in self._looked.of(kind) if self._fits(each.group)]
            for each in fitting[:1]:
                found.block[kind] = self._ids(each) if kind != "rgb" else self._template(each.group)
                if found.block[kind] is None:
                    del found.block[kind]
                found.say(kind, f"{len(each.group.files)} files, {each.says}")
            found.say(kind, *(f"also {kind}, not used: {each.group.template} ({each.says})" for each in fitting[1:]))
        for other in self._looked.of("other"):
            found.unknown.append(f"what {other.group.template} is ({other.says}); it is not read")

    def _ids(self, content: Content) -> str | dict[str, Any] | None:
        template, plane = self._template(content.group), content.planes[0]
        extra: dict[str, Any] = {} if content.form.key is None else {"key": content.form.key}
        if plane.ndim == 3:
            if content.kind != "instance":
                self._found.unknown.append(f"which class each colour of {template} is: semantic.colours")
                return None
            return {"file": template, "colours": "made"}
        least, most = (
            int(extreme) for extreme in (min(p.min() for p in content.planes), max(p.max() for p in content.planes))
        )
        extra |= {"negative": "none"} if least < 0 else {}
        extra |= {"dtype": "uint32"} if most > 65535 else {}
        return {"file": template, **extra} if extra else template

    def _fits(self, group: Group) -> bool:
        """Return whether the template of a group names the file of some frame."""
        names = {name if f"{{{name}}}" != self._renamed else "frame" for name in group.names}
        if not names <= self._names:
            return False
        if self._renamed is not None or not self._depth.group.has_frame:
            return True
        template = PathTemplate(group.template)
        return any(template.fill(fields) in group.files for fields in self._depth.group.files.values())

    def _source(self, extra: Mapping[str, Any]) -> Source:
        block = {**self._found.block, **extra}
        if block.get("assume_max_depth_m") == FILL_IN:
            block["assume_max_depth_m"] = 10.0
        if block.get("depth_scale") == FILL_IN:
            block["depth_scale"] = 1.0
        name = block.pop("name")
        return build_source(name, RgbdFolderConfig.model_validate(block))

    def _runs(self, extra: Mapping[str, Any]) -> Runs:
        """Return a few runs of consecutive frames, read with ``extra`` fields; raises what the source does."""
        source = self._source(extra)
        sampler = RunSampler()
        findings: list[Finding] = []
        for _ in sampler.watch(source.frames(findings.append)):
            pass
        wanted = frozenset({"T_world_cam"} if "pose" in extra else ())
        runs = []
        for refs in sampler.runs[:4]:
            run: list[Frame] = []
            for ref in refs:
                frame = require_sound(source.read(ref, wanted))
                if run and frame.key.rpartition("/")[0] != run[0].key.rpartition("/")[0]:
                    break
                run.append(frame)
            runs.append(run)
        source.close()
        return runs

    def _poses(self, scale: Scale, *, knows_camera: bool) -> None:
        found = self._found
        blocks = pose_blocks(self._tree, self._looked.numbers, self._names)
        hands = hands_in(self._tree, self._looked.numbers)
        used = self._used_files()
        blocks = [block for block in blocks if block["file"] not in used]
        units = scale.units or (1.0,)
        tried: list[tuple[dict[str, Any], Tried]] = []
        for block in blocks:
            if block.get("match") != "line" and block.get("format") in ("tum", "euroc"):
                counts = False
            else:
                counts = block.get("format", "matrix") in ("matrix", "rows", "trajectory_log", "tum", "euroc")
            if knows_camera:
                tried.append(
                    (block, best_reading(block, lambda own: self._runs({"pose": own}), units, hands, counts=counts))
                )
            elif self._reads(block):
                found.block["pose"] = block
                found.say(
                    "pose", "camera to world and OpenCV axes are a guess: `check` tells once the intrinsics are known"
                )
                found.unknown.append("the convention of the poses: it shows by re-projection, which wants intrinsics")
                return
        fitting = [each for _, each in tried if each.best is not None]
        if not fitting:
            for block, each in tried:
                if each.num_readings:
                    found.unknown.append(
                        f"what the poses in {block['file']} mean: of {each.num_readings} readings none re-projects "
                        f"neighbouring frames into each other (at best off by {each.least:.1%}); left out"
                    )
                    break
            return
        least = min(each.least for each in fitting)
        chosen = next(each for each in fitting if each.best is not None and each.best.error <= 1.5 * least + 5e-4)
        assert chosen.best is not None
        self._take(
            chosen, units, [str(each.best.block["file"]) for each in fitting if each.best and each is not chosen]
        )

    def _used_files(self) -> set[str]:
        camera = self._found.block["camera"]
        return {camera["matrix_file"]} if "matrix_file" in camera and "format" not in camera else set()

    def _reads(self, block: Mapping[str, Any]) -> bool:
        try:
            return any(frame.T_world_cam is not None for run in self._runs({"pose": block}) for frame in run)
        except DepthforgeError:
            return False

    def _take(self, chosen: Tried, units: Sequence[float], others: Sequence[str]) -> None:
        found, best = self._found, chosen.best
        assert best is not None
        found.block["pose"] = best.block
        if best.unit != units[0]:
            found.block["depth_scale"] = _number(best.unit)
            found.say("depth_scale", f"the poses decide: {best.unit:g} a metre")
        runs = self._runs({"pose": best.block})
        is_still = not moves(runs)
        if is_still:
            found.say("pose", "the camera hardly moves between frames: any convention fits, this one is a guess")
            found.unknown.append("the convention of the poses: the camera hardly moves")
        else:
            found.unknown = [line for line in found.unknown if not line.startswith("the unit of depth")]
            found.say(
                "pose",
                f"of {chosen.num_readings} readings (direction, axes, offset, units) this is the simplest that moves "
                f"neighbouring frames into each other: off by {best.error:.2%} of depth (median)",
            )
        found.say("pose", *(f"also poses that fit, not used: {other}" for other in dict.fromkeys(others)))
        named = any(word in self._depth.group.template.lower() for word in ("ray", "range", "distance", "euclid"))
        if best.is_ray_length and not is_still:
            found.block["quantity"] = "ray_length"
            found.say("quantity", "along the ray: read as planar z, no pose re-projects as well")
        elif named and is_still:
            found.unknown.append("whether depth is planar z or along the ray (`quantity: ray_length`)")

    def _normals(self) -> None:
        """Add normals where some reading of them agrees with those of depth."""
        for content in self._looked.of("normals"):
            if not self._fits(content.group):
                continue
            block = self._normals_that_agree(content)
            if block is None:
                self._found.unknown.append(f"the axes of the normals in {content.group.template}; they are not read")
            else:
                self._found.block["normals"] = block
                self._found.say("normals", "the reading that agrees with the normals of depth")
            return

    def _normals_that_agree(self, content: Content) -> dict[str, Any] | None:
        is_float = content.planes[0].dtype.kind == "f"
        signed = is_float and bool((content.planes[0] < -0.1).any())
        base = {"file": self._template(content.group), "encoding": "signed" if signed else "unsigned"}
        readings: list[dict[str, Any]] = [{}, {"axes": "opengl"}]
        readings += [{"space": "world"}] if "pose" in self._found.block else []
        best: tuple[float, dict[str, Any]] = (0.8, {})
        for reading in readings:
            block = {**base, **reading}
            try:
                agreement = self._agreement(block)
            except DepthforgeError:
                continue
            if agreement > best[0]:
                best = (agreement, block)
        return best[1] or None

    def _agreement(self, block: Mapping[str, Any]) -> float:
        """Return the median cosine between stored normals and those of depth, in the first frame."""
        source = self._source({"normals": block})
        frame = source.read(next(iter(source.frames())), frozenset({"normals", "T_world_cam"}))
        source.close()
        if "normals" not in frame.labels:
            return -1.0
        stored = decode_normals(frame.labels["normals"].astype(np.int16, copy=False))
        computed = normals_from_depth(frame.depth_m, frame.valid, frame.camera)
        both = np.abs(computed).any(axis=-1) & np.abs(stored).any(axis=-1)
        return float(np.median((stored * computed).sum(axis=-1)[both])) if both.any() else -1.0


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value
