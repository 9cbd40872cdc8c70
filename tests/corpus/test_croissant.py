"""croissant.json is what readers of Croissant take: it validates, and its records are the frames of the index."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from depthforge.corpus.croissant import croissant
from depthforge.corpus.index import FileDigest
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.schema import CorpusSchema
from depthforge.frame import Licence
from depthforge.labels.catalogue import INTRINSICS, RGB_NOISY
from tests.corpus.corpora import SCHEMA, build, files_of, make_info

A_DIGEST = FileDigest("0" * 64, 1)
DAY = date(2020, 2, 29)
TRAINED: dict[str, Any] = {
    "trained_on": {
        "clean": {"source": "rooms", "licence": {"name": "CC BY 4.0", "non_commercial": False, "url": None}},
        "real": {"source": "scans", "licence": {"name": "research only", "non_commercial": True, "url": "https://a.b"}},
    }
}


def metadata_of(root: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((root / "croissant.json").read_text())
    return value


def test_what_the_format_requires_is_there(corpus: Path) -> None:
    metadata = metadata_of(corpus)
    required = {"@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished"}
    assert required <= metadata.keys()
    assert metadata["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert metadata["license"] == ["https://example.org"]
    assert metadata["usageInfo"] == "CC BY-NC 4.0: non-commercial use only"
    assert metadata["description"] == "for tests"


def test_every_file_that_stands_alone_has_its_hash_and_its_size(corpus: Path) -> None:
    files = [each for each in metadata_of(corpus)["distribution"] if each["@type"] == "cr:FileObject"]
    assert [each["@id"] for each in files] == ["corpus.json", "plan/frames.parquet", "index.parquet", "README.md"]
    for each in files:
        content = (corpus / each["contentUrl"]).read_bytes()
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert each["contentSize"] == f"{len(content)} B"


def test_every_other_file_of_the_corpus_is_of_one_of_its_sets(corpus: Path) -> None:
    distribution = metadata_of(corpus)["distribution"]
    sets = {each["@id"]: each["includes"] for each in distribution if each["@type"] == "cr:FileSet"}
    assert sets.keys() == {"shards", "index-parts", "rejects"}
    globbed = [path for includes in sets.values() for path in corpus.glob(includes)]
    listed = {path.relative_to(corpus).as_posix() for path in globbed if path.is_file()}
    files = {each["@id"] for each in distribution if each["@type"] == "cr:FileObject"}
    assert {name for name in files_of(corpus) if not name.startswith(".")} - listed - files == {
        "croissant.json",
        "SHA256SUMS",
    }


def test_without_rejects_no_set_of_them_is_described(tmp_path: Path) -> None:
    root = build(tmp_path, 6, rejected=[])
    assert "rejects" not in {each["@id"] for each in metadata_of(root)["distribution"]}


def test_the_papers_are_the_same_bytes_for_the_same_corpus(tmp_path: Path) -> None:
    info, _ = make_info(tmp_path, 4)
    digests = dict.fromkeys(("corpus.json", "plan/frames.parquet", "index.parquet"), A_DIGEST)
    first, second = (croissant(info, order, published=DAY) for order in (digests, dict(reversed(digests.items()))))
    assert first == second
    assert b'"datePublished": "2020-02-29"' in first


def test_what_the_translator_was_trained_on_binds_too(tmp_path: Path) -> None:
    info, _ = make_info(tmp_path, 4)
    source = info.source.model_copy(update={"licence": Licence("CC BY 4.0", False)})
    info = info.model_copy(update={"source": source})
    digests = {"corpus.json": A_DIGEST, "translator/weights.safetensors": A_DIGEST, "translator/card.json": A_DIGEST}
    metadata = json.loads(croissant(info, digests, published=DAY, trained=TRAINED))
    assert metadata["license"] == ["https://a.b", "CC BY 4.0"]
    assert metadata["usageInfo"] == "research only: non-commercial use only"
    assert [each["prov:label"].split(" (")[0] for each in metadata["prov:wasDerivedFrom"]] == ["tiny", "scans"]
    encodings = {each["@id"]: each["encodingFormat"] for each in metadata["distribution"]}
    assert encodings["translator/weights.safetensors"] == "application/octet-stream"
    assert encodings["translator/card.json"] == "application/json"


def test_readers_of_croissant_accept_it_and_give_the_frames(corpus: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant reads Croissant; the dev extra brings it")
    dataset = mlcroissant.Dataset(str(corpus / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    records = list(dataset.records("frames"))
    rows = pq.read_table(corpus / "index.parquet").to_pylist()
    assert len(records) == len(rows) == 21
    for record, row in zip(records, rows, strict=True):
        assert {name.removeprefix("frames/") for name in record} == row.keys()
        for name, value in row.items():
            found = record[f"frames/{name}"]
            assert _same(found, value), name
    assert [record["splits/name"] for record in dataset.records("splits")] == ["train", "val"]


def test_a_corpus_without_noisy_depth_is_accepted_too(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant reads Croissant; the dev extra brings it")
    schema = CorpusSchema(12, 16, (INTRINSICS,), produced=(RGB_NOISY,), noisy_depth=False)
    info, _ = make_info(tmp_path, 4, schema)
    digests = dict.fromkeys(("corpus.json", "plan/frames.parquet", "index.parquet"), A_DIGEST)
    (tmp_path / "croissant.json").write_bytes(croissant(info, digests, published=DAY))
    dataset = mlcroissant.Dataset(str(tmp_path / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    fields = {field.name for field in dataset.metadata.record_sets[1].fields}
    assert {"hash_rgb_noisy", "hole_fraction_noisy"} <= fields
    assert "hash_depth_noisy" not in fields


def test_no_path_of_the_machine_is_in_the_papers(corpus: Path) -> None:
    for name in ("README.md", "croissant.json"):
        assert str(corpus.parent) not in (corpus / name).read_text(), name


def test_the_card_says_of_each_source_what_its_licence_allows(tmp_path: Path) -> None:
    card = (build(tmp_path, 4, SCHEMA) / "README.md").read_text()
    assert "- tiny: CC BY-NC 4.0, https://example.org: non-commercial use only" in card
    info = CorpusInfo.load(tmp_path / "corpus")
    assert f"fingerprint {info.fingerprint}, made by depthforge" in card.split("## Citation")[1]


def _same(found: Any, value: Any) -> bool:
    if value is None or (isinstance(found, float) and math.isnan(found)):
        return value is None or math.isnan(value)
    return bool((found.decode() if isinstance(found, bytes) else found) == value)
