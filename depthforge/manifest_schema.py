"""The JSON Schema of a manifest, for editors that complete and check YAML, and for the reference in ``docs``.

A manifest's own schema says of a plug-in only that it has a name. Here each field that holds one becomes the list of
all that are registered, with their fields; each field that holds a sensor, wherever it stands, refers to the one
definition ``Sensor``.
"""

from __future__ import annotations

from typing import Any

from depthforge.manifest import Manifest
from depthforge.registry import sensors, sources, translators
from depthforge.sensors.preset import preset_names

__all__ = ["manifest_schema"]


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of a manifest, the fields of every known source and translator included."""
    schema = Manifest.model_json_schema()
    places = (
        (schema["properties"], "source", sources),
        (schema["properties"], "translator", translators),
        (schema["$defs"]["TrainingSettings"]["properties"], "real", sources),
    )
    for properties, field, registry in places:
        variants = []
        for name in registry.names():
            plugin = registry.get(name).Config.model_json_schema(ref_template=f"#/$defs/{field}-{name}-{{model}}")
            for model, definition in plugin.pop("$defs", {}).items():
                schema["$defs"][f"{field}-{name}-{model}"] = definition
            plugin["properties"] = {"name": {"const": name}, **plugin.get("properties", {})}
            plugin["required"] = ["name", *plugin.get("required", [])]
            variants.append(plugin)
        properties[field] = {"oneOf": variants, "discriminator": {"propertyName": "name"}}
    training = schema["$defs"]["TrainingSettings"]["properties"]
    training["more_real"]["items"] = training["unseen"]["items"] = training["real"]
    schema["$defs"]["NightlySettings"]["properties"]["real"] = training["real"]
    schema["$defs"].pop("PluginBlock", None)
    schema["$defs"]["Sensor"] = _sensor_schema(schema["$defs"])
    refer_to_sensors: dict[str, Any] = _with_sensors(schema)
    return refer_to_sensors


def _sensor_schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field that holds a sensor, adding that of each sensor to ``definitions``."""
    presets = {"type": "string", "description": "a preset or its file", "examples": preset_names()}
    variants = [presets]
    for name in sensors.names():
        plugin = sensors.get(name).model_json_schema(ref_template=f"#/$defs/sensor-{name}-{{model}}")
        for model, definition in plugin.pop("$defs", {}).items():
            definitions[f"sensor-{name}-{model}"] = definition
        plugin["properties"] = {"name": {"const": name}, **plugin["properties"]}
        definitions[f"sensor-{name}"] = plugin
        variants.append({"$ref": f"#/$defs/sensor-{name}"})
    return {"oneOf": variants}


def _with_sensors(node: Any) -> Any:
    """Return a schema in which each field that holds a sensor (``sensors.preset.AnySensor``) refers to their schema."""
    if isinstance(node, list):
        return [_with_sensors(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("$comment") == "sensor":
        kept = {name: value for name, value in node.items() if name not in ("$comment", "type")}
        return {**kept, "$ref": "#/$defs/Sensor"}
    return {name: _with_sensors(value) for name, value in node.items()}
