"""What a table may ask for, and what it is told when it asks for something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from depthforge.errors import ManifestError, UnknownNameError
from depthforge.manifest_file import load_manifest
from depthforge.tasks.table_manifest import TableManifest, load_table

TABLE: dict[str, Any] = {
    "name": "t",
    "task": {"name": "enhancement", "setting": "small", "steps": 3},
    "real": {"corpus": "real"},
    "rows": [{"name": "a", "corpus": "noisy"}, {"name": "b", "supervised": True}],
    "out": "tables/t",
}


def written(folder: Path, **fields: Any) -> Path:
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump({**TABLE, **fields}))
    return path


def test_a_table_is_read_with_shares_in_per_cent(tmp_path: Path) -> None:
    rows = [{"name": "a", "corpus": "noisy", "finetune": "10%"}, {"name": "b", "corpus": "noisy", "finetune": 0.25}]
    table = load_table(written(tmp_path, rows=rows))
    assert [row.finetune for row in table.rows] == [0.1, 0.25]
    assert table.real.test.part == (0.5, 1.0)
    assert [row.name for row in table.chosen(("b",))] == ["b"]


def test_shipped_tables_load_and_name_what_is_there(repository: Path) -> None:
    paths = sorted((repository / "manifests" / "eval").glob("*.yaml"))
    assert {path.stem for path in paths} >= {"enhancement", "normals"}
    for path in paths:
        table = load_table(path)
        assert table.name == path.stem
        assert table.task.name == {"ablation": "enhancement"}.get(path.stem, path.stem)
        assert table.clean is not None
        assert (repository / table.clean).exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rows": [{"name": "a"}]}, "say one of corpus, manifest, translator, supervised, untrained, not none"),
        ({"rows": [{"name": "a", "corpus": "x", "supervised": True}]}, "not corpus and supervised"),
        ({"rows": [{"name": "a", "supervised": True}] * 2}, "two rows have the same name"),
        ({"rows": [{"name": "a", "translator": "identity"}]}, "needs `clean`"),
        ({"rows": [{"name": "a", "supervised": True, "finetune": 0.1}]}, "goes on from a network of another corpus"),
        ({"rows": [{"name": "a", "translater": "identity"}]}, "did you mean 'translator'"),
        ({"real": {}}, "name either `corpus` or `manifest`"),
        ({"real": {"corpus": "x", "test": {"part": [0.5, 0.5]}}}, "the smaller first"),
        ({"task": {"name": "enhancment"}}, "enhancement"),
        ({"task": {"name": "enhancement", "epoch": 3}}, "did you mean 'epochs'"),
        ({"seeds": [1, 1]}, "a seed is there twice"),
        ({"task": {"name": "normals"}, "published": "ablation"}, "the published ablation is of enhancement"),
    ],
)
def test_what_is_wrong_is_told_in_words(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    with pytest.raises((ManifestError, UnknownNameError)) as raised:
        load_table(written(tmp_path, **fields))
    assert words in str(raised.value)


def test_a_row_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownNameError, match="'c'"):
        TableManifest.model_validate(TABLE).chosen(("c",))


def test_a_table_is_no_manifest_of_a_conversion(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="manifest of a table") as raised:
        load_manifest(written(tmp_path))
    assert "depthforge evaluate" in str(raised.value)


def test_a_row_says_how_it_is_brought_to_the_real_frames(tmp_path: Path) -> None:
    rows = [
        {"name": "a", "corpus": "noisy", "adaptation": "dann"},
        {"name": "b", "corpus": "noisy", "adaptation": {"method": "uan", "hidden": 64}},
    ]
    first, second = load_table(written(tmp_path, rows=rows)).rows
    assert first.adaptation is not None
    assert (first.adaptation.method, first.adaptation.hidden) == ("dann", 1024)
    assert second.adaptation is not None
    assert (second.adaptation.method, second.adaptation.hidden) == ("uan", 64)
    with pytest.raises(ManifestError, match="adaptation is of a network that another corpus trains"):
        load_table(written(tmp_path, rows=[{"name": "a", "supervised": True, "adaptation": "dann"}]))
