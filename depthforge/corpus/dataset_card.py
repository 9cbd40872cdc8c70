"""The papers of a finished corpus: its dataset card (README.md) and its Croissant 1.1 metadata.

Both are made from ``corpus.json`` and the index alone. What only the publisher can know (who, where) is left to fill
in and says so.
Format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import pyarrow as pa
import yaml

from depthforge.corpus.index import FileDigest, index_columns
from depthforge.corpus.layout import CORPUS_FILE, CorpusInfo, Layout
from depthforge.corpus.plan_file import PLAN_FILE
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.summary import CorpusSummary
from depthforge.frame import Finding, Licence

__all__ = ["croissant", "dataset_card"]

_MAX_FINDINGS: Final = 20
_CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "conformsTo": "dct:conformsTo",
    "recordSet": "cr:recordSet",
    "field": "cr:field",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "source": "cr:source",
    "fileSet": "cr:fileSet",
    "extract": "cr:extract",
    "column": "cr:column",
    "includes": "cr:includes",
}


def dataset_card(
    info: CorpusInfo, summary: CorpusSummary, findings: Sequence[Finding], trained: Mapping[str, Any] | None = None
) -> str:
    """Return the text of README.md; ``trained`` is the card of a learned translator (``translator/card.json``).

    What a translator was trained on has licences too: the most restrictive one counts.
    """
    licences = _licences(info, trained)
    licence = _binding(licences)
    head = yaml.safe_dump(
        {
            "pretty_name": info.name,
            "license": "other",
            "license_name": licence.name,
            **({"license_link": licence.url} if licence.url else {}),
            "task_categories": ["depth-estimation"],
            "tags": ["depth", "rgb-d", "synthetic", "sensor-noise", "zarr", info.source.name],
            "source_datasets": [info.source.name],
        },
        sort_keys=False,
    )
    terms = "non-commercial use only" if licence.non_commercial else "commercial use is not excluded by the sources"
    fields = [
        f"| `{field.name}` | {field.dtype} | {field.units or ''} | {field.num_present} of "
        f"{summary.totals.num_frames} | {field.description} |"
        for field in summary.fields
    ]
    manifest = yaml.safe_dump(info.manifest, sort_keys=False).rstrip()
    description = str(info.manifest.get("description") or "").strip()
    return "\n".join(
        [
            f"---\n{head}---\n",
            f"# {info.name}\n",
            *([description + "\n"] if description else []),
            f"{_made(info.corpus_schema).capitalize()} as a real sensor would have taken it, made by depthforge from "
            f"clean frames of {info.source.name}, with clean depth and every label beside it.\n",
            "## Composition\n",
            "```\n" + "\n".join(summary.lines()[1:]) + "\n```\n",
            "## Depth\n",
            *(f"- {name.replace('_', ' ')}: {text}" for name, text in info.conventions.items()),
            "\n## Sensor and translator\n",
            f"`{info.translator.name}` version {info.translator.version}, fingerprint `{info.translator.fingerprint}`; "
            "its parameters are in the manifest below.\n",
            *_training_lines(trained),
            "## Labels\n",
            "| field | stored as | units | present | meaning |\n|---|---|---|---|---|",
            *fields,
            "\n## Licence\n",
            *(f"- {name}: {its.name}" + (f", {its.url}" if its.url else "") for name, its in licences.items()),
            f"\nThe most restrictive term that applies to this corpus: {licence.name} ({terms}).\n",
            "## Known limits\n",
            f"- {summary.totals.num_rejects} planned frames could not be converted; `rejects/` says which and why.",
            *_finding_lines(findings),
            "- Noise is that of the translator above: what it does not model is not in the data.\n",
            "## Read, check, rebuild\n",
            "`docs/corpus-format.md` of depthforge describes every file; plain zarr v3 and parquet readers open them. "
            "`sha256sum -c SHA256SUMS` checks every file, `depthforge verify` also every array. Frames are a function "
            "of this manifest and the source's files:\n",
            f"```yaml\n{manifest}\n```\n",
        ]
    )


def _made(schema: CorpusSchema) -> str:
    """Return in words what the translator made: depth, and other images by name."""
    return " and ".join([*(["depth"] if schema.noisy_depth else []), *(f"`{spec.name}`" for spec in schema.produced)])


def _licences(info: CorpusInfo, trained: Mapping[str, Any] | None) -> dict[str, Licence]:
    """Return the licence of the source, and of each side that the translator was trained on, by name."""
    licences = {info.source.name: info.source.licence}
    for side, described in (trained or {}).get("trained_on", {}).items():
        licence = Licence(**described["licence"])
        if licence != info.source.licence:
            licences[f"{described['source']} (the translator was trained on it, {side} side)"] = licence
    return licences


def _binding(licences: Mapping[str, Licence]) -> Licence:
    """Return the most restrictive of ``licences``, the source's among equals."""
    return next((licence for licence in licences.values() if licence.non_commercial), next(iter(licences.values())))


