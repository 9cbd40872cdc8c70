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
from depthforge.manifest import Manifest, parse_manifest
from depthforge.manifest_file import load_manifest
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
        ({"source": {"name": "procedural", "resize": {"widht": 1}}}, "source.resize.widht", "did you mean 'width'?"),
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


WRITTEN = """\
name: t
source: {name: procedural, num_scenes: 1, frames_per_scene: 1}
translator: identity
labels:
  semantic: off
  instance: no such thing
corpus:
  out: out
  shard_frame: 3
  codec: {name: zst, level: 99}
"""


def test_off_means_off_and_every_problem_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(WRITTEN)
    with pytest.raises(ManifestError, match="4 fields are wrong") as caught:
        load_manifest(path)
    found = str(caught.value.found).split("\n    ")[1:]
    assert len(found) == 4
    assert found[0].startswith("line 9, column 3: corpus.shard_frame: unknown field 'shard_frame'; expected one of:")
    assert found[0].endswith("did you mean 'shard_frames'?")
    assert found[1].startswith("line 6, column 3: labels.instance: Input should be 'required', 'if_present' or 'off'")
    assert "line 10, column 11: corpus.codec.name" in found[2]
    assert "line 10, column 22: corpus.codec.level" in found[3]
    mended = WRITTEN.replace("no such thing", "off").replace("shard_frame:", "shard_frames:")
    path.write_text(mended.split("  codec")[0])
    assert load_manifest(path).labels == {"semantic": "off", "instance": "off"}


def test_a_field_of_a_plug_in_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(WRITTEN.replace("num_scenes", "num_scens").split("labels")[0] + "corpus: {out: out}\n")
    with pytest.raises(ManifestError, match="unknown field 'num_scens'") as caught:
        load_manifest(path)
    assert caught.value.where == f"{path}, line 2, column 28: source.num_scens"
    assert caught.value.remedy == "did you mean 'num_scenes'?"


def test_a_scene_of_digits_keeps_its_zeros(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("name: 000010\nsource: procedural\ntranslator: identity\nlimit: 010\ncorpus: {out: out}\n")
    manifest = load_manifest(path)
    assert (manifest.name, manifest.limit) == ("000010", 10)


def test_a_key_that_is_there_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("name: t\nseed: 1\nsource: procedural\ntranslator: identity\nseed: 2\ncorpus: {out: out}\n")
    with pytest.raises(ManifestError, match="'seed' is there twice") as caught:
        load_manifest(path)
    assert caught.value.where == f"{path}, line 5, column 1"


def test_what_is_to_be_filled_in_is_one_message_of_one_line_a_block(tmp_path: Path) -> None:
    path = tmp_path / "proposed.yaml"
    path.write_text(
        "name: x\nsource:\n  name: rgbd_folder\n  root: .\n  depth: '{frame}.png'\n  depth_scale: FILL_IN\n"
        "  camera: {width: 4, height: 3, fx: FILL_IN, fy: FILL_IN, cx: FILL_IN, cy: FILL_IN}\n  pose: FILL_IN\n"
        "translator: identity\ncorpus: {out: corpora/x}\n"
    )
    with pytest.raises(ManifestError, match="3 things are to be filled in yet") as caught:
        load_manifest(path)
    assert caught.value.found is not None
    assert [line.strip() for line in str(caught.value.found).splitlines() if line] == [
        "line 6: source.depth_scale",
        "line 7: source.camera.fx, fy, cx, cy",
        "line 8: source.pose",
    ]
