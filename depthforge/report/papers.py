"""The sections that are words and tables: what the corpus is, holds, lacks, was made from, and may be used for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from depthforge.corpus.dataset_card import citation, what_is_made
from depthforge.corpus.layout import CorpusInfo
from depthforge.corpus.licences import binding_licence, licence_terms, licences_of
from depthforge.corpus.summary import CorpusSummary
from depthforge.report.markup import Child, Markup, link, tag
from depthforge.report.tables import facts, figure, section, table

__all__ = ["manifest_section", "provenance_section", "rejects_section", "sensor_of", "summary_section"]

_MOST_REASONS = 50


def summary_section(info: CorpusInfo, summary: CorpusSummary, finished: str | None, num_scenes: int) -> Markup:
    """Return the section that comes first: how much there is, of what, and how noisy."""
    totals, means = summary.totals, summary.statistics
    tiles: list[tuple[str, str]] = [
        ("frames", f"{totals.num_frames:,}"),
        ("scenes", f"{num_scenes:,}"),
        ("pixels", f"{summary.width} × {summary.height}"),
        ("stored", f"{totals.stored_bytes / 2**20:,.1f} MiB"),
        ("holes, clean", _percent(means["hole_fraction_clean"])),
    ]
    if means["hole_fraction_noisy"] is not None:
        tiles += [("holes, noisy", _percent(means["hole_fraction_noisy"]))]
    if means["noise_mean_abs_m"] is not None:
        tiles += [("noise, mean", f"{1000 * means['noise_mean_abs_m']:.3g} mm")]
    tiles.append(("rejects", f"{totals.num_rejects:,}"))
    parts: list[Child] = [
        tag("ul", *(tag("li", tag("strong", value), tag("span", name)) for name, value in tiles), class_="tiles"),
        facts(list(_facts(info, summary, finished))),
        _split_table(summary),
        tag("details", tag("summary", f"{len(info.corpus_schema.stored)} fields of a frame"), _field_table(summary)),
    ]
    return section("summary", "Summary", *parts)


def rejects_section(summary: CorpusSummary) -> Markup:
    """Return why frames were not converted, and what to do about each."""
    parts: list[Child] = []
    if not summary.totals.num_rejects:
        parts.append(tag("p", "Every planned frame was converted.", class_="lead"))
    else:
        frames, reasons = summary.totals.num_rejects, len(summary.reasons)
        told = (
            f"{frames:,} frame{'s' * (frames != 1)} could not be converted, for {reasons} reason{'s' * (reasons != 1)}."
        )
        parts.append(tag("p", told, class_="lead"))
        for reason in summary.reasons[:_MOST_REASONS]:
            remedy = [tag("p", tag("strong", "What to do: "), reason.remedy)] if reason.remedy else []
            head = tag("h3", f"{reason.count:,} × {reason.message}")
            where = tag("p", f"{reason.error} in {reason.stage}, such as {reason.key}:", class_="note")
            parts.append(
                tag("article", head, where, tag("pre", reason.example, class_="wraps"), *remedy, class_="reject")
            )
        more = len(summary.reasons) - _MOST_REASONS
        if more > 0:
            parts.append(tag("p", f"And {more} other reasons: depthforge rejects CORPUS lists them.", class_="note"))
        again = "depthforge synthesize MANIFEST --retry-rejects"
        parts.append(tag("p", "When the data is mended, ", tag("code", again), " makes those shards again."))
    if summary.dropped:
        rows = [[what, f"{count:,}"] for what, count in summary.dropped.items()]
        parts.append(
            table(["values that are not stored", "how many"], rows, caption="Dropped from frames that are kept")
        )
    return section("rejects", "Rejects", *parts)


def manifest_section(info: CorpusInfo) -> Markup:
    """Return the manifest with all that was filled in."""
    text = yaml.safe_dump(info.manifest, sort_keys=False, allow_unicode=True).rstrip()
    return section(
        "manifest",
        "Manifest",
        tag(
            "p",
            "As resolved when the corpus was made: the same over the same data gives the same bytes.",
            class_="lead",
        ),
        tag("pre", tag("code", text), tabindex=0, aria_label="the resolved manifest"),
    )


def provenance_section(info: CorpusInfo, trained: Mapping[str, Any] | None) -> Markup:
    """Return what the corpus was made from, by what, and under whose terms; ``trained`` is a translator's card."""
    licences = licences_of(info, trained)
    binding = binding_licence(licences)
    rows = [[name, link(its.url, its.name), licence_terms(its)] for name, its in licences.items()]
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    parts: list[Child] = [
        tag("p", "Most restrictive term that applies: ", tag("strong", binding.name), f" ({licence_terms(binding)}).",
            class_="lead"),
        table(["source", "licence", "what it allows"], rows, caption="Licences", text_columns=3),
        facts(
            [
                ("Source", f"{info.source.name}, adapter version {info.source.adapter_version}"),
                ("Translator", f"{info.translator.name} version {info.translator.version}"),
                ("Its fingerprint", tag("code", info.translator.fingerprint)),
                ("Fingerprint of the corpus", tag("code", info.fingerprint)),
                ("Written by", versions),
                ("To cite", citation(info)),
            ]
        ),
    ]  # fmt: skip
    if trained is not None:
        parts += _training(trained)
    conventions = [(name.replace("_", " "), text) for name, text in info.conventions.items()]
    parts += [tag("h3", "Conventions"), facts(conventions)]
    return section("provenance", "Provenance and licences", *parts)


