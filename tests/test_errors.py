from __future__ import annotations

import inspect
import pickle

import pytest

from depthforge import errors
from depthforge.errors import DepthforgeError, InputError, ManifestError, UnknownNameError, told

ALL = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, DepthforgeError)]


def test_every_error_is_exported() -> None:
    assert {cls.__name__ for cls in ALL} <= set(errors.__all__)


@pytest.mark.parametrize(
    ("cls", "builtin", "exit_code"),
    [
        (errors.ManifestError, ValueError, 3),
        (errors.MissingDataError, FileNotFoundError, 3),
        (errors.UnknownNameError, LookupError, 3),
        (errors.MissingLabelError, LookupError, 3),
        (errors.MissingDependencyError, ImportError, 5),
        (errors.CorpusBusyError, BlockingIOError, 5),
        (errors.CorpusMismatchError, ValueError, 3),
        (errors.StorageError, OSError, 5),
        (errors.IncompleteError, DepthforgeError, 5),
        (errors.IntegrityError, DepthforgeError, 6),
    ],
)
def test_errors_are_builtins_with_exit_codes(cls: type[DepthforgeError], builtin: type, exit_code: int) -> None:
    assert issubclass(cls, builtin)
    assert cls.exit_code == exit_code


def test_message_says_what_where_expected_found_and_remedy() -> None:
    error = InputError("the depth is wrong", where="a.png", expected="uint16", found="uint8", remedy="convert it")
    assert str(error).splitlines() == [
        "the depth is wrong",
        "  where:    a.png",
        "  expected: uint16",
        "  found:    uint8",
        "  try:      convert it",
    ]


@pytest.mark.parametrize("cls", ALL)
def test_errors_survive_a_process_boundary(cls: type[DepthforgeError]) -> None:
    if cls is UnknownNameError:
        error: DepthforgeError = UnknownNameError("source", "interiornt", ["interiornet", "procedural"], where="here")
    else:
        error = cls("what", where="where", expected=1, found=2, remedy="next")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)


def test_unknown_name_lists_the_known_and_the_closest() -> None:
    text = str(UnknownNameError("source", "interiornt", ["procedural", "interiornet"]))
    assert "unknown source 'interiornt'" in text
    assert "one of: interiornet, procedural" in text
    assert "did you mean 'interiornet'?" in text


def test_few_things_are_all_told_and_of_many_the_one_unlike_the_others() -> None:
    assert told([]) == "nothing"
    assert told([], none="an empty folder") == "an empty folder"
    assert told(range(20)) == ", ".join(map(str, range(20)))
    many = [f"depth_{number:04d}.png" for number in range(1000)] + ["poses.txt"]
    told_of_many = told(many, joint="; ")
    assert told_of_many.startswith("depth_0000.png; poses.txt; depth_0001.png; ")
    assert told_of_many.endswith("; depth_0018.png and 981 more")


def test_manifest_error_is_an_input_error() -> None:
    with pytest.raises(ValueError, match="field"):
        raise ManifestError("a field")
