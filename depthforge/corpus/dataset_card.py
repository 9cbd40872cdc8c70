"""The dataset card of a finished corpus, README.md: made from ``corpus.json`` and the index alone.

Its head is what dataset hubs read (https://huggingface.co/docs/hub/datasets-cards); the rest is for people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.licences import binding_licence, licence_terms, licences_of
from depthforge.corpus.schema import CorpusSchema
from depthforge.corpus.summary import CorpusSummary
from depthforge.frame import Finding, Licence

__all__ = ["citation", "dataset_card", "what_is_made"]

_MAX_FINDINGS: Final = 20


def dataset_card(
    info: CorpusInfo, summary: CorpusSummary, findings: Sequence[Finding], trained: Mapping[str, Any] | None = None
) -> str:
    """Return the text of README.md; ``trained`` is the card of a learned translator (``translator/card.json``).

    What a translator was trained on has licences too: the most restrictive one counts.
    """
    licences = licences_of(info, trained)
    licence = binding_licence(licences)
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
            f"{what_is_made(info.corpus_schema).capitalize()} as a real sensor would have taken it, made by depthforge "
            f"from clean frames of {info.source.name}, with clean depth and every label beside it.\n",
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
            *(_licence_line(name, its) for name, its in licences.items()),
            f"\nThe most restrictive term that applies to this corpus: {licence.name} ({licence_terms(licence)}). This "
            "says what the sources state; the texts of the licences decide.\n",
            "## Citation\n",
            f"{citation(info)}\n",
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


def _licence_line(name: str, licence: Licence) -> str:
    place = f", {licence.url}" if licence.url else ""
    return f"- {name}: {licence.name}{place}: {licence_terms(licence)}"


def what_is_made(schema: CorpusSchema) -> str:
    """Return in words what the translator made, for the papers: depth, and other images by name."""
    return " and ".join([*(["depth"] if schema.noisy_depth else []), *(f"`{spec.name}`" for spec in schema.produced)])


def citation(info: CorpusInfo) -> str:
    """Return how to refer to a corpus, for the papers and the report: by its fingerprint, and to what it came from."""
    licence = info.source.licence
    place = f", {licence.url}" if licence.url else ""
    return (
        f"{info.name}, fingerprint {info.fingerprint}, made by depthforge {info.versions.get('depthforge', '')} from "
        f"{info.source.name} with {info.translator.name}; {info.source.name} ({licence.name}{place}) is to be cited as "
        "its authors ask."
    )


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


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    worst_first = sorted(findings, key=lambda finding: finding.severity != "error")
    lines = [f"- {finding.severity}: `{finding.path}`: {finding.message}" for finding in worst_first[:_MAX_FINDINGS]]
    if len(findings) > _MAX_FINDINGS:
        lines.append(f"- ... and {len(findings) - _MAX_FINDINGS} more findings in the source's files")
    return lines
