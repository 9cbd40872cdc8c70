"""A URL where a folder is meant: one clear usage error, and nothing made."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.addresses import address_of
from depthforge.errors import InputError
from depthforge.manifest_file import load_manifest

REFUSED = ("s3a://bucket/corpus", "gcs://bucket/corpus", "s3:x", "https://host/x")
URLS = ("s3://bucket/corpus", "gs://bucket/corpus", "s3:x")


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    value = {
        "name": "t",
        "source": {"name": "procedural", "num_scenes": 1, "frames_per_scene": 1},
        "translator": {"name": "identity"},
        "corpus": {"out": "out"},
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(value))
    return tmp_path / "m.yaml"


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize(
    "command",
    [
        ("synthesize", "m.yaml", "--inline", "--out"),
        ("convert", "m.yaml", "--inline", "--out"),
        ("verify",),
        ("inspect",),
        ("evaluate", "--real", "m.yaml"),
        ("report",),
        ("rejects",),
    ],
    ids=" ".join,
)
def test_a_url_where_no_corpus_lies_is_a_usage_error(
    depthforge: Any, manifest: Path, command: tuple[str, ...], url: str
) -> None:
    outcome = depthforge(*command, url)
    assert outcome.code == 2, outcome.err
    assert url in outcome.err
    assert "s3://bucket/prefix" in outcome.err
    assert [path.name for path in manifest.parent.iterdir()] == ["m.yaml"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "command",
    [("evaluate", "somewhere", "--real"), ("sample", "--layout", "kitti"), ("init",)],
    ids=" ".join,
)
def test_a_url_where_only_a_folder_can_be_is_a_usage_error(
    depthforge: Any, manifest: Path, command: tuple[str, ...], url: str
) -> None:
    outcome = depthforge(*command, url)
    assert outcome.code == 2, outcome.err
    assert url.partition("://")[0] in outcome.err
    assert "mounted file systems" in outcome.err
    assert "copy" in outcome.err
    assert [path.name for path in manifest.parent.iterdir()] == ["m.yaml"]


@pytest.mark.parametrize(
    "url", ["s3://AKIA:s3cr/et@bucket/x", "s3://bucket/x?X-Amz-Signature=s3cr/et", "https://user:s3cr/et@host/x"]
)
def test_a_credential_in_a_url_is_refused_and_not_said_again(
    depthforge: Any, manifest: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = yaml.safe_load(manifest.read_text())
    for command in (
        ("synthesize", "m.yaml", "--inline", "--out", url),
        ("verify", url),
        ("train", "m.yaml", "--out", url),
        ("sample", "--layout", "kitti", url),
    ):
        outcome = depthforge(*command)
        assert outcome.code == 2
        assert "et@" not in outcome.err + outcome.out
        assert "s3cr" not in outcome.err + outcome.out
    for part in ({"corpus": {"out": url}}, {"training": {"real": {"name": "procedural"}, "out": url}}):
        manifest.write_text(yaml.safe_dump({**value, **part}))
        outcome = depthforge("synthesize", "m.yaml", "--inline")
        assert outcome.code == 3
        assert "s3cr" not in outcome.err + outcome.out
        with pytest.raises(InputError) as caught:
            load_manifest(manifest)
        assert "s3cr" not in "".join(traceback.format_exception(caught.value))


def test_a_tilde_is_home_wherever_it_was_quoted(
    depthforge: Any, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = manifest.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    value = yaml.safe_load(manifest.read_text())
    small = {**value["source"], "width": 32, "height": 24}
    manifest.write_text(yaml.safe_dump({**value, "source": small, "corpus": {"out": "~/by manifest"}}))
    assert depthforge("convert", "m.yaml", "--inline").code == 0
    assert depthforge("convert", "m.yaml", "--inline", "--out", "~/by option").code == 0
    assert sorted(path.name for path in home.iterdir()) == ["by manifest", "by option"]
    assert not (manifest.parent / "~").exists()
    unknown = depthforge("convert", "m.yaml", "--inline", "--out", "~nobody-of-this-name/x")
    assert unknown.code == 2
    assert "nobody knows which folder ~ is" in unknown.err


@pytest.mark.parametrize("path", ["$HOME/d", "/data/$SETS/d", "$HOME", "${HOME}/d"])
def test_a_variable_that_nobody_filled_in_is_named(depthforge: Any, manifest: Path, path: str) -> None:
    outcome = depthforge("convert", "m.yaml", "--inline", "--out", path)
    assert outcome.code == 2
    assert "nobody has filled in $" in outcome.err
    if "{" not in path:
        value = yaml.safe_load(manifest.read_text())
        manifest.write_text(yaml.safe_dump({**value, "source": {"name": "tum", "root": path}}))
        for command in (("check", "m.yaml"), ("synthesize", "m.yaml", "--inline")):
            outcome = depthforge(*command)
            assert outcome.code == 3
            variable = "SETS" if "SETS" in path else "HOME"
            assert f"nobody has filled in ${variable}" in outcome.err
            assert f"in a manifest write ${{{variable}}} (or ~ for the home)" in outcome.err
            assert "m.yaml, line 4" in outcome.err
    assert [path.name for path in manifest.parent.iterdir()] == ["m.yaml"]


def test_a_dollar_in_a_name_is_a_dollar(depthforge: Any, manifest: Path) -> None:
    for name in ("$RECYCLE.BIN", "a$b", "5$"):
        assert depthforge("convert", "m.yaml", "--dry-run", "--out", name).code == 0


@pytest.mark.parametrize("url", URLS)
def test_a_url_as_the_root_of_a_source_that_reads_folders_is_named(depthforge: Any, manifest: Path, url: str) -> None:
    value = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump({**value, "source": {"name": "graspnet", "root": url}}))
    for command in (("check", "m.yaml"), ("synthesize", "m.yaml", "--dry-run")):
        outcome = depthforge(*command)
        assert outcome.code == 3, outcome.err
        assert "a URL is no folder" in outcome.err


def test_a_url_of_another_kind_in_a_manifest_is_an_error_of_its_field(manifest: Path) -> None:
    value = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump({**value, "corpus": {"out": "s3a://bucket/corpus"}}))
    with pytest.raises(InputError, match="no corpus lies at a URL of this kind") as caught:
        load_manifest(manifest)
    assert "m.yaml, line 2, column 3: corpus.out" in str(caught.value)
    training = {"real": {"name": "procedural"}, "out": "s3a://bucket/translator"}
    manifest.write_text(yaml.safe_dump({**value, "training": training}))
    with pytest.raises(InputError, match="no corpus lies at a URL of this kind") as caught:
        load_manifest(manifest)
    assert "training.out" in str(caught.value)


@pytest.mark.parametrize("written", ["s3://bucket/a/b", "s3://bucket/a/b/", "S3://bucket/a/b"])
def test_a_url_in_a_manifest_is_written_in_one_way(manifest: Path, written: str) -> None:
    value = yaml.safe_load(manifest.read_text())
    manifest.write_text(yaml.safe_dump({**value, "corpus": {"out": written}}))
    assert load_manifest(manifest).corpus.out == "s3://bucket/a/b"


def test_a_path_that_was_a_url_is_one_again() -> None:
    assert address_of(Path("s3://bucket/a/b")) == "s3://bucket/a/b"
    with pytest.raises(InputError, match="of this kind"):
        address_of("s3:/bucket/a")


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://b", "s3://bucket/a/../b", "s3://bucket//a", "gs://-x/y"])
def test_a_url_without_a_sound_bucket_and_prefix_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="no place in an object store"):
        address_of(url)
