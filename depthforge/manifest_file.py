"""A manifest from its file: YAML, then ``${NAME}`` filled from the environment, then checked.

Apart from ``manifest``, which says what may stand in one, so that it can be built and checked without a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depthforge.errors import ManifestError, MissingDataError, closest
from depthforge.manifest import Manifest, parse_manifest
from depthforge.registry import layouts
from depthforge.yaml_files import YamlFile, parse_yaml

__all__ = ["load_manifest"]

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; raise ManifestError (or UnknownNameError) naming the file, the line and the field."""
    file = read_filled(path)
    if isinstance(file.value, Mapping) and {"rows", "real"} <= file.value.keys():
        raise ManifestError(
            "this is the manifest of a table", where=path, remedy=f"depthforge evaluate {path} makes the table"
        )
    return parse_manifest(file.value, where=path, file=file)


def read_filled(path: Path) -> YamlFile:
    """Return the mapping that a YAML file holds, filled from the environment, with its lines; raise ManifestError.

    For other kinds of file than manifests of a conversion, too.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        here = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        near = closest(path.name, [Path(p).name for p in here])
        raise MissingDataError(
            "no such manifest",
            where=path,
            expected=f"one of: {', '.join(here)}" if here else "a YAML file; see `manifests/` of the project",
            remedy=f"did you mean {path.parent / near}?" if near else None,
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError("the manifest cannot be read", where=path, found=error) from None
    file = parse_yaml(text, where=path)
    if not isinstance(file.value, dict):
        raise ManifestError("a manifest is a mapping of fields", where=path, found=type(file.value).__name__)
    return YamlFile(_fill(file.value, file.value, field="", where=path), file.places)


def _fill(value: Any, manifest: Mapping[str, Any], *, field: str, where: Path) -> Any:
    """Replace ``${NAME}`` in every string of ``value`` from the environment."""
    if isinstance(value, dict):
        return {k: _fill(v, manifest, field=f"{field}.{k}" if field else str(k), where=where) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill(item, manifest, field=f"{field}[{i}]", where=where) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if os.environ.get(name):
            return os.environ[name]
        if default is not None:
            return default
        raise ManifestError(
            f"the environment variable {name} is not set",
            where=f"{where}: {field}",
            expected=f"{name} names what {field!r} should be ({value})",
            remedy=f"export {name}=DIR{_how_to_sample(manifest)}",
        )

    return _VARIABLE.sub(fill, value)


def _how_to_sample(manifest: Mapping[str, Any]) -> str:
    source = manifest.get("source")
    name = source.get("name") if isinstance(source, dict) else None
    if name not in layouts.names():
        return ""
    return f"; without data, first make some: depthforge sample --layout {name} DIR"
