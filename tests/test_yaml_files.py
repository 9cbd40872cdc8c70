"""YAML 1.2 as plain values with their lines, and every way in which a file is not that."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from depthforge.errors import ManifestError
from depthforge.yaml_files import Place, parse_yaml


def value(text: str) -> object:
    return parse_yaml(text, where="m.yaml").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", "off"),
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("000010", "000010"),
        ("012", "012"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("'12'", "12"),
        ('"~"', "~"),
        ("a b", "a b"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, expected: object) -> None:
    found = value(f"a: {text}")
    assert found == {"a": expected}
    assert type(found["a"]) is type(expected)  # type: ignore[index]


def test_lines_and_columns_are_those_of_the_keys() -> None:
    file = parse_yaml("a: 1\nb:\n  c: [1, 22]\n  d: {e: 5}\n", where="m.yaml")
    assert file.value == {"a": 1, "b": {"c": [1, 22], "d": {"e": 5}}}
    assert file.places["a",] == Place(1, 1)
    assert file.places["b", "c"] == Place(3, 3)
    assert file.places["b", "c", 1] == Place(3, 10)
    assert file.place_of(("b", "d", "e")) == Place(4, 7)
    assert file.place_of(("b", "d", "missing", "more")) == Place(4, 3)
    assert file.place_of(()) is None
    assert str(Place(3, 10)) == "line 3, column 10"


def test_anchors_are_copied_and_a_merge_gives_way() -> None:
    assert value("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\nc: *x") == {
        "a": {"k": 1, "l": 2},
        "b": {"k": 3, "l": 2},
        "c": {"k": 1, "l": 2},
    }


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is there twice", "line 3, column 1"),
        ("a: {b: {c: 1, c: 2}}", "'c' is there twice", "line 1, column 15"),
        ("a: [1\nb: 2", "not YAML", "line 2, column 2"),
        ("a: b: c", "not YAML", "line 1, column 5"),
        ("\ta: 1", "not YAML", "line 1, column 1"),
        ("a: *x", "not YAML", "line 1, column 4"),
        ("a: 1\n---\nb: 2", "not YAML", "line 2, column 1"),
        ("? [1, 2]\n: 3", "a key is a word", "line 1, column 3"),
        ("a: !!python/object:os.system x", "a tag", "line 1, column 4"),
        ("a: !thing x", "a tag", "line 1, column 4"),
        ("a: &x [*x]", "contains itself", "line 1, column 4"),
        ("a: {<<: 3}", "not YAML", "line 1, column 9"),
        ("%YAML 1.1\n---\na: yes", "another version", "line 1"),
        ("%YAML:1.0\n---\na: 1", "another version", "line 1"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line(text: str, message: str, where: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        value(text)
    assert caught.value.where == f"m.yaml, {where}"


def test_aliases_of_aliases_end() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(ManifestError, match="too many values"):
        value(text)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=60))
def test_any_text_is_a_value_or_a_manifest_error(text: str) -> None:
    with suppress(ManifestError):
        parse_yaml(text, where="m.yaml")
