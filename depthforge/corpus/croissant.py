"""The Croissant 1.1 metadata of a finished corpus, croissant.json: what its files are, and the rows of its index.

A file that stands alone has its SHA-256; those of shards are in ``SHA256SUMS``, since a million of them would make a
description that nobody loads. Records are the rows of ``index.parquet``, one for each frame, by which a reader finds
the arrays; a row holds no pixel. What only the publisher can know (who, where) is left to fill in and says so.
Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import pyarrow as pa

from depthforge.corpus.dataset_card import citation, what_is_made
from depthforge.corpus.index import DepthStatistics, FileDigest, index_columns
from depthforge.corpus.layout import CORPUS_FILE, CorpusInfo, Layout
from depthforge.corpus.licences import binding_licence, licence_terms, licences_of
from depthforge.corpus.plan_file import PLAN_FILE

__all__ = ["croissant"]

# Appendix 1 of the format, and the names of provenance and of responsible use.
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# The name by which readers of Croissant know parquet; they do not know the registered one.
_PARQUET: Final = "application/x-parquet"
_BYTES: Final = "application/octet-stream"
_ENCODINGS: Final = {".json": "application/json", ".md": "text/markdown", ".parquet": _PARQUET, ".png": "image/png"}
_TYPES: Final = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean"}
_MEANINGS: Final = {
    "key": "dataset/scene/frame, unique",
    "split": "which split the frame belongs to; frames of a scene are always in the same",
    "shard": "the frame is in shards/<shard>.zarr",
    "row": "the frame's index along the first axis of every array of its shard",
    "hole_fraction_clean": "share of pixels without clean depth",
    "hole_fraction_noisy": "share of pixels without noisy depth",
    "depth_min_m": "smallest clean depth, metres",
    "depth_median_m": "median clean depth, metres",
    "depth_max_m": "largest clean depth, metres",
    "noise_mean_abs_m": "mean of |noisy - clean| where both measured, metres",
    "noise_rmse_m": "root mean square of noisy - clean where both measured, metres",
    "noise_bias_m": "mean of noisy - clean where both measured, metres",
}
assert set(DepthStatistics._fields) <= set(_MEANINGS)


def croissant(
    info: CorpusInfo,
    digests: Mapping[str, FileDigest],
    *,
    published: date,
    trained: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the text of croissant.json.

    ``digests`` holds at least corpus.json, the plan and the index; of what it holds besides, the card and what is in
    ``translator/`` is described file by file. ``trained`` is the card of a learned translator.
    """
    licences = licences_of(info, trained)
    binding = binding_licence(licences)
    described = str(info.manifest.get("description") or "").strip()
    made = what_is_made(info.corpus_schema)
    translator = f"{info.translator.name}, fingerprint {info.translator.fingerprint}"
    value = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": info.name,
        "description": described or f"Noisy {made} made from {info.source.name}",
        "citeAs": citation(info),
        "license": list(dict.fromkeys(its.url or its.name for its in (binding, *licences.values()))),
        "usageInfo": f"{binding.name}: {licence_terms(binding)}",
        "keywords": ["depth", "rgb-d", "synthetic", "sensor noise", info.source.name],
        "url": f"urn:depthforge:{info.fingerprint}",
        "creator": {"@type": "sc:Organization", "name": "to be filled in by whoever publishes this corpus"},
        "datePublished": published.isoformat(),
        "version": f"{info.format_version}.0.0",
        "isLiveDataset": False,
        "prov:wasDerivedFrom": [
            {"@type": "prov:Entity", "prov:label": name, "license": its.url or its.name}
            for name, its in licences.items()
        ],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"depthforge {info.versions.get('depthforge', '')}: {translator}",
        },
        "rai:dataCollection": f"Rendered or simulated frames; {made} of every frame was degraded by a sensor model.",
        "rai:dataManipulationProtocol": "; ".join(f"{name}: {text}" for name, text in info.conventions.items()),
        "rai:dataLimitations": "The noise is that of the translator; what it does not model is not in the data.",
        "distribution": [*_files(digests), *_file_sets(digests)],
        "recordSet": [_splits(info), _frames(info)],
    }
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _files(digests: Mapping[str, FileDigest]) -> Iterator[dict[str, Any]]:
    """Yield what stands alone: the description, the plan, the index, the card, the translator."""
    alone = [name for name in (CORPUS_FILE, PLAN_FILE, Layout.index_whole, Layout.card) if name in digests]
    for name in [*alone, *sorted(name for name in digests if name.startswith(f"{Layout.translator}/"))]:
        yield {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{digests[name].size} B",
            "encodingFormat": _ENCODINGS.get("." + name.rpartition(".")[2], _BYTES),
            "sha256": digests[name].sha256,
        }


def _file_sets(digests: Mapping[str, FileDigest]) -> Iterator[dict[str, Any]]:
    sets = [
        ("shards", f"{Layout.shards}/*.zarr/**/*", "application/vnd.zarr", "zarr v3 groups, an array for each field"),
        ("index-parts", f"{Layout.index}/*.parquet", _PARQUET, "the rows of the index, shard by shard"),
        ("rejects", f"{Layout.rejects}/*.parquet", _PARQUET, "a row for each frame that could not be converted"),
    ]
    for name, includes, encoding, text in sets:
        if any(held.startswith(includes.partition("*")[0]) for held in digests):
            yield {
                "@type": "cr:FileSet",
                "@id": name,
                "name": name,
                "description": f"{text}; {Layout.sums} holds the SHA-256 of every file",
                "includes": includes,
                "encodingFormat": encoding,
            }


def _splits(info: CorpusInfo) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [field],
        "data": [{"splits/name": name} for name in info.plan.frames_per_split],
    }


def _frames(info: CorpusInfo) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "frames",
        "name": "frames",
        "description": "a record for each frame",
        "key": {"@id": "frames/key"},
        "field": [_column(column) for column in index_columns(info.corpus_schema)],
    }


def _column(column: pa.Field) -> dict[str, Any]:
    kind, _, field = column.name.partition("_")
    meaning = _MEANINGS.get(column.name)
    if meaning is None:
        meaning = f"whether the frame has {field}" if kind == "has" else f"XXH3-128 of {field} as stored, before codecs"
    return {
        "@type": "cr:Field",
        "@id": f"frames/{column.name}",
        "name": column.name,
        "description": meaning,
        "dataType": _TYPES[column.type],
        "source": {"fileObject": {"@id": Layout.index_whole}, "extract": {"column": column.name}},
        **({"references": {"field": {"@id": "splits/name"}}} if column.name == "split" else {}),
    }
