"""Path templates: ``seq-{scene}/frame-{frame}.depth.png`` finds files and says which scene and frame each is.

A placeholder matches within one path component, and as much of it as possible: ``{scene}_{frame}.png`` splits at
the last underscore. One that is repeated must match the same text. Any name may stand in braces: what is not ``frame``
joins the name of the scene. ``**`` is a placeholder that matches any number of folders, none as well; ``*`` matches
within a component and says nothing. ``{frame:06d}`` writes the frame's number with six digits. Names that begin with a
dot are what operating systems leave behind, and no frames. Listing scans each folder once and opens no file: about 1
second for 200,000 files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from depthforge.errors import InputError
from depthforge.sources.file_tree import Tree

__all__ = ["FOLDERS", "PathTemplate", "checked_template"]

FOLDERS: Final = "**"
"""The name under which a template's fields hold what ``**`` matched."""

Fields = dict[str, str]

_PLACEHOLDER = re.compile(r"\{([A-Za-z]\w*)(?::0?(\d*)d)?\}")
_PIECE = re.compile(r"\{([A-Za-z]\w*)(:0?\d*d)?\}|(\*)")
_MOST_FOLDERS = 16  # that ** walks down: a link to a folder above would have no end


def checked_template(text: str) -> str:
    """Return ``text``; raise ValueError when it is not a relative path with well-formed placeholders."""
    if text.startswith("/") or not all(part not in ("", ".", "..") for part in text.split("/")):
        raise ValueError(f"a template is a path below root, not {text!r}")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise ValueError(f"placeholders are {{name}} or {{frame:06d}}, not as in {text!r}")
    parts = text.split("/")
    if parts.count(FOLDERS) > 1 or parts[-1] == FOLDERS or any(FOLDERS in part != FOLDERS for part in parts):
        raise ValueError(f"** stands once, for whole folders, before the file's name, not as in {text!r}")
    return text


class PathTemplate:
    """A template, to find the files that it describes and to name the file of a frame."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = text.split("/")

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders, each once, in order; ``**`` is one of them."""
        found = [FOLDERS if part == FOLDERS else name for part in self._parts for name in _names(part)]
        return tuple(dict.fromkeys(found))

    @property
    def has_wildcard(self) -> bool:
        """Whether a ``*`` leaves open what a file is called."""
        return any("*" in part for part in self._parts if part != FOLDERS)

    def fill(self, fields: Mapping[str, str], offset: int = 0) -> str:
        """Return the path of one frame, with any ``*`` left as it is; ``offset`` is added to the frame's number.

        A number keeps its digits when it is written with leading zeros. Raises InputError when a frame that is no
        number needs to be one.
        """
        written = _PLACEHOLDER.sub(lambda match: _written(match, fields, offset), self.text.removeprefix("**/"))
        if FOLDERS in self._parts:
            head, _, tail = (written if self._parts[0] != FOLDERS else f"/{FOLDERS}/{written}").partition(
                f"/{FOLDERS}/"
            )
            written = "/".join(piece for piece in (head, fields.get(FOLDERS, ""), tail) if piece)
        return written

    def fields(self, path: str) -> Fields:
        """Return what the placeholders are in ``path``; raise ValueError when it does not fit the template."""
        match = _whole_pattern(self.text).fullmatch(path)
        if match is None:
            raise ValueError(f"{path!r} does not fit {self.text!r}")
        found = match.groupdict()
        if FOLDERS in self._parts:
            found[FOLDERS] = (found.pop("_folders") or "").strip("/")
        return found

    def scene_of(self, fields: Mapping[str, str], default: str) -> str:
        """Return the name of a frame's scene: {scene}, then every other placeholder but {frame}; or ``default``."""
        named = [name for name in self.names if name not in ("scene", "frame")]
        parts = [fields[name].replace("/", "_") for name in ("scene", *named) if fields.get(name)]
        return "_".join(parts) if parts else default

    def scenes(self, tree: Tree, default: str = "") -> Iterator[Iterator[tuple[str, Fields]]]:
        """Yield the files of each scene, in order of scene, as (path, placeholders); within one, in any order.

        One group holds all when a part of the scene's name is in the file's name, or none is in the template.
        """
        seen: set[str] = set()
        split = 0
        for index, part in enumerate(self._parts):
            new = {FOLDERS} if part == FOLDERS else set(_names(part)) - {"frame"}
            split = index + 1 if new - seen else split
            seen |= new
        split = 0 if split == len(self._parts) else split
        groups: dict[str, list[tuple[str, Fields]]] = {}
        for folder, fields in _walk(tree, "", self._parts[:split], {}, folders_only=True):
            groups.setdefault(self.scene_of(fields, default), []).append((folder, fields))
        for scene in sorted(groups, key=lambda scene: f"{scene}/"):
            yield (
                found for folder, fields in groups[scene] for found in _walk(tree, folder, self._parts[split:], fields)
            )

    def frames_of(self, tree: Tree, fields: Mapping[str, str]) -> Iterator[tuple[str, Fields]]:
        """Yield the files of one scene, of which ``fields`` says all but the frame, in any order."""
        known = {name: value for name, value in fields.items() if name in self.names and name != "frame"}
        yield from _walk(tree, "", self._parts, known)