def sensor_of(info: CorpusInfo) -> str:
    """Return in words what made the noise: the translator, and its sensor where the manifest names one."""
    sensor = (info.manifest.get("translator") or {}).get("sensor")
    if isinstance(sensor, Mapping):
        sensor = sensor.get("preset") or sensor.get("name")
    return f"{info.translator.name} of {sensor}" if isinstance(sensor, str) else info.translator.name


def _facts(info: CorpusInfo, summary: CorpusSummary, finished: str | None) -> Iterator[tuple[str, Child]]:
    means, depth = summary.statistics, summary.depth
    step = f"uint16 steps of {depth['scale_m']:g} m" if depth["dtype"] == "uint16" else "float32"
    smaller = "" if summary.compression is None else f", {summary.compression:.1f} times smaller than raw"
    yield "Made", f"{what_is_made(info.corpus_schema)}, from clean frames of {info.source.name}"
    yield "Sensor", sensor_of(info)
    yield "Depth", f"{summary.quantity} in metres, stored as {step}, {summary.codec['name']}{smaller}"
    if means["depth_min_m"] is not None:
        span = f"{figure(means['depth_min_m'])} to {figure(means['depth_max_m'])} m"
        yield "Clean depth", f"{span}, median {figure(means['depth_median_m'])} m"
    if means["noise_rmse_m"] is not None and means["noise_bias_m"] is not None:
        rmse, bias = 1000 * means["noise_rmse_m"], 1000 * means["noise_bias_m"]
        yield "Noise", f"rmse {rmse:.3g} mm, bias {bias:+.3g} mm (means over frames, where both measured)"
    yield "Licence", f"{summary.licence}" + (", non-commercial use only" if summary.non_commercial else "")
    if finished is not None:
        yield "Finished", finished


def _split_table(summary: CorpusSummary) -> Markup:
    rows = [
        [name, f"{each.num_frames:,}", f"{each.num_planned:,}", f"{each.num_rejects:,}", f"{each.num_shards:,}"]
        for name, each in summary.splits.items()
    ]
    return table(["split", "frames", "planned", "rejects", "shards"], rows, caption="Splits: a scene is never divided")


def _field_table(summary: CorpusSummary) -> Markup:
    rows: list[list[Child]] = [
        [each.name, each.dtype, each.layout, each.units or "", each.description, f"{each.num_present:,}"]
        for each in summary.fields
    ]
    columns = ["field", "type", "layout", "unit", "meaning", "frames that have it"]
    return table(columns, rows, caption="Fields beside clean and noisy depth", text_columns=5)


def _training(trained: Mapping[str, Any]) -> Iterator[Child]:
    yield tag("h3", "How the translator was trained")
    told: list[tuple[str, Child]] = [("Weights", str(trained.get("origin", "in translator/")))]
    for side, described in trained.get("trained_on", {}).items():
        told.append((f"{side} side", f"{described.get('frames', '?')} frames of {described.get('source', '?')}"))
    step = trained.get("training", {}).get("best_step")
    if step is not None:
        told.append(("Chosen", f"the checkpoint of step {step}"))
    yield facts(told)
    known = {name: value for name, value in trained.get("figures", {}).items() if isinstance(value, int | float)}
    if known:
        rows = [[name, figure(float(value))] for name, value in known.items()]
        yield table(["on held-out frames", "value"], rows, caption="Figures of the translator")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
