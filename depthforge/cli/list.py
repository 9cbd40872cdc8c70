"""``depthforge list``: the names that a manifest may use."""

from __future__ import annotations

import inspect

import click

from depthforge.cli.options import as_json, debug, echo_json
from depthforge.manifest_schema import manifest_schema
from depthforge.registry import Registry, formats, layouts, sensors, sources, tasks, translators
from depthforge.sensors.preset import load_preset, preset_names

__all__ = ["command"]


@click.command("list")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a manifest instead.")
@as_json
@debug
def command(schema: bool, as_json: bool, debug: bool) -> int:
    """List sources, translators, sensors, their presets, tasks, sample layouts and formats of export by their names."""
    if schema:
        echo_json(manifest_schema())
        return 0
    known = {
        "sources": _described(sources),
        "translators": _described(translators),
        "sensors": _described(sensors),
        "presets": {name: _preset_sentence(name) for name in preset_names()},
        "tasks": _described(tasks),
        "layouts": _described(layouts),
        "formats": _described(formats),
    }
    if as_json:
        echo_json(known)
        return 0
    for kind, names in known.items():
        click.echo(f"{kind}:")
        for name, sentence in names.items():
            click.echo(f"  {name:<18} {sentence}")
    return 0


def _described(registry: Registry) -> dict[str, str]:
    """Return the first sentence of each plug-in's docstring by name."""
    described = {}
    for name in registry.names():
        text = inspect.getdoc(registry.get(name)) or ""
        described[name] = " ".join(text.split("\n\n")[0].split())
    return described


def _preset_sentence(name: str) -> str:
    preset = load_preset(name)
    return f"{' '.join(preset.description.split())} ({preset.sensor})"
