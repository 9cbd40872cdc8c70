"""What makes two things the same: a name, a version, and the fields that differ from their defaults.

A fingerprint over every field changes when an option is added whose default does nothing: every unfinished corpus would
refuse to go on, and all noise would be drawn anew. Here what has its default value is no part of an identity, so an
option may be added freely, and a default may be changed only together with ``version`` (a table of all defaults, under
test, sees to that). Three identities follow from a manifest: what keys the noise (the method and its parameters), what
keys a corpus (that, with the source, labels, splits and encodings), and what keys a training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

__all__ = ["Identity", "changed_fields", "differences", "fingerprint_of"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A plug-in: its registered ``name``, its ``version`` and, as plain data, its ``fields`` off their defaults."""

    name: str
    version: int
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"name": self.name, "version": self.version, "fields": dict(self.fields)}

    @property
    def fingerprint(self) -> str:
        """32 hex digits over all of it."""
        return fingerprint_of(self.to_json())


def fingerprint_of(value: Any) -> str:
    """Return 32 hex digits of BLAKE2b over the canonical JSON of ``value``; NaN and infinity are a ValueError."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def changed_fields(model: BaseModel, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return, as plain data, the fields of ``model`` that differ from their defaults, in models within it too.

    Left out are ``without`` and, in every model, the ``local_fields`` that its class names: where things lie and run on
    this machine. A field that has no default is always there.
    """
    left_out = without | getattr(model, "local_fields", frozenset())
    changed = {}
    for name, described in type(model).model_fields.items():
        value = getattr(model, name)
        if name in left_out:
            continue
        if not described.is_required() and value == described.get_default(call_default_factory=True):
            continue
        changed[name] = _plain(value, model, name)
    return changed


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return ``name.name: old -> new`` for every value in which two identities, as plain data, differ, sorted.

    Of a plug-in in whose place there is another, its name alone: their fields are not the same things.
    """
    old, new = dict(_flat(before)), dict(_flat(after))
    changed = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    others = tuple(
        name.removesuffix("name") for name in changed if name.endswith(".name") and {name} <= old.keys() & new.keys()
    )
    return [
        f"{name}: {old.get(name, 'default')} -> {new.get(name, 'default')}"
        for name in changed
        if name.endswith(".name") or not name.startswith(others)
    ]


def _plain(value: Any, model: BaseModel, name: str) -> Any:
    identity = getattr(value, "identity", None)
    if isinstance(identity, Identity):  # a plug-in in a field, such as a sensor, has a name and a version of its own
        return identity.to_json()
    if isinstance(value, BaseModel):
        return changed_fields(value)
    if isinstance(value, Sequence) and any(isinstance(item, BaseModel) for item in value):
        return [_plain(item, model, name) for item in value]
    # What is no model serialises as its field says: a path to its name, a number to itself.
    return model.model_dump(mode="json", include={name})[name]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        # `fields` only says that what follows is off its default.
        place = prefix if key == "fields" else f"{prefix}{key}."
        if isinstance(item, Mapping):
            yield from _flat(item, place)
        else:
            yield f"{prefix}{key}", str(item)
