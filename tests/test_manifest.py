from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.errors import ManifestError, MissingDataError, UnknownNameError
from depthforge.manifest import Manifest, load_manifest, parse_manifest
from depthforge.manifest_schema import manifest_schema

GOOD: dict[str, Any] = {
    "name": "tiny",
    "source": {"name": "procedural", "num_scenes": 2},
    "translator": {"name": "simulation"},
    "corpus": {"out": "corpora/tiny"},
}


def parsed(**changes: Any) -> Manifest:
    return parse_manifest({**GOOD, **changes}, where="test.yaml")


def test_defaults_are_resolved_and_saved() -> None:
    portable = parsed().portable()
    assert portable["seed"] == 0
    assert portable["splits"] == {"train": 1.0}
    assert portable["corpus"] == {
        "shard_frames": 256,
        "depth": {"dtype": "uint16", "scale_m": 0.001, "max_depth_m": None},
        "codec": {"name": "zstd", "level": 1},
        "colour": "as_shipped",
        "jpeg_quality": 95,
    }
    assert portable["source"]["num_scenes"] == 2
    json.dumps(portable, allow_nan=False)


def test_no_path_of_this_machine_is_portable(tmp_path: Path) -> None:
    manifest = parsed(source={"name": "interiornet", "root": str(tmp_path)}, corpus={"out": str(tmp_path / "out")})
    assert str(tmp_path) not in json.dumps(manifest.portable())


def test_a_manifest_pickles() -> None:
    manifest = parsed()
    assert pickle.loads(pickle.dumps(manifest)) == manifest


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"sead": 3}, "sead", "did you mean 'seed'?"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"source": {"name": "procedural", "num_scene": 2}}, "source.num_scene", "did you mean 'num_scenes'?"),
        ({"corpus": {"out": "x", "depth": {"scale": 1}}}, "corpus.depth.scale", "scale_m"),
        ({"corpus": {}}, "corpus.out", "missing"),
        ({"splits": {"train": 0.5}}, "splits", "sum to 1"),
        ({"splits": {"Train-1": 1.0}}, "splits", "lower-case"),
        ({"labels": {"rgb": "yes"}}, "labels.rgb", "required"),
        ({"name": "Has Spaces"}, "name", "match"),
        ({"translator": 7}, "translator", "a mapping with a name"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parsed(**changes)
    assert place in str(caught.value)
    assert words in str(caught.value)
    assert "test.yaml" in str(caught.value)


@pytest.mark.parametrize(("field", "name"), [("source", "interiornt"), ("translator", "simulatoin")])
def test_an_unknown_plugin_is_named_with_the_closest(field: str, name: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        parsed(**{field: {"name": name}})


def test_variables_are_filled_with_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "name": "${WHAT:-fallback}", "corpus": {"out": "${ROOT_OF_IT}/x"}}))
    monkeypatch.setenv("ROOT_OF_IT", "/somewhere")
    monkeypatch.delenv("WHAT", raising=False)
    manifest = load_manifest(path)
    assert manifest.name == "fallback"
    assert manifest.corpus.out == Path("/somewhere/x")


def test_a_missing_variable_says_how_to_try_without_data(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTERIORNET_ROOT", raising=False)
    with pytest.raises(ManifestError) as caught:
        load_manifest(repository / "manifests" / "interiornet.yaml")
    text = str(caught.value)
    assert "INTERIORNET_ROOT is not set" in text
    assert "source.root" in text
    assert "depthforge sample --layout interiornet DIR" in text


def test_a_missing_manifest_lists_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("")
    with pytest.raises(MissingDataError, match=r"did you mean .*demo\.yaml"):
        load_manifest(tmp_path / "dmo.yaml")


@pytest.mark.parametrize(("text", "words"), [("a: [", "not YAML"), ("- a", "mapping"), ("", "mapping")])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=words):
        load_manifest(path)


def test_the_command_line_lies_over_the_manifest() -> None:
    manifest = parsed(seed=1).overridden(out=Path("elsewhere"), seed=5, limit=7, translator="identity")
    assert (manifest.corpus.out, manifest.seed, manifest.limit) == (Path("elsewhere"), 5, 7)
    assert manifest.translator.name == "identity"
    assert parsed(seed=1).overridden() == parsed(seed=1)


def test_the_schema_covers_every_plugin() -> None:
    schema = manifest_schema()
    names = {variant["properties"]["name"]["const"] for variant in schema["properties"]["source"]["oneOf"]}
    assert {"interiornet", "procedural", "rgbd_folder"} <= names
    assert set(schema["required"]) == {"name", "source", "translator", "corpus"}


def test_every_shipped_manifest_loads(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in sorted((repository / "manifests").glob("*.yaml")):
        for variable in re.findall(r"\$\{(\w+)\}", path.read_text()):
            monkeypatch.setenv(variable, str(tmp_path))
        assert load_manifest(path).name


def test_a_manifest_is_imported_without_numpy_and_torch() -> None:
    code = "import sys, depthforge.manifest; print({'numpy', 'torch', 'ray'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
