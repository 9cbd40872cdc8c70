"""The files of a folder as groups, each with the path template that describes it.

Digits that vary in a file's name are its frame; folders that hold the same kinds of files are scenes, unless their
names say what is in them (``depth`` and ``rgb`` may hold files of the same names). One listing, no file is opened: 2 s
for 200,000 files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from depthforge.sources.file_tree import Listing, Tree
from depthforge.sources.proposing.scene_names import Named, Pattern, scenes_in
from depthforge.sources.proposing.words import roles_of

__all__ = ["Group", "groups_of"]

_DIGITS: Final = re.compile(r"\d+")
_PLACEHOLDERS: Final = ("scene", "sequence", "part", "part4", "part5", "part6", "part7", "part8")
_MOST_LEVELS: Final = 8
_MOST_COMPARED: Final = 64
Shape = tuple[str, str]
"""A folder with its digits masked, and a file's name with them masked."""


@dataclass(frozen=True)
class Group:
    """Files that one template describes, and the placeholders of each by its path."""

    template: str
    files: Mapping[str, Mapping[str, str]]
    suffix: str
    names: tuple[str, ...] = field(default=())

    @property
    def has_frame(self) -> bool:
        """Whether a name of its files says which frame it is of."""
        return "frame" in self.names

    @property
    def own_name(self) -> str:
        """The last part of the template, without placeholders and suffix."""
        return self.template.rpartition("/")[2].removesuffix(self.suffix)

    def in_names(self, known: Set[str]) -> Group:
        """Return the group with a placeholder written out that is not ``known`` and has one value: sparse/0, say."""
        values = {name: {fields[name] for fields in self.files.values()} for name in self.names if name not in known}
        template = self.template
        for name, found in values.items():
            if len(found) == 1 and name != "frame":
                template = template.replace(f"{{{name}}}", next(iter(found)))
        return _made(template, self.files, self.suffix)

    def sample(self, count: int) -> list[str]:
        """Return up to ``count`` paths, evenly spaced."""
        paths = sorted(self.files)
        wanted = min(count, len(paths))
        return [paths[(2 * index + 1) * len(paths) // (2 * wanted)] for index in range(wanted)]


def groups_of(tree: Tree) -> list[Group]:
    """Return the groups of all files in a tree, in order of template; names that begin with a dot are left out."""
    found = _Grouping(tree)
    found.walk([("", {})], "", 0)
    return sorted(found.groups, key=lambda group: group.template)


class _Grouping:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._listings: dict[str, Listing] = {}
        self.groups: list[Group] = []

    def walk(self, folders: Sequence[tuple[str, Mapping[str, str]]], template: str, level: int) -> None:
        """Add the groups of folders that one template describes, and of those below them."""
        shapes: dict[str, list[Named]] = {}
        below: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
        for folder, fields in folders:
            listing = self._scan(folder)
            for name in listing.files:
                if name[0] != "." and not set(name) & set("{}*"):
                    shapes.setdefault(_masked(name), []).append((folder, name, fields))
            for name in listing.folders:
                if name[0] != "." and not set(name) & set("{}*"):
                    below.setdefault(name, []).append((_joined(folder, name), fields))
        for found, pattern in scenes_in(list(shapes.values()), template):
            self.groups.append(_group(found, template) if pattern is None else _named(found, pattern, template))
        if level < _MOST_LEVELS:
            for names in self._alike(below):
                self._descend({name: below[name] for name in names}, template, level)

    def _descend(self, below: Mapping[str, list[tuple[str, Mapping[str, str]]]], template: str, level: int) -> None:
        name = next(iter(below))
        if len(below) == 1 and (roles_of(name) or not _DIGITS.search(name)):
            self.walk(below[name], _joined(template, name), level + 1)
            return
        placeholder = next(each for each in _PLACEHOLDERS if f"{{{each}}}" not in template)
        inner = [(path, {**fields, placeholder: name}) for name, each in below.items() for path, fields in each]
        self.walk(inner, _joined(template, f"{{{placeholder}}}"), level + 1)

    def _alike(self, below: Mapping[str, list[tuple[str, Mapping[str, str]]]]) -> Iterator[list[str]]:
        """Yield the names of folders that are scenes beside each other together, every other one alone."""
        clusters: list[tuple[set[Shape], set[Shape], list[str]]] = []
        for name in sorted(below):
            shapes, kinds = self._shapes(below[name][0][0]), self._shapes(below[name][0][0], any_name=True)
            for known, known_kinds, names in clusters:
                share = len(shapes & known) / max(1, min(len(shapes), len(known)))
                differ_in_digits = _DIGITS.sub("0", name) == _DIGITS.sub("0", names[0])
                if (share >= 0.5 or (kinds and kinds == known_kinds)) and (
                    differ_in_digits or not (roles_of(name) or roles_of(names[0]))
                ):
                    names.append(name)
                    known |= shapes
                    break
            else:
                clusters.append((shapes, kinds, [name]))
        for _, _, names in clusters:
            yield names

    def _shapes(self, folder: str, inside: str = "", level: int = 0, *, any_name: bool = False) -> set[Shape]:
        """Return the shapes below a folder; ``any_name``: folders that do not say what is in them are all the same."""
        listing = self._scan(folder)
        shapes = {(inside, _masked(name)) for name in listing.files if name[0] != "."}
        if level < _MOST_LEVELS:
            for name in listing.folders[:_MOST_COMPARED]:
                if name[0] != ".":
                    inner = _joined(inside, "*" if any_name and not roles_of(name) else _DIGITS.sub("0", name))
                    shapes |= self._shapes(_joined(folder, name), inner, level + 1, any_name=any_name)
        return shapes

    def _scan(self, folder: str) -> Listing:
        if folder not in self._listings:
            self._listings[folder] = self._tree.scan_if_there(folder)
        return self._listings[folder]


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _masked(name: str) -> str:
    """Return a file's name with its digits as 0; those of its suffix, as in .hdf5, stay."""
    stem, dot, suffix = name.rpartition(".")
    return f"{_DIGITS.sub('0', stem)}{dot}{suffix.lower()}" if stem else _DIGITS.sub("0", name)


def _named(found: Sequence[Named], pattern: Pattern, folder: str) -> Group:
    """Return the group of files whose names are a scene and a frame, whatever placeholders the folder has."""
    placeholder = next(each for each in _PLACEHOLDERS if f"{{{each}}}" not in folder)
    template = _joined(folder, pattern.text.replace("{scene}", f"{{{placeholder}}}"))
    files = {
        _joined(place, name): {**fields, **{placeholder if key == "scene" else key: own[key] for key in own}}
        for (place, name, fields), own in zip(found, pattern.fields, strict=True)
    }
    suffix = pattern.text[pattern.text.rindex("}") + 1 :]
    return _made(template, files, suffix[suffix.rindex(".") :] if "." in suffix else "")


def _group(found: Sequence[Named], folder: str) -> Group:
    """Return the group of files (folder, name, placeholders) whose masked names are the same."""
    first = found[0][1]
    stem, dot, ending = first.rpartition(".")
    suffix = f".{ending}" if stem and dot else ""
    runs = [[*_DIGITS.finditer(name.removesuffix(suffix) if suffix else name)] for _, name, _ in found]
    runs = runs if len({len(each) for each in runs}) == 1 else [[] for _ in found]
    varying = [at for at in range(len(runs[0])) if len({each[at][0] for each in runs}) > 1]
    if not varying and runs[0] and len(found) == 1 and not roles_of(first.removesuffix(suffix)):
        varying = [len(runs[0]) - 1]
    if not varying:
        template = _joined(folder, first)
        return _made(template, {_joined(place, name): fields for place, name, fields in found}, suffix)
    spans = _spans(first, runs[0], varying)
    pieces, files, at = [], {}, 0
    start = spans[-1][0]
    zeros = _zeros_before([each[start][0] for each in runs]) if spans[-1] == (start, start) else 0
    for number, (low, high) in enumerate(spans):
        is_frame = number == len(spans) - 1
        name = "frame" if is_frame else f"number{number + 1}"
        begin = runs[0][low].start() + (zeros if is_frame else 0)
        pieces.append(f"{first[at:begin]}{{{name}}}")
        at = runs[0][high].end()
    template = _joined(folder, "".join(pieces) + first[at:])
    for (place, name, fields), each in zip(found, runs, strict=True):
        own = {
            ("frame" if number == len(spans) - 1 else f"number{number + 1}"): name[
                each[low].start() + (zeros if number == len(spans) - 1 else 0) : each[high].end()
            ]
            for number, (low, high) in enumerate(spans)
        }
        files[_joined(place, name)] = {**fields, **own}
    return _made(template, files, suffix)


def _spans(name: str, runs: Sequence[re.Match[str]], varying: Sequence[int]) -> list[tuple[int, int]]:
    """Return (first, last) run of each placeholder: numbers with only ``.``, ``_`` or ``-`` between are one."""
    spans = [(varying[0], varying[0])]
    for before, at in pairwise(varying):
        between = name[runs[before].end() : runs[at].start()]
        if at == before + 1 and between in (".", "_", "-"):
            spans[-1] = (spans[-1][0], at)
        else:
            spans.append((at, at))
    return spans


def _zeros_before(numbers: Sequence[str]) -> int:
    """Return how many zeros stand before numbers of different lengths, as in ``00``, ``01``, ``010``."""
    if len({len(number) for number in numbers}) == 1:
        return 0
    zeros = 0
    while all(len(number) > zeros + 1 and number[zeros] == "0" for number in numbers):
        zeros += 1
    return zeros


def _made(template: str, files: Mapping[str, Mapping[str, str]], suffix: str) -> Group:
    names = tuple(re.findall(r"\{(\w+)\}", template))
    return Group(template, files, suffix, names)
