"""The table of every default that an identity relies on, ``tests/defaults.json``, and what keeps it honest.

A field that has its default is no part of an identity, so a default may only change together with a version: else old
and new corpora of different noise would pass for the same. ``python -m tests.defaults`` adds new fields to the table
and takes over what a raised version allows; it refuses a default that changed alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from depthforge.corpus.layout import FORMAT_VERSION
from depthforge.identity import Identity
from depthforge.manifest import CorpusSettings, TrainingSettings
from depthforge.registry import sensors, sources, tasks, translators
from depthforge.stages.training_folder import TRAINING_VERSION

TABLE = Path(__file__).with_suffix(".json")


def current() -> dict[str, dict[str, Any]]:
    """Return, for every plug-in and settings block, its version and the defaults of its fields as plain data."""
    table = {
        "manifest corpus": _entry(CorpusSettings, FORMAT_VERSION),
        "manifest training": _entry(TrainingSettings, TRAINING_VERSION),
    }
    for kind, registry in (("source", sources), ("translator", translators), ("task", tasks)):
        for name in registry.names():
            plugin = registry.get(name)
            table[f"{kind} {name}"] = _entry(plugin.Config, _version(plugin))
    for name in sensors.names():
        table[f"sensor {name}"] = _entry(sensors.get(name), sensors.get(name).version)
    return table


def unsound(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """Return every default that changed, or went, while the version stayed; a new field or plug-in is sound.

    So is a new field of a model that is itself a default, such as a translator's sensor: that it does nothing by
    default is for the entry of that model to say.
    """
    found = []
    for name, entry in before.items():
        if name not in after or after[name]["version"] != entry["version"]:
            continue
        for field, value in entry["defaults"].items():
            value_after = after[name]["defaults"].get(field, "gone")
            if not _kept(value, value_after):
                found.append(f"{name}: {field} was {value!r} and is {value_after!r}, version {entry['version']}")
    return found


def _kept(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and _kept(value, after[key]) for key, value in before.items())
    return bool(before == after)


def _version(source_or_translator: Any) -> int:
    for attribute in ("fused_version", "adapter_version", "version"):  # fused adds that of the source it fuses
        if isinstance(found := getattr(source_or_translator, attribute, None), int):
            return found
    raise TypeError(source_or_translator)


def _entry(model: type[BaseModel], version: int) -> dict[str, Any]:
    return {"version": version, "defaults": dict(_defaults(model))}


def _defaults(model: type[BaseModel]) -> list[tuple[str, Any]]:
    found = []
    for name, field in sorted(model.model_fields.items()):
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            found.append((name, json.loads(json.dumps(_plain(value), default=str))))
    return found


def _plain(value: Any) -> Any:
    if isinstance(identity := getattr(value, "identity", None), Identity):
        # A plug-in in a field: what it has by default, and its version, stand in an entry of its own.
        return {"name": identity.name, "fields": dict(identity.fields)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


if __name__ == "__main__":
    known = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if changed := unsound(known, current()):
        sys.exit("raise the version of what these belong to, then run this again:\n" + "\n".join(changed))
    TABLE.write_text(json.dumps(current(), indent=1, sort_keys=True) + "\n")
