"""Files beside each other whose names begin with a scene, as ``Bedroom_06.png`` and ``rgb_Bedroom_06.png``, as a group.

The words of a name that say what is in the file (``rgb``) stay in the template, the rest is the scene and a number at
its end. Files of other words are put together only where the names themselves say that the words are scenes: their
folder says what is in it (``depth/``), or the same words stand beside another kind of file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from depthforge.sources.proposing.words import roles_of, words_of

__all__ = ["Named", "Pattern", "scenes_in"]

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_BETWEEN: Final = "._- "
_NUMBER_FIRST: Final = re.compile(r"\d+(?:[._\- ]|$)")
_NUMBERED: Final = re.compile(r"(.*[^\d._\- ])([._\- ]*)(\d+)")

Named = tuple[str, str, Mapping[str, str]]
"""A folder, the name of a file in it, and what the placeholders of the folder are."""


class Pattern(NamedTuple):
    """The last part of a template, and what its placeholders (``scene`` and ``frame``) are in each file."""

    text: str
    fields: list[dict[str, str]]


class _Split(NamedTuple):
    before: str
    said: str
    after: str


def scenes_in(shapes: Sequence[list[Named]], folder: str) -> Iterator[tuple[list[Named], Pattern | None]]:
    """Yield the files of a folder in groups: of several shapes with the pattern of all, of one alone with None."""
    kinds: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for index, found in enumerate(shapes):
        stem, suffix = _stem(found[0][1])
        kinds.setdefault((suffix.lower(), tuple(roles_of(stem))), []).append(index)
    rests = {kind: {_rest(shapes[index][0][1]) for index in each} for kind, each in kinds.items()}
    is_said = bool(roles_of(folder.rpartition("/")[2]))
    taken: set[int] = set()
    for kind, each in kinds.items():
        beside = any(rests[kind] <= rests[other] for other in kinds if other[1] != kind[1])
        if len(each) < 2 or "" in rests[kind] or not (beside or (is_said and not kind[1])):
            continue
        files = [file for index in each for file in shapes[index]]
        pattern = _pattern([name for _, name, _ in files])
        if pattern is not None:
            taken |= {*each}
            yield files, pattern
    for index, found in enumerate(shapes):
        if index not in taken:
            yield found, None


def _stem(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, f".{ending}") if stem and dot else (name, "")


def _rest(name: str) -> str:
    """Return the words of a name that do not say what is in the file, without numbers."""
    return " ".join(word for word in words_of(_stem(name)[0]) if not roles_of(word) and not word.isdecimal())


def _split(stem: str) -> _Split:
    """Return what stands before, in and after the words of a name that say what is in the file."""
    spans = [match.span() for match in _WORD.finditer(stem) if roles_of(match[0])]
    if not spans:
        return _Split("", "", stem)
    before, after = stem[: spans[0][0]], stem[spans[-1][1] :]
    head, tail = before.rstrip(_BETWEEN), after.lstrip(_BETWEEN)
    return _Split(head, stem[len(head) : len(stem) - len(tail)], tail)


def _pattern(names: Sequence[str]) -> Pattern | None:
    """Return the pattern of names that differ in one part, or in a scene and a number; None where there is none."""
    suffix = _stem(names[0])[1]
    splits = [_split(_stem(name)[0]) for name in names]
    if len({each.said for each in splits}) > 1:
        return None
    said = splits[0].said
    befores, afters = [each.before for each in splits], [each.after for each in splits]
    if all(befores) and all(after.isdecimal() for after in afters):
        fields = [{"scene": before, "frame": after} for before, after in zip(befores, afters, strict=True)]
        return Pattern(f"{{scene}}{said}{{frame}}{suffix}", fields)
    if not all(befores if any(befores) else afters) or (any(befores) and any(afters)):
        return None
    varying = befores if any(befores) else afters
    if any(_NUMBER_FIRST.match(each) for each in varying):
        return None  # 0080-opaque and 0080-transparent are two images of a frame, not scenes
    numbered = [_NUMBERED.fullmatch(each) for each in varying]
    between = {match[2] for match in numbered if match is not None}
    if all(numbered) and len(between) == 1 and between != {""}:
        inner = f"{{scene}}{between.pop()}{{frame}}"
        fields = [{"scene": match[1], "frame": match[3]} for match in numbered if match is not None]
    else:
        inner, fields = "{frame}", [{"frame": each} for each in varying]
    return Pattern((f"{inner}{said}" if any(befores) else f"{said}{inner}") + suffix, fields)
