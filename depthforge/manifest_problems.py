"""What is wrong with a manifest, all of it and in words: pydantic's errors, and those of plug-ins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import GenericAlias, UnionType
from typing import NamedTuple, NoReturn, get_args

from pydantic import BaseModel, ValidationError

from depthforge.errors import InputError, ManifestError, closest
from depthforge.yaml_files import FILL_IN, Path, YamlFile

__all__ = ["Problem", "WrongFieldsError", "problems_of", "raise_problems"]


class Problem(NamedTuple):
    """One field that is wrong; ``path`` leads to it from the top of the block or file that was checked."""

    path: Path
    message: str
    expected: str | None = None
    found: str | None = None
    remedy: str | None = None

    def of(self, what: str) -> Problem:
        """Return the problem with ``what`` is wrong before its message."""
        return self._replace(message=f"{what}: {self.message}")


class WrongFieldsError(ManifestError):
    """A manifest, or a block of one, with fields that are wrong; ``problems`` has each."""

    problems: tuple[Problem, ...] = ()


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return every problem of ``error``, unknown fields first: a misspelt one often explains a missing one."""
    found: list[Problem] = []
    for each in error.errors(include_url=False):
        path = tuple(each["loc"])
        cause = each.get("ctx", {}).get("error")
        if isinstance(cause, WrongFieldsError):
            found += [problem._replace(path=path + problem.path) for problem in cause.problems]
        elif isinstance(cause, InputError):
            found.append(Problem(path, cause.message, cause.expected, cause.found, cause.remedy))
        elif each["type"] == "extra_forbidden":
            known = _fields_beside(model, path)
            near = closest(str(path[-1]), known)
            remedy = f"did you mean {near!r}?" if near else None
            found.append(Problem(path, f"unknown field {path[-1]!r}", f"one of: {', '.join(known)}", None, remedy))
        elif each["type"] == "missing":
            found.append(Problem(path, f"the field {path[-1]!r} is missing"))
        else:
            found.append(Problem(path, each["msg"], found=repr(each["input"])))
    return sorted(found, key=lambda problem: not problem.message.startswith("unknown field"))


def raise_problems(
    problems: Sequence[Problem], *, where: object = None, prefix: str = "", file: YamlFile | None = None
) -> NoReturn:
    """Raise WrongFieldsError: one in full, several as a list, each with its line where ``file`` is known.

    ``where`` is the origin of what was checked, ``prefix`` what stands before each path in words.
    """
    blank = [each for each in problems if each.found == repr(FILL_IN)]
    if blank and len(blank) == len(problems):
        _raise_blank(blank, where=where, prefix=prefix, file=file)
    if len(problems) == 1:
        [only] = problems
        place = _place(only, prefix, file)
        error = WrongFieldsError(
            only.message,
            where=f"{where}{'' if place.startswith(',') else ': '}{place}" if where else place.lstrip(", "),
            expected=only.expected,
            found=only.found,
            remedy=only.remedy,
        )
    else:
        lines = [f"{_place(each, prefix, file).lstrip(', ')}: {_sentence(each)}" for each in problems]
        error = WrongFieldsError(
            f"{len(problems)} fields are wrong", where=where, found="".join(f"\n    {line}" for line in lines)
        )
    error.problems = tuple(problems)
    raise error from None


def _raise_blank(problems: Sequence[Problem], *, where: object, prefix: str, file: YamlFile | None) -> NoReturn:
    """Raise WrongFieldsError for what is to be filled in yet: the fields of one block in one line."""
    blocks: dict[tuple[int, str], list[str]] = {}
    for each in problems:
        place = file.place_of(each.path) if file is not None else None
        *block, name = (str(part) for part in ((prefix, *each.path) if prefix else each.path))
        blocks.setdefault((place.line if place is not None else 0, ".".join(block)), []).append(name)
    lines = [
        f"{f'line {line}: ' if line else ''}{f'{block}.' if block else ''}{', '.join(names)}"
        for (line, block), names in sorted(blocks.items())
    ]
    error = WrongFieldsError(
        f"{len(lines)} things are to be filled in yet" if len(lines) > 1 else "one thing is to be filled in yet",
        where=where,
        expected=f"values in place of {FILL_IN}",
        found="".join(f"\n    {line}" for line in lines) if len(lines) > 1 else lines[0],
        remedy="the comments at the top of the file and above each field say what is known of it",
    )
    error.problems = tuple(problems)
    raise error from None


def _place(problem: Problem, prefix: str, file: YamlFile | None) -> str:
    path = ".".join(str(part) for part in ((prefix, *problem.path) if prefix else problem.path))
    place = file.place_of(problem.path) if file is not None else None
    return path if place is None else f", {place}: {path}"


def _sentence(problem: Problem) -> str:
    parts: Iterable[str | None] = (
        problem.message,
        problem.expected and f"expected {problem.expected}",
        problem.found and f"found {problem.found}",
        problem.remedy,
    )
    return "; ".join(part for part in parts if part)


def _fields_beside(model: type[BaseModel], path: Path) -> list[str]:
    """Return the field names that were allowed where the unknown last part of ``path`` stands."""
    for part in path[:-1]:
        if isinstance(part, int):  # in a list, whose items are of the model that was found already
            continue
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        within = get_args(annotation) if isinstance(annotation, UnionType | GenericAlias) else (annotation,)
        models = [each for each in within if isinstance(each, type) and issubclass(each, BaseModel)]
        if len(models) != 1:
            return []
        model = models[0]
    return sorted(model.model_fields)