def _training_lines(trained: Mapping[str, Any] | None) -> list[str]:
    """Return how a learned translator came to be: on what, for how long, and what it does to held-out frames."""
    if trained is None:
        return []
    lines = [f"Its weights and card are in `translator/`; they were {trained['origin']}."]
    for side, described in trained["trained_on"].items():
        depth = f"; {described['depth']}" if "depth" in described else ""
        lines.append(f"- {side}: {described['frames']} frames of {described['source']}{depth}")
    if "best_step" in trained["training"]:
        lines.append(f"- chosen: the checkpoint of step {trained['training']['best_step']}")
    figures = {name: value for name, value in trained["figures"].items() if isinstance(value, (int, float))}
    if figures:
        lines.append("- on held-out frames: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    return [*lines, ""]


def croissant(
    info: CorpusInfo,
    digests: Mapping[str, FileDigest],
    *,
    published: date,
    trained: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the text of croissant.json; ``digests`` holds at least corpus.json and the plan, ``trained`` as above."""
    licence = _binding(_licences(info, trained))
    parquet = "application/vnd.apache.parquet"
    mime = {CORPUS_FILE: "application/json", PLAN_FILE: parquet, Layout.index_whole: parquet}
    files: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": name,
            "name": name,
            "contentUrl": name,
            "contentSize": f"{digests[name].size} B",
            "encodingFormat": encoding,
            "sha256": digests[name].sha256,
        }
        for name, encoding in mime.items()
    ]
    sets = [
        ("rejects", "rejects/*.parquet", parquet, "a row per frame that was not converted"),
        ("shards", "shards/*.zarr/**", "application/vnd.zarr", "zarr v3 groups; SHA256SUMS holds every hash"),
    ]
    files += [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "description": text,
            "includes": glob,
            "encodingFormat": encoding,
        }
        for name, glob, encoding, text in sets
    ]
    value = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": info.name,
        "description": str(info.manifest.get("description") or "")
        or f"Noisy {_made(info.corpus_schema)} made from {info.source.name}",
        "license": licence.url or licence.name,
        "url": f"urn:depthforge:{info.fingerprint}",
        "creator": {"@type": "sc:Organization", "name": "to be filled in by whoever publishes this corpus"},
        "datePublished": published.isoformat(),
        "version": f"{info.format_version}.0.0",
        "isLiveDataset": False,
        "prov:wasDerivedFrom": {
            "@type": "prov:Entity",
            "name": info.source.name,
            "license": licence.url or licence.name,
        },
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "name": f"depthforge {info.versions.get('depthforge', '')}: {info.translator.name}",
            "description": f"translator fingerprint {info.translator.fingerprint}",
        },
        "rai:dataCollection": "Rendered or simulated frames; "
        f"{_made(info.corpus_schema)} of every frame was degraded by a sensor model.",
        "rai:dataManipulationProtocol": "; ".join(f"{name}: {text}" for name, text in info.conventions.items()),
        "rai:dataLimitations": "The noise is that of the translator; what it does not model is not in the data.",
        "distribution": files,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "frames",
                "name": "frames",
                "key": {"@id": "frames/key"},
                "field": [_field(column) for column in index_columns(info.corpus_schema)],
            }
        ],
    }
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _field(column: pa.Field) -> dict[str, Any]:
    kinds = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.float64(): "sc:Float", pa.bool_(): "sc:Boolean"}
    return {
        "@type": "cr:Field",
        "@id": f"frames/{column.name}",
        "name": column.name,
        "dataType": kinds[column.type],
        "source": {"fileObject": {"@id": Layout.index_whole}, "extract": {"column": column.name}},
    }


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    worst_first = sorted(findings, key=lambda finding: finding.severity != "error")
    lines = [f"- {finding.severity}: `{finding.path}`: {finding.message}" for finding in worst_first[:_MAX_FINDINGS]]
    if len(findings) > _MAX_FINDINGS:
        lines.append(f"- ... and {len(findings) - _MAX_FINDINGS} more findings in the source's files")
    return lines
