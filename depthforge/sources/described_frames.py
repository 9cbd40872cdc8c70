"""Which frames a described folder has, in key order; and what to say when a template fits none.

Two files that give one key, names that are not UTF-8 and templates that fit nothing are told as what they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from depthforge.addresses import Address
from depthforge.errors import InputError, MissingDataError, told
from depthforge.frame import Finding, FrameRef
from depthforge.sources.base import Report
from depthforge.sources.companions import Listings
from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.rgbd_config import RgbdFolderConfig
from depthforge.sources.templates import PathTemplate

__all__ = ["fits_no_frame", "nothing_found", "selected"]


def selected(
    files: Iterator[tuple[str, dict[str, str]]], template: PathTemplate, config: RgbdFolderConfig, report: Report
) -> list[FrameRef]:
    """Return the references of one scene (or of all, where scenes share a folder) in key order.

    Of ``files`` (path, placeholders) those that ``exclude``, ``ranges`` and ``every`` leave. Raises InputError for a
    name that is not UTF-8, and for ranges over frames that are no numbers.
    """
    refs: dict[str, FrameRef] = {}
    for path, fields in files:
        _require_utf8(path)
        if any(fnmatchcase(path, pattern) for pattern in config.exclude) or not _in_ranges(
            fields["frame"], path, config
        ):
            continue
        key = f"{config.dataset}/{template.scene_of(fields, config.scene)}/{_frame_name(fields['frame'])}"
        if key in refs:
            remedy = "give the part of the path that tells them apart a placeholder, which joins the scene's name"
            report(Finding("error", path, f"the same frame as {refs[key].locator}; ignored", remedy))
        else:
            refs[key] = FrameRef(key, path)
    kept: list[FrameRef] = []
    scene, position = "", 0
    for key in sorted(refs):
        ref = refs[key]
        position = position + 1 if ref.scene == scene else 0
        scene = ref.scene
        if position % config.every == 0:
            kept.append(ref)
    return kept


def nothing_found(tree: Tree, root: Address, config: RgbdFolderConfig) -> MissingDataError:
    """Return the error for a folder without a frame, which says what lies there."""
    return MissingDataError(
        "no depth image",
        where=root,
        expected=f"files like {config.depth}",
        found=_names_of(tree, ""),
        remedy="compare `depth`, `exclude` and `ranges` of the source with the names above",
    )


def fits_no_frame(name: str, templates: Sequence[str], path: str, depth: str, listings: Listings) -> MissingDataError:
    """Return the error for ``templates`` of ``name`` that fit no frame at all: what was looked for, what lies there.

    ``path`` is what the first of them says for the frame whose depth lies at ``depth``. Where there is such a file, it
    is a list that names no frame.
    """
    folder = path.rpartition("/")[0]
    while folder and listings.tree.scan_if_there(folder) == Listing():
        folder = folder.rpartition("/")[0]
    if listings.has(path):
        return MissingDataError(
            "no frame has a pose in the list of poses",
            where=listings.tree.describe(path),
            expected=f"a pose of {depth}, as pose.format and pose.match say",
            remedy="does it count, time or name frames in another way? See pose.match, offset, stamps, stamp_scale "
            "and tolerance_s",
        )
    return MissingDataError(
        f"no frame has a file of {name}",
        where=listings.tree.describe(folder),
        expected=f"{path} for {depth}, by the template {', '.join(templates)}",
        found=_names_of(listings.tree, folder),
        remedy="compare the template with the names above, or leave the field out",
    )


def _in_ranges(frame: str, path: str, config: RgbdFolderConfig) -> bool:
    if config.ranges is None:
        return True
    if not frame.isdecimal():
        raise InputError("ranges need frames that are whole numbers", where=path, found=frame)
    return any(first <= int(frame) <= last for first, last in config.ranges)


def _frame_name(frame: str) -> str:
    return f"{int(frame):06d}" if frame.isdecimal() else frame


def _names_of(tree: Tree, folder: str) -> str:
    listing = tree.scan_if_there(folder)
    names = sorted([f"{name}/" for name in listing.folders] + listing.files)
    return told(names, none="an empty folder")


def _require_utf8(path: str) -> None:
    """Raise InputError for a name that is not UTF-8, as old archives and Windows shares leave them: no key can be."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raw = os.fsencode(path)
        raise InputError(
            "a file's name is not UTF-8",
            where=path.encode(errors="backslashreplace").decode(),
            expected="names in UTF-8",
            found=f"byte {raw[len(path[: error.start].encode())]:#04x} in {raw!r}",
            remedy="rename it: convmv -f latin1 -t utf8 -r --notest FOLDER",
        ) from None