def _walk(
    tree: Tree, folder: str, parts: list[str], fields: Fields, *, folders_only: bool = False
) -> Iterator[tuple[str, Fields]]:
    if not parts:
        yield folder, fields
    elif parts[0] == FOLDERS:
        if FOLDERS in fields:
            yield from _walk(tree, _joined(folder, fields[FOLDERS]), parts[1:], fields, folders_only=folders_only)
        else:
            for below in _folders_below(tree, folder, "", _MOST_FOLDERS):
                inner = {**fields, FOLDERS: below}
                yield from _walk(tree, _joined(folder, below), parts[1:], inner, folders_only=folders_only)
    else:
        listing = tree.scan_if_there(folder)
        pattern = _pattern(parts[0], tuple(fields.items()))
        is_file = len(parts) == 1 and not folders_only
        for name in listing.files if is_file else listing.folders:
            match = pattern.fullmatch(name) if name[0] != "." or parts[0][0] == "." else None
            if match is not None:
                inner = {**fields, **match.groupdict()}
                yield from _walk(tree, _joined(folder, name), parts[1:], inner, folders_only=folders_only)


def _folders_below(tree: Tree, folder: str, below: str, most: int) -> Iterator[str]:
    yield below
    if most:
        for name in tree.scan_if_there(_joined(folder, below)).folders:
            if name[0] != ".":
                yield from _folders_below(tree, folder, _joined(below, name), most - 1)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _names(part: str) -> list[str]:
    return [FOLDERS] if part == FOLDERS else [match[1] for match in _PLACEHOLDER.finditer(part)]


def _written(match: re.Match[str], fields: Mapping[str, str], offset: int) -> str:
    name, digits = match[1], match[2]
    text = fields[name]
    if digits is None and not (offset and name == "frame"):
        return text
    if not (text.isascii() and text.isdecimal()) or (name == "frame" and int(text) + offset < 0):
        raise InputError(
            "a frame's name is not the number that a template or `offset` needs",
            where=match[0],
            expected="a whole number, 0 or more",
            found=text if not text.isdecimal() else f"{text} with offset {offset}",
        )
    number = int(text) + (offset if name == "frame" else 0)
    width = int(digits or 0) if digits is not None else len(text) if text.startswith("0") else 0
    return f"{number:0{width}d}"


@lru_cache(maxsize=4096)
def _pattern(part: str, known: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """Return the expression for one path component, with placeholders that are known filled in."""
    return re.compile(_expression(part, dict(known), set()))


@lru_cache(maxsize=64)
def _whole_pattern(text: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts = text.split("/")
    folders = (
        "(?P<_folders>(?:[^/]+/)*)" if part == FOLDERS else f"{_expression(part, {}, seen)}/" for part in parts[:-1]
    )
    return re.compile("".join(folders) + _expression(parts[-1], {}, seen))


def _expression(part: str, known: Mapping[str, str], seen: set[str]) -> str:
    expression, at = "", 0
    for piece in _PIECE.finditer(part):
        expression += re.escape(part[at : piece.start()])
        at = piece.end()
        name, is_number = piece[1], piece[2] is not None
        if name is None:
            expression += "[^/]*"
        elif name in known:
            expression += re.escape(known[name])
        elif name in seen:
            expression += f"(?P={name})"
        else:
            expression += f"(?P<{name}>{'[0-9]+' if is_number else '[^/]+'})"
            seen.add(name)
    return expression + re.escape(part[at:])
