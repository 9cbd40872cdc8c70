"""Write docs/cli.md and docs/manifest.md from the code itself; a test holds them against it.

python docs/generate.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from depthforge.cli.main import COMMANDS, cli
from depthforge.manifest import manifest_schema
from depthforge.registry import Registry, sensors, sources, translators
from depthforge.sensors._presets import load_preset, preset_names

HERE = Path(__file__).resolve().parent

BLOCKS = {
    "CorpusSettings": "corpus",
    "DepthEncoding": "corpus.depth",
    "Codec": "corpus.codec",
    "TrainingSettings": "training",
    "WatchSettings": "training.watch",
}


def cli_reference() -> str:
    """Return the help of every command as one Markdown page."""
    parts = ["# Commands", "", "Written by `docs/generate.py` from the commands' own help.", ""]
    for name in (None, *COMMANDS):
        settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
        context = click.Context(cli, info_name="depthforge", **settings)
        command: click.Command = cli
        if name is not None:
            found = cli.get_command(context, name)
            assert found is not None
            command = found
            context = click.Context(found, info_name=name, parent=context, **settings)
        title = f"depthforge {name}" if name else "depthforge"
        parts += [f"## {title}", "", "```", command.get_help(context), "```", ""]
        if name is not None and isinstance(command, click.Group):
            for sub_name in command.list_commands(context):
                sub = command.get_command(context, sub_name)
                assert sub is not None
                inner = click.Context(sub, info_name=sub_name, parent=context, **settings)
                parts += [f"### {title} {sub_name}", "", "```", sub.get_help(inner), "```", ""]
    parts += [
        "## Exit codes",
        "",
        "0 done, 2 usage, 3 input invalid, 4 done with rejects, 5 failed or incomplete, 6 integrity, 130 interrupted.",
        "",
    ]
    return "\n".join(parts)


def manifest_reference() -> str:
    """Return every field of a manifest, and of every source and translator, as one Markdown page."""
    schema = manifest_schema()
    parts = [
        "# The manifest",
        "",
        "Written by `docs/generate.py` from the typed models. `depthforge list --schema` prints the JSON Schema.",
        "`${NAME}` and `${NAME:-default}` in a value come from the environment; relative paths are relative to the",
        "working directory.",
        "",
        "## Top level",
        "",
        *_table({k: v for k, v in schema["properties"].items() if k not in ("source", "translator")}, schema),
        "| `source` | mapping | required | where clean frames come from; see Sources |",
        "| `translator` | mapping | required | what makes them noisy; see Translators |",
        "",
    ]
    for name, path in BLOCKS.items():
        block = schema["$defs"][name]
        fields = {k: v for k, v in block["properties"].items() if k != "real"}
        parts += [f"## `{path}`", "", block.get("description", ""), "", *_table(fields, schema)]
        if "real" in block["properties"]:
            parts += ["| `real` | mapping | required | where real scans come from; see Sources |"]
        parts += [""]
    for title, registry, field in (("Sources", sources, "source"), ("Translators", translators, "translator")):
        parts += [f"## {title}", ""]
        for variant in schema["properties"][field]["oneOf"]:
            name = variant["properties"]["name"]["const"]
            parts += [f"### `{name}`", "", _sentence(registry, name), ""]
            fields = {k: v for k, v in variant["properties"].items() if k != "name"}
            parts += [*_table(fields, schema), ""] if fields else ["No fields.", ""]
            prefix = f"{field}-{name}-"
            for model, block in schema["$defs"].items():
                if model.startswith(prefix) and "properties" in block:
                    parts += [f"`{model.removeprefix(prefix)}`:", "", *_table(block["properties"], schema), ""]
    parts += [
        "## Sensors",
        "",
        "Where a field holds a sensor: the name of a preset (`sensor: d435`), the path of a preset file that ends in",
        "`.yaml` (`depthforge fit` writes one), a mapping with `preset` and what changes it, or one with `name` and",
        "parameters. [sensors.md](sensors.md) shows what each does.",
        "",
        "| preset | sensor | |",
        "|---|---|---|",
    ]
    for name in preset_names():
        preset = load_preset(name)
        parts.append(f"| `{name}` | `{preset.sensor}` | {' '.join(preset.description.split())} |")
    parts.append("")
    for name in sensors.names():
        parts += [f"### `{name}`", "", _sentence(sensors, name), ""]
        fields = {k: v for k, v in schema["$defs"][f"sensor-{name}"]["properties"].items() if k != "name"}
        parts += [*_table(fields, schema), ""]
        for model, block in schema["$defs"].items():
            if model.startswith(f"sensor-{name}-") and "properties" in block:
                parts += [f"`{model.removeprefix(f'sensor-{name}-')}`:", "", *_table(block["properties"], schema), ""]
    return "\n".join(parts)


def _sentence(registry: Registry, name: str) -> str:
    text = inspect.getdoc(registry.get(name)) or ""
    return " ".join(text.split("\n\n")[0].split())


def _table(fields: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = f"`{field['default']}`" if "default" in field else "see below" if "$ref" in field else ""
        rows.append(f"| `{name}` | {_kind(field)} | {default} | {_meaning(field)} |")
    return rows


def _meaning(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("\n", " ").replace("|", "\\|")


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_kind(option) for option in field[key])
    if "$ref" in field:
        return f"`{field['$ref'].rsplit('/', 1)[1].rsplit('-', 1)[-1]}`"
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}" if "items" in field else "list"
    return str(field.get("type", "any"))


def main() -> None:
    """Write both pages."""
    (HERE / "cli.md").write_text(cli_reference())
    (HERE / "manifest.md").write_text(manifest_reference())


if __name__ == "__main__":
    main()
