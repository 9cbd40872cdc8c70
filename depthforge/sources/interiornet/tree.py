"""Where InteriorNet keeps what: packages, scenes (folders or archives), trajectories, and the frames of each.

    <root>/HD1..HD6/<scene>/{original,random}_{1,3,7}_{1,3,7}/{cam0,depth0,normal0,label0}/data/<timestamp>.png
    <root>/GroundTruth_HD1-HD6/<scene>/velocity_angular_{1,3,7}_{1,3,7}/cam0.{ccam,render,timestamp}
    <root>/HD7/<scene>/{cam0,random_lighting_cam0,depth0,normal0,label0}/data/{0..19}.png, cam0.render

A scene may be a .zip or .tar, and may repeat its own name as an inner folder. Listing opens no image; with every
camera file and table compared, 200,000 frames take 1.0 to 1.5 s from a hot cache. A frame's number is its row in
data.csv (its name in HD7), so a file that is missing never moves the poses or the keys of the others.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from depthforge.errors import DecodeError
from depthforge.frame import Finding
from depthforge.sources.base import Report
from depthforge.sources.file_tree import ARCHIVE_SUFFIXES, Listing, Tree, open_tree
from depthforge.sources.interiornet.poses import PoseFile, count_poses, parse_poses, parse_timestamps

__all__ = ["PACKAGES", "VIEWS_PACKAGE", "Clip", "InteriorNetTree", "Locator", "Scene"]

PACKAGES = ("HD1", "HD2", "HD3", "HD4", "HD5", "HD6", "HD7")
VIEWS_PACKAGE = "HD7"
_GROUND_TRUTH = "GroundTruth_HD1-HD6"
_TRAJECTORY = re.compile(r"(original|random)_([0-9]+)_([0-9]+)")
_UNREADABLE_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_NO_POSE = -1
_DEEPEST_TOP = 2
_ARCHIVES_KEPT, _CLIPS_KEPT = 8, 32


class Locator(NamedTuple):
    """What a FrameRef holds to find its frame again; ``pose_row`` is negative when the frame has no pose."""

    entry: str
    trajectory: str
    stem: str
    pose_row: int

    @classmethod
    def parse(cls, text: str) -> Locator:
        entry, trajectory, stem, pose_row = text.split("|")
        return cls(entry, trajectory, stem, int(pose_row))

    def __str__(self) -> str:
        return f"{self.entry}|{self.trajectory}|{self.stem}|{self.pose_row}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One room: the package it came in, its name, and its folder or archive relative to the root."""

    package: str
    name: str
    entry: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One trajectory of a room, or its independent views: the folders of its images."""

    tree: Tree
    depth: str
    rgb: str
    normals: str
    labels: str


class InteriorNetTree:
    """The files of one root under one lighting. Archives stay open per process, the last few only."""

    def __init__(self, root: Path, lighting: str) -> None:
        self.root = root
        self._lighting = lighting
        self._tree = lru_cache(_ARCHIVES_KEPT)(self._open)
        self.clip = lru_cache(_CLIPS_KEPT)(self._find_clip)
        self.poses = lru_cache(_CLIPS_KEPT)(self._read_poses)

    def close(self) -> None:
        """Let go of open archives and of everything read from them."""
        for cache in (self._tree, self.clip, self.poses):
            cache.cache_clear()

    def scenes(self, package: str, report: Report) -> Iterator[Scene]:
        """Yield the scenes of a package in key order; memory is their names."""
        listing = open_tree(self.root / package).scan("")
        entries = {name: name for name in listing.folders}
        for name in sorted(listing.files):
            path, (stem, suffix) = f"{package}/{name}", os.path.splitext(name)
            if name.lower().endswith(_UNREADABLE_SUFFIXES):
                report(
                    Finding("error", path, "cannot be read at random", "unpack it, or pack it again as .zip or .tar")
                )
            elif suffix.lower() in ARCHIVE_SUFFIXES and stem in entries:
                report(Finding("warning", path, f"ignored: {package}/{entries[stem]} is the same scene"))
            elif suffix.lower() in ARCHIVE_SUFFIXES:
                entries[stem] = name
        # A key goes on with "/" after the scene, which sorts after " ", "-" and ".".
        for name in sorted(entries, key=lambda name: f"{name}/"):
            yield Scene(package, name, f"{package}/{entries[name]}")

    def trajectories(self, scene: Scene) -> list[str]:
        """Return the trajectory folders of a scene under this lighting, sorted; ``[""]`` for the views of HD7.

        Raises DecodeError when the scene is a broken archive.
        """
        if scene.package == VIEWS_PACKAGE:
            return [""]
        _, listing = self._top(scene.entry)
        return sorted(name for name in listing.folders if _is_trajectory(name, self._lighting))

    def frames(self, scene: Scene, trajectory: str, report: Report) -> Iterator[tuple[int, Locator]]:
        """Yield (frame number, locator) of every depth image in order of number; report what does not fit."""
        clip = self.clip(scene.entry, trajectory)
        path = f"{scene.entry}/{clip.depth}"
        stems = _image_stems(clip.tree, clip.depth, path, report)
        if stems is None:
            report(Finding("error", path, "no depth images"))
            return
        self._compare_colour(clip, stems, scene, report)
        num_poses, timestamps = self._count_poses(scene, trajectory, report)
        if scene.package == VIEWS_PACKAGE:
            listed = {stem: int(stem) for stem in sorted(stems, key=int)}
            expected = max(num_poses, max(listed.values(), default=-1) + 1)
            pose_rows = {stem: number for stem, number in listed.items() if number < num_poses}
        else:
            order = self._order(clip, stems, timestamps, path, report)
            listed = {stem: number for number, stem in enumerate(order)}
            expected = len(order)
            rows = timestamps if len(timestamps) == num_poses else order if len(order) == num_poses else []
            pose_rows = {stem: row for row, stem in enumerate(rows)}
            if num_poses and not pose_rows:
                report(
                    Finding("warning", path, f"poses left out: {num_poses} of them for {len(order)} frames, unnamed")
                )
        present = [stem for stem in listed if stem in stems]
        if len(present) < expected:
            report(Finding("error", path, f"{expected - len(present)} of {expected} depth images are missing"))
        if len(stems) > len(present):
            report(Finding("warning", path, f"{len(stems) - len(present)} depth images are not in the frame list"))
        for stem in present:
            yield listed[stem], Locator(scene.entry, trajectory, stem, pose_rows.get(stem, _NO_POSE))

    def _open(self, entry: str) -> Tree:
        return open_tree(self.root / entry)

    def _top(self, entry: str) -> tuple[str, Listing]:
        """Return the folder of ``entry`` that holds the scene, and its listing (empty when there is none).

        Some packages unzip to ``<name>/<name>/``: go down while the only way is down.
        """
        tree, name, top = self._tree(entry), _scene_name(entry), ""
        for _ in range(_DEEPEST_TOP + 1):
            listing = tree.scan(top)
            if any(_is_content(folder) for folder in listing.folders):
                return top, listing
            only = listing.folders[0] if len(listing.folders) == 1 else name
            if only not in listing.folders:
                break
            top = _join(top, only)
        return "", Listing()

    def _find_clip(self, entry: str, trajectory: str) -> Clip:
        top, _ = self._top(entry)
        tree, folder = self._tree(entry), _join(top, trajectory)
        colour = "cam0" if trajectory or self._lighting == "original" else "random_lighting_cam0"
        return Clip(
            tree,
            depth=_join(folder, "depth0/data"),
            rgb=_join(folder, f"{colour}/data"),
            normals=_join(folder, "normal0/data"),
            labels=_join(folder, "label0/data"),
        )

    def _find_cameras(self, entry: str, trajectory: str) -> tuple[Tree, str] | None:
        """Return where the camera files are: of a trajectory, in the ground-truth package or beside the images."""
        top, listing = self._top(entry)
        if not trajectory:
            return self._tree(entry), top
        folder = "velocity_angular_" + trajectory.partition("_")[2]
        if folder in listing.folders:
            return self._tree(entry), _join(top, folder)
        scene = _scene_name(entry)
        for suffix in ("", *ARCHIVE_SUFFIXES):
            truth = f"{_GROUND_TRUTH}/{scene}{suffix}"
            if (self.root / truth).exists():
                top, listing = self._top(truth)
                return (self._tree(truth), _join(top, folder)) if folder in listing.folders else None
        return None

    def _pose_file(self, entry: str, trajectory: str) -> tuple[Tree, str] | None:
        """Return the file that holds the poses of a clip, the one with intrinsics first."""
        cameras = self._find_cameras(entry, trajectory)
        if cameras is None:
            return None
        tree, folder = cameras
        files = tree.scan(folder).files
        return next(((tree, _join(folder, name)) for name in ("cam0.ccam", "cam0.render") if name in files), None)

    def _read_poses(self, entry: str, trajectory: str) -> PoseFile | None:
        """Return the cameras of a clip, None without a file of them; raise DecodeError when it cannot be parsed."""
        found = self._pose_file(entry, trajectory)
        if found is None:
            return None
        tree, path = found
        return parse_poses(_text(tree, path), where=tree.describe(path))

    def _count_poses(self, scene: Scene, trajectory: str, report: Report) -> tuple[int, list[str]]:
        """Return how many poses a clip has, and the image names of cam0.timestamp in their order."""
        where = _join(scene.entry, trajectory)
        try:
            found = self._pose_file(scene.entry, trajectory)
            if found is None:
                report(Finding("warning", where, "no camera file: frames have no pose"))
                return 0, []
            tree, path = found
            num_poses = count_poses(_text(tree, path), where=path)
            try:
                return num_poses, parse_timestamps(_text(tree, f"{path.rpartition('.')[0]}.timestamp"))
            except FileNotFoundError:
                return num_poses, []
        except DecodeError as error:
            report(Finding("error", where, f"frames have no pose: {error.message} ({error.found})", error.remedy))
            return 0, []

    def _order(self, clip: Clip, stems: set[str], timestamps: list[str], path: str, report: Report) -> list[str]:
        """Return the names of the frames in order: data.csv, else cam0.timestamp, else the files by number."""
        table = f"{clip.depth.rpartition('/')[0]}/data.csv"
        try:
            listed = parse_timestamps(_text(clip.tree, table))
        except FileNotFoundError:
            listed = []
        if stems.intersection(listed):
            return list(dict.fromkeys(listed))
        instead = "cam0.timestamp" if stems.intersection(timestamps) else "the files in order of number"
        report(Finding("warning", path, f"data.csv is missing or lists no file; frames are {instead}"))
        return timestamps if instead == "cam0.timestamp" else sorted(stems, key=int)

    def _compare_colour(self, clip: Clip, stems: set[str], scene: Scene, report: Report) -> None:
        path = f"{scene.entry}/{clip.rgb}"
        colour = _image_stems(clip.tree, clip.rgb, path, report)
        if colour is None:
            report(Finding("warning", path, "no colour images"))
            return
        if missing := len(stems - colour):
            report(Finding("warning", path, f"{missing} of {len(stems)} frames have no colour image of their name"))
        if orphans := len(colour - stems):
            report(Finding("warning", path, f"{orphans} colour images have no depth image of their name"))


def _is_trajectory(folder: str, lighting: str) -> bool:
    match = _TRAJECTORY.fullmatch(folder)
    return match is not None and match[1] == lighting and match[2] == match[3]


def _is_content(folder: str) -> bool:
    return folder == "depth0" or folder.startswith("velocity_angular_") or _TRAJECTORY.fullmatch(folder) is not None


def _image_stems(tree: Tree, folder: str, path: str, report: Report) -> set[str] | None:
    """Return the names without suffix of the images in ``folder``; None when there is none."""
    files = tree.scan_if_there(folder).files
    stems = {name[:-4] for name in files if name.endswith(".png")}
    numbered = {int(stem): stem for stem in sorted(stems, reverse=True) if stem.isdecimal()}
    if odd := len(files) - len(numbered):
        report(Finding("warning", path, f"{odd} files are not <number>.png, or repeat a number; they are ignored"))
    return set(numbered.values()) or None


def _scene_name(entry: str) -> str:
    name = entry.rpartition("/")[2]
    return name[:-4] if name.lower().endswith(ARCHIVE_SUFFIXES) else name


def _text(tree: Tree, path: str) -> str:
    try:
        return tree.read(path).decode()
    except UnicodeDecodeError as error:
        raise DecodeError("not a text file", where=tree.describe(path), found=error) from None


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
